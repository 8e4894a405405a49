"""One utterance, one answer: what else is in the batch does not change it."""

import pytest
import torch
from tiny import SPEECH_ENCODERS, row, speech_inputs, text_inputs, tiny_model
from torch import nn

from mmer.model.encoders.padding import masked_group_norm
from mmer.model.encoders.speech import convolution_frames, receptive_field

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


def test_masked_group_norm_is_group_norm_of_each_clip_alone() -> None:
    model = tiny_model("wav2vec2-group")
    assert model.speech_encoder is not None
    norm = model.speech_encoder.model.feature_extractor.conv_layers[0].layer_norm
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.uniform_(-1, 1)
    samples = torch.tensor([400, 4000])
    counts = convolution_frames(model.config.speech_config, samples, layers=1)
    hidden = torch.randn(2, norm.num_channels, int(counts.max()), requires_grad=True)
    masked = masked_group_norm(norm, hidden, counts)
    plain = nn.GroupNorm(norm.num_groups, norm.num_channels, eps=norm.eps)
    plain.load_state_dict(norm.state_dict())
    for i, count in enumerate(counts.tolist()):
        expected = plain(hidden[i : i + 1, :, :count])
        torch.testing.assert_close(masked[i : i + 1, :, :count], expected, atol=1e-5, rtol=1e-5)
        upstream = torch.randn_like(expected)
        (ours,) = torch.autograd.grad(masked[i : i + 1, :, :count], hidden, upstream, retain_graph=True)
        (theirs,) = torch.autograd.grad(expected, hidden, upstream)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_the_receptive_field_of_wav2vec2_is_400_samples() -> None:
    config = tiny_model().config.speech_config
    assert receptive_field(config) == 400
    frames = convolution_frames(config, torch.tensor([399, 400, 719, 720, 16_000]))
    assert frames.tolist() == [0, 1, 1, 2, 49]
