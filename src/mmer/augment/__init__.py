"""The second view of an utterance for the augmented contrastive objective."""

from mmer.augment.speech import SpeechAugmenter
from mmer.augment.text import perturb

__all__ = ["SpeechAugmenter", "perturb"]
