"""What a corpus is too small to show, and what to record next."""

from collections import Counter

import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.plain_text import counted
from mmer.text.transcripts import normalize_transcript

FEWEST_SPEAKERS = 3
"""One to test, and two to learn what speakers have in common."""
FEWEST_CLIPS = 20
"""Of an emotion and a speaker: a clip is then five points of the recall of that emotion."""
NAMED = 3
SAME_WORDS = 0.9
"""Share of clips whose words occur with several emotions, from which on words say nothing about the emotion."""


def shortcomings(corpus: Corpus, *, named: bool = True) -> list[str]:
    """List what a corpus cannot show because of its size, as one note each, with what to record next.

    Args:
        corpus: the labeled utterances of a training run or of a cross-validation, all splits.
        named: whether to name speakers.
    """
    table = corpus.table.dropna(subset=["emotion"])
    emotions = sorted(table["emotion"].unique())
    if len(emotions) < 2:
        return []
    return [*_of_speakers(table, emotions, named), *_of_words(table, emotions)]


def _of_speakers(table: pd.DataFrame, emotions: list[str], named: bool) -> list[str]:
    speakers = sorted(table["speaker"].dropna().unique())
    if not speakers:
        return []
    found = Counter(zip(table["speaker"], table["emotion"], strict=True))
    clips = {(speaker, emotion): found[speaker, emotion] for speaker in speakers for emotion in emotions}
    said = []
    if len(speakers) < FEWEST_SPEAKERS:
        said.append(
            f"the corpus has {counted(len(speakers), 'speaker')}: figures say little about other voices; record "
            f"at least {FEWEST_SPEAKERS} speakers, which help more than more clips"
        )
    if absent := [pair for pair, count in clips.items() if not count]:
        said.append(
            f"no clip for {_pairs(absent, named)}: recall is not tested there, and a model may take the speaker for "
            "an emotion; record the missing emotions"
        )
    few = {pair: count for pair, count in clips.items() if 0 < count < FEWEST_CLIPS}
    if len(few) > len(clips) / 2:
        fewest = min(few, key=few.__getitem__)
        where = f"{', '.join(fewest)}: " if named else ""
        said.append(
            f"most speakers have fewer than {FEWEST_CLIPS} clips of an emotion (fewest: {where}{few[fewest]}), so a "
            "single clip moves the figures by points; compare models over all folds, by their intervals"
        )
    return said


def _of_words(table: pd.DataFrame, emotions: list[str]) -> list[str]:
    words = table["transcript"].dropna().map(normalize_transcript)
    words = words[words != ""]
    if words.empty:
        return []
    kinds = table.loc[words.index, "emotion"].groupby(words).transform("nunique")
    if float((kinds > len(emotions) / 2).mean()) < SAME_WORDS:
        return []
    return [
        "the same sentences are said in most emotions, so that words cannot tell the emotions apart, only the "
        "voice can"
    ]


def _pairs(pairs: list[tuple[str, str]], named: bool) -> str:
    if not named:
        return f"{counted(len(pairs), 'pair')} of speaker and emotion"
    first = ", ".join(f"{speaker} ({emotion})" for speaker, emotion in pairs[:NAMED])
    more = len(pairs) - NAMED
    return f"{first} and {counted(more, 'more pair')} of speaker and emotion" if more > 0 else first
