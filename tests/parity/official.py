"""Weights and inputs of the parity vectors, as `shared/reference/parity/README.md` defines them."""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor


def official_state_dict(parity: Path) -> dict[str, Tensor]:
    """The published model's tensors filled by the documented rule."""
    shapes = json.loads((parity / "official_state_dict.json").read_text())
    state = {}
    for name, shape in shapes.items():
        values = _generator(crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if name.endswith("LayerNorm.weight") or "layer_norm.weight" in name or "original0" in name:
            values = 1 + 0.05 * values
        elif len(shape) >= 2:
            values = values / np.sqrt(np.prod(shape[1:]))
        else:
            values = 0.02 * values
        state[name] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return state


def batch_inputs(spec: dict[str, Any]) -> dict[str, Tensor]:
    """Inputs of a batch case, both views."""
    g = _generator(spec["seed"])
    audio = np.stack([_audio(g, spec["audio_len"]) for _ in range(spec["B"])])
    text, text_mask = _text_batch(g, spec["tl"])
    augmented_audio = np.stack([_audio(g, spec["aug_audio_len"]) for _ in range(spec["B"])])
    augmented_text, augmented_text_mask = _text_batch(g, spec["atl"])
    ctc = np.full((spec["B"], max(spec["ctcl"])), -100)
    for row, length in enumerate(spec["ctcl"]):
        ctc[row, :length] = g.integers(5, 32, length)
    arrays = {
        "input_values": audio,
        "text_hidden_states": text,
        "text_attention_mask": text_mask,
        "augmented_input_values": augmented_audio,
        "augmented_text_hidden_states": augmented_text,
        "augmented_text_attention_mask": augmented_text_mask,
        "ctc_labels": ctc,
        "labels": np.asarray(spec["emo"]),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def single_inputs(seed: int, rows: list[dict[str, Any]]) -> list[tuple[Tensor, Tensor]]:
    """Waveform (samples,) and text features (tokens, 768) of each row of `public-singles.json`."""
    g = _generator(seed)
    return [
        (torch.from_numpy(_audio(g, row["audio_samples"])), torch.from_numpy(_text(g, row["tokens"])))
        for row in rows
    ]


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _audio(g: np.random.Generator, samples: int) -> np.ndarray:
    waveform = g.standard_normal(samples).astype(np.float32)
    return ((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)).astype(np.float32)


def _text(g: np.random.Generator, tokens: int) -> np.ndarray:
    return g.standard_normal((tokens, 768)).astype(np.float32) * np.float32(0.3)


def _text_batch(g: np.random.Generator, lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    features = np.zeros((len(lengths), max(lengths), 768), dtype=np.float32)
    mask = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    for row, length in enumerate(lengths):
        features[row, :length] = _text(g, length)
        mask[row, :length] = 1
    return features, mask
