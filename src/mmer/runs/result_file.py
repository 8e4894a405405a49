"""Result files: dataclasses that a command writes as JSON and that others read back.

Each kind of file is one dataclass, defined where the results are computed. `version` in the file is the version of
its form; files from before versions existed lack it and are read as version 1.
"""

import reprlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import TypeAdapter, ValidationError

from mmer.errors import CheckpointError
from mmer.files.damaged import damaged_file, read_json_object
from mmer.files.writing import Paths, write_json

ADVICE = "read it with the mmer that wrote it, or make it again"


@dataclass(frozen=True, kw_only=True)
class ResultFile:
    """Base of dataclasses that are written to their own JSON file."""

    VERSION: ClassVar[int] = 1

    def content(self) -> dict[str, Any]:
        """Return the content of the file: `version` and the fields."""
        return {"version": self.VERSION, **asdict(self)}

    def write(self, path: Paths) -> None:
        """Write the file atomically.

        Raises:
            MMERError: it cannot be written.
        """
        write_json(path, self.content())

    @classmethod
    def read(cls, path: Path, advice: str = ADVICE) -> Self:
        """Read the file.

        Args:
            path: the file.
            advice: what to do about a file that cannot be read, the end of the error.

        Raises:
            CheckpointError: the file is damaged, lacks a field, or is of another version.
        """
        return cls.from_content(read_json_object(path, advice), path, advice)

    @classmethod
    def from_content(cls, content: dict[str, Any], path: Path, advice: str = ADVICE) -> Self:
        """Check what `read_json_object` returned, and make the dataclass of it.

        Raises:
            CheckpointError: as `read`.
        """
        version = content.get("version", 1)
        if version != cls.VERSION:
            raise CheckpointError(
                f"{path} is of version {reprlib.repr(version)}, this mmer reads {cls.VERSION}; {advice}"
            )
        with damaged_file(path, advice):
            fields = {name: value for name, value in content.items() if name != "version"}
            try:
                return TypeAdapter(cls).validate_python(fields)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise ValueError(f"{where}: {first['msg']}") from None
