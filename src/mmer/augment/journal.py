"""The folder that views are made in: what they are made with, and which utterances are done."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmer.augment.views import View
from mmer.errors import MMERError
from mmer.lock import LOCK


def open_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Begin a folder of views, which exists, or take up one of the same settings.

    Raises:
        MMERError: it holds views of other settings, or something else.
    """
    file = folder / "settings.json"
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        different = [name for name in settings if before.get(name) != settings[name]]
        if different:
            found = f"holds views made otherwise, different in {', '.join(different)}"
            raise MMERError(f"{folder}: {found}; use another folder")
        return
    part = folder / "settings.part"
    if any(path.name not in (part.name, LOCK) for path in folder.iterdir()):
        raise MMERError(f"{folder} is neither a folder of views nor an empty one; use another folder")
    part.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")
    part.replace(file)


def journal_line(name: str, views: Sequence[View], folder: Path) -> str:
    """The line of an utterance with all its views."""
    rows = [asdict(view) for view in views]
    for row in rows:
        row["audio_path"] = row["audio_path"] and os.path.relpath(row["audio_path"], folder)
    return json.dumps({"utterance": name, "views": rows}, ensure_ascii=False) + "\n"


def read_journal(folder: Path) -> dict[str, list[View]]:
    """Views of the utterances that are done; a line that a kill cut off is removed from the file."""
    path = folder / "journal.jsonl"
    if not path.exists():
        return {}
    done, whole = dict[str, list[View]](), 0
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            done[entry["utterance"]] = [_view_of(row, folder) for row in entry["views"]]
            whole += len(line)
    os.truncate(path, whole)
    return done


def _view_of(row: dict[str, Any], folder: Path) -> View:
    path = row["audio_path"] and os.path.join(folder, row["audio_path"])
    return View(**{**row, "audio_path": path, "voices": tuple(row["voices"]), "texts": tuple(row["texts"])})
