"""RESD (Aniemore): 1396 turns of acted Russian dialogues in seven emotions."""

import os
from pathlib import PurePosixPath

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.labels import canonical
from mmer.corpora.readers.releases import find_file, make_corpus, match_recordings, read_rows, release_files
from mmer.corpora.tables import Row
from mmer.plain_text import counted


def read_resd(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read RESD in its csv form: `train.csv`, `test.csv` and the recordings.

    Speakers are not named. The official split is random: dialogues are on both sides of it. Transcripts are those of
    the annotated variant (column `text`), null otherwise. The Parquet form on the Hugging Face Hub is read as any
    data set there.

    Extra columns: `original_emotion`; `dialogue` (the folder: the emotions of its two sides and its number).

    Args:
        root: folder with `train.csv` and `test.csv`.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The corpus; notes list turns without recording, which are left out, dialogues on both sides of the split, and
        how the counts differ from the documented ones.

    Raises:
        CorpusError: no csv file, one that cannot be read, or no recording.
    """
    hint = "give the folder of RESD, which holds train.csv, test.csv and the recordings"
    rows: list[Row] = []
    for split in ("train", "test"):
        path = find_file(root, [f"{split}.csv"], hint)
        for row in read_rows(path, ["path", "emotion"]):
            recording = PurePosixPath(row["path"])
            rows.append(
                {
                    "utterance_id": recording.stem,
                    "audio_path": recording.name,
                    "transcript": row.get("text"),
                    "emotion": canonical(row["emotion"], path),
                    "split": split,
                    "language": "ru",
                    "original_emotion": row["emotion"],
                    "dialogue": recording.parent.name or None,
                }
            )
    notes: list[str] = []
    rows = match_recordings(rows, release_files(root, "*.wav"), root, notes)
    sides = [{row["dialogue"] for row in rows if row["split"] == split} for split in ("train", "test")]
    if both := sides[0] & sides[1]:
        notes.append(
            f"{counted(len(both), 'dialogue', 'is', 'are', of=len(sides[0] | sides[1]))} in both train and test"
        )
    return make_corpus("resd", rows, root, notes, progress)
