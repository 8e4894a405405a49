"""The folder of views: its settings, and a journal of finished utterances."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmer.corpora.content import FOLDER, content_changes, has_content, keep_content
from mmer.corpora.corpus import Corpus
from mmer.corpora.views import View
from mmer.errors import MMERError
from mmer.files.damaged import read_json_object
from mmer.files.lock import LOCK
from mmer.files.writing import is_part, write_json
from mmer.runs.journal import Entry, Journal
from mmer.runs.resume import differences, refuse_other

JOURNAL = "journal.jsonl"


def open_folder(folder: Path, settings: dict[str, Any], corpus: Corpus) -> None:
    """Start in an existing folder, or resume a folder of views with the same settings and corpus.

    A folder of an earlier version does not record its recordings; it is resumed without that check.

    Raises:
        MMERError: it holds views of other settings or of a corpus that has changed since, or something else.
    """
    file = folder / "settings.json"
    if file.exists():
        before = read_json_object(file, "use another folder")
        different = differences(before, settings)
        if has_content(folder) and (changes := content_changes(folder, corpus)):
            different = [name for name in different if name != "corpus"]
            different.append(f"what is in the corpus: {'; '.join(changes)}")
        refuse_other(folder, "holds views made otherwise", different)
        return
    mine = {folder / FOLDER, folder / LOCK}
    if any(not is_part(path) and path not in mine for path in folder.iterdir()):
        raise MMERError(f"{folder} is neither a folder of views nor an empty one; use another folder")
    keep_content(folder, corpus)
    write_json(file, settings)


def journal_entry(name: str, views: Sequence[View], folder: Path) -> Entry:
    """Return the journal entry of an utterance with all its views."""
    rows = [asdict(view) for view in views]
    for row in rows:
        row["audio_path"] = row["audio_path"] and os.path.relpath(row["audio_path"], folder)
    return {"utterance": name, "views": rows}


def read_journal(folder: Path) -> dict[str, list[View]]:
    """Read the views of finished utterances."""
    entries = Journal(folder / JOURNAL).entries()
    return {entry["utterance"]: [_view_of(row, folder) for row in entry["views"]] for entry in entries}


def _view_of(row: dict[str, Any], folder: Path) -> View:
    path = row["audio_path"] and os.path.join(folder, row["audio_path"])
    return View(**{**row, "audio_path": path, "voices": tuple(row["voices"]), "texts": tuple(row["texts"])})
