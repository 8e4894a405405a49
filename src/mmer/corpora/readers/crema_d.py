"""CREMA-D (Cao et al., IEEE TAFFC 2014): 91 actors, 12 sentences, six emotions, judged by a crowd."""

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.readers.file_grammars import Grammar
from mmer.corpora.readers.file_names import read_grammar
from mmer.corpora.readers.releases import number, read_rows, release_files
from mmer.files.damaged import is_pointer

LETTERS = ("A", "D", "F", "H", "N", "S")
"""Anger, disgust, fear, happy, neutral, sad, as the tables of votes call them."""

_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
_GRAMMAR = Grammar(
    r"(?P<speaker>1\d{3})_"
    rf"(?P<sentence>{'|'.join(_SENTENCES)})_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<intensity>LO|MD|HI|XX?)",
    example="AudioWAV/1001_DFA_ANG_XX.wav",
    codes={"intensity": {"XX": None, "X": None}},
    sentences=_SENTENCES,
    unusable={"1076_MTI_SAD_XX": "no signal"},
    flawed=dict.fromkeys(("1076_MTI_NEU_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD"), "reported by its users"),
)
_VOICE = 1  # kind of query with sound but no picture


def read_crema_d(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read CREMA-D from a clone of its repository, which holds `AudioWAV/` and the tables beside it.

    The emotion is what the actor was asked for. The ratings of the voice alone are in `votes`.

    Extra columns: `original_emotion`, `sentence` (code), `intensity` (LO, MD or HI; None where none was asked for),
    `age` (years), `votes` (JSON: letters of `LETTERS` given by each rater), `voice_vote`, `face_vote` and
    `multimodal_vote` (the majority of those who heard, saw, or heard and saw the clip; `A:D` is a tie). Those that
    come from a table that is not there are null.

    Args:
        root: folder of the clone, or one around it.
        progress: called with the number of recordings whose header was read so far and of all.

    Raises:
        CorpusError: there is no recording with a name of CREMA-D, recordings are git-lfs pointers, or a table lacks
            columns.
    """
    root = Path(root)
    notes: list[str] = []

    def table(path: str, *columns: str) -> list[dict[str, str]] | None:
        """Read a table of the release; add a note and return None where it is missing."""
        nearest = next(iter(release_files(root, Path(path).name)), None)
        if nearest is None:
            notes.append(f"no {path}")
        elif is_pointer(nearest):
            notes.append(f"{path} is a git-lfs pointer; run git lfs pull")
        else:
            return read_rows(nearest, columns)
        return None

    people = table("VideoDemographics.csv", "ActorID", "Age", "Sex")
    grammar = _GRAMMAR
    if people is not None:
        ages = {row["ActorID"]: number(row["Age"]) for row in people}
        grammar = replace(
            grammar,
            genders={row["ActorID"]: row["Sex"].lower() for row in people if row["Sex"]},
            ages={actor: int(age) for actor, age in ages.items() if age is not None},
        )
    corpus = read_grammar("crema-d", grammar, root)

    votes: dict[str, dict[str, list[str]]] = {}
    columns = ("localid", "queryType", "clipName", "respEmo")
    if (responses := table("finishedResponses.csv", *columns)) is not None:
        votes = _responses(responses)
    elif (
        counts := table("processedResults/tabulatedVotes.csv", "Unnamed: 0", "fileName", *LETTERS)
    ) is not None:
        votes = _counted(counts)
    ids = corpus.table["utterance_id"]
    given = [json.dumps(votes[name]) if name in votes else None for name in ids]
    corpus.table["votes"] = pd.Series(given, dtype=object)
    columns = ("FileName", "VoiceVote", "FaceVote", "MultiModalVote")
    majority = table("processedResults/summaryTable.csv", *columns) or []
    for name, column in zip(("voice_vote", "face_vote", "multimodal_vote"), columns[1:], strict=True):
        known = {row["FileName"]: row[column] or None for row in majority}
        corpus.table[name] = pd.Series([known.get(utterance) for utterance in ids], dtype=object)
    corpus.notes += notes
    return corpus.with_durations(progress)


def _responses(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, list[str]]]:
    """Collect the letters that each rater gave to the voice alone."""
    votes: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for row in rows:
        if number(row["queryType"]) == _VOICE and row["respEmo"]:
            votes[row["clipName"]].setdefault(row["localid"], []).append(row["respEmo"])
    return votes


def _counted(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, list[str]]]:
    """Build the same from counts of each letter, without the raters' identities."""
    votes = {}
    for row in rows:
        place = number(row["Unnamed: 0"]) or 0.0
        if place // 100_000 == _VOICE:  # rows are numbered from 100001, those of faces from 200001
            letters = [letter for letter in LETTERS for _ in range(int(number(row[letter]) or 0))]
            votes[row["fileName"]] = {str(rater): [letter] for rater, letter in enumerate(letters, 1)}
    return votes
