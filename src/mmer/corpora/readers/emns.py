"""EMNS (Noriy et al., 2023): one British speaker, eight emotions, recorded in a browser."""

import os
from pathlib import PurePosixPath

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.labels import canonical
from mmer.corpora.readers.releases import (
    find_file,
    make_corpus,
    match_recordings,
    number,
    read_rows,
    release_files,
    unique_names,
)
from mmer.corpora.tables import Row

_COLUMNS = (
    *("id", "utterance", "description", "emotion", "status", "gender", "age", "level"),
    *("audio_recording", "user_id"),
)


def read_emns(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read EMNS: the rows of `metadata.csv` that the release calls complete.

    The paths in `metadata.csv` are not those of the archives: recordings are found by their names, those of
    `cleaned_webm` before those of `raw_webm`, as released or as .wav files.

    Extra columns: `original_emotion`; `intensity` (the level); `age_group` and `description` as released (the latter
    is a template, with `{emphasis}` and other names in it).

    Args:
        root: folder with `metadata.csv` and the unpacked recordings.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The corpus; notes list the rows that are not complete, which are left out, rows without recording, and how
        the counts differ from the documented ones.

    Raises:
        CorpusError: no `metadata.csv`, one that cannot be read, or no recording.
    """
    hint = "give the folder of EMNS, which holds metadata.csv and cleaned_webm"
    path = find_file(root, ["metadata.csv"], hint)
    table = read_rows(path, _COLUMNS, separator="|")
    rows: list[Row] = []
    unfinished: dict[str, str] = {}
    for row in table:
        recording = PurePosixPath(row["audio_recording"])
        if row["status"] != "Complete":
            unfinished[recording.stem] = f"{recording.name} ({row['status']})"
            continue
        rows.append(
            {
                "utterance_id": recording.stem,
                "audio_path": recording.name,
                "transcript": row["utterance"].strip(),
                "emotion": canonical(row["emotion"], path),
                "speaker": row["user_id"],
                "gender": row["gender"].lower(),
                "language": "en",
                "original_emotion": row["emotion"],
                "intensity": number(row["level"]),
                "age_group": row["age"],
                "description": row["description"],
            }
        )
    notes = []
    if unfinished:
        notes.append(listing("rows are not complete and are left out", list(unfinished.values())))
    released, _ = unique_names(sorted([*release_files(root, "*.webm"), *release_files(root, "*.wav")]))
    left = [path for name, path in released.items() if name not in unfinished]
    rows = match_recordings(rows, left, root, notes)
    return make_corpus("emns", rows, root, notes, progress)
