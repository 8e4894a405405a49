"""MSP-Podcast (Lotfian and Busso, 2019): turns cut from podcasts, labeled by crowd workers."""

import json
import os
import re
from pathlib import Path

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.readers.releases import (
    find_file,
    make_corpus,
    match_recordings,
    number,
    read_rows,
    read_text,
    release_files,
)
from mmer.corpora.tables import Row
from mmer.errors import CorpusError
from mmer.plain_text import lines_of

EMOTIONS = {
    **{"A": "angry", "S": "sad", "H": "happy", "U": "surprised", "F": "fearful", "D": "disgusted"},
    **{"C": "contemptuous", "N": "neutral", "O": "other", "X": None},
}
SPLITS = {
    **{"Train": "train", "Validation": "validation", "Development": "validation"},
    **{"Test1": "test", "Test2": "test", "Test3": "test"},
}
OUTLIER = "MSP-PODCAST_1023_0235"

_COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
# Name of the worker, primary emotion, secondary emotions, ratings; `Other-` is followed by what the worker wrote.
_WORKER = re.compile(r"(WORKER\w+);\s*(.*?)\s*;(.*);\s*A:")


def read_msp_podcast(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read MSP-Podcast, in the versions that have `labels_consensus.csv` (or `labels_concensus.csv`).

    The emotion is the consensus: X (no agreement) is null, and so is the withheld label of Test3. Test1, Test2 and
    Test3 are all test; `original_split` keeps them apart. Speakers that the release does not know are null.

    Extra columns: `original_emotion` (the code); `original_split`; `activation`, `valence`, `dominance` (means of
    the workers, 1 to 7); `votes` (JSON: primary emotion given by each worker, as released).

    Args:
        root: folder of the release, with `Labels`, `Audios` (or `Audio`) and `Transcripts`.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The corpus; notes list labeled turns without recording, which are left out, recordings without label, and
        turns without transcript. Counts depend on the version and are not compared.

    Raises:
        CorpusError: no label file, one that cannot be read, a code or a split that is not known, or no recording.
    """
    hint = "give the folder of MSP-Podcast, which holds Labels, Audios and Transcripts"
    path = find_file(root, ["labels_consensus.csv", "labels_concensus.csv"], hint)
    table = read_rows(path, _COLUMNS)
    for column, known in (("EmoClass", EMOTIONS), ("Split_Set", SPLITS)):
        if unknown := {row[column] for row in table} - {*known, ""}:
            raise CorpusError(f"{path}: unknown {column} {min(unknown)!r}; known are {', '.join(known)}")
    votes = _votes(path.parent)
    transcripts = {file.stem: file for file in release_files(root, "MSP-PODCAST_*.txt")}
    rows: list[Row] = []
    for row in table:
        name = Path(row["FileName"]).stem
        transcript = transcripts.get(name)
        rows.append(
            {
                "utterance_id": name,
                "audio_path": row["FileName"],
                "transcript": None if transcript is None else read_text(transcript).strip(),
                "emotion": EMOTIONS.get(row["EmoClass"]),
                "speaker": _known(row["SpkrID"]),
                "split": SPLITS.get(row["Split_Set"]),
                "gender": (_known(row["Gender"]) or "").lower(),
                "language": "en",
                "original_emotion": row["EmoClass"] or None,
                "original_split": row["Split_Set"] or None,
                "activation": number(row["EmoAct"]),
                "valence": number(row["EmoVal"]),
                "dominance": number(row["EmoDom"]),
                "votes": json.dumps(votes[name]) if name in votes else None,
            }
        )
    notes: list[str] = []
    rows = match_recordings(rows, release_files(root, "MSP-PODCAST_*.wav"), root, notes)
    if any(row["utterance_id"] == OUTLIER for row in rows):
        notes.append(f"recording {OUTLIER} is known to be unlike the others (stereo, 44.1 kHz)")
    notes.append("counts depend on the version of the release and are not compared")
    return make_corpus("msp-podcast", rows, root, notes, progress)


def _known(value: str) -> str | None:
    return None if value.strip().lower() in ("", "unknown") else value.strip()


def _votes(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Read primary emotions by turn and worker, from `Labels.txt` or `labels_detailed.csv`."""
    votes: dict[str, dict[str, list[str]]] = {}
    lines, detailed = folder / "Labels.txt", folder / "labels_detailed.csv"
    if lines.is_file():
        name = ""
        for line in lines_of(read_text(lines)):
            if line.startswith("MSP-PODCAST"):
                name = Path(line.partition(";")[0].strip()).stem
            elif vote := _WORKER.match(line):
                votes.setdefault(name, {}).setdefault(vote[1], []).append(vote[2])
    elif detailed.is_file():
        for row in read_rows(detailed, ["FileName"]):
            name = Path(row["FileName"]).stem
            if "EmoDetail" in row:
                vote = _WORKER.match(row["EmoDetail"])
                worker, label = (vote[1], vote[2]) if vote else ("", "")
            else:
                worker = row.get("Workers") or str(len(votes.get(name, {})) + 1)
                label = row.get("EmoClass_Major", "")
            if label:
                votes.setdefault(name, {}).setdefault(worker, []).append(label)
    return votes
