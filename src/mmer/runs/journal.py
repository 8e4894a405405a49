"""A journal of JSON lines: what is done is kept line by line, and a killed process loses the last line at most."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmer.files.damaged import damaged_file
from mmer.files.writing import writable
from mmer.plain_text import json_text

Entry = Mapping[str, Any]


class Journal:
    """Append-only file of JSON objects, one per line.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """Read the entries, and remove a last line that a kill cut off.

        Raises:
            CheckpointError: a whole line is not JSON.
        """
        if not self.path.exists():
            return []
        entries, whole = list[Entry](), 0
        with damaged_file(self.path, "delete it to begin again"), self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                entries.append(json.loads(line))
                whole += len(line)
        os.truncate(self.path, whole)
        return entries

    @contextmanager
    def appending(self) -> Iterator[Callable[[Entry], None]]:
        """Open the journal; what it yields writes an entry that is there when the call returns.

        Raises:
            MMERError: the file cannot be written.
        """
        with writable(self.path), self.path.open("a", encoding="utf-8", newline="\n") as file:

            def append(entry: Entry) -> None:
                file.write(json_text(entry, allow_nan=True) + "\n")
                file.flush()

            yield append
