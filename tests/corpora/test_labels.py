"""The names of emotions that corpora share."""

import doctest

import pytest

from mmer.corpora import labels
from mmer.corpora.labels import ALIASES, canonical, nearest
from mmer.errors import CorpusError

# As the corpora of corpora.md write them: IEMOCAP, MELD, CREMA-D words, nEMO, ESD, EmoV-DB, JL, EMNS, MEAD, MSP, ...
WRITTEN = {
    "angry": "ang anger Angry ANG",
    "happy": "hap joy Happy happiness Happiness",
    "sad": "sad sadness Sad Sadness",
    "neutral": "neu neutral Neutral neutrality Neutral_state",
    "fearful": "fea fear fearful",
    "surprised": "sur surprise surprised Surprise ps Pleasant_surprise",
    "disgusted": "dis disgust Disgust disgusted",
    "excited": "exc excited Excited",
    "frustrated": "fru Frustration",
    "calm": "calm Calm",
    "bored": "boredom",
    "contemptuous": "contempt",
    "amused": "Amused",
    "sleepy": "Sleepy sleepiness",
    "enthusiastic": "enthusiasm",
    "other": "oth Other",
}


@pytest.mark.parametrize(("name", "written"), WRITTEN.items())
def test_names(name: str, written: str) -> None:
    assert {canonical(label) for label in written.split()} == {name}


def test_canonical_names_are_their_own() -> None:
    assert [canonical(name) for name in ALIASES] == list(ALIASES)


def test_no_name_has_two_meanings() -> None:
    every = [alias for name, aliases in ALIASES.items() for alias in (name, *aliases)]
    assert len(every) == len(set(every))


def test_no_agreement_is_no_emotion() -> None:
    assert canonical("xxx") is None


@pytest.mark.parametrize(
    ("label", "near"), [("angy", "angry"), ("Happyness", "happiness"), ("surprize", "surprise")]
)
def test_unknown(label: str, near: str) -> None:
    with pytest.raises(
        CorpusError, match=f"unknown emotion '{label}', the nearest is '{near}'; known are angry, happy"
    ):
        canonical(label)


@pytest.mark.parametrize("letter", list("ADEFNSTW"))
def test_single_letters_mean_something_else_in_each_corpus(letter: str) -> None:
    with pytest.raises(CorpusError):
        canonical(letter)


def test_nearest() -> None:
    assert nearest("speker", ["emotion", "speaker"]) == ", the nearest is 'speaker'"
    assert nearest("speker", ["x"]) == nearest("x", []) == ""


def test_examples() -> None:
    result = doctest.testmod(labels)
    assert result.attempted
    assert not result.failed
