"""IEMOCAP (USC SAIL): five sessions of two actors each, improvised and scripted dialogues, 10 039 labeled turns."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.labels import canonical
from mmer.corpora.tables import Row
from mmer.errors import CorpusError
from mmer.plain_text import counted, lines_of

CODES = ("ang", "dis", "exc", "fea", "fru", "hap", "neu", "oth", "sad", "sur", "xxx")
DOCUMENTED = {
    1: (229, 1, 143, 12, 280, 135, 384, 1, 194, 25, 415),
    2: (137, 0, 210, 9, 325, 117, 362, 1, 197, 17, 436),
    3: (240, 1, 151, 2, 382, 135, 320, 0, 305, 28, 572),
    4: (327, 0, 238, 7, 481, 65, 258, 1, 143, 19, 564),
    5: (170, 0, 299, 10, 381, 143, 384, 0, 245, 18, 520),
}
"""Turns of each of `CODES` in each session of the release."""

_LABEL = re.compile(r"\[([\d.]+) - ([\d.]+)\]\t(\S+)\t(\w+)\t\[([\d.]+), ([\d.]+), ([\d.]+)\]")
_RATER = re.compile(r"([AC])-(\w+):\s*([^(]*)")
_TRANSCRIPT = re.compile(r"(\S+) \[[\d.]+-[\d.]+\]: ?(.*)")
# Session, the actor with the motion-capture markers, scenario; then the speaker and number of the turn.
_TURN = re.compile(
    r"(?P<dialogue>Ses0(?P<session>\d)[FM]_(?P<kind>impro|script)\w+)_(?P<speaker>[FM])(\d+|XX\d+)"
)


def read_iemocap(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read every labeled turn of the full release.

    The speaker is the letter before the turn's number (`Ses01F_impro01_M003` is spoken by `Ses01_M`), not the one
    at the beginning, which tells who wore the markers. The emotion is the consensus label; turns without a majority
    (`xxx`) have none. Transcripts keep their annotations, such as `[LAUGHTER]`.

    Extra columns: `original_emotion` (the code); `valence`, `activation`, `dominance` (means of the raters, nominally
    1 to 5); `improvised`; `dialogue`; `turn_start`, `turn_end` (seconds in the recording of the whole dialogue);
    `votes` (JSON: labels given by each rater, E1-E6, and by the actors, F1/M1 ...); `ratings` (JSON: their `val`,
    `act` and `dom`).

    Args:
        root: `IEMOCAP_full_release`, with the folders Session1 to Session5, or the folder that holds it.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The turns ordered by session, dialogue and time; notes tell what is missing and how the counts compare with
        the documented ones. A labeled turn without recording is left out and listed, and so is a recording without
        label.

    Raises:
        CorpusError: there is no session, or a session has no labels or recordings.
    """
    root = Path(root)
    if (root / "IEMOCAP_full_release").is_dir():
        root = root / "IEMOCAP_full_release"
    sessions = [number for number in DOCUMENTED if (root / f"Session{number}").is_dir()]
    if not sessions:
        raise CorpusError(f"{root}: no folder Session1 to Session5; give the folder IEMOCAP_full_release")

    turns: dict[str, Row] = {}
    transcripts: dict[str, str] = {}
    recordings: dict[str, str] = {}
    unreadable: list[str] = []
    repeated: list[str] = []
    for number in sessions:
        session = root / f"Session{number}"
        for file in _files(session / "dialog" / "EmoEvaluation", "*.txt"):
            for turn in _turns(file, unreadable):
                if turns.setdefault(turn["utterance_id"], turn) is not turn:
                    repeated.append(turn["utterance_id"])
        for file in _files(session / "dialog" / "transcriptions", "*.txt"):
            transcripts.update(_transcripts(file))
        recordings.update({file.stem: str(file) for file in _files(session / "sentences" / "wav", "*/*.wav")})

    rows = [
        {**turn, "audio_path": recordings[name], "transcript": transcripts.get(name)}
        for name, turn in turns.items()
        if name in recordings
    ]
    if not rows:
        raise CorpusError(
            f"{root}: none of {counted(len(turns), 'labeled turn')} has a recording in sentences/wav"
        )
    notes = []
    if len(sessions) < len(DOCUMENTED):
        notes.append(f"sessions {', '.join(map(str, sessions))} of 5 are there")
    gaps = {
        "label lines cannot be read and are left out": unreadable,
        "turns are labeled more than once, their first label counts": repeated,
        "labeled turns have no recording and are left out": sorted(turns.keys() - recordings.keys()),
        "recordings have no label and are left out": sorted(recordings.keys() - turns.keys()),
        "turns have no transcript": [row["utterance_id"] for row in rows if row["transcript"] is None],
    }
    notes += [listing(what, names) for what, names in gaps.items() if names]
    notes += _compare(rows, sessions)
    table = pd.DataFrame(rows).sort_values(["session", "dialogue", "turn_start"], kind="stable")
    return Corpus(table, source=str(root), notes=notes).with_durations(progress)


def _files(folder: Path, pattern: str) -> list[Path]:
    """List files in order, without the `._` copies that macOS adds to archives."""
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; the release is not complete")
    return sorted(file for file in folder.glob(pattern) if not file.name.startswith("."))


def _lines(file: Path) -> list[str]:
    # Latin-1 as Windows writes it, where the bytes 0x80 to 0x9f are quotation marks and dashes.
    return lines_of(file.read_bytes().decode("cp1252", "replace"))


def _turns(file: Path, unreadable: list[str]) -> Iterator[Row]:
    """Read the turns of one dialogue, each with the votes that follow it."""
    turn: Row | None = None
    votes: dict[str, list[str]] = {}
    ratings: dict[str, dict[str, float]] = {}

    def complete(turn: Row) -> Row:
        return {**turn, "votes": json.dumps(votes), "ratings": json.dumps(ratings)}

    for number, line in enumerate(_lines(file), 1):
        if line.startswith("["):
            if turn:
                yield complete(turn)
            turn, votes, ratings = _turn(line), {}, {}
            if turn is None:
                unreadable.append(f"{file.name} line {number}")
        elif turn and (rater := _RATER.match(line)):
            kind, name, given = rater.groups()
            fields = [field.split() for field in given.split(";") if field.strip()]
            if kind == "C":
                votes[name] = [" ".join(words) for words in fields]
            else:  # `dom  ;` is a rating that was not given
                ratings[name] = {field[0]: float(field[1]) for field in fields if len(field) == 2}
    if turn:
        yield complete(turn)


def _turn(line: str) -> Row | None:
    label = _LABEL.match(line)
    name = _TURN.fullmatch(label[3]) if label else None
    if not label or not name or label[4] not in CODES:
        return None
    female = name["speaker"] == "F"
    return {
        "utterance_id": label[3],
        "emotion": canonical(label[4]),
        "speaker": f"Ses0{name['session']}_{name['speaker']}",
        "session": f"Ses0{name['session']}",
        "gender": "female" if female else "male",
        "language": "en",
        "corpus": "iemocap",
        "original_emotion": label[4],
        "valence": float(label[5]),
        "activation": float(label[6]),
        "dominance": float(label[7]),
        "improvised": name["kind"] == "impro",
        "dialogue": name["dialogue"],
        "turn_start": float(label[1]),
        "turn_end": float(label[2]),
    }


def _transcripts(file: Path) -> Iterator[tuple[str, str]]:
    """Read id and text of each line; lines without an id (`M: Yeah.`) belong to no recording."""
    for line in _lines(file):
        if match := _TRANSCRIPT.match(line):
            yield match[1], match[2].strip()


def _compare(rows: list[Row], sessions: list[int]) -> list[str]:
    """Compare the counts of the present sessions with the documented ones, in notes."""
    notes = []
    found: Counter[str] = Counter()
    stated: Counter[str] = Counter()
    for number in sessions:
        counts = Counter(row["original_emotion"] for row in rows if row["session"] == f"Ses0{number}")
        documented = dict(zip(CODES, DOCUMENTED[number], strict=True))
        found += counts
        stated.update(documented)
        different = [f"{code} {counts[code]} ({n})" for code, n in documented.items() if counts[code] != n]
        if different:
            total = f"{counted(counts.total(), 'turn')} (documented {sum(documented.values())})"
            notes.append(f"session {number} has {total}: {', '.join(different)}")
    four = {"neutral": ("neu",), "happy or excited": ("hap", "exc"), "angry": ("ang",), "sad": ("sad",)}
    counts = {name: sum(found[code] for code in codes) for name, codes in four.items()}
    documented = {name: sum(stated[code] for code in codes) for name, codes in four.items()}
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    verdict = (
        "as documented"
        if counts == documented
        else f"documented are {', '.join(map(str, documented.values()))}"
    )
    notes.append(
        f"{counted(len(rows), 'turn')}, {sum(counts.values())} in the usual four classes ({listed}): {verdict}"
    )
    return notes
