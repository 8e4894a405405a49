"""CREMA-D (Cao et al., IEEE TAFFC 2014): 91 actors, 12 sentences, six emotions, judged by a crowd."""

import json
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.readers.file_grammars import Grammar
from mmer.corpora.readers.file_names import is_pointer, read_grammar
from mmer.corpora.readers.releases import release_files
from mmer.corpora.tables import read_table
from mmer.errors import CorpusError

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

    def table(path: str, *columns: str) -> pd.DataFrame | None:
        """Read a table of the release; add a note and return None where it is missing."""
        nearest = next(iter(release_files(root, Path(path).name)), None)
        if nearest is None:
            notes.append(f"no {path}")
        elif is_pointer(nearest):
            notes.append(f"{path} is a git-lfs pointer; run git lfs pull")
        else:
            return _columns(nearest, columns)
        return None

    people = table("VideoDemographics.csv", "ActorID", "Age", "Sex")
    grammar = _GRAMMAR
    if people is not None:
        actors = people["ActorID"].astype(str)
        genders, ages = people["Sex"].str.lower(), people["Age"].astype(int)
        grammar = replace(
            grammar,
            genders=dict(zip(actors, genders, strict=True)),
            ages=dict(zip(actors, ages, strict=True)),
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
    majority = table("processedResults/summaryTable.csv", *columns)
    for name, column in zip(("voice_vote", "face_vote", "multimodal_vote"), columns[1:], strict=True):
        known = {} if majority is None else dict(zip(majority["FileName"], majority[column], strict=True))
        corpus.table[name] = pd.Series([known.get(utterance) for utterance in ids], dtype=object)
    corpus.notes += notes
    return corpus.with_durations(progress)


def _columns(path: Path, wanted: tuple[str, ...]) -> pd.DataFrame:
    table = read_table(path)
    if missing := [name for name in wanted if name not in table]:
        raise CorpusError(f"{path}: no column {missing[0]}; found {', '.join(table.columns)}")
    return table[list(wanted)]


def _responses(table: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """Collect the letters that each rater gave to the voice alone."""
    votes: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    heard = table[table["queryType"] == _VOICE]
    for rater, clip, letter in zip(heard["localid"], heard["clipName"], heard["respEmo"], strict=True):
        votes[clip].setdefault(str(rater), []).append(letter)
    return votes


def _counted(table: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """Build the same from counts of each letter, without the raters' identities."""
    # rows are numbered from 100001, those of faces from 200001
    heard = table[table["Unnamed: 0"] // 100_000 == _VOICE]
    votes = {}
    for clip, *counts in heard[["fileName", *LETTERS]].itertuples(index=False):
        letters = [letter for letter, count in zip(LETTERS, counts, strict=True) for _ in range(count)]
        votes[str(clip)] = {str(rater): [letter] for rater, letter in enumerate(letters, 1)}
    return votes
