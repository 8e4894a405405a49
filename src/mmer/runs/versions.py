"""Schema of `versions.json`: the software of a run, before and after resuming."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mmer.runs.result_file import ADVICE, ResultFile

_THEN = ", then "


@dataclass(frozen=True, kw_only=True)
class Versions(ResultFile):
    """Content of `versions.json`.

    The file holds one text for each name, as in `"torch": "2.8.0, then 2.9.1"`.

    Attributes:
        used: name -> its versions in the order of use, one unless a run was resumed with another.
    """

    used: Mapping[str, Sequence[str]]

    @classmethod
    def begun(cls, now: Mapping[str, str]) -> Self:
        """Return the versions of a run that begins.

        Args:
            now: version by name.
        """
        return cls(used={name: [version] for name, version in now.items()})

    def changed(self, now: Mapping[str, str]) -> Self:
        """Return the history of the names whose version is not the last one used.

        Args:
            now: version by name.
        """
        different = {
            name: version for name, version in now.items() if self.used.get(name, [""])[-1] != version
        }
        return type(self)(
            used={name: [*self.used.get(name, ()), version] for name, version in different.items()}
        )

    def texts(self) -> dict[str, str]:
        """Return the history of each name as one text."""
        return {name: _THEN.join(versions) for name, versions in self.used.items()}

    def content(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {"version": self.VERSION, **self.texts()}

    @classmethod
    def from_content(cls, content: dict[str, Any], path: Path, advice: str = ADVICE) -> Self:
        """Check what `read_json_object` returned, and make the dataclass of it; see `ResultFile`."""
        used = {
            name: text.split(_THEN) if isinstance(text, str) else text
            for name, text in content.items()
            if name != "version"
        }
        return super().from_content(
            {"version": content.get("version", cls.VERSION), "used": used}, path, advice
        )
