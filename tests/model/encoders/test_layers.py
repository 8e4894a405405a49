"""Hidden states of encoders: the last, or a learned mixture of several, as transformers computes them."""

from typing import Any

import pytest
import torch
from tiny import (
    SIZE,
    SPEECH_ENCODERS,
    TEXT_SIZE,
    row,
    speech_config,
    speech_inputs,
    text_config,
    text_inputs,
    tiny_model,
)
from torch import Tensor

from mmer.errors import EncoderError
from mmer.model.encoders.layers import LayerWeights
from mmer.model.encoders.speech import SpeechEncoder, new_speech_encoder
from mmer.model.encoders.text import TextEncoder
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.objectives.gradient_cache import Kept, split_batch

LENGTHS = [4800, 16_000, 7999]
TOKENS = [2, 20, 9]


def mixing(encoder: str = "wav2vec2-group", **settings: Any) -> MMERForEmotionRecognition:
    """A model whose layer weights differ."""
    layers: dict[str, Any] = {"speech_layers": "weighted", "text_layers": "weighted"}
    model = tiny_model(encoder, **(layers | settings))
    with torch.no_grad():
        for side in (model.speech_encoder, model.text_encoder):
            if side is not None and side.layer_weights is not None:
                side.layer_weights.logits.copy_(torch.arange(len(side.layer_weights.layers)) - 0.5)
    return model


def heard(model: MMERForEmotionRecognition, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    assert model.speech_encoder is not None
    inputs = batch.get("input_values", batch.get("input_features"))
    assert inputs is not None
    with torch.no_grad():
        return model.speech_encoder(inputs, batch["speech_attention_mask"])


@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_the_mixed_frames_are_those_of_a_loop_over_the_layers(encoder: str) -> None:
    """One clip without padding, whose layers are run one by one with the model's own hooks."""
    model = mixing(encoder)
    assert model.speech_encoder is not None
    batch = speech_inputs(model, [16_000])
    layers = model.speech_encoder.model.encoder.layers
    inputs: list[Tensor] = []
    for layer in layers:
        layer.register_forward_pre_hook(lambda _layer, given: inputs.append(given[0]))
    mixed, _ = heard(model, batch)
    last, _ = heard(tiny_model(encoder), batch)
    extra = getattr(model.config.speech_config, "num_extra_tokens", 0)
    states = [state[:, extra:] for state in inputs] + [last]
    weights = (torch.arange(3) - 0.5).softmax(dim=0)
    assert len(states) == 3
    torch.testing.assert_close(mixed, sum(w * s for w, s in zip(weights, states, strict=True)))
    assert (mixed - last).abs().max() > 0.1


def test_the_mixed_tokens_are_those_that_transformers_gives() -> None:
    model, batch = mixing(), text_inputs([9])
    assert model.text_encoder is not None
    with torch.no_grad():
        output = model.text_encoder.model(
            batch["input_ids"], attention_mask=batch["text_attention_mask"], output_hidden_states=True
        )
        mixed = model.text_encoder(*batch.values())
    weights = (torch.arange(3) - 0.5).softmax(dim=0)
    expected = sum(weight * state for weight, state in zip(weights, output.hidden_states, strict=True))
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_an_utterance_has_one_answer_in_any_batch_and_from_its_hidden_states(encoder: str) -> None:
    model = mixing(encoder)
    assert model.speech_encoder is not None
    assert model.text_encoder is not None
    batch = speech_inputs(model, LENGTHS) | text_inputs(TOKENS)
    with torch.no_grad():
        together = model(**batch).logits
        sound, frames = model.speech_encoder.hidden_states(
            next(iter(batch.values())), batch["speech_attention_mask"]
        )
        words = model.text_encoder.hidden_states(batch["input_ids"], batch["text_attention_mask"])
        stored = model(
            speech_hidden_states=torch.stack(list(sound), dim=2),
            speech_attention_mask=frames.long(),
            text_hidden_states=torch.stack(list(words), dim=2),
            text_attention_mask=batch["text_attention_mask"],
        ).logits
        torch.testing.assert_close(stored, together, atol=1e-5, rtol=1e-5)
        for i in range(len(LENGTHS)):
            alone = model(**row(batch, i)).logits[0]
            torch.testing.assert_close(alone, together[i], atol=1e-4, rtol=0)


def test_stored_states_are_mixed_as_a_loop_mixes_them() -> None:
    mix, states = LayerWeights([0, 1, 2]), torch.randn(2, 5, 3, 4)
    with torch.no_grad():
        mix.logits.copy_(torch.tensor([0.3, -1.0, 0.5]))
    upstream, found = torch.randn(2, 5, 4), []
    for given in (states, states.unbind(dim=2)):
        mixed = mix(given)
        found.append((mixed, torch.autograd.grad((mixed * upstream).sum(), mix.logits)[0]))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("settings", [{}, {"speech_train": "last:1"}, {"speech_layers": [1]}])
def test_two_stored_views_of_other_lengths_have_the_logits_of_two_heard_ones(
    settings: dict[str, Any],
) -> None:
    model = mixing(**settings).eval()
    assert model.speech_encoder is not None
    views, labels = [], torch.tensor([0, 1, 2])
    for lengths in (LENGTHS, [9000, 4000, 5500]):
        heard = speech_inputs(model, lengths)
        states, mask = model.speech_encoder.frozen_states(
            heard["input_values"], heard["speech_attention_mask"]
        )
        padded, counts = torch.stack(list(states), dim=2), mask.sum(dim=1).tolist()
        apart = [rows[:count] for rows, count in zip(padded, counts, strict=True)]
        stored = [
            {"speech_hidden_states": each, "speech_attention_mask": mask.long()} for each in (padded, apart)
        ]
        views.append((heard, *stored))
    text = text_inputs(TOKENS)
    outputs = []
    for kind in (0, 1, 2):
        second = {f"augmented_{name}": tensor for name, tensor in (views[1][kind] | text).items()}
        batch = views[0][kind] | text | second | {"labels": labels}
        outputs.append(model(**batch))
        parts = [model(**part) for part in split_batch(batch, 2)]
        logits = torch.cat([part.logits for part in parts])
        torch.testing.assert_close(logits, outputs[0].logits, atol=1e-5, rtol=1e-5)
    for name in ("logits", "fused_embedding", "augmented_fused_embedding", "loss"):
        for output in outputs[1:]:
            torch.testing.assert_close(outputs[0][name], output[name], atol=1e-5, rtol=1e-5)


def test_a_list_mixes_those_layers_alone() -> None:
    model = mixing(speech_layers=[2], text_layers=[0, 1])
    assert model.speech_encoder is not None
    assert model.text_encoder is not None
    batch = speech_inputs(model, LENGTHS)
    torch.testing.assert_close(heard(model, batch)[0], heard(tiny_model(), batch)[0])
    assert model.text_encoder.layer_weights is not None
    assert list(model.text_encoder.layer_weights.shares()) == [0, 1]
    assert sum(model.text_encoder.layer_weights.shares().values()) == pytest.approx(1)


@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_layers_above_the_last_that_is_read_do_not_run(encoder: str) -> None:
    whole, cut = mixing(encoder), tiny_model(encoder, speech_layers=[1, 0])
    assert whole.speech_encoder is not None
    assert cut.speech_encoder is not None
    inputs, mask = speech_inputs(whole, LENGTHS).values()
    runs: list[int] = []
    for number, layer in enumerate(cut.speech_encoder.model.encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: runs.append(number))
    with torch.no_grad():
        states, _ = whole.speech_encoder.hidden_states(inputs, mask)
        read, _ = cut.speech_encoder.hidden_states(inputs, mask)
    assert runs == [0]
    assert torch.equal(read[0], states[1])
    assert torch.equal(read[1], states[0])


def test_an_encoder_whose_upper_layers_are_not_read_can_be_exported() -> None:
    model = tiny_model(speech_layers=[1, 0])
    assert model.speech_encoder is not None
    inputs = tuple(speech_inputs(model, LENGTHS).values())
    exported = torch.export.export(model.speech_encoder, inputs, strict=False).module()
    torch.testing.assert_close(exported(*inputs)[0], model.speech_encoder(*inputs)[0])


def test_layers_that_the_encoder_does_not_have_are_refused() -> None:
    with pytest.raises(
        EncoderError, match=r"speech\.layers names 3, but the encoder has 2 layers; choose from 0"
    ):
        SpeechEncoder(
            new_speech_encoder(speech_config("hubert-layer")),
            train="frozen",
            freeze_feature_extractor=True,
            layers=[1, 3],
        )
    with pytest.raises(EncoderError, match=r"text\.layers names 9"):
        TextEncoder(text_config(), train="full", layers=[9])


@pytest.mark.parametrize("train", ["full", "frozen"])
def test_weights_learn_beside_frozen_and_trained_encoders(train: str) -> None:
    model = mixing(speech_train=train, text_train=train).train()
    batch = speech_inputs(model, LENGTHS) | text_inputs(TOKENS)
    model(**batch, labels=torch.tensor([0, 1, 2])).loss.backward()
    for encoder in (model.speech_encoder, model.text_encoder):
        assert encoder is not None
        assert encoder.layer_weights is not None
        assert encoder.layer_weights.logits.grad is not None
        assert encoder.layer_weights.logits.grad.abs().max() > 0
        trained = [weight for weight in encoder.model.parameters() if weight.grad is not None]
        assert bool(trained) == (train == "full")


def test_a_layer_that_layerdrop_skips_hands_on_what_it_reads() -> None:
    model = tiny_model(speech_config=speech_config("wav2vec2-group", layerdrop=1.0), speech_layers="weighted")
    assert model.speech_encoder is not None
    model.train()
    model.dropout.eval()
    model.speech_encoder.model.encoder.dropout.eval()
    batch = speech_inputs(model, [16_000])
    waveforms, mask = batch.values()
    states, _ = model.speech_encoder.hidden_states(waveforms, mask)
    assert len(states) == 3
    assert all(torch.equal(state, states[0]) for state in states)


def test_the_second_pass_of_the_gradient_cache_mixes_again_without_the_frozen_encoders() -> None:
    model = mixing(speech_train="frozen", text_train="frozen")
    assert model.speech_encoder is not None
    calls: list[int] = []
    model.speech_encoder.model.encoder.register_forward_hook(lambda *_: calls.append(1))
    (part,) = split_batch(
        speech_inputs(model, LENGTHS) | text_inputs(TOKENS) | {"labels": torch.tensor([0, 1, 2])}, 3
    )
    kept = Kept()
    first = model(**part, kept=kept)
    kept.again()
    second = model(**part, kept=kept)
    assert calls == [1]
    torch.testing.assert_close(first.loss, second.loss)
    second.loss.backward()
    assert model.speech_encoder.layer_weights is not None
    assert model.speech_encoder.layer_weights.logits.grad is not None


def test_sizes_are_those_of_the_encoders() -> None:
    model = mixing()
    batch = speech_inputs(model, LENGTHS) | text_inputs(TOKENS)
    with torch.no_grad():
        speech, text = model.encode(**batch)
    assert speech is not None
    assert text is not None
    assert (speech.hidden.shape[-1], text.hidden.shape[-1]) == (SIZE, TEXT_SIZE)
