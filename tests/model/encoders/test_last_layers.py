"""Encoders whose last layers learn: what the frozen layers give may be stored, and changes no number."""

import pytest
import torch
from tiny import SPEECH_ENCODERS, model_config, speech_config, speech_inputs, tiny_model
from torch import Tensor

from mmer.model.encoders.speech import frozen_below
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.objectives.gradient_cache import Kept

LENGTHS = [4800, 16_000, 7999]
STORED = [name for name in SPEECH_ENCODERS if frozen_below(speech_config(name), "last:1") is not None]


def test_the_kinds_whose_frozen_layers_are_stored() -> None:
    assert {speech_config(name).model_type for name in STORED} >= {
        *("data2vec-audio", "hubert", "unispeech-sat", "wav2vec2", "wavlm"),
    }


def made(
    encoder: str, learning: int, layers: object = "last", **settings: object
) -> MMERForEmotionRecognition:
    """A model of three layers of the encoder, without dropout outside of it."""
    config = speech_config(encoder, num_hidden_layers=3, **settings)
    return tiny_model(
        speech_config=config,
        fusion="speech",
        dropout=0.0,
        speech_train=f"last:{learning}",
        speech_layers=layers,
        ctc_vocab_size=0,
    )


def stored(model: MMERForEmotionRecognition, sound: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch as the cache would give it: clips encoded alone, and padded."""
    assert model.speech_encoder is not None
    rows, masks = [], []
    for waveform, mask in zip(sound["input_values"], sound["speech_attention_mask"], strict=True):
        clip = waveform[None, : int(mask.sum())]
        with torch.no_grad():
            states, frames = model.speech_encoder.frozen_states(clip, torch.ones_like(clip, dtype=torch.long))
        rows.append(torch.stack(list(states), dim=2)[0])
        masks.append(frames[0])
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "speech_hidden_states": pad(rows, batch_first=True),
        "speech_attention_mask": pad(masks, batch_first=True).long(),
    }


@pytest.mark.parametrize("layers", ["last", "weighted", [1, 3]])
@pytest.mark.parametrize("learning", [1, 3])
@pytest.mark.parametrize("encoder", STORED)
def test_answers_and_gradients_are_those_of_the_sound(encoder: str, learning: int, layers: object) -> None:
    model = made(encoder, learning, layers)
    sound, labels = speech_inputs(model, LENGTHS), torch.tensor([0, 1, 2])
    found = []
    for given in (sound, stored(model, sound)):
        model.zero_grad()
        output = model(**given, labels=labels)
        output.loss.backward()
        gradients = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
        found.append((output.logits, gradients))
    torch.testing.assert_close(found[1][0], found[0][0], atol=2e-5, rtol=1e-4)
    assert found[0][1].keys() == found[1][1].keys()
    assert any(f"layers.{3 - learning}." in name for name in found[0][1])
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("encoder", ["wav2vec2-group", "wavlm-layer"])
def test_frozen_layers_run_without_dropout_and_the_others_with_it(encoder: str) -> None:
    model = made(encoder, 1, hidden_dropout=0.5, attention_dropout=0.5, layerdrop=0.9)
    assert model.speech_encoder is not None
    inputs, mask = speech_inputs(model, LENGTHS).values()
    model.train()
    first, again = (model.speech_encoder.frozen_states(inputs, mask)[0] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    heard = [model.speech_encoder(inputs, mask)[0] for _ in range(2)]
    assert not torch.equal(heard[0], heard[1])
    # The same random numbers change the stored states in the same way.
    torch.manual_seed(1)
    of_sound, frames = model.speech_encoder(inputs, mask)
    torch.manual_seed(1)
    states, _ = model.speech_encoder.frozen_states(inputs, mask)
    of_states, _ = model.speech_encoder(torch.stack(list(states), dim=2), frames)
    torch.testing.assert_close(of_states[frames], of_sound[frames])


def test_the_second_pass_of_the_gradient_cache_runs_the_last_layers_alone() -> None:
    model = made("wavlm-group", 1, "weighted")
    assert model.speech_encoder is not None
    runs: list[int] = []
    for number, layer in enumerate(model.speech_encoder.model.encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: runs.append(number))
    kept, (inputs, mask) = Kept(), speech_inputs(model, LENGTHS).values()
    first, frames = model.speech_encoder(inputs, mask, kept)
    kept.again()
    second, _ = model.speech_encoder(inputs, mask, kept)
    assert runs == [0, 1, 2, 2]
    assert torch.equal(second, first)
    expected, _ = model.speech_encoder(inputs, mask)
    torch.testing.assert_close(first[frames], expected[frames])


@pytest.mark.parametrize(
    ("encoder", "settings"),
    [("wav2vec2-bert", {}), ("emotion2vec", {}), ("wavlm-group", {"apply_spec_augment": True})],
)
def test_what_cannot_be_stored_is_computed(encoder: str, settings: dict[str, bool]) -> None:
    config = model_config(speech_config=speech_config(encoder, **settings), speech_train="last:1")
    model = MMERForEmotionRecognition(config)
    assert model.speech_encoder is not None
    assert not model.speech_encoder.is_stored
    model(**speech_inputs(model, LENGTHS), input_ids=torch.tensor([[5, 6]] * 3))
