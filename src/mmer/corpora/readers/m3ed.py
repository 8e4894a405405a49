"""M3ED (Zhao et al., ACL 2022): 990 dialogues of 56 Chinese television series."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.labels import canonical
from mmer.corpora.readers.releases import find_file, make_corpus, match_recordings, read_text, release_files
from mmer.corpora.tables import Row
from mmer.errors import CorpusError

SPLITS = {"train": "train", "val": "validation", "test": "test"}
SHORT = 0.1  # s


def read_m3ed(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read M3ED.

    The emotion is `final_main_emo`, the split the official one, by series. A speaker is a role of a series: names
    repeat across series.

    Extra columns: `original_emotion`; `all_emotions` (`final_mul_emo` as released); `votes` (JSON: labels given by
    each of three annotators); `series`; `dialogue`; `age_group` (as `mid`); `start_time`, `end_time` (hours,
    minutes, seconds and frames, as released).

    Args:
        root: folder of the release, with `annotation.json`, `splitInfo` and the recordings (`modality_speech`).
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The corpus; notes list utterances without recording and those whose recording has no length, which are left
        out, recordings shorter than 0.1 s, and how the counts differ from the documented ones.

    Raises:
        CorpusError: no `annotation.json`, one that cannot be read, or no recording.
    """
    hint = "give the folder of M3ED, which holds annotation.json, splitInfo and modality_speech"
    path = find_file(root, ["annotation.json"], hint)
    splits = {
        series: split
        for name, split in SPLITS.items()
        for file in release_files(root, f"movie_list_{name}.txt")
        for series in read_text(file).split()
    }
    notes: list[str] = []
    try:
        annotation = json.loads(path.read_bytes())
        rows = [
            _row(path, series, dialogue, scene["SpeakerInfo"], name, utterance)
            | {"split": splits.get(series)}
            for series, scenes in annotation.items()
            for dialogue, scene in scenes.items()
            for name, utterance in scene["Dialog"].items()
        ]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"{path}: is not the annotation of M3ED ({error!r})") from None
    if undecided := sorted({str(row["series"]) for row in rows if row["split"] is None}):
        notes.append(listing("series are in no list of splitInfo, their split is null", undecided))
    rows = match_recordings(rows, release_files(root, "*.wav"), root, notes)
    corpus = make_corpus("m3ed", rows, root, notes, progress)
    table = corpus.table
    empty, short = table["duration"] == 0, table["duration"].between(0, SHORT, inclusive="neither")
    gaps = {
        "recordings have no length and are left out": empty,
        f"recordings are shorter than {SHORT} s": short,
    }
    corpus.notes += [
        listing(what, table["utterance_id"][mask].tolist()) for what, mask in gaps.items() if mask.any()
    ]
    return corpus.select(~empty)


def _row(
    path: Path,
    series: str,
    dialogue: str,
    speakers: Mapping[str, Any],
    name: str,
    utterance: Mapping[str, Any],
) -> Row:
    emotions, speaker = utterance["EmoAnnotation"], speakers.get(utterance["Speaker"], {})
    given = {str(n): emotions.get(f"EmoAnnotator{n}") for n in (1, 2, 3)}
    votes = {rater: re.split(r"\s*,\s*", labels.strip()) for rater, labels in given.items() if labels}
    return {
        "utterance_id": name,
        "audio_path": f"{utterance['Speaker']}_{name}.wav",
        "transcript": utterance["Text"].strip(),
        "emotion": canonical(emotions["final_main_emo"], path),
        "speaker": f"{series}_{speaker['Name']}" if speaker.get("Name") else None,
        "gender": speaker["Gender"].lower() if speaker.get("Gender") else None,
        "language": "zh",
        "original_emotion": emotions["final_main_emo"],
        "all_emotions": emotions.get("final_mul_emo"),
        "votes": json.dumps(votes) if votes else None,
        "series": series,
        "dialogue": dialogue,
        "age_group": speaker.get("Age"),
        "start_time": utterance["StartTime"],
        "end_time": utterance["EndTime"],
    }
