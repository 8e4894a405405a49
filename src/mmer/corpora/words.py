"""Whether the words of a corpus tell its emotions apart."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import GroupKFold
from sklearn.naive_bayes import ComplementNB
from sklearn.pipeline import make_pipeline

from mmer.corpora.corpus import Corpus
from mmer.text.transcripts import normalize_transcript

PARTS = 5
"""Parts of the sentences, each of which is predicted from the others."""
MOST_CLIPS = 20_000
"""Clips of a larger corpus that are drawn for the test: enough to find any gain worth having, within seconds."""
WORD = r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\s\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+"
"""A word, or one letter of Thai, Chinese or Japanese, which have no blanks between words."""
LEAST_GAIN = 0.02
"""Share of clips predicted right beyond guessing; less is not worth a network that reads."""
LEAST_ERRORS = 2.33
"""Standard errors of that share: one corpus in a hundred whose words tell nothing reaches them by chance."""


@dataclass(frozen=True)
class Gain:
    """What words add to guessing.

    Attributes:
        share: clips predicted right from words, minus those that guesses with the same frequencies get right, as a
            share of all clips, -1 to 1.
        error: its standard error over sentences; clips of one sentence count as one observation.
    """

    share: float
    error: float


def words_tell_emotions(corpus: Corpus) -> bool:
    """Test whether words predict the emotion of sentences that the prediction has not seen.

    Acted corpora often have every sentence in every emotion, and small corpora too few sentences to learn from. In
    both, a network that reads can only remember who said what.

    Naive Bayes on words predicts each part of the sentences from the other parts.

    Args:
        corpus: labeled utterances, those of training; utterances without words are left out.

    Returns:
        Whether the gain over guessing is at least `LEAST_GAIN`, and `LEAST_ERRORS` standard errors.
    """
    table = corpus.table.dropna(subset=["emotion", "transcript"])
    table = table.sample(min(len(table), MOST_CLIPS), random_state=0)
    sentences = table["transcript"].map(normalize_transcript)
    said = sentences != ""
    gain = gain_of_words(sentences[said], table["emotion"][said])
    return gain.share >= max(LEAST_GAIN, LEAST_ERRORS * gain.error)


def gain_of_words(sentences: "pd.Series[str]", emotions: "pd.Series[str]") -> Gain:
    """Compute what the words of other sentences add to guessing; see `words_tell_emotions`.

    Args:
        sentences: normalized words of each clip, not empty.
        emotions: emotion of each clip.
    """
    parts = min(PARTS, sentences.nunique())
    if parts < 2 or emotions.nunique() < 2:
        return Gain(0.0, 0.0)
    words, truth = sentences.to_numpy(), emotions.to_numpy()
    predicted = np.empty_like(truth)
    for others, part in GroupKFold(parts).split(words, groups=words):
        classifier = make_pipeline(CountVectorizer(token_pattern=WORD, binary=True), ComplementNB())
        predicted[part] = classifier.fit(words[others], truth[others]).predict(words[part])
    by_chance = pd.Series(truth).value_counts(normalize=True).to_dict()
    beyond: NDArray[np.float64] = (predicted == truth) - np.array([by_chance[each] for each in predicted])
    of_sentences = pd.Series(beyond).groupby(words).sum()
    return Gain(float(beyond.mean()), float(np.sqrt(np.square(of_sentences).sum())) / len(words))
