"""The weights of a release, `model.pt`, under the names of our network."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmer.errors import CheckpointError, reading
from mmer.files.funasr_folder import SETTINGS, WEIGHTS
from mmer.model.encoders.emotion2vec.network import Emotion2VecModel
from mmer.model.encoders.emotion2vec.release import ADVICE, Release
from mmer.model.pickled_weights import read_pickled_weights
from mmer.plain_text import counted

HEAD = "proj"
_PREFIX = "d2v_model."
"""Of the names of weights in some releases."""
_AUDIO = "modality_encoders.AUDIO"
_LAYERS = ("blocks.", f"{_AUDIO}.context_encoder.", f"{_AUDIO}.local_encoder.", f"{_AUDIO}.relative_")
"""What the names of layers begin with. A release may hold other weights, which served to train it."""
_PARTS = {
    "feature_projection.layer_norm": f"{_AUDIO}.project_features.1",
    "feature_projection.projection": f"{_AUDIO}.project_features.2",
    "encoder.layer_norm": f"{_AUDIO}.context_encoder.norm",
    "encoder.extra_tokens": f"{_AUDIO}.extra_tokens",
    "encoder.alibi_scale": f"{_AUDIO}.alibi_scale",
}
_LAYER_PARTS = {
    "attention.q_proj": "attn.qkv",
    "attention.k_proj": "attn.qkv",
    "attention.v_proj": "attn.qkv",
    "attention.out_proj": "attn.proj",
    "layer_norm": "norm1",
    "feed_forward.intermediate_dense": "mlp.fc1",
    "feed_forward.output_dense": "mlp.fc2",
    "final_layer_norm": "norm2",
}
_THIRDS = (".q_proj.", ".k_proj.", ".v_proj.")
"""Parts of our names of the weights that a release keeps in one tensor, in its order."""


@dataclass(frozen=True)
class Head:
    """The linear layer that classifies the mean of the frames.

    Attributes:
        weight: (classes, size).
        bias: (classes,).
    """

    weight: Tensor
    bias: Tensor


def read_weights(release: Release) -> tuple[dict[str, Tensor], Head | None]:
    """Read the weights of a release.

    Returns:
        Those of an `Emotion2VecModel` by name, without `masked_spec_embed`, in float32; and the head, or None if the
        release has none.

    Raises:
        CheckpointError: `model.pt` is missing or damaged, or weights are missing, unknown, not finite or of other
            shapes than `config.yaml` says.
    """
    path = release.folder / WEIGHTS
    published = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in read_pickled_weights(path, "model", ADVICE).items()
    }
    with torch.device("meta"):
        shapes = {
            name: tuple(weight.shape) for name, weight in Emotion2VecModel(release.config).named_parameters()
        }
    shapes.pop("masked_spec_embed", None)
    names = _published_names(release, shapes)
    used = set(names.values())
    _check_complete(path, published, used)
    _check_layers(path, published, used)
    with reading(path, "the weights of emotion2vec", CheckpointError):
        read = [weight for name, weight in published.items() if name in used or name.startswith(f"{HEAD}.")]
        # A damaged file can describe tensors that are far larger than itself.
        if sum(weight.nbytes for weight in read) > path.stat().st_size:
            raise CheckpointError(
                f"{path} holds fewer numbers than its weights have; it is damaged: ask for another copy"
            )
        encoder = {
            ours: _fitted(path, theirs, published[theirs], shapes[ours], _third_of(ours))
            for ours, theirs in names.items()
        }
        return encoder, _read_head(path, published, release.config.hidden_size)


def write_weights(release: Release, head: Head, weights: Mapping[str, Tensor], out: Path) -> None:
    """Write the weights of a release with another head.

    Args:
        release: of which all other weights are copied.
        head: the new one.
        weights: others that are new, by name in an `Emotion2VecModel`.
        out: the folder.
    """
    read = read_pickled_weights(release.folder / WEIGHTS, "model", ADVICE)
    published = {name.removeprefix(_PREFIX): name for name in read}
    written = {
        name: tensor for name, tensor in read.items() if not name.removeprefix(_PREFIX).startswith(f"{HEAD}.")
    }
    for ours, theirs in _published_names(release, weights).items():
        name, third = published[theirs], _third_of(ours)
        if third is None:
            written[name] = weights[ours]
        else:
            thirds = [*written[name].float().chunk(3)]
            thirds[third] = weights[ours]
            written[name] = torch.cat(thirds)
    written |= {f"{HEAD}.weight": head.weight, f"{HEAD}.bias": head.bias}
    torch.save({"model": written}, out / WEIGHTS)


def _read_head(path: Path, published: Mapping[str, Tensor], size: int) -> Head | None:
    weight, bias = f"{HEAD}.weight", f"{HEAD}.bias"
    if weight not in published:
        return None
    _check_complete(path, published, {bias})
    classes = len(published[weight])
    return Head(
        _fitted(path, weight, published[weight], (classes, size)),
        _fitted(path, bias, published[bias], (classes,)),
    )


def _published_names(release: Release, names: Iterable[str]) -> dict[str, str]:
    """Translate our names of weights to those of a release."""
    config, prenet = release.config, release.prenet_depth
    parts = dict(_PARTS)
    for i in range(len(config.conv_dim)):
        parts[f"feature_extractor.conv_layers.{i}.conv"] = f"{_AUDIO}.local_encoder.conv_layers.{i}.0"
        parts[f"feature_extractor.conv_layers.{i}.layer_norm"] = f"{_AUDIO}.local_encoder.conv_layers.{i}.2.1"
    for i in range(config.num_conv_pos_embeddings):
        parts[f"encoder.pos_conv_embed.layers.{i}.conv"] = f"{_AUDIO}.relative_positional_encoder.{i + 1}.0"
    for i in range(config.num_hidden_layers):
        layer = f"{_AUDIO}.context_encoder.blocks.{i}" if i < prenet else f"blocks.{i - prenet}"
        for ours, theirs in _LAYER_PARTS.items():
            parts[f"encoder.layers.{i}.{ours}"] = f"{layer}.{theirs}"
    translated = {}
    for name in names:
        part, dot, kind = name.rpartition(".")
        translated[name] = parts[name] if name in parts else f"{parts[part]}{dot}{kind}"
    return translated


def _check_complete(path: Path, published: Collection[str], used: set[str]) -> None:
    if missing := sorted(used - set(published)):
        raise CheckpointError(
            f"{path} lacks {counted(len(missing), 'weight')} of the network that {SETTINGS} describes, the "
            f"first is {missing[0]}; "
            f"{ADVICE}"
        )


def _check_layers(path: Path, published: Collection[str], used: set[str]) -> None:
    """Refuse weights of more layers than `config.yaml` describes."""
    if unknown := sorted(name for name in set(published) - used if name.startswith(_LAYERS)):
        raise CheckpointError(
            f"{path} holds {counted(len(unknown), 'weight')} of layers that {SETTINGS} does not describe, the first is "
            f"{unknown[0]}; {ADVICE}"
        )


def _third_of(name: str) -> int | None:
    """Return which third of a published tensor a weight of ours is; None if it is all of it."""
    return next((i for i, part in enumerate(_THIRDS) if part in name), None)


def _fitted(
    path: Path, name: str, tensor: Tensor, shape: tuple[int, ...], third: int | None = None
) -> Tensor:
    """Check a published tensor, and copy it, or a third of it, as float32."""
    whole = shape if third is None else (3 * shape[0], *shape[1:])
    if name.endswith(".alibi_scale") and tensor.ndim == len(shape) + 1:  # a scale for all layers
        tensor = tensor.squeeze(0)
    if tuple(tensor.shape) != whole:
        raise CheckpointError(
            f"{path}: {name} has the shape {tuple(tensor.shape)}, where {SETTINGS} wants {whole}; {ADVICE}"
        )
    if not tensor.is_floating_point():
        raise CheckpointError(f"{path}: {name} holds no floating-point numbers; {ADVICE}")
    if third is not None:
        tensor = tensor.chunk(3)[third]
    copy = tensor.to(torch.float32, copy=True).contiguous()
    if not copy.isfinite().all():
        raise CheckpointError(f"{path} holds NaN or infinite weights in {name}; ask for another copy")
    return copy
