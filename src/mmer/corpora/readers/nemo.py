"""nEMO: emotional speech in Polish (Christop, LREC-COLING 2024), nine actors, 90 sentences, six emotions."""

import os
from collections import Counter
from pathlib import Path

import pandas as pd

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.labels import canonical
from mmer.corpora.readers.catalog import CATALOG, compare_counts
from mmer.corpora.readers.releases import number, read_rows
from mmer.errors import CorpusError

_COLUMNS = ("file_id", "emotion", "raw_text", "normalized_text", "speaker_id", "gender", "age")


def read_nemo(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read nEMO from its folder, which holds `data.tsv` and `samples/`.

    Extra columns: `original_emotion`, `normalized_text` (both as released), `age` (years).

    Args:
        root: folder of the release.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The corpus; its notes tell recordings that are listed but not there (they are left out), recordings that
        are there but not listed, and how the counts compare with the documented ones.

    Raises:
        CorpusError: the folder is not nEMO.
    """
    root = Path(root)
    labels = root / "data.tsv"
    if not labels.is_file():
        raise CorpusError(f"{root}: no data.tsv; give the folder of nEMO, which holds data.tsv and samples")
    rows = read_rows(labels, _COLUMNS)
    if not rows:
        raise CorpusError(f"{labels}: holds no utterances")
    cells = [[row[name].strip() for name in _COLUMNS] for row in rows]
    table = pd.DataFrame(cells, columns=pd.Index(_COLUMNS), dtype=object)
    table["raw_text"] = pd.Series([text or None for text in table["raw_text"]], dtype=object)
    table["age"] = table["age"].map(number)
    table["audio_path"] = [str(root / "samples" / name) for name in table["file_id"]]

    notes = []
    there = table["audio_path"].map(os.path.isfile)
    if not there.all():
        notes.append(
            listing("listed recordings are not there and are left out", list(table["file_id"][~there]))
        )
    files = {path.name for path in (root / "samples").glob("*") if not path.name.startswith(".")}
    if unlisted := sorted(files - set(table["file_id"])):
        notes.append(listing("recordings are not in data.tsv and are left out", unlisted))
    table = table[there]
    notes += compare_counts(Counter(table["emotion"]), CATALOG["nemo"].labels or {})

    renamed = {"emotion": "original_emotion", "raw_text": "transcript", "speaker_id": "speaker"}
    table = table.rename(columns=renamed).assign(
        utterance_id=[Path(name).stem for name in table["file_id"]],
        emotion=table["emotion"].map(canonical),
        language="pl",
        corpus="nemo",
    )
    return Corpus(table.drop(columns="file_id"), source=str(root), notes=notes).with_durations(progress)
