"""MELD (Poria et al., ACL 2019): 13 708 utterances of television dialogue, with sound or as text alone."""

import os
import re
from pathlib import Path

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.labels import canonical
from mmer.corpora.readers.releases import COPIES, make_corpus, read_rows, release_files
from mmer.corpora.tables import Row
from mmer.errors import CorpusError

SPLITS = {  # name in the release: ours, folder of its clips
    "train": ("train", "train_splits"),
    "dev": ("validation", "dev_splits_complete"),
    "test": ("test", "output_repeated_splits_test"),
}
BAD_CLIPS = {
    "known to be corrupt": {"train_dia125_utt3"},
    "known to last 0.064 s": {
        *("train_dia71_utt0", "train_dia179_utt8", "train_dia312_utt9", "train_dia332_utt1"),
        *("train_dia406_utt2", "train_dia523_utt10", "dev_dia99_utt3", "dev_dia108_utt5"),
    },
    "known to go on for minutes after the utterance": {"test_dia38_utt4", "test_dia220_utt0"},
}
"""Known bad clips of the release, which are kept."""

_COLUMNS = (
    *("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)
_TIME = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d+)")


def read_meld(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read MELD.Raw, or the csv files of MELD alone.

    Dialogue and utterance numbers begin again in each split, so an id is `train_dia0_utt3`. The official split is
    kept (`dev` is validation); it does not keep speakers apart: 2501 of 2610 test utterances are of somebody who is
    in training too. Speakers are the roles as released, some of which are several people (`All`). Most clips have
    six channels: `mmer.audio.mixdown` mixes them, others take the center channel alone. Users report that sound and
    text of dialogues 241, 485 and 757 do not match.

    Extra columns: `original_emotion`; `sentiment`; `dialogue`; `season`, `episode`; `turn_start`, `turn_end`
    (seconds in the episode, where known).

    Args:
        root: folder with `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv` somewhere in it, and the
            unpacked folders of clips, as released or as .wav files: `train_splits`, `dev_splits_complete`,
            `output_repeated_splits_test`.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The corpus. An utterance without clip is a transcript without sound, with a null `audio_path`. Notes list
        clips that are missing, that have no row (they are left out) or are known to be bad (they are kept), times
        that cannot be, and how the counts differ from the documented ones.

    Raises:
        CorpusError: no csv file is there, or one that cannot be read.
    """
    tables = {name: paths[0] for name in SPLITS if (paths := release_files(root, f"{name}_sent_emo.csv"))}
    if not tables:
        missing = ", ".join(f"{name}_sent_emo.csv" for name in SPLITS)
        raise CorpusError(f"{root}: none of {missing}; give MELD.Raw or a folder with these files")
    notes = []
    if len(tables) < len(SPLITS):
        notes.append(f"of the splits {', '.join(SPLITS)} only {', '.join(tables)} are there")
    rows = [row for name, path in tables.items() for row in _read_split(path, name)]
    clips, copies = _clips(root)
    if clips:
        rows = [{**row, "audio_path": clips.get(row["utterance_id"])} for row in rows]
        notes += _clip_notes(rows, clips)
        if copies:
            notes.append(listing(COPIES, copies))
    else:
        folders = ", ".join(folder for _, folder in SPLITS.values())
        notes.append(
            f"no clip dia0_utt0.mp4 or .wav in {folders}: every utterance is a transcript without sound"
        )
    if instants := [row["utterance_id"] for row in rows if row["turn_start"] == row["turn_end"] is not None]:
        notes.append(listing("utterances end in the csv when they begin", instants))
    return make_corpus("meld", rows, root, notes, progress)


def _read_split(path: Path, name: str) -> list[Row]:
    rows: list[Row] = []
    for row in read_rows(path, _COLUMNS):
        dialogue = f"{name}_dia{row['Dialogue_ID']}"
        rows.append(
            {
                "utterance_id": f"{dialogue}_utt{row['Utterance_ID']}",
                "audio_path": None,
                "transcript": row["Utterance"].strip(),
                "emotion": canonical(row["Emotion"], path),
                "speaker": row["Speaker"].strip(),
                "split": SPLITS[name][0],
                "language": "en",
                "original_emotion": row["Emotion"],
                "sentiment": row["Sentiment"],
                "dialogue": dialogue,
                "season": row["Season"],
                "episode": row["Episode"],
                "turn_start": _seconds(row["StartTime"]),
                "turn_end": _seconds(row["EndTime"]),
            }
        )
    return rows


def _seconds(time: str) -> float | None:
    """Convert `H:MM:SS,mmm` to seconds. Three times lack a zero: `06:47,28` is read like FFmpeg, as 47.28 s."""
    match = _TIME.fullmatch(time.strip())
    if not match:
        return None
    hours, minutes, seconds, fraction = match.groups()
    return round(3600 * int(hours) + 60 * int(minutes) + float(f"{seconds}.{fraction}"), 3)


def _clips(root: str | os.PathLike[str]) -> tuple[dict[str, str], list[str]]:
    """Return the path of each clip by utterance id, and further copies; the test folder also holds other videos.

    Many users extract the sound of the videos; of a video and its sound, the video is used.
    """
    names = {folder: name for name, (_, folder) in SPLITS.items()}
    clips: dict[str, str] = {}
    copies: list[str] = []
    for suffix in (".wav", ".mp4"):
        found: dict[str, str] = {}
        for path in release_files(root, f"dia*_utt*{suffix}"):
            if path.parent.name not in names:
                continue
            name = f"{names[path.parent.name]}_{path.stem}"
            if name in found:
                copies.append(os.path.relpath(path, root))
            else:
                found[name] = str(path)
        clips |= found
    return clips, copies


def _clip_notes(rows: list[Row], clips: dict[str, str]) -> list[str]:
    ids = {row["utterance_id"] for row in rows}
    gaps = {
        "utterances have no clip and are transcripts without sound": [
            row["utterance_id"] for row in rows if row["audio_path"] is None
        ],
        "clips have no row and are left out": sorted(clips.keys() - ids),
        **{f"clips {what}": sorted(bad & ids & clips.keys()) for what, bad in BAD_CLIPS.items()},
    }
    return [listing(what, names) for what, names in gaps.items() if names]
