"""Commands and code in the pages of the documentation.

A block that cannot run in a test has a line above it that says why, `<!-- not run here: IEMOCAP -->`.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_MARK = re.compile(r"<!-- not run here: (.+?) -->")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        language: of a fenced block; `commands` for an indented one.
        text: what it holds.
        not_run: why a test cannot run it; null if it can.
    """

    language: str
    text: str
    not_run: str | None

    @property
    def commands(self) -> list[list[str]]:
        """Arguments of each `mmer` in it, a line that ends in a backslash continued."""
        if self.language not in ("commands", "bash"):
            return []
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        lines = [line.strip() for line in lines]
        return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("mmer ")]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [(match.start(), match[1] or "text", match[2]) for match in _FENCE.finditer(text)]
    prose = _FENCE.sub(lambda match: "\0" * len(match[0]), text)
    found += [(match.start(), "commands", match[0]) for match in _INDENTED.finditer(prose)]
    return [Block(language, body, _mark_above(text, start)) for start, language, body in sorted(found)]


def _mark_above(text: str, start: int) -> str | None:
    above = text[:start].rstrip().rpartition("\n")[2]
    mark = _MARK.fullmatch(above.strip())
    return mark[1] if mark else None
