"""EMNS (Noriy et al., 2023): one British speaker, eight emotions, recorded in a browser."""

import os

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.labels import canonical
from mmer.corpora.readers.releases import (
    find_file,
    make_corpus,
    match_recordings,
    number,
    read_rows,
    release_files,
)
from mmer.corpora.tables import Row

_COLUMNS = (
    *("id", "utterance", "description", "emotion", "status", "gender", "age", "level"),
    *("audio_recording", "user_id"),
)


def read_emns(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read EMNS: the rows of `metadata.csv` that the release calls complete.

    The paths in `metadata.csv` are not those of the archives: recordings are found by their names, those of
    `cleaned_webm` before those of `raw_webm`.

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
    table = read_rows(find_file(root, ["metadata.csv"], hint), _COLUMNS, separator="|")
    rows: list[Row] = []
    unfinished: dict[str, str] = {}
    for row in table:
        name = row["audio_recording"].rpartition("/")[2]
        if row["status"] != "Complete":
            unfinished[name] = row["status"]
            continue
        rows.append(
            {
                "utterance_id": name.rpartition(".")[0],
                "audio_path": name,
                "transcript": row["utterance"].strip(),
                "emotion": canonical(row["emotion"]),
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
        left_out = [f"{name} ({status})" for name, status in unfinished.items()]
        notes.append(listing("rows are not complete and are left out", left_out))
    recordings = [path for path in release_files(root, "*.webm") if path.name not in unfinished]
    rows = match_recordings(rows, recordings, root, notes)
    return make_corpus("emns", rows, root, notes, progress)
