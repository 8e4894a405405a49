"""Functionals of training clips as more speakers would have them, for models that know nothing of a new voice.

Few training speakers and places do not tell what differs between these from what differs between emotions. So each clip
gets copies that sound as if other people had said it elsewhere, and part of what its speaker has above the average
speaker is removed.
"""

import random
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmer.augment.features import as_another_speaker
from mmer.augment.recorded_elsewhere import recorded_elsewhere
from mmer.corpora.corpus import Corpus
from mmer.features.functionals import functionals
from mmer.features.log_mel import MEL_BINS
from mmer.features.prosody import CHANNELS
from mmer.runs.seeds import seed_for
from mmer.training.data.feature_store import Features, FeatureStore, TrainingUtterance

COPIES = 2
"""Of each clip."""
REMOVED = 0.5
"""Share of each speaker's deviation from the average speaker that is removed."""
FEW_CLIPS = 5
"""Number of clips of a speaker from which half of the deviation is believed."""
MOST_UTTERANCES = 20_000
"""With sound, that are taken of a larger corpus."""


def drawn_with_sound(corpus: Corpus) -> list[TrainingUtterance]:
    """Return the rows of a corpus that have a recording; of a large one, `MOST_UTTERANCES` that are drawn."""
    utterances = TrainingUtterance.with_sound(corpus)
    if len(utterances) > MOST_UTTERANCES:
        return random.Random(0).sample(utterances, MOST_UTTERANCES)
    return utterances


def functionals_of_more_speakers(
    store: FeatureStore, corpus: Corpus, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Features]:
    """Compute the functionals of clips and of their copies.

    Args:
        store: features of the utterances; its processor standardizes over the corpus.
        corpus: training utterances.
        progress: called with the number of utterances done so far, and their total.

    Returns:
        utterance -> (versions, functionals), standardized, of those that `drawn_with_sound` gives.
    """
    utterances, count = drawn_with_sound(corpus), store.processor.functionals
    if not utterances:
        return {}
    versions = np.zeros((len(utterances), 1 + COPIES, count), np.float32)
    for number, utterance in enumerate(utterances):
        features = store(utterance)
        frames = features[:, :-count].reshape(-1, MEL_BINS + CHANNELS)
        of_versions = np.repeat(features[:1], 1 + COPIES, axis=0)
        for copy in range(COPIES):
            seed = seed_for("another speaker", copy, utterance.utterance_id)
            copied = recorded_elsewhere(as_another_speaker(frames, seed), seed)
            of_versions[1 + copy, -count:] = functionals(copied, count)
        versions[number] = store.processor.standardize(of_versions)[:, -count:]
        progress(number + 1, len(utterances))
    emotions, speakers = (
        np.array([getattr(each, name) or "" for each in utterances], str) for name in ("emotion", "speaker")
    )
    versions -= REMOVED * _deviations(versions[:, 0], emotions, speakers)[:, None]
    return {each.utterance_id: found for each, found in zip(utterances, versions, strict=True)}


def _deviations(inputs: Features, emotions: NDArray[np.str_], speakers: NDArray[np.str_]) -> Features:
    """Estimate how each clip's speaker deviates from the average speaker, whatever the emotion.

    A speaker's deviation is the mean over clips of what they have above the mean of their emotion. That of few clips is
    shrunk towards 0, which is that of a speaker without a name.

    Args:
        inputs: (clips, functionals).
        emotions: (clips,).
        speakers: (clips,).

    Returns:
        (clips, functionals).
    """
    clips = pd.DataFrame(inputs)
    above = (clips - clips.groupby(emotions).transform("mean")).groupby(speakers)
    shrunk = above.transform("sum").div(above[0].transform("size") + FEW_CLIPS, axis=0)
    return shrunk.to_numpy(np.float32) * (speakers != "")[:, None]
