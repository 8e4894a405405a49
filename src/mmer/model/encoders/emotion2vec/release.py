"""Folders of emotion2vec and emotion2vec+ as released for FunASR: `config.yaml`, `model.pt` and `tokens.txt`.

The names of settings, weights and tokens are those of the releases. Nothing in a folder is run.
"""

import ast
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from mmer.errors import CheckpointError, MMERError, reading
from mmer.files.funasr_folder import SETTINGS, TOKENS
from mmer.files.regular import check_regular
from mmer.model.encoders.emotion2vec.configuration import Emotion2VecConfig
from mmer.recipes import parse_yaml, text_of

MODEL = "Emotion2vec"
"""Type of the model in `config.yaml`."""
ADVICE = "give the complete folder of a release, such as emotion2vec_plus_base"
_UNUSED = "unuse"
"""Beginning of the tokens of classes that FunASR never answers."""
_WIDEST, _MOST = 16_384, 100
"""Largest width of a network, and number of its layers, that is read."""


def _boolean(value: object) -> object:
    return {"true": True, "false": False}.get(str(value).lower(), value)


# The network supports only what every release has.
_Yes = Annotated[Literal[True], BeforeValidator(_boolean)]
_No = Annotated[Literal[False], BeforeValidator(_boolean)]
_Width = Annotated[int, Field(ge=1, le=_WIDEST)]
_Number = Annotated[int, Field(ge=1, le=_MOST)]
_Dropout = Annotated[float, Field(ge=0, lt=1)]


class _Audio(BaseModel):
    """`model_conf.modalities.audio`."""

    extractor_mode: Literal["layer_norm"]
    feature_encoder_spec: str = Field(max_length=1000)
    conv_pos_width: _Width
    conv_pos_depth: _Number
    conv_pos_groups: _Width
    conv_pos_pre_ln: _No = False
    prenet_depth: _Number
    num_extra_tokens: _Number
    use_alibi_encoder: _Yes
    learned_alibi: _No = False
    learned_alibi_scale_per_head: _Yes
    learned_alibi_scale_per_layer: _No = False


class _Modalities(BaseModel):
    """`model_conf.modalities`."""

    audio: _Audio


class _Network(BaseModel):
    """`model_conf`."""

    depth: _Number
    embed_dim: _Width
    num_heads: _Width
    mlp_ratio: float = Field(gt=0, le=64)
    norm_eps: float = Field(gt=0, lt=1)
    norm_affine: _Yes
    layer_norm_first: _No
    encoder_dropout: _Dropout
    attention_dropout: _Dropout
    activation_dropout: _Dropout
    layerdrop: _Dropout
    normalize: bool = False
    modalities: _Modalities


class _Settings(BaseModel):
    """`config.yaml`."""

    model_conf: _Network


@dataclass(frozen=True)
class Release:
    """A folder of a release, of which `read` has read `config.yaml`.

    Attributes:
        folder: its path.
        config: configuration of the encoder.
        prenet_depth: number of the first layers, which have names of their own in the weights.
    """

    folder: Path
    config: Emotion2VecConfig
    prenet_depth: int

    @classmethod
    def read(cls, folder: Path) -> "Release":
        """Read `config.yaml`.

        Raises:
            CheckpointError: the file is missing or damaged, or describes a network that no release has.
        """
        path = folder / SETTINGS
        settings = _read_settings(path)
        audio = settings.modalities.audio
        with reading(path, "the settings of emotion2vec", CheckpointError):
            convolutions = _convolutions(audio.feature_encoder_spec)
        width = settings.embed_dim
        for name, divisor in (("num_heads", settings.num_heads), ("conv_pos_groups", audio.conv_pos_groups)):
            if width % divisor:
                raise CheckpointError(
                    f"{path}: {name} is {divisor}, which does not divide embed_dim, {width}; {ADVICE}"
                )
        sizes, kernels, strides = zip(*convolutions, strict=True)
        config = Emotion2VecConfig(
            hidden_size=width,
            num_hidden_layers=audio.prenet_depth + settings.depth,
            num_attention_heads=settings.num_heads,
            intermediate_size=int(width * settings.mlp_ratio),
            hidden_dropout=settings.encoder_dropout,
            attention_dropout=settings.attention_dropout,
            activation_dropout=settings.activation_dropout,
            layerdrop=settings.layerdrop,
            layer_norm_eps=settings.norm_eps,
            conv_dim=sizes,
            conv_kernel=kernels,
            conv_stride=strides,
            conv_pos_kernel_size=max(3, audio.conv_pos_width // audio.conv_pos_depth),
            num_conv_pos_embeddings=audio.conv_pos_depth,
            num_conv_pos_embedding_groups=audio.conv_pos_groups,
            num_extra_tokens=audio.num_extra_tokens,
            normalize_waveforms=settings.normalize,
        )
        return cls(folder, config, audio.prenet_depth)

    def labels(self) -> list[str | None]:
        """Read `tokens.txt`, which names the class of each output of the head.

        A token such as `生气/angry` has two names, of which the second is the label.

        Returns:
            The label of each output; see `label_of`.

        Raises:
            CheckpointError: the file is missing or damaged, or two outputs have the same label.
        """
        path = self.folder / TOKENS
        check_regular(path, CheckpointError)
        with reading(path, "names of emotions", CheckpointError):
            tokens = text_of(path, "utf-8").rstrip().split("\n")
        labels = [label_of(token) for token in tokens]
        answered = [label for label in labels if label is not None]
        if not all(answered) or len(set(answered)) < len(answered) or not answered:
            raise CheckpointError(
                f"{path} must name a different emotion on each line, and holds {reprlib.repr(tokens)}"
            )
        return labels


def label_of(token: str) -> str | None:
    """Return the label that a line of `tokens.txt` names; None for an output that is never answered."""
    return None if token.startswith(_UNUSED) else token.rpartition("/")[2].strip()


def _read_settings(path: Path) -> _Network:
    check_regular(path, CheckpointError)
    with reading(path, "the settings of emotion2vec", CheckpointError):
        try:
            content = parse_yaml(text_of(path, "utf-8"), str(path))
        except MMERError as error:
            raise CheckpointError(str(error)) from error
        found = content.get("model") if isinstance(content, dict) else None
        if found != MODEL:
            raise CheckpointError(f"{path} describes no model of type {MODEL}, but {reprlib.repr(found)}")
        try:
            return _Settings.model_validate(content).model_conf
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(map(str, problem["loc"]))
            if problem["type"] == "missing":
                raise CheckpointError(f"{path} has no {place}; {ADVICE}") from error
            found, allowed = reprlib.repr(problem["input"]), problem["msg"].replace("Input should", "it must")
            raise CheckpointError(
                f"{path}: {place} is {found}; {allowed} in a release of emotion2vec"
            ) from error


def _convolutions(text: str) -> list[tuple[int, int, int]]:
    """Read `feature_encoder_spec`, sums and multiples of lists as `[(512, 10, 5)] + [(512, 3, 2)] * 4`.

    Returns:
        Channels, kernel and stride of each convolution.
    """

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [value(part) for part in parts]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return value(left) + value(right)
            case ast.BinOp(left=ast.List() as left, op=ast.Mult(), right=ast.Constant(value=int(times))):
                return value(left) * min(times, _MOST + 1)
        raise ValueError(f"feature_encoder_spec {text!r} is no list of (channels, kernel, stride)")

    found = value(ast.parse(text, mode="eval").body)
    convolutions = [(int(channels), int(kernel), int(stride)) for channels, kernel, stride in found]
    if not 1 <= len(convolutions) <= _MOST or not all(
        1 <= n <= _WIDEST for each in convolutions for n in each
    ):
        raise ValueError(f"feature_encoder_spec {text!r} has numbers that no release has")
    return convolutions
