"""WavLM attends as transformers has it, without a warning, and low-rank weights reach its attention."""

import warnings
from typing import Any

import pytest
import torch
from tiny import speech_config, speech_inputs, tiny_model
from transformers import AutoModel

from mmer.model.encoders.speech import SpeechEncoder, new_speech_encoder


@pytest.mark.parametrize("kind", ["wavlm-group", "wavlm-layer"])
def test_hidden_states_and_gradients_are_those_of_transformers(kind: str) -> None:
    torch.manual_seed(0)
    theirs: Any = AutoModel.from_config(speech_config(kind)).eval()
    with torch.no_grad():
        theirs.encoder.layers[0].attention.rel_attn_embed.weight.normal_(std=2.0)
    ours: Any = new_speech_encoder(speech_config(kind))
    ours.load_state_dict(theirs.state_dict())
    encoder = SpeechEncoder(ours, train="full", freeze_feature_extractor=False).eval()
    waveform = torch.randn(1, 9000)
    expected = theirs(waveform).last_hidden_state
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = encoder(waveform, torch.ones(1, 9000, dtype=torch.long))
    torch.testing.assert_close(found, expected)
    for output in (found, expected):
        output.square().sum().backward()
    for mine, reference in zip(ours.encoder.layers, theirs.encoder.layers, strict=True):
        for name, weight in reference.named_parameters():
            gradient = mine.get_parameter(name).grad
            assert gradient is not None
            torch.testing.assert_close(gradient, weight.grad, atol=1e-5, rtol=1e-4)


def test_padding_is_not_attended_to_and_half_precision_runs() -> None:
    model = tiny_model("wavlm-layer")
    assert model.speech_encoder is not None
    inputs, mask = speech_inputs(model, [4800, 16_000]).values()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        both, frames = model.speech_encoder(inputs, mask)
        alone, _ = model.speech_encoder(inputs[:1, :4800], mask[:1, :4800])
    torch.testing.assert_close(both[0, frames[0]].float(), alone[0].float(), atol=0.1, rtol=0.1)


def test_lora_reaches_the_attention() -> None:
    settings = {"rank": 4, "alpha": 8.0, "dropout": 0.0}
    model = tiny_model("wavlm-group", fusion="speech", speech_train="lora", lora=settings)
    inputs = speech_inputs(model, [8000, 4800])
    model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    reached = {
        name.split(".")[-4] for name, w in model.named_parameters() if "lora_B" in name and w.grad is not None
    }
    assert {"q_proj", "k_proj", "v_proj", "out_proj"} <= reached
