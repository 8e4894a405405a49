"""What frozen layers of a speech encoder make of the recordings of a run, and of stored variants for second views."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mmer.augment import SpeechAugmenter
from mmer.features.statistics import FeatureStatistics
from mmer.recipe.schema import Recipe
from mmer.runs.seeds import seed_for
from mmer.training.data.feature_store import Features, FeatureStore, TrainingUtterance
from mmer.training.data.speech_cache import SpeechCache, key_of


class FrozenSpeech:
    """Hidden states of recordings and of variants of them, which a `SpeechCache` stores.

    Args:
        cache: the cache.
        store: gives the features of recordings.
        recipe: the recipe, of which the section `augment.speech` is read.
        statistics: of speakers, for standardization.
    """

    def __init__(
        self,
        cache: SpeechCache,
        store: FeatureStore,
        recipe: Recipe,
        statistics: Mapping[str, FeatureStatistics],
    ) -> None:
        self.cache, self.store, self.statistics = cache, store, statistics
        changes = recipe.augment.speech.changes
        self._augment, self._changes = SpeechAugmenter(**changes), json.dumps(changes)
        self._keys: dict[str, str] = {}

    def states(self, utterance: TrainingUtterance) -> NDArray[np.float32]:
        """Return the hidden states of a recording, (frames, layers, size)."""
        return self.cache(self._key(utterance), partial(self._features, utterance))

    def variant(self, utterance: TrainingUtterance, number: int) -> NDArray[np.float32]:
        """Return the hidden states of a variant of a recording, (frames', layers, size).

        Args:
            utterance: an utterance with a recording.
            number: of the variant, from 0.
        """
        return self.cache(self._key(utterance, number), partial(self._features, utterance, number))

    def fill(
        self,
        wanted: Iterable[tuple[TrainingUtterance, int | None]],
        progress: Callable[[int], None],
    ) -> int:
        """Store recordings and variants of them; other processes that fill the same cache wait.

        Args:
            wanted: utterances with a recording, each with the number of a variant, or None for the recording.
            progress: called with the number of clips done so far.

        Returns:
            The number of clips for which there is no room.
        """
        left = 0
        with self.cache.only_writer():
            for done, (utterance, number) in enumerate(wanted, start=1):
                features = partial(self._features, utterance, number)
                left += not self.cache.add(self._key(utterance, number), features)
                progress(done)
        return left

    def _key(self, utterance: TrainingUtterance, number: int | None = None) -> str:
        own = self._keys.get(utterance.utterance_id)
        if own is None:
            own = self._keys[utterance.utterance_id] = key_of(self._features(utterance))
        if number is None:
            return own
        return key_of(own, self._changes, utterance.utterance_id, str(number))

    def _features(self, utterance: TrainingUtterance, number: int | None = None) -> Features:
        processor = self.store.processor
        if number is None:
            features = self.store(utterance)
        else:
            waveform = self._augment(self.store.waveform(utterance), variant_seed(utterance, number))
            features = processor.features(waveform)
        return processor.standardize(features, self.statistics.get(utterance.speaker or ""))


def variant_seed(utterance: TrainingUtterance, number: int) -> int:
    """Return the seed of a stored variant, which is the same in all runs of a study."""
    return seed_for("variant", number, utterance.utterance_id)
