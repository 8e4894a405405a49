"""Folders in the form of emotion2vec's releases, with weights and recordings that follow a rule.

`tools/record_emotion2vec.py` fills FunASR's network with them, and the tests ours. Nothing is drawn at random, so that
both get the same numbers with any version of NumPy and PyTorch.
"""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

AUDIO = "d2v_model.modality_encoders.AUDIO"
TOKENS = ("生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral", "其他/other", "难过/sad",
          "吃惊/surprised", "<unk>")  # fmt: skip
LABELS = ["angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "<unk>"]
LENGTHS = (16_000, 400, 7123, 11_000)
"""Samples of the recordings; 400 is one frame."""
RECORDED = Path(__file__).parent / "published" / "emotion2vec_funasr.npz"
"""What FunASR answers."""


@dataclass(frozen=True)
class Size:
    """The sizes of a release.

    Attributes:
        width: of the frames.
        heads: of attention.
        depth, prenet: layers after and before what data2vec 2.0 calls the prenet.
        channels: of the convolutions.
    """

    width: int
    heads: int
    depth: int
    prenet: int
    channels: int


SIZES = {
    "small": Size(width=48, heads=6, depth=2, prenet=1, channels=16),
    "base": Size(width=768, heads=12, depth=8, prenet=4, channels=512),
    "large": Size(width=1024, heads=16, depth=8, prenet=4, channels=512),
}


def settings(size: Size) -> dict[str, Any]:
    """The content of `config.yaml`."""
    c = size.channels
    audio = {
        "type": "AUDIO",
        "prenet_depth": size.prenet,
        "prenet_layerdrop": 0.05,
        "prenet_dropout": 0.1,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "num_extra_tokens": 10,
        "init_extra_token_zero": True,
        "local_grad_mult": 1.0,
        "use_alibi_encoder": True,
        "alibi_scale": 1.0,
        "learned_alibi": False,
        "alibi_max_pos": None,
        "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True,
        "learned_alibi_scale_per_layer": False,
        "num_alibi_heads": size.heads,
        "model_depth": size.depth,
        "decoder": None,
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": f"[({c}, 10, 5)] + [({c}, 3, 2)] * 4 + [({c},2,2)] + [({c},2,2)]",
        "conv_pos_width": 95,
        "conv_pos_groups": 16,
        "conv_pos_depth": 5,
        "conv_pos_pre_ln": False,
    }
    network = {
        "loss_beta": 0.0,
        "loss_scale": None,
        "depth": size.depth,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "num_heads": size.heads,
        "norm_eps": 1e-05,
        "norm_affine": True,
        "encoder_dropout": 0.1,
        "post_mlp_drop": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "dropout_input": 0.0,
        "layerdrop": 0.05,
        "embed_dim": size.width,
        "mlp_ratio": 4.0,
        "layer_norm_first": False,
        "average_top_k_layers": size.depth,
        "end_of_block_targets": False,
        "clone_batch": 8,
        "normalize": True,
        "modalities": {"audio": audio},
    }
    return {
        "model": "Emotion2vec",
        "model_conf": network,
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "scope_map": ["d2v_model.", "none"],
    }


def shapes(size: Size, classes: int = len(TOKENS)) -> dict[str, tuple[int, ...]]:
    """The names and shapes in `model.pt`; without `proj` for no classes."""
    found: dict[str, tuple[int, ...]] = {}

    def linear(name: str, rows: int, *others: int) -> None:
        found.update({f"{name}.weight": (rows, *others), f"{name}.bias": (rows,)})

    width = size.width
    blocks = [f"{AUDIO}.context_encoder.blocks.{i}" for i in range(size.prenet)]
    for block in [*blocks, *(f"d2v_model.blocks.{i}" for i in range(size.depth))]:
        linear(f"{block}.attn.qkv", 3 * width, width)
        linear(f"{block}.attn.proj", width, width)
        linear(f"{block}.mlp.fc1", 4 * width, width)
        linear(f"{block}.mlp.fc2", width, 4 * width)
        linear(f"{block}.norm1", width)
        linear(f"{block}.norm2", width)
    linear(f"{AUDIO}.context_encoder.norm", width)
    for i, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
        layer = f"{AUDIO}.local_encoder.conv_layers.{i}"
        found[f"{layer}.0.weight"] = (size.channels, size.channels if i else 1, kernel)
        linear(f"{layer}.2.1", size.channels)
    linear(f"{AUDIO}.project_features.1", size.channels)
    linear(f"{AUDIO}.project_features.2", width, size.channels)
    for i in range(1, 6):
        linear(f"{AUDIO}.relative_positional_encoder.{i}.0", width, width // 16, 19)
    found[f"{AUDIO}.extra_tokens"] = (1, 10, width)
    found[f"{AUDIO}.alibi_scale"] = (1, 1, size.heads, 1, 1)
    if classes:
        linear("proj", classes, width)
    return found


def noise(name: str, count: int) -> NDArray[np.float32]:
    """Numbers from -1 to 1 without visible order: a hash of the name and of each place."""
    state = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state ^= state >> np.uint32(shift)
        state *= np.uint32(factor)
    state ^= state >> np.uint32(16)
    return (state >> np.uint32(8)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """A weight that keeps activations near 1."""
    values = torch.from_numpy(noise(name, math.prod(shape)).reshape(shape))
    if name.endswith("alibi_scale"):
        return 0.75 + values  # of some heads below 0, which count as 0
    if len(shape) == 1:
        is_norm = name.endswith(".weight")
        return 1 + 0.3 * values if is_norm else 0.1 * values
    if name.endswith("extra_tokens"):
        return values
    gain = 2.0 if "qkv" in name else 1.0  # attention that prefers some frames
    return values * (gain * math.sqrt(3 / math.prod(shape[1:])))


def recording(number: int) -> NDArray[np.float32]:
    """A clip of `LENGTHS[number]` samples at 16 kHz; the third is so quiet that the normalization's epsilon matters."""
    length = LENGTHS[number]
    time = np.arange(length) / 16_000
    voice = np.sin(2 * np.pi * (90 + 40 * number) * time) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))
    clip = 0.2 * voice + 0.1 * noise(f"recording {number}", length) + 0.02
    return (clip * (0.01 if number == 2 else 1)).astype(np.float32)


def recorded_frames(count: int) -> list[int]:
    """The frames of a recording that are kept: the first, one in the middle and the last."""
    return [0, count // 2, count - 1]


def write_release(
    folder: Path, size: str, tokens: tuple[str, ...] | None = TOKENS, prefix: str = "d2v_model."
) -> Path:
    """Write a folder as FunASR reads it.

    Args:
        folder: to write.
        size: one of `SIZES`.
        tokens: names of the classes; None for the self-supervised release, without a head.
        prefix: of the names of the encoder's weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name.replace("d2v_model.", prefix): weight(name, shape)
        for name, shape in shapes(SIZES[size], len(tokens or ())).items()
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings(SIZES[size])), encoding="utf-8")
    torch.save({"cfg": None, "model": state, "last_optimizer_state": None}, folder / "model.pt")
    if tokens is not None:
        (folder / "tokens.txt").write_text("\n".join(tokens), encoding="utf-8")
    return folder
