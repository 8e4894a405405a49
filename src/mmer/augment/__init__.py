"""Augmentation of training utterances, and second views for the augmented contrastive objective."""

from mmer.augment.features import FeatureAugmenter
from mmer.augment.speech import SpeechAugmenter
from mmer.augment.text import perturb

__all__ = ["FeatureAugmenter", "SpeechAugmenter", "perturb"]
