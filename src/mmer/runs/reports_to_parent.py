"""What a training process reports to the process that started it: lines of JSON on standard output."""

import json
import os
from dataclasses import asdict, dataclass

from mmer.plain_text import json_text

TO_PARENT = "MMER_PROGRESS_TO_PARENT"
"""Environment variable of a process whose parent reads its reports."""


@dataclass(frozen=True, kw_only=True)
class EpochProgress:
    """Progress after an epoch.

    Attributes:
        epoch, epochs: number of trained epochs, and of all.
        best: the best score so far, in words; empty where nothing is judged.
    """

    epoch: int
    epochs: int
    best: str

    def line(self) -> str:
        """Return the line, without its end."""
        return json_text({"progress": asdict(self)})


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Reason why the process ends without a result, in one line."""

    reason: str

    def line(self) -> str:
        """Return the line, without its end."""
        return json_text({"failure": asdict(self)})


def parse_report(line: str) -> EpochProgress | Failure | None:
    """Parse a line of a training process; None if it is no report."""
    try:
        ((kind, content),) = json.loads(line).items()
        return {"progress": EpochProgress, "failure": Failure}[kind](**content)
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def has_parent() -> bool:
    """Tell whether the process that started this one reads its reports."""
    return TO_PARENT in os.environ
