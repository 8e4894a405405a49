"""The fusion network against the paper's equations written out head by head, token by token."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from tiny import SIZE, TEXT_SIZE, model_config, tiny_model
from torch import Tensor

from mmer.errors import RecipeError
from mmer.model import MMERForEmotionRecognition
from mmer.model.configuration import Part
from mmer.model.fusion import CrossModalEncoder, MultimodalDynamicFusion
from mmer.model.pooling import Pooling
from mmer.recipe.schema import load_recipe

DOUBLE = torch.float64


def slow_layer(layer: CrossModalEncoder, queries: Tensor, keys: Tensor) -> Tensor:
    """One cross-modal encoder on one utterance without padding: (query positions, d) and (key positions, d)."""
    size = queries.shape[1] // layer.num_heads
    q, k, v = layer.query(queries), layer.key(keys), layer.value(keys)
    heads = []
    for h in range(layer.num_heads):
        part = slice(h * size, (h + 1) * size)
        weights = (q[:, part] @ k[:, part].T / size**0.5).softmax(dim=1)
        heads.append(weights @ v[:, part])
    hidden = layer.attention_norm(queries + layer.attention_output(torch.cat(heads, dim=1)))
    return layer.output_norm(hidden + layer.output(F.gelu(layer.intermediate(hidden))))


def slow_fusion(fusion: Any, frames: Tensor, tokens: Tensor) -> Tensor:
    t = slow_layer(fusion.text_self_attention, tokens, tokens)
    p = slow_layer(fusion.block_b, fusion.speech_to_queries(frames), t)
    r = slow_layer(fusion.block_c, t, p)
    q = slow_layer(fusion.block_d, t, fusion.speech_to_keys(frames))
    gate = 1 / (1 + torch.exp(-fusion.gate(torch.cat([r, q], dim=1))))
    m = torch.cat([r, gate * q], dim=1)
    return torch.cat([frames.max(dim=0).values, fusion.down_projection(m.max(dim=0).values)])


def mask(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_fusion_is_the_papers_network_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    fusion = MultimodalDynamicFusion(model_config()).to(DOUBLE).eval()
    for parameter in fusion.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    frame_counts, token_counts = [7, 4, 1], [2, 5, 3]
    frames = torch.randn(3, 7, SIZE, dtype=DOUBLE)
    tokens = torch.randn(3, 5, TEXT_SIZE, dtype=DOUBLE)
    fused = fusion(frames, mask(frame_counts), tokens, mask(token_counts))
    slow = torch.stack(
        [slow_fusion(fusion, frames[i, : frame_counts[i]], tokens[i, : token_counts[i]]) for i in range(3)]
    )
    torch.testing.assert_close(fused, slow)
    parameters = list(fusion.parameters())
    upstream = torch.randn_like(fused)
    for ours, theirs in zip(
        torch.autograd.grad(fused, parameters, upstream),
        torch.autograd.grad(slow, parameters, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_training_drops_what_is_added_to_the_queries() -> None:
    layer = CrossModalEncoder(model_config(dropout=1.0, layer_norm_eps=0.5)).train()
    queries, keys = torch.randn(2, 3, TEXT_SIZE), torch.randn(2, 5, TEXT_SIZE)
    hidden = F.layer_norm(queries, (TEXT_SIZE,), eps=0.5)
    expected = F.layer_norm(hidden, (TEXT_SIZE,), eps=0.5)
    torch.testing.assert_close(layer(queries, keys, torch.ones(2, 5, dtype=torch.bool)), expected)


def test_training_drops_attention_and_tokens() -> None:
    torch.manual_seed(0)
    config = model_config(dropout=0.5, ablate=["text_self_attention"])
    tokens, one = torch.randn(4, 50, TEXT_SIZE), torch.ones(4, 1, dtype=torch.bool)
    every = torch.ones(4, 50, dtype=torch.bool)
    fusion, layer = MultimodalDynamicFusion(config), CrossModalEncoder(config)
    attended: list[Tensor] = []
    layer.attention_output.register_forward_pre_hook(lambda _, inputs: attended.append(inputs[0]))
    key = torch.randn(4, 1, TEXT_SIZE)
    for module in (fusion, layer):
        module.eval()
    layer(tokens, key, one)
    assert torch.equal(fusion.attended(tokens, every), tokens)
    for module in (fusion, layer):
        module.train()
    layer(tokens, key, one)
    # Of a single key, a head keeps its value, doubled, or nothing.
    whole, dropped = (each.unflatten(-1, (layer.num_heads, -1)) for each in attended)
    kept = dropped.any(dim=-1)
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(dropped, 2 * whole * kept[..., None])
    dropped = fusion.attended(tokens, every)
    kept = dropped != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(dropped, 2 * tokens * kept)


def test_the_maximum_ignores_padding_even_where_all_valid_values_are_negative() -> None:
    sequence = torch.tensor([[[-3.0, -1.0], [-2.0, -5.0], [9.0, 9.0]]])
    assert Pooling("max", 2)(sequence, torch.tensor([[True, True, False]])).tolist() == [[-2.0, -1.0]]


def slow_fusion_without(fusion: Any, part: str, frames: Tensor, tokens: Tensor) -> Tensor:
    """The equations of one utterance with one part taken out, each case written down."""
    t = tokens
    if part != "text_self_attention":
        t = slow_layer(fusion.text_self_attention, tokens, tokens)
    if part == "block_c":
        r = t
    else:
        p = fusion.speech_to_queries(frames)
        r = slow_layer(fusion.block_c, t, p if part == "block_b" else slow_layer(fusion.block_b, p, t))
    m = r
    if part != "block_d":
        q = slow_layer(fusion.block_d, t, fusion.speech_to_keys(frames))
        gate = 1 if part == "gate" else 1 / (1 + torch.exp(-fusion.gate(torch.cat([r, q], dim=1))))
        m = torch.cat([r, gate * q], dim=1)
    return torch.cat([frames.max(dim=0).values, fusion.down_projection(m.max(dim=0).values)])


@pytest.mark.parametrize("part", get_args(Part))
def test_each_part_can_be_left_out_and_no_weight_is_left_unused(part: Part) -> None:
    torch.manual_seed(0)
    fusion = MultimodalDynamicFusion(model_config(ablate=[part])).to(DOUBLE).eval()
    for parameter in fusion.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    frames = torch.randn(2, 7, SIZE, dtype=DOUBLE)
    tokens = torch.randn(2, 5, TEXT_SIZE, dtype=DOUBLE)
    fused = fusion(frames, mask([7, 4]), tokens, mask([2, 5]))
    slow = [
        slow_fusion_without(fusion, part, frames[i, :j], tokens[i, :k]) for i, j, k in ((0, 7, 2), (1, 4, 5))
    ]
    torch.testing.assert_close(fused, torch.stack(slow))
    parameters = list(fusion.parameters())
    gradients = torch.autograd.grad(fused.square().sum(), parameters, allow_unused=True)
    assert all(gradient is not None for gradient in gradients)


def test_what_is_left_out_is_saved_with_the_model(tmp_path: Path) -> None:
    model = tiny_model(ablate=["block_b", "gate"])
    model.save_pretrained(tmp_path)
    loaded = MMERForEmotionRecognition.from_pretrained(tmp_path)
    assert loaded.config.ablate == ["block_b", "gate"]
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert not any("block_b" in name or "gate" in name for name in model.state_dict())


def test_parts_that_are_not_there_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="'block_x'; parts are gate, block_b"):
        model_config(ablate=["block_x"])
    with pytest.raises(ValueError, match="fusion 'naive' has no parts"):
        model_config(fusion="naive", ablate=["gate"])
    with pytest.raises(RecipeError, match="fusion is naive, which has no parts to ablate"):
        load_recipe("demo", ["model.fusion=naive", "model.ablate=[gate]"])
