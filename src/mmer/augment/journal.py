"""The folder that views are made in: what they are made with, and which utterances are done."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmer.corpora.content import FOLDER, content_changes, has_content, keep_content
from mmer.corpora.corpus import Corpus
from mmer.corpora.views import View
from mmer.errors import MMERError
from mmer.files.lock import LOCK
from mmer.files.writing import is_part, write_json
from mmer.plain_text import json_text


def open_folder(folder: Path, settings: dict[str, Any], corpus: Corpus) -> None:
    """Begin a folder of views, which exists, or take up one of the same settings and the same corpus.

    Of one that an earlier version began it is not known what its recordings were; it is taken up as it is.

    Raises:
        MMERError: it holds views of other settings or of a corpus that has changed since, or something else.
    """
    file = folder / "settings.json"
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        different = [name for name in settings if before.get(name) != settings[name]]
        if has_content(folder) and (changes := content_changes(folder, corpus)):
            different = [name for name in different if name != "corpus"]
            different.append(f"what is in the corpus: {'; '.join(changes)}")
        if different:
            found = f"holds views made otherwise, different in {', '.join(different)}"
            raise MMERError(f"{folder}: {found}; use another folder")
        return
    mine = {folder / FOLDER, folder / LOCK}
    if any(not is_part(path) and path not in mine for path in folder.iterdir()):
        raise MMERError(f"{folder} is neither a folder of views nor an empty one; use another folder")
    keep_content(folder, corpus)
    write_json(file, settings)


def journal_line(name: str, views: Sequence[View], folder: Path) -> str:
    """The line of an utterance with all its views."""
    rows = [asdict(view) for view in views]
    for row in rows:
        row["audio_path"] = row["audio_path"] and os.path.relpath(row["audio_path"], folder)
    return json_text({"utterance": name, "views": rows}, allow_nan=True) + "\n"


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
