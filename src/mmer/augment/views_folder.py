"""The folder of views: its settings, and a journal of finished utterances."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmer.augment.generators.generator import Settings
from mmer.augment.quality_filters import QualityFilters
from mmer.corpora.content import FOLDER, content_changes, has_content, keep_content
from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import View
from mmer.files.own_folder import check_own_folder
from mmer.runs.journal import Entry, Journal
from mmer.runs.result_file import ResultFile
from mmer.runs.resume import differences, refuse_other

JOURNAL = "journal.jsonl"


@dataclass(frozen=True, kw_only=True)
class ViewsSettings(ResultFile):
    """Content of `settings.json`: the request for a folder of views, which a later call must repeat to resume it.

    Attributes:
        corpus: SHA-256 of the corpus table without paths.
        speech, text: settings of each generator, by its name.
        gates: bounds of the quality filters; earlier versions wrote them under this name.
        judges: names of the models that measure views.
        judges_sha256: hashes of those that are folders.
        views, seed, within, every_split, language, batch_size: see `make_views`.
    """

    corpus: str
    speech: Mapping[str, Settings]
    text: Mapping[str, Settings]
    gates: QualityFilters
    judges: Sequence[str | None]
    views: int
    seed: int
    within: str | None
    every_split: bool
    language: str | None
    batch_size: int
    judges_sha256: Mapping[str, str] = field(default_factory=dict)


def open_folder(folder: Path, settings: ViewsSettings, corpus: Corpus) -> None:
    """Start in an existing folder, or resume a folder of views with the same settings and corpus.

    A folder of an earlier version does not record its recordings; it is resumed without that check.

    Raises:
        MMERError: it holds views of other settings or of a corpus that has changed since, or something else.
    """
    file = folder / "settings.json"
    if file.exists():
        before = ViewsSettings.read(file, "use another folder")
        called = {"judges_sha256": "the files of a model that measures views"}
        different = differences(vars(before), vars(settings), called)
        if has_content(folder) and (changes := content_changes(folder, corpus)):
            different = [name for name in different if name != "corpus"]
            different.append(f"what is in the corpus: {'; '.join(changes)}")
        refuse_other(folder, "holds views made otherwise", different)
        return
    check_own_folder(folder, "a folder of views", file.name, before=(FOLDER,))
    keep_content(folder, corpus)
    settings.write(file)


def journal_entry(name: str, views: Sequence[View], folder: Path) -> Entry:
    """Return the journal entry of an utterance with all its views."""
    rows = [asdict(view) for view in views]
    for row in rows:
        row["audio_path"] = row["audio_path"] and os.path.relpath(row["audio_path"], folder)
    return {"utterance": name, "views": rows}


def read_journal(folder: Path) -> dict[str, list[View]]:
    """Read the views of finished utterances whose recordings are all there."""
    entries = Journal(folder / JOURNAL).entries()
    views = {entry["utterance"]: [_view_of(row, folder) for row in entry["views"]] for entry in entries}
    return {name: made for name, made in views.items() if all(map(_is_there, made))}


def _is_there(view: View) -> bool:
    return view.audio_path is None or os.path.isfile(view.audio_path)


def _view_of(row: Entry, folder: Path) -> View:
    path = row["audio_path"] and os.path.join(folder, row["audio_path"])
    return View(**{**row, "audio_path": path, "voices": tuple(row["voices"]), "texts": tuple(row["texts"])})
