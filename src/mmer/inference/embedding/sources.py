"""What embeddings are taken from: a model of mmer, a published model, an encoder alone, or functionals.

An encoder is read as the network of one modality above it would read it. That network pools the hidden states, and its
head, which is random, is never asked. Functionals are computed where the features of a network would be.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.errors import EncoderError, MMERError, Parameter
from mmer.files.damaged import read_json_object
from mmer.files.funasr_folder import is_funasr_folder
from mmer.files.hub import hub_model
from mmer.inference.backends.composition import FILE as COMPOSITION
from mmer.inference.backends.model_folder import MODEL_TYPE, model_hash
from mmer.inference.backends.models import model_folder, trained_folders
from mmer.inference.backends.network import CONFIG, Array
from mmer.inference.embedding.functionals import COMPUTED, FUNCTIONALS, functionals_recognizer
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.trained_on import TrainedOn
from mmer.published.kinds import published_kind
from mmer.recipe.parsing import read_settings
from mmer.recipe.schema import Recipe

if TYPE_CHECKING:
    from mmer.model.missing_modalities import Encoding

Level = Literal["utterance", "frame"]
Pool = Literal["mean", "max"]
Layers = str | Sequence[int]
LAST, FUSED = "last", "fused"
_UNNAMED = "emotion"
"""Label of the head that is never asked."""


@dataclass(frozen=True)
class Source:
    """What gives embeddings.

    Attributes:
        recognizer: reads utterances and runs the network.
        columns: embeddings that it gives: some of `fused`, `speech` and `text`, or `functionals`.
        identity: hash of the files of the model; or the name of the functionals.
        trained_on: utterances that the model met in its training, as far as it keeps a record.
    """

    recognizer: EmotionRecognizer
    columns: tuple[str, ...]
    identity: str
    trained_on: TrainedOn | None = None


def is_functionals(source: str | os.PathLike[str]) -> bool:
    """Tell whether a name is that of functionals; a folder of the same name is a model."""
    return os.fspath(source) in COMPUTED and not Path(source).exists()


def source_folder(source: str | os.PathLike[str]) -> Path:
    """Find the folder of a model or an encoder; one of the Hugging Face Hub is fetched.

    Raises:
        CheckpointError: there is none of that name, or it cannot be fetched.
    """
    folder = model_folder(source)
    return folder if folder.is_dir() else hub_model(os.fspath(source))


def open_functionals(
    name: str, *, level: Level, layers: Layers, pooling: Pool | None, transcription: str
) -> Source:
    """Return what gives functionals.

    Args:
        name: one of `COMPUTED`.
        level, layers, pooling, transcription: see `embed`.

    Raises:
        MissingExtraError: openSMILE is needed, and not installed.
        MMERError: functionals cannot give what is asked for.
    """
    for asked, default, setting in (
        (level, "utterance", "level"),
        (layers, LAST, "layers"),
        (pooling, None, "pooling"),
    ):
        if asked != default:
            raise MMERError(f"{name} gives one vector of each recording; leave out ", Parameter(setting))
    return Source(functionals_recognizer(name, transcription), (FUNCTIONALS,), name)


def open_source(
    folder: Path,
    *,
    level: Level,
    layers: Layers,
    pooling: Pool | None,
    transcription: str,
    device: str | None,
) -> Source:
    """Load what gives embeddings.

    Args:
        folder: see `source_folder`.
        level, layers, pooling, transcription, device: see `embed`.

    Raises:
        CheckpointError, EncoderError: the folder holds neither a model nor an encoder, or it is damaged.
        MMERError: the model or the encoder cannot give what is asked for.
    """
    side = _encoder_side(folder)
    if side is None:
        recognizer = EmotionRecognizer.from_pretrained(folder, device, transcription, calibrated=False)
        sides = _readable_sides(recognizer)
        _check_model(folder, sides, level, layers, pooling)
        columns = (*([FUSED] if level == "utterance" else []), *sides)
    else:
        recognizer = _encoder(folder, side, layers, transcription, device)
        columns = (side,)
    if columns != (FUSED,):
        _keep(recognizer, level, pooling or "mean")
    return Source(recognizer, columns, model_hash(folder), TrainedOn.read(*trained_folders(folder)))


def _encoder_side(folder: Path) -> Literal["speech", "text"] | None:
    """Tell what an encoder reads; None where the folder is to be read as a model, whatever is wrong with it.

    Raises:
        EncoderError: it is of a kind that cannot be read.
    """
    if is_funasr_folder(folder):
        return "speech"
    if (folder / COMPOSITION).exists() or not (folder / CONFIG).is_file():
        return None
    if read_json_object(folder / CONFIG).get("model_type") == MODEL_TYPE:
        return None
    # Imported here, since an exported model is answered without transformers.
    from mmer.model.encoders.speech import SUPPORTED
    from mmer.model.encoders.text import check_text_config
    from mmer.model.pretrained_encoders import encoder_config

    config = encoder_config(str(folder))
    if config.model_type in SUPPORTED:
        return "speech"
    if published_kind(folder) == "audio":
        return None
    try:
        check_text_config(config)
    except EncoderError:
        raise EncoderError(
            f"{folder} holds a model of type '{config.model_type}', which is neither a text encoder nor one of the "
            f"speech encoders {', '.join(SUPPORTED)}"
        ) from None
    return "text"


def _readable_sides(recognizer: EmotionRecognizer) -> tuple[str, ...]:
    """List the modalities whose encoders can be read, beside the embedding that the answer is computed from."""
    from mmer.inference.backends.torch_network import TorchNetwork

    if not isinstance(recognizer.network, TorchNetwork):
        return ()
    processor = recognizer.processor
    used = {"speech": processor.uses_speech, "text": processor.uses_text}
    return tuple(side for side, is_used in used.items() if is_used)


def _check_model(
    folder: Path, sides: Sequence[str], level: Level, layers: Layers, pooling: Pool | None
) -> None:
    """Refuse settings that a model does not have."""
    if layers != LAST:
        raise MMERError(
            f"{folder} is a model, which gives the hidden states that it learned to read; leave out ",
            Parameter("layers"),
            ", which is for encoders",
        )
    if not sides and (level != "utterance" or pooling):
        raise MMERError(
            f"{folder} gives one embedding of each utterance, and its encoder cannot be looked into; leave out ",
            Parameter("level" if level != "utterance" else "pooling"),
        )


def _encoder(
    folder: Path,
    side: Literal["speech", "text"],
    layers: Layers,
    transcription: str,
    device: str | None,
) -> EmotionRecognizer:
    """Put the network of one modality above an encoder."""
    from mmer.model.build import build_model

    if layers == "weighted":
        raise MMERError(
            Parameter("layers", "weighted"),
            " mixes hidden states with weights that a model learns; give last, or numbers of layers",
        )
    text = layers if isinstance(layers, str) else ",".join(map(str, layers))
    read = read_settings(Recipe, "", "embed", [(f"layers {text!r}", f"model.{side}.layers={text}")])
    settings = getattr(read.model, side).model_copy(
        update={"encoder": str(folder.resolve()), "train": "frozen"}
    )
    recipe = read.with_settings(model={"fusion": side, side: settings}, objectives={"ctc_weight": 0.0})
    # The encoder brings along what would be learned from utterances, such as a tokenizer.
    nobody = Corpus(pd.DataFrame({"utterance_id": ["0"], "audio_path": ["0"], "transcript": ["0"]}))
    network, processor = build_model(recipe, nobody, [_UNNAMED])
    return EmotionRecognizer(network, processor, device, transcription)


def _keep(recognizer: EmotionRecognizer, level: Level, pooling: Pool) -> None:
    """Have the network keep hidden states of each utterance: (frames, size), or (size,) pooled over them."""
    from mmer.inference.backends.torch_network import TorchNetwork, as_array
    from mmer.model.pooling import Pooling

    def kept(encoding: "Encoding") -> list[Array | None]:
        if level == "utterance":
            rows = as_array(Pooling(pooling, encoding.hidden.shape[-1])(encoding.hidden, encoding.mask))
        else:
            pairs = zip(encoding.hidden, encoding.mask, strict=True)
            rows = [as_array(hidden[mask]) for hidden, mask in pairs]
        return [row if given else None for row, given in zip(rows, encoding.given.tolist(), strict=True)]

    assert isinstance(recognizer.network, TorchNetwork)
    recognizer.network.keep = kept
