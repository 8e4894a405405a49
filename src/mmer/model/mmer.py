"""MMER: multimodal multi-task learning for speech emotion recognition (Interspeech 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from mmer.model.configuration import MMERConfig
from mmer.model.encoders.speech import SpeechEncoder
from mmer.model.encoders.text import TextEncoder
from mmer.model.encoders.trainable import add_lora, merge_lora
from mmer.model.fusion import MultimodalDynamicFusion
from mmer.model.missing_modalities import Encoding, encode_given, missing_embeddings_for, nothing_like
from mmer.model.pooling import NaiveFusion, SpeechPooling, TextPooling
from mmer.objectives.ctc import IGNORED, ctc_losses
from mmer.objectives.gradient_cache import Kept
from mmer.objectives.multitask import multitask_loss

FUSIONS = {
    "mmer": MultimodalDynamicFusion,
    "naive": NaiveFusion,
    "speech": SpeechPooling,
    "text": TextPooling,
}


@dataclass
class MMEROutput(ModelOutput):
    """What the network returns; what was not asked for is null.

    Attributes:
        loss: scalar, the weighted sum of the objectives (equation 1), where `labels` were given.
        logits: (batch, emotions).
        fused_embedding: (batch, size) from which the logits are computed.
        augmented_fused_embedding: the same of the augmented view.
        ctc_logits: (batch, frames, symbols).
        frame_counts: (batch,) valid frames; the missing-modality embedding of missing sound is one.
        objectives: name -> unweighted scalar of each objective that was computed.
        infinite_ctc: scalar count of utterances whose transcript is too long for their frames.
        summary: what `multitask_loss` computed the loss from, a row for each utterance.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    fused_embedding: Tensor | None = None
    augmented_fused_embedding: Tensor | None = None
    ctc_logits: Tensor | None = None
    frame_counts: Tensor | None = None
    objectives: dict[str, Tensor] | None = None
    infinite_ctc: Tensor | None = None
    summary: dict[str, Tensor] | None = None


class ContrastiveProjection(nn.Sequential):
    """The projection in front of a contrastive objective: fused size -> d, GELU, d -> d."""

    def __init__(self, fused_size: int, size: int) -> None:
        super().__init__(nn.Linear(fused_size, size), nn.GELU(), nn.Linear(size, size))


class MMERForEmotionRecognition(PreTrainedModel):
    """Speech and text encoders, the fusion network or a baseline in its place, and the four objectives.

    `forward` is `encode_speech` and `encode_text`, then `answer`; who wants several answers about the same utterances
    calls them, and encodes once. Logits of an utterance do not depend on what else is in its batch.
    """

    config_class = MMERConfig
    config: MMERConfig
    base_model_prefix = "mmer"
    main_input_name = "input_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: MMERConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        assert size is not None
        self.speech_encoder = self.text_encoder = self.ctc_head = None
        if config.uses_speech:
            if config.speech_config is None:
                raise ValueError(f"fusion '{config.fusion}' listens, so speech_config cannot be null")
            self.speech_encoder = SpeechEncoder(
                config.speech_config,
                train=config.speech_train,
                freeze_feature_extractor=config.freeze_feature_extractor,
            )
            if config.ctc_vocab_size:
                self.ctc_head = nn.Linear(config.speech_config.hidden_size, config.ctc_vocab_size)
        if config.uses_text and config.text_config is not None:
            if config.text_config.hidden_size != size:
                raise ValueError(
                    f"hidden_size = {size}, but the text encoder has {config.text_config.hidden_size}; "
                    "leave hidden_size out"
                )
            self.text_encoder = TextEncoder(config.text_config, train=config.text_train)
        self.fusion = FUSIONS[config.fusion](config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.fusion.output_size, len(config.id2label or {}))
        self.contrastive_projection = ContrastiveProjection(self.fusion.output_size, size)
        self.augmented_contrastive_projection = ContrastiveProjection(self.fusion.output_size, size)
        if config.missing_modality_embeddings:
            self.missing_speech = nn.Parameter(torch.empty(config.speech_config.hidden_size))
            self.missing_text = nn.Parameter(torch.empty(size))
        self.post_init()
        if config.lora is not None:
            self.add_lora(config.lora)
        self._frozen = frozenset(name for name, weight in self.named_parameters() if not weight.requires_grad)

    @classmethod
    def from_pretrained(cls, *args: Any, **settings: Any) -> Any:
        """Load a model as `PreTrainedModel.from_pretrained` does; what does not learn stays as it is in training."""
        loaded = super().from_pretrained(*args, **settings)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for name, weight in model.named_parameters():  # transformers makes them anew
            weight.requires_grad_(name not in model._frozen)
        return loaded

    def add_lora(self, settings: Mapping[str, Any]) -> None:
        """Give the encoders whose `train` is `lora` the weights that they learn with.

        Args:
            settings: `rank`, `alpha` and `dropout`, kept in the configuration.

        Raises:
            MissingExtraError: peft is not installed.
        """
        self.config.lora = dict(settings)
        for encoder in (self.speech_encoder, self.text_encoder):
            if encoder is not None and encoder.trained == "lora":
                add_lora(encoder.model, settings)

    def merge_lora(self) -> None:
        """Make what LoRA learned part of the encoders, which are plain ones again; answers stay the same."""
        for side, encoder in (("speech", self.speech_encoder), ("text", self.text_encoder)):
            if encoder is not None and encoder.trained == "lora":
                merge_lora(encoder.model)
                encoder.trained = "frozen"
                setattr(self.config, f"{side}_train", "frozen")
        self.config.lora = None

    def _init_weights(self, module: nn.Module) -> None:
        if self.config.formulation == "official" and isinstance(module, nn.Linear):
            # As PyTorch has it: uniform between plus and minus 1 / sqrt(inputs), biases too.
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        else:
            super()._init_weights(module)
        if module is self and self.config.missing_modality_embeddings:
            init.normal_(self.missing_speech, std=self.config.initializer_range)
            init.normal_(self.missing_text, std=self.config.initializer_range)

    def forward(
        self,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        speech_attention_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        text_hidden_states: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        ctc_labels: Tensor | None = None,
        augmented_input_values: Tensor | None = None,
        augmented_input_features: Tensor | None = None,
        augmented_speech_attention_mask: Tensor | None = None,
        augmented_input_ids: Tensor | None = None,
        augmented_text_hidden_states: Tensor | None = None,
        augmented_text_attention_mask: Tensor | None = None,
        kept: Kept | None = None,
        **kwargs: Any,
    ) -> MMEROutput:
        """Recognize a batch, and compute its loss where `labels` are given.

        A model with `MMERConfig.missing_modality_embeddings` takes a row whose mask is zero everywhere for missing,
        and all rows where that side is not given at all.

        Args:
            input_values: (batch, samples) waveforms for encoders of raw sound, zero where padded.
            input_features: (batch, frames, bins) log-mel features for w2v-BERT encoders.
            speech_attention_mask: (batch, samples or frames), 1 where valid; all valid if null.
            input_ids: (batch, tokens).
            text_hidden_states: (batch, tokens, d), text features from outside in place of `input_ids`.
            text_attention_mask: (batch, tokens), 1 where valid; all valid if null.
            labels: (batch,) integer emotions.
            ctc_labels: (batch, characters), padded with -100; a row without characters has no transcript. That of a
                row without sound is not read.
            augmented_input_values ... augmented_text_attention_mask: the second view of the same utterances,
                which takes part in the augmented contrastive objective alone.
            kept: keeps, or gives back, what encoders compute that does not learn; see `objectives.gradient_cache`.

        Returns:
            `MMEROutput`.

        Raises:
            ValueError: the modality that the network needs is not given, and it has no missing-modality embeddings.
        """
        speech = _with_mask(input_values, input_features, speech_attention_mask)
        text = _with_mask(input_ids, text_hidden_states, text_attention_mask)
        augmented_speech = _with_mask(
            augmented_input_values, augmented_input_features, augmented_speech_attention_mask
        )
        augmented_text = _with_mask(
            augmented_input_ids, augmented_text_hidden_states, augmented_text_attention_mask
        )
        has_second_view = augmented_speech is not None or augmented_text is not None
        if has_second_view:  # as one batch: each weight is multiplied, and its gradient summed, once
            if text and augmented_text and text[0].ndim != augmented_text[0].ndim:
                text, augmented_text = (self.hidden_states_of(*each, kept) for each in (text, augmented_text))
            speech = self._both(speech, augmented_speech)
            text = self._both(text, augmented_text)
        heard, read = self._complete(*self._encode(speech, text, kept))
        fused, logits = self.answer(heard, read)
        augmented_fused = None
        if has_second_view:
            fused, augmented_fused = fused.chunk(2)
            logits = logits.chunk(2)[0]
            heard = heard and Encoding(*(part.chunk(2)[0] for part in heard))

        ctc_logits = None
        if self.ctc_head is not None and heard is not None and self.config.ctc_weight:
            ctc_logits = self.ctc_head(self.dropout(heard.hidden))
            if ctc_labels is not None:
                ctc_labels = ctc_labels.masked_fill(~heard.given[:, None], IGNORED)

        output = MMEROutput(
            logits=logits,
            fused_embedding=fused,
            augmented_fused_embedding=augmented_fused,
            ctc_logits=ctc_logits,
            frame_counts=None if heard is None else heard.mask.sum(dim=1),
        )
        if labels is not None:
            output.summary = self._summary(output, labels, ctc_labels)
            output.loss, output.objectives, output.infinite_ctc = multitask_loss(self.config, output.summary)
        return output

    def encode(
        self,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        speech_attention_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        text_hidden_states: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Encoding | None, Encoding | None]:
        """Both sides of a batch, for `answer`; takes what `forward` takes, and leaves the second view alone.

        Returns:
            Of `encode_speech` and `encode_text`; None where a side is not given, or not used by this network.
        """
        speech = _with_mask(input_values, input_features, speech_attention_mask)
        return self._encode(speech, _with_mask(input_ids, text_hidden_states, text_attention_mask))

    def _encode(
        self,
        speech: tuple[Tensor, Tensor] | None,
        text: tuple[Tensor, Tensor] | None,
        kept: Kept | None = None,
    ) -> tuple[Encoding | None, Encoding | None]:
        heard = self.encode_speech(*speech, kept) if speech and self.config.uses_speech else None
        return heard, self.encode_text(*text, kept) if text and self.config.uses_text else None

    def encode_speech(self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None) -> Encoding:
        """Frames of the sound.

        Args:
            inputs: (batch, samples) waveforms or (batch, frames, bins) log-mel features, zero where padded.
            attention_mask: (batch, samples or frames), 1 where valid.
            kept: see `forward`.

        Returns:
            (batch, frames, speech size).
        """
        assert self.speech_encoder is not None
        missing_embedding = self.missing_speech if self.config.missing_modality_embeddings else None
        return encode_given(
            partial(self.speech_encoder, kept=kept), inputs, attention_mask, missing_embedding
        )

    def encode_text(self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None) -> Encoding:
        """Tokens of the text.

        Args:
            inputs: (batch, tokens) token numbers, or (batch, tokens, d) text features from outside.
            attention_mask: (batch, tokens), 1 where valid.
            kept: see `forward`.

        Returns:
            (batch, tokens, d).

        Raises:
            ValueError: token numbers for a model without text encoder.
        """
        missing_embedding = self.missing_text if self.config.missing_modality_embeddings else None
        return encode_given(
            partial(self.hidden_states_of, kept=kept), inputs, attention_mask, missing_embedding
        )

    def answer(self, speech: Encoding | None, text: Encoding | None) -> tuple[Tensor, Tensor]:
        """Fuse what was encoded.

        Args:
            speech: of `encode_speech`; None where there is none; a network that listens then needs missing-modality
                embeddings.
            text: of `encode_text`; None likewise.

        Returns:
            The fused embedding (batch, size) and the logits (batch, emotions).

        Raises:
            ValueError: the modality that the network needs is not given, and it has no missing-modality embeddings.
        """
        speech, text = self._complete(speech, text)
        frames, frame_mask, _ = speech or (None, None, None)
        tokens, token_mask, _ = text or (None, None, None)
        fused = self.fusion(frames, frame_mask, tokens, token_mask)
        return fused, self.classifier(fused)

    def _complete(
        self, speech: Encoding | None, text: Encoding | None
    ) -> tuple[Encoding | None, Encoding | None]:
        """Both sides that the network uses, missing-modality embeddings in place of one that is not given."""
        if self.config.missing_modality_embeddings and (speech is None) != (text is None):
            if speech is None and text is not None:
                speech = missing_embeddings_for(self.missing_speech, text.given)
            elif speech is not None:
                text = missing_embeddings_for(self.missing_text, speech.given)
        if self.config.uses_speech and speech is None:
            raise ValueError(
                f"fusion '{self.config.fusion}' needs sound: give input_values or input_features"
            )
        if self.config.uses_text and text is None:
            raise ValueError(
                f"fusion '{self.config.fusion}' needs text: give input_ids or text_hidden_states"
            )
        return speech, text

    def hidden_states_of(
        self, tokens: Tensor, mask: Tensor, kept: Kept | None = None
    ) -> tuple[Tensor, Tensor]:
        """Hidden states (batch, tokens, d) in place of token numbers."""
        if tokens.is_floating_point():
            return tokens, mask
        if self.text_encoder is None:
            raise ValueError("this model has no text encoder: give text_hidden_states instead of input_ids")
        return self.text_encoder(tokens, mask, kept), mask

    def _both(
        self, first: tuple[Tensor, Tensor] | None, second: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor] | None:
        """Join two views into one batch, padded to the longer; None where one is None and no embedding replaces it."""
        if self.config.missing_modality_embeddings:
            first, second = first or nothing_like(second), second or nothing_like(first)
        if first is None or second is None:
            return None
        longest = max(first[0].shape[1], second[0].shape[1])
        views = [
            [F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, longest - tensor.shape[1])) for tensor in view]
            for view in (first, second)
        ]
        inputs, mask = (torch.cat(pair) for pair in zip(*views, strict=True))
        return inputs, mask

    def _summary(self, output: MMEROutput, labels: Tensor, ctc_labels: Tensor | None) -> dict[str, Tensor]:
        """What the objectives need to know of the batch, as `multitask_loss` wants it."""
        assert output.logits is not None
        assert output.fused_embedding is not None
        summary = {"logits": output.logits, "labels": labels}
        if output.ctc_logits is not None and output.frame_counts is not None and ctc_labels is not None:
            losses, present, infinite = ctc_losses(output.ctc_logits, output.frame_counts, ctc_labels)
            summary |= {"ctc_losses": losses, "ctc_present": present, "ctc_infinite": infinite}
        augmented = output.augmented_fused_embedding if self.config.augmented_contrastive_weight else None
        if augmented is not None or self.config.supervised_contrastive_weight:
            summary["embeddings"] = self.contrastive_projection(output.fused_embedding)
        if augmented is not None:
            summary["augmented_embeddings"] = self.augmented_contrastive_projection(augmented)
        return summary


def _with_mask(
    inputs: Tensor | None, instead: Tensor | None, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """The one of two kinds of inputs that is given, and its mask, all valid if there is none."""
    inputs = inputs if inputs is not None else instead
    if inputs is None:
        return None
    if attention_mask is None:
        attention_mask = torch.ones(inputs.shape[:2], dtype=torch.int64, device=inputs.device)
    return inputs, attention_mask
