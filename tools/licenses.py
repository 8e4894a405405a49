"""Write the table of licenses that a company must know into README.md and docs/licenses.md: `python tools/licenses.py`.

Everything else that mmer installs declares a permissive license. `tests/test_supply_chain.py` looks through what is
installed for others.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/licenses.md")
_TABLE = re.compile(r"(<!-- licenses: .*? -->\n).*?(<!-- end of licenses -->)", re.DOTALL)


@dataclass(frozen=True)
class Notice:
    """A dependency whose license asks something of who passes it on.

    Attributes:
        project: its name on the package index.
        license: SPDX expression, or the name of a license that has none.
        contents: what carries that license.
        through: the direct dependency that brings it, where it is not one itself.
        evidence: pattern of a file that an installed copy holds, where its metadata names another license.
    """

    project: str
    license: str
    contents: str
    through: str = ""
    evidence: str = ""


NOTICES = (
    Notice("av", "GPL-2.0-or-later", "x264 and x265 in its FFmpeg, for video", evidence="av.libs/libx264*"),
    Notice("soxr", "LGPL-2.1-or-later", "the resampler"),
    Notice(
        "soundfile",
        "LGPL-2.1-or-later",
        "libsndfile, LAME and mpg123",
        evidence="_soundfile_data/libsndfile*",
    ),
    Notice("certifi", "MPL-2.0", "a list of certificate authorities", through="transformers"),
    Notice("tqdm", "MPL-2.0 AND MIT", "progress bars", through="transformers"),
    Notice("torch", "NVIDIA's license", "CUDA libraries, in the builds for CUDA alone"),
    Notice("espeakng-loader", "GPL-3.0-or-later", "eSpeak NG", evidence="espeakng_loader/libespeak-ng*"),
    Notice("opensmile", "audEERING Research License", "all of it: commercial use needs a contract"),
    Notice("coqui-tts", "MPL-2.0", "all of it; the models it downloads have licenses of their own"),
    Notice("num2words", "LGPL", "numbers as words", through="coqui-tts"),
)


def installed_by(project: str) -> str:
    """Return what installs a direct dependency: the package, or its extras as `package[a]`, `package[b]`."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = re.compile(rf"{re.escape(project)}(?![\w-])")
    if any(name.match(requirement) for requirement in declared["dependencies"]):
        return f"`{declared['name']}`"
    extras = declared["optional-dependencies"]
    found = [extra for extra in extras if extra != "test" and any(map(name.match, extras[extra]))]
    assert found, f"{project} is no dependency any more"
    return ", ".join(f"`{declared['name']}[{extra}]`" for extra in found)


def table() -> str:
    """Return the table in Markdown."""
    lines = ["| package | license | what carries it | installed by |", "|---|---|---|---|"]
    for notice in NOTICES:
        source = installed_by(notice.through or notice.project)
        through = f", through {notice.through}" if notice.through else ""
        lines.append(f"| {notice.project} | {notice.license} | {notice.contents} | {source}{through} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """Return a page with the table between its markers replaced."""
    replaced, count = _TABLE.subn(lambda match: f"{match[1]}\n{table()}\n{match[2]}", page)
    assert count == 1, count
    return replaced


if __name__ == "__main__":
    for name in PAGES:
        path = ROOT / name
        path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
