"""MMER: multimodal multi-task learning for speech emotion recognition (Interspeech 2023).

Names follow the paper: the speech encoder gives J frames A, (batch, J, speech size), the text encoder M tokens e_t,
(batch, M, d). `mmer.model.fusion` fuses them (section 2.2); `mmer.objectives` computes the loss (equation 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from mmer.model.configuration import MMERConfig
from mmer.model.encoders.speech import FUNCTIONALS_SCALE, SpeechEncoder, new_speech_encoder
from mmer.model.encoders.text import TextEncoder
from mmer.model.encoders.trainable import add_lora, merge_lora
from mmer.model.fusion import MultimodalDynamicFusion, NaiveFusion, SpeechPooling, TextPooling
from mmer.model.missing_modalities import Encoding, encode_given, missing_embeddings_for
from mmer.model.modality_input import ModalityInput, all_missing, concatenated, modality_input
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
    """The results of `MMERForEmotionRecognition.forward`; what was not computed is None.

    Attributes:
        loss: scalar L, the weighted sum of the objectives (equation 1); needs `labels`.
        logits: (batch, emotions).
        fused_embedding: (batch, speech size + d), or of a baseline's size; the logits are computed from it, and from
            the functionals where these have a classifier.
        augmented_fused_embedding: (batch, speech size + d) of the augmented view.
        ctc_logits: (batch, frames, symbols), computed from A.
        frame_counts: (batch,) valid frames; the learned embedding of missing speech is one frame.
        objectives: unweighted scalar of each computed objective, by name.
        infinite_ctc: scalar count of utterances whose transcript is too long for their frames.
        summary: inputs of `multitask_loss`, each with one row per utterance.
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
    """Projects fused embeddings for a contrastive objective (section 2.3): fused size -> d, GELU, d -> d."""

    def __init__(self, fused_size: int, size: int) -> None:
        super().__init__(nn.Linear(fused_size, size), nn.GELU(), nn.Linear(size, size))


class MMERForEmotionRecognition(PreTrainedModel):
    """Speech and text encoders, the fusion network or one of the paper's baselines, and the four objectives.

    `forward` calls `encode_speech` and `encode_text`, then `answer`. Call these to answer the same utterances several
    times, for example from one modality alone. Logits do not depend on the other utterances of a batch.
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
                raise ValueError(f"fusion '{config.fusion}' listens, so it needs a speech_config")
            self.speech_encoder = SpeechEncoder(
                new_speech_encoder(config.speech_config),
                train=config.speech_train,
                freeze_feature_extractor=config.freeze_feature_extractor,
                layers=config.speech_layers,
                functionals=config.speech_functionals,
            )
            if config.ctc_vocab_size:
                self.ctc_head = nn.Linear(config.speech_size, config.ctc_vocab_size)
        if config.uses_text and config.text_config is not None:
            if config.text_config.hidden_size != size:
                raise ValueError(
                    f"hidden_size = {size}, but the text encoder has {config.text_config.hidden_size}; "
                    "leave hidden_size out"
                )
            self.text_encoder = TextEncoder(
                config.text_config, train=config.text_train, layers=config.text_layers
            )
        self.fusion = FUSIONS[config.fusion](config)
        self.dropout = nn.Dropout(config.dropout)
        emotions = len(config.id2label or {})
        self.classifier = nn.Linear(self.fusion.output_size, emotions)
        # The linear classifiers are fitted by mmer.training.linear.linear_classifiers, not by gradients.
        self.functionals_classifier = self.words_classifier = None
        if config.functionals_share:
            self.functionals_classifier = nn.Linear(config.speech_functionals, emotions).requires_grad_(False)
            if config.classifies_words and config.text_config is not None:
                vocabulary = config.text_config.vocab_size
                self.words_classifier = nn.Linear(vocabulary, emotions, bias=False).requires_grad_(False)
        self.contrastive_projection = ContrastiveProjection(self.fusion.output_size, size)
        self.augmented_contrastive_projection = ContrastiveProjection(self.fusion.output_size, size)
        if config.missing_modality_embeddings:
            self.missing_speech = nn.Parameter(torch.empty(config.speech_size))
            self.missing_text = nn.Parameter(torch.empty(size))
        self.post_init()
        for linear in (self.functionals_classifier, self.words_classifier):
            for weight in () if linear is None else linear.parameters():
                nn.init.zeros_(weight)
        if config.lora is not None:
            self.add_lora(config.lora)
        self._frozen = frozenset(name for name, weight in self.named_parameters() if not weight.requires_grad)

    @classmethod
    def from_pretrained(cls, *args: Any, **settings: Any) -> Any:
        """Load a model as `PreTrainedModel.from_pretrained` does; weights frozen by the configuration stay frozen."""
        loaded = super().from_pretrained(*args, **settings)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for name, weight in model.named_parameters():  # transformers made new ones, all of which learn
            weight.requires_grad_(name not in model._frozen)
        return loaded

    def add_lora(self, settings: Mapping[str, Any]) -> None:
        """Add low-rank weights to the encoders whose `train` is `lora`.

        Args:
            settings: `rank`, `alpha` and `dropout`; stored in the configuration.

        Raises:
            MissingExtraError: peft is not installed.
        """
        self.config.lora = dict(settings)
        for encoder in (self.speech_encoder, self.text_encoder):
            if encoder is not None and encoder.trained == "lora":
                add_lora(encoder.model, settings)

    def merge_lora(self) -> None:
        """Add the low-rank weights to the encoders' own weights and remove them; answers stay the same."""
        for side, encoder in (("speech", self.speech_encoder), ("text", self.text_encoder)):
            if encoder is not None and encoder.trained == "lora":
                merge_lora(encoder.model)
                encoder.trained = "frozen"
                setattr(self.config, f"{side}_train", "frozen")
        self.config.lora = None

    def layer_weights(self) -> dict[str, dict[str, float]]:
        """Return the learned weights of hidden states, which add up to 1 for each encoder that mixes its own.

        Returns:
            `speech` and `text` -> number of a hidden state, as text -> weight.
        """
        sides = {"speech": self.speech_encoder, "text": self.text_encoder}
        return {
            side: {str(number): share for number, share in encoder.layer_weights.shares().items()}
            for side, encoder in sides.items()
            if encoder is not None and encoder.layer_weights is not None
        }

    def _init_weights(self, module: nn.Module) -> None:
        if self.config.formulation == "official" and isinstance(module, nn.Linear):
            # PyTorch's default, which the published code uses: uniform within ±1 / sqrt(inputs), biases too.
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
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
        speech_hidden_states: Tensor | Sequence[Tensor] | None = None,
        speech_attention_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        text_hidden_states: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        ctc_labels: Tensor | None = None,
        augmented_input_values: Tensor | None = None,
        augmented_input_features: Tensor | None = None,
        augmented_speech_hidden_states: Tensor | Sequence[Tensor] | None = None,
        augmented_speech_attention_mask: Tensor | None = None,
        augmented_input_ids: Tensor | None = None,
        augmented_text_hidden_states: Tensor | None = None,
        augmented_text_attention_mask: Tensor | None = None,
        kept: Kept | None = None,
        **kwargs: Any,
    ) -> MMEROutput:
        """Compute the logits of a batch (section 2.2), and its loss (equation 1) if `labels` are given.

        A model with `MMERConfig.missing_modality_embeddings` treats a modality as missing in the rows whose mask is
        zero everywhere, and in all rows if it is not given at all.

        Args:
            input_values, input_features: (batch, samples) waveforms, or (batch, frames, bins) log-mel features.
            speech_hidden_states: (batch, frames, layers, size) of `SpeechEncoder.frozen_states`, in place of both, or
                (frames, layers, size) of each utterance.
            speech_attention_mask: (batch, samples or frames), 1 where valid; None if all are valid.
            input_ids: (batch, tokens) token numbers.
            text_hidden_states: (batch, tokens, d), e_t computed outside the model, in place of `input_ids`; or
                (batch, tokens, layers, d) of `TextEncoder.hidden_states`.
            text_attention_mask: (batch, tokens), 1 where valid; None if all are valid.
            labels: (batch,) integer emotions.
            ctc_labels: (batch, characters), padded with -100; rows of -100 and rows without speech are ignored.
            augmented_input_values ...: the second view, in the shapes of the first; it takes part in L_ACL alone.
            kept: stores, or returns, the outputs of frozen layers; see `objectives.gradient_cache`.

        Returns:
            `MMEROutput`, with `logits` (batch, emotions).

        Raises:
            ValueError: a modality that the network needs is not given, and the network does not accept that.
        """
        speech_input = modality_input(
            speech_attention_mask, input_values, input_features, self._mixed(speech_hidden_states)
        )
        text_input = modality_input(text_attention_mask, input_ids, text_hidden_states)
        second_speech_input = modality_input(
            augmented_speech_attention_mask,
            augmented_input_values,
            augmented_input_features,
            self._mixed(augmented_speech_hidden_states),
        )
        second_text_input = modality_input(
            augmented_text_attention_mask, augmented_input_ids, augmented_text_hidden_states
        )
        has_second_view = second_speech_input is not None or second_text_input is not None
        if has_second_view:  # as one batch: each weight is multiplied, and its gradient summed, once
            speech_input = self._join_views(speech_input, second_speech_input, kept)
            text_input = self._join_views(text_input, second_text_input, kept)

        # Section 2.2: A (batch, frames, speech size) and e_t (batch, tokens, d), then fusion and classifier.
        speech, text = self._replace_missing(*self._encode(speech_input, text_input, kept))
        fused = self._fused(speech, text)
        network_logits = self.classifier(fused)
        logits = self._joint_logits(network_logits, speech, text)
        second_fused = None
        if has_second_view:  # the second view takes part in L_ACL alone
            fused, second_fused = fused.chunk(2)
            network_logits, logits = (each.chunk(2)[0] for each in (network_logits, logits))
            speech = speech and Encoding(*(tensor.chunk(2)[0] for tensor in speech[:3]))

        # Section 2.3, L_CTC: symbols of the un-pooled frames A, (batch, frames, symbols).
        ctc_logits = None
        if self.ctc_head is not None and speech is not None and self.config.ctc_weight:
            ctc_logits = self.ctc_head(self.dropout(speech.hidden))
            if ctc_labels is not None:
                ctc_labels = ctc_labels.masked_fill(~speech.given[:, None], IGNORED)

        output = MMEROutput(
            logits=logits,
            fused_embedding=fused,
            augmented_fused_embedding=second_fused,
            ctc_logits=ctc_logits,
            frame_counts=None if speech is None else speech.mask.sum(dim=1),
        )
        if labels is not None:  # equation 1
            output.summary = self._summary(output, network_logits, labels, ctc_labels)
            output.loss, output.objectives, output.infinite_ctc = multitask_loss(self.config, output.summary)
        return output

    def encode(
        self,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        speech_hidden_states: Tensor | Sequence[Tensor] | None = None,
        speech_attention_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        text_hidden_states: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Encoding | None, Encoding | None]:
        """Encode both modalities of a batch for `answer`; takes what `forward` takes and ignores the second view.

        Returns:
            A, (batch, frames, speech size), and e_t, (batch, tokens, d); None for a modality not given or not used.
        """
        return self._encode(
            modality_input(
                speech_attention_mask, input_values, input_features, self._mixed(speech_hidden_states)
            ),
            modality_input(text_attention_mask, input_ids, text_hidden_states),
        )

    def _encode(
        self, speech: ModalityInput | None, text: ModalityInput | None, kept: Kept | None = None
    ) -> tuple[Encoding | None, Encoding | None]:
        """Encode the modalities that are given and that this network uses; speech first, as `kept` stores them."""
        frames = self.encode_speech(*speech, kept) if speech and self.config.uses_speech else None
        tokens = self.encode_text(*text, kept) if text and self.config.uses_text else None
        return frames, tokens

    def encode_speech(self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None) -> Encoding:
        """Encode speech into the frames A of section 2.2.

        Args:
            inputs: (batch, samples) waveforms, (batch, frames, bins) log-mel features or (batch, frames, layers, size)
                hidden states, zero where padded.
            attention_mask: (batch, samples or frames), 1 where valid.
            kept: see `forward`.

        Returns:
            An encoding whose `hidden` is A, (batch, frames, speech size).
        """
        assert self.speech_encoder is not None
        embedding = self.missing_speech if self.config.missing_modality_embeddings else None
        return encode_given(partial(self.speech_encoder, kept=kept), inputs, attention_mask, embedding)

    def encode_text(self, inputs: Tensor, attention_mask: Tensor, kept: Kept | None = None) -> Encoding:
        """Encode text into the token embeddings e_t of section 2.2.

        Args:
            inputs: (batch, tokens) token numbers, or (batch, tokens, d) e_t computed outside the model.
            attention_mask: (batch, tokens), 1 where valid.
            kept: see `forward`.

        Returns:
            An encoding whose `hidden` is e_t, (batch, tokens, d).

        Raises:
            ValueError: `inputs` are token numbers and the model has no text encoder.
        """
        embedding = self.missing_text if self.config.missing_modality_embeddings else None
        text = encode_given(partial(self.hidden_states_of, kept=kept), inputs, attention_mask, embedding)
        return self.with_words(text, inputs, attention_mask) if inputs.ndim == 2 else text

    def with_words(self, text: Encoding, tokens: Tensor, attention_mask: Tensor) -> Encoding:
        """Add what the linear classifier of words, if there is one, makes of token numbers, (batch, tokens)."""
        if self.words_classifier is None:
            return text
        of_tokens = nn.functional.embedding(tokens, self.words_classifier.weight.T)
        return text._replace(word_logits=(of_tokens * attention_mask[:, :, None]).sum(dim=1))

    def answer(self, speech: Encoding | None, text: Encoding | None) -> tuple[Tensor, Tensor]:
        """Fuse both modalities and classify the result (section 2.2).

        With linear classifiers, the logits are a weighted mean of the network's and theirs, for speech that is given:
        the weighted geometric mean of both answers.

        Args:
            speech: A, (batch, frames, speech size), of `encode_speech`; None if speech is missing everywhere.
            text: e_t, (batch, tokens, d), of `encode_text`; None if text is missing everywhere.

        Returns:
            The fused embedding (batch, speech size + d) and the logits (batch, emotions).

        Raises:
            ValueError: a modality that the network needs is not given, and the network does not accept that.
        """
        speech, text = self._replace_missing(speech, text)
        fused = self._fused(speech, text)
        return fused, self._joint_logits(self.classifier(fused), speech, text)

    def _fused(self, speech: Encoding | None, text: Encoding | None) -> Tensor:
        """Fuse encodings of both modalities, or of the one that the network uses."""
        frames, frame_mask = speech[:2] if speech else (None, None)
        tokens, token_mask = text[:2] if text else (None, None)
        return self.fusion(frames, frame_mask, tokens, token_mask)

    def _joint_logits(self, logits: Tensor, speech: Encoding | None, text: Encoding | None) -> Tensor:
        """Join the logits of the network, (batch, emotions), with the linear ones of functionals and words."""
        if self.functionals_classifier is None or speech is None:
            return logits
        functionals = speech.hidden[:, 0, -self.config.speech_functionals :] / FUNCTIONALS_SCALE
        linear = self.functionals_classifier(functionals)
        if text is not None and text.word_logits is not None:
            linear = linear + text.word_logits
        joint = torch.lerp(logits, linear.to(logits.dtype), self.config.functionals_share)
        return torch.where(speech.given[:, None], joint, logits)

    def _replace_missing(
        self, speech: Encoding | None, text: Encoding | None
    ) -> tuple[Encoding | None, Encoding | None]:
        """Put learned embeddings in the place of a modality that is not given, or refuse the batch."""
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
        """Run the text encoder, unless the tokens are hidden states already.

        Args:
            tokens: (batch, tokens) token numbers; (batch, tokens, layers, d) hidden states, which are mixed; or
                (batch, tokens, d) e_t, returned unchanged.
            mask: (batch, tokens), 1 where valid; returned unchanged.
            kept: see `forward`.

        Returns:
            e_t, (batch, tokens, d), and the mask.

        Raises:
            ValueError: `tokens` are not e_t, and the model has no text encoder.
        """
        if tokens.ndim == 3:
            return tokens, mask
        if self.text_encoder is None:
            raise ValueError("this model has no text encoder: give text_hidden_states instead of input_ids")
        return self.text_encoder(tokens, mask, kept), mask

    def _mixed(self, states: Tensor | Sequence[Tensor] | None) -> Tensor | None:
        """Mix stored hidden states of speech before they are padded and copied."""
        return None if states is None or self.speech_encoder is None else self.speech_encoder.mixed(states)

    def _join_views(
        self, first: ModalityInput | None, second: ModalityInput | None, kept: Kept | None
    ) -> ModalityInput | None:
        """Make one batch, (2 batch, positions, ...), of one modality of two views.

        A view without the modality gets missing rows; a network that cannot take those uses it in neither view.
        """
        if self.config.missing_modality_embeddings:
            first = first or (second and all_missing(second))
            second = second or (first and all_missing(first))
        if first is None or second is None:
            return None
        if first.values.ndim != second.values.ndim:  # token numbers in one view, hidden states in the other
            first, second = (ModalityInput(*self.hidden_states_of(*view, kept)) for view in (first, second))
        return concatenated(first, second)

    def _summary(
        self, output: MMEROutput, network_logits: Tensor, labels: Tensor, ctc_labels: Tensor | None
    ) -> dict[str, Tensor]:
        """Compute the inputs of `multitask_loss` from logits, embeddings and CTC logits, one row per utterance.

        The network learns from its own logits: from joint ones, it would learn what the functionals leave open of the
        training voices, which holds least for others.
        """
        assert output.fused_embedding is not None
        summary = {"logits": network_logits, "labels": labels}
        if output.ctc_logits is not None and output.frame_counts is not None and ctc_labels is not None:
            losses, present, infinite = ctc_losses(output.ctc_logits, output.frame_counts, ctc_labels)
            summary |= {"ctc_losses": losses, "ctc_present": present, "ctc_infinite": infinite}
        augmented = output.augmented_fused_embedding if self.config.augmented_contrastive_weight else None
        if augmented is not None or self.config.supervised_contrastive_weight:
            summary["embeddings"] = self.contrastive_projection(output.fused_embedding)
        if augmented is not None:
            summary["augmented_embeddings"] = self.augmented_contrastive_projection(augmented)
        return summary
