"""Training data: features, second views, batches."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from mmer.augment import FeatureAugmenter, SpeechAugmenter, perturb
from mmer.augment.recorded_elsewhere import recorded_elsewhere
from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import View
from mmer.errors import MMERError
from mmer.features.functionals import functionals
from mmer.features.log_mel import MEL_BINS
from mmer.features.prosody import CHANNELS
from mmer.features.statistics import FeatureStatistics
from mmer.model.processor import MMERProcessor
from mmer.recipe.schema import Recipe
from mmer.runs.seeds import seed_for
from mmer.text.transcripts import spell_sounds, strip_annotations
from mmer.training.data.feature_store import Features, FeatureStore, TrainingUtterance
from mmer.training.data.frozen_speech import FrozenSpeech, variant_seed


class Item(TypedDict):
    """Inputs of one utterance; None where missing or not used by the model.

    `transcript` is the reference, the target of CTC; `text` is the model's text input.
    """

    utterance_id: str
    features: Features | None
    text: str | None
    transcript: str | None
    label: int
    has_second_view: bool
    augmented_features: Features | None
    augmented_text: str | None


class SpeechEmotionDataset(Dataset[Item]):
    """Dataset of utterances with features and, in training, augmentation and second views that change every epoch.

    Augmentation depends only on the seed, the epoch and the utterance, not on the order of reading, the number of
    worker processes or interruptions.

    Args:
        corpus: labeled utterances with known emotions.
        store: store of features, shared between datasets.
        recipe: the recipe, which sets augmentation and second views.
        statistics: statistics of each speaker, for `normalization: speaker`.
        views: candidates for the second view of each utterance.
        frozen: gives hidden states in place of features, for a frozen speech encoder with a cache.
        training: whether to augment and to give second views.
    """

    def __init__(
        self,
        corpus: Corpus,
        store: FeatureStore,
        recipe: Recipe,
        statistics: Mapping[str, FeatureStatistics] | None = None,
        views: Mapping[str, Sequence[View]] | None = None,
        frozen: FrozenSpeech | None = None,
        *,
        training: bool,
    ) -> None:
        self.utterances = TrainingUtterance.of(corpus)
        self.statistics = statistics or {}
        self.views = views or {}
        self.store = store
        self.frozen = frozen
        self.recipe = recipe
        self.training = training
        self.augmented = training and recipe.objectives.augmented_contrastive_weight > 0
        self.epoch = 0
        self._classes = {label: index for index, label in enumerate(store.processor.labels)}
        self._on_the_fly = recipe.augment.views is None or recipe.augment.views_use == "beside"
        speech, features = recipe.augment.speech, recipe.augment.features.model_dump()
        changes_sound = self.augmented and recipe.changes_second_sound
        self._augment_speech = SpeechAugmenter(**speech.changes) if changes_sound else None
        elsewhere = features.pop("elsewhere")
        changes = training and store.processor.adds_prosody
        self._elsewhere = elsewhere if changes and store.processor.normalization == "corpus" else 0.0
        changes = changes and any(features.values())
        self._augment_features = FeatureAugmenter(**features) if changes else None

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Item:
        utterance = self.utterances[index]
        features = augmented_features = augmented_text = None
        text = self._read(utterance)
        listens, reads = self._modalities(utterance, text)
        if listens and self.frozen is not None:
            features = self.frozen.states(utterance)
            if self.augmented:
                augmented_features = self._second_states(self.frozen, utterance)
        elif listens:
            features = self.store(utterance)
            if self.augmented:
                second, voice = self._second_sound(utterance, features)
                augmented_features = self._changed(second, utterance, "second", voice)
            features = self._changed(features, utterance, "first", utterance.speaker)
        if self.augmented and reads:
            augmented_text = self._second_text(utterance, text)
        return {
            "utterance_id": utterance.utterance_id,
            "features": features,
            "text": text if reads else None,
            "transcript": self._said(utterance),
            "label": self._classes[utterance.emotion],
            "has_second_view": self.augmented,
            "augmented_features": augmented_features,
            "augmented_text": augmented_text,
        }

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 0, that determines augmentation and second views."""
        self.epoch = epoch

    def _read(self, utterance: TrainingUtterance) -> str | None:
        """Return the text input in this epoch: the reference or the recognized transcript."""
        share, draw = self.recipe.data.recognized, self._seed(utterance, "recognized") / 2**32
        is_heard = self.training and utterance.recognized is not None and draw < share
        return utterance.recognized if is_heard else utterance.transcript

    def _said(self, utterance: TrainingUtterance) -> str | None:
        """Return the target of CTC."""
        if utterance.transcript is None or self.recipe.objectives.formulation == "paper":
            return utterance.transcript
        return spell_sounds(utterance.transcript)

    def _modalities(self, utterance: TrainingUtterance, text: str | None) -> tuple[bool, bool]:
        """Tell whether the sound and the text of the utterance are used in this epoch."""
        processor = self.store.processor
        if not processor.missing_modality_embeddings:
            return processor.uses_speech, processor.uses_text
        listens, reads = utterance.audio_path is not None, bool(strip_annotations(text or ""))
        if self.training and listens and reads:
            drops, draw = self.recipe.augment.missing, self._seed(utterance, "missing") / 2**32
            listens = draw >= drops.speech
            reads = not drops.speech <= draw < drops.speech + drops.text
        return listens, reads

    def _view(self, utterance: TrainingUtterance) -> View | None:
        """Return the precomputed view of this epoch; None where it is made on the fly or is the utterance itself."""
        views = [*self.views.get(utterance.utterance_id, ()), *([None] if self._on_the_fly else [])]
        return views[self._seed(utterance, "view") % len(views)] if views else None

    def _second_sound(self, utterance: TrainingUtterance, features: Features) -> tuple[Features, str | None]:
        """Return features of the second view, and the speaker of its voice."""
        view = self._view(utterance)
        if view is not None and view.audio_path is not None:
            return self.store(TrainingUtterance.of_view(view, self.recipe.data.crop_duration)), view.voice
        if self._augment_speech is None:
            return features, utterance.speaker
        number = self._variant(utterance)
        seed = self._seed(utterance, "speech") if number is None else variant_seed(utterance, number)
        waveform = self._augment_speech(self.store.waveform(utterance), seed)
        return self.store.processor.features(waveform), utterance.speaker

    def _second_states(self, frozen: FrozenSpeech, utterance: TrainingUtterance) -> Features:
        """Return hidden states of the second view, (frames, layers, size)."""
        view = self._view(utterance)
        if view is not None and view.audio_path is not None:
            return frozen.states(TrainingUtterance.of_view(view, self.recipe.data.crop_duration))
        number = self._variant(utterance)
        if self._augment_speech is None or number is None:
            return frozen.states(utterance)
        return frozen.variant(utterance, number)

    def _variant(self, utterance: TrainingUtterance) -> int | None:
        """Return the number of the stored variant of this epoch; None where each epoch makes another one."""
        variants = self.recipe.augment.speech.variants
        return self._seed(utterance, "variant") % variants if self.recipe.stores_variants else None

    def _second_text(self, utterance: TrainingUtterance, first: str | None) -> str | None:
        view = self._view(utterance)
        if view is not None:
            return view.transcript
        if not self._on_the_fly:
            return first
        changes = self.recipe.augment.text.model_dump()
        second = perturb(first, self._seed(utterance, "text"), **changes)
        if second is not None and len(second) > len(first or ""):
            try:
                self.store.processor.tokenize([second])
            except MMERError:
                return first
        return second

    def _changed(
        self, features: Features, utterance: TrainingUtterance, view: str, speaker: str | None
    ) -> Features:
        """Return standardized features, augmented in training."""
        if self._seed(utterance, f"{view} place") < self._elsewhere * 2**32:
            features = self._recorded_elsewhere(features, self._seed(utterance, f"{view} elsewhere"))
        features = self.store.processor.standardize(features, self.statistics.get(speaker or ""))
        if self._augment_features is None:
            return features
        seed = self._seed(utterance, f"{view} features")
        return self._augment_features(features, seed, self.store.processor.functionals)

    def _recorded_elsewhere(self, features: Features, seed: int) -> Features:
        """Change the frames, and compute the functionals of the changed ones."""
        count = self.store.processor.functionals
        of_frames, of_clip = np.split(features, [features.shape[1] - count], axis=1)
        frames = recorded_elsewhere(of_frames.reshape(-1, MEL_BINS + CHANNELS), seed)
        if count and len(frames) > 1:
            of_clip = np.broadcast_to(functionals(frames, count), of_clip.shape)
        return np.concatenate([frames.reshape(of_frames.shape), of_clip], axis=1)

    @property
    def lengths(self) -> list[int]:
        """Return (utterances,) processing costs: milliseconds of sound, or characters without sound."""
        if self.store.processor.uses_speech:
            return [round(1000 * (utterance.duration or 0)) for utterance in self.utterances]
        return [len(utterance.transcript or "") for utterance in self.utterances]

    def _seed(self, utterance: TrainingUtterance, modality: str) -> int:
        return seed_for(self.recipe.training.seed, self.epoch, modality, utterance.utterance_id)


Batch = dict[str, Any]
"""Arguments of `MMERForEmotionRecognition.forward`, (batch, ...) each, and `utterance_ids`."""


class Collator:
    """Collator of the model's inputs, both views, and the utterance ids, from the shortest utterance to the longest.

    Hidden states of a frozen speech encoder stay apart, (frames, layers, size) of each utterance.

    Args:
        processor: processor of the model.
    """

    def __init__(self, processor: MMERProcessor) -> None:
        self.processor = processor

    def __call__(self, items: Sequence[Item]) -> Batch:
        """Return the arguments of `MMERForEmotionRecognition.forward`, and `utterance_ids`, a list of text."""
        items = sorted(items, key=_length)
        batch: Batch = dict(self._view(items, "features", "text"))
        if items[0]["has_second_view"]:
            view = self._view(items, "augmented_features", "augmented_text")
            batch |= {f"augmented_{name}": tensor for name, tensor in view.items()}
        batch["labels"] = torch.tensor([item["label"] for item in items])
        if self.processor.ctc_symbols is not None:
            batch["ctc_labels"] = self.processor.encode_ctc([item["transcript"] for item in items])
        batch["utterance_ids"] = [item["utterance_id"] for item in items]
        return batch

    def _view(self, items: Sequence[Item], features: str, text: str) -> Mapping[str, Any]:
        clips, texts = [item[features] for item in items], [item[text] for item in items]
        states = [clip for clip in clips if clip is not None and clip.ndim == 3]
        if not states:
            return self.processor.pad(clips if self.processor.uses_speech else None, texts)
        # The states stay where they are, mapped from disk: to pad all layers takes longer than the network above them.
        frames = [None if clip is None else clip[:, 0, 0] for clip in clips]
        view = self.processor.pad(frames, texts)
        del view["input_features" if self.processor.reads_features else "input_values"]
        view["speech_hidden_states"] = [
            torch.from_numpy(states[0][:0] if clip is None else clip) for clip in clips
        ]
        return view


def _length(item: Item) -> tuple[int, int]:
    """Return the samples or frames of the longer view, and then its characters."""
    sound = [len(each) for each in (item["features"], item["augmented_features"]) if each is not None]
    text = [len(each) for each in (item["text"], item["augmented_text"]) if each is not None]
    return max(sound, default=0), max(text, default=0)
