"""One utterance, one answer: what else is in the batch does not change it."""

import pytest
import torch
from tiny import SPEECH_ENCODERS, row, speech_inputs, text_inputs, tiny_model
from torch import nn

from mmer.model.encoders.convolutions import convolution_frames, receptive_field

LENGTHS = [4800, 48_000, 16_123, 4801, 7999]
TOKENS = [2, 20, 9, 3, 5]


@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_an_utterance_alone_and_beside_clips_ten_times_longer(encoder: str) -> None:
    model = tiny_model(encoder)
    batch = speech_inputs(model, LENGTHS) | text_inputs(TOKENS)
    with torch.no_grad():
        together = model(**batch)
        for i in range(len(LENGTHS)):
            alone = model(**row(batch, i))
            assert (together.logits[i] - alone.logits[0]).abs().max() <= 1e-4
            frames = int(alone.frame_counts[0])
            assert together.frame_counts[i] == frames
            torch.testing.assert_close(
                together.ctc_logits[i, :frames], alone.ctc_logits[0], atol=1e-4, rtol=0
            )


@pytest.mark.parametrize("encoder", ["wav2vec2-group", "data2vec-audio"])
def test_without_the_mask_these_encoders_do_leak(encoder: str) -> None:
    """The measure can see a leak: the same inputs without masks are far apart."""
    model = tiny_model(encoder)
    batch = speech_inputs(model, LENGTHS) | text_inputs(TOKENS)
    unmasked = {name: tensor for name, tensor in batch.items() if name != "speech_attention_mask"}
    with torch.no_grad():
        difference = (model(**unmasked).logits[0] - model(**row(batch, 0)).logits[0]).abs().max()
    assert difference > 1e-2


@pytest.mark.parametrize("layers", ["last", "weighted"])
@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_clips_shorter_than_a_masked_span_are_not_masked(encoder: str, layers: str) -> None:
    model = tiny_model(encoder, speech_layers=layers)
    assert model.speech_encoder is not None
    for module in model.speech_encoder.modules():
        for name in ("dropout", "dropout_p", "p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    inputs = speech_inputs(model, [1600, 1200])  # of 50 or 100 frames a second, and a span has 10
    with torch.no_grad():
        seen = model.encode(**inputs)[0]
        model.speech_encoder.model.config.apply_spec_augment = True
        learned = model.train().encode(**inputs)[0]
    assert seen is not None
    assert learned is not None
    assert torch.equal(learned.mask, seen.mask)
    torch.testing.assert_close(learned.hidden[seen.mask], seen.hidden[seen.mask], atol=1e-5, rtol=1e-4)


def test_the_first_convolution_normalizes_each_clip_alone() -> None:
    """Values and gradients are those of the convolution and GroupNorm of PyTorch, of a clip without its padding."""
    model = tiny_model("wav2vec2-group")
    assert model.speech_encoder is not None
    layer = model.speech_encoder.model.feature_extractor.conv_layers[0].requires_grad_()
    conv, norm = layer.conv, layer.layer_norm
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.uniform_(-1, 1)
    conv.weight.data[0] = torch.tensor([1.0, -2.0, 1.0]).repeat(4)[: conv.weight.shape[-1]] * 1e-3
    samples = torch.tensor([400, 4000])
    time = torch.arange(4000)
    waveforms = torch.stack([torch.sin(time / 40), 3 + torch.sin(time / 300)]) + 1e-4 * torch.randn(2, 4000)
    waveforms[0, 400:] = 0
    normalized = layer(waveforms, samples)
    weights = list(layer.parameters())
    for i, count in enumerate(samples.tolist()):
        wide = waveforms[i : i + 1, None, :count].double()
        convolved = nn.functional.conv1d(wide, conv.weight.double(), stride=conv.stride)
        scaled = nn.functional.group_norm(
            convolved, norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps
        )
        expected = layer.activation(scaled).transpose(1, 2).float()
        ours = normalized[i : i + 1, : expected.shape[1]]
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
        upstream = torch.randn_like(expected)
        found = torch.autograd.grad(ours, weights, upstream, retain_graph=True)
        wanted = torch.autograd.grad(expected, weights, upstream)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-3 * other.abs().max().item(), rtol=1e-3)


def test_the_receptive_field_of_wav2vec2_is_400_samples() -> None:
    config = tiny_model().config.speech_config
    assert receptive_field(config) == 400
    frames = convolution_frames(config, torch.tensor([399, 400, 719, 720, 16_000]))
    assert frames.tolist() == [0, 1, 1, 2, 49]
