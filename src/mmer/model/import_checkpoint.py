"""Published MMER checkpoints as model folders."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor
from transformers.initialization import no_init_weights

from mmer.errors import CheckpointError
from mmer.files.damaged import message_of
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder
from mmer.files.writing import check_output_folder, writing_folder
from mmer.model import pretrained_encoders
from mmer.model.configuration import MMERConfig
from mmer.model.encoders.convolutions import receptive_field
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.pickled_weights import read_pickled_weights
from mmer.model.processor import MMERProcessor
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET

OFFICIAL_LABELS = ("happy", "angry", "neutral", "sad")
"""Order of the published model's classes; happy includes excited."""

BLOCKS = {
    "self_attention_v2": "text_self_attention",
    "img2txt_attention": "block_b",
    "txt2txt_attention": "block_c",
    "txt2img_attention": "block_d",
}
LAYER_PARTS = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "output_norm",
}
MODULES = {
    "model_mmi.wav2vec2": "speech_encoder.model",
    "model_mmi.vismap2text": "fusion.speech_to_keys",
    "model_mmi.vismap2text_v2": "fusion.speech_to_queries",
    "model_mmi.gate": "fusion.gate",
    "model_mmi.downsample_final": "fusion.down_projection",
    "model_mmi.classifier.linear3": "classifier",
    "model_mmi.ctc_linear": "ctc_head",
    "orgin_linear_change": "contrastive_projection",
    "augment_linear_change": "augmented_contrastive_projection",
} | {
    f"model_mmi.{official}.layer.0.{part}": f"fusion.{block}.{name}"
    for official, block in BLOCKS.items()
    for part, name in LAYER_PARTS.items()
}
UNUSED = {"model_mmi.weights"}
_ADVICE = "give the .pt file of the published code"
WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def translate_name(official: str) -> str | None:
    """Translate the name of a published parameter; None for the one that the published network never uses.

    Raises:
        CheckpointError: the name belongs to no published model.
    """
    name = re.sub(r"^module\.", "", official)
    if name in UNUSED:
        return None
    name = re.sub(r"\bweight_[gv]$", lambda match: WEIGHT_NORM[match.group()], name)
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if ours := MODULES.get(".".join(parts[:end])):
            return ".".join([ours, *parts[end:]])
    raise CheckpointError(f"parameter '{official}' is not of the published MMER model")


def translate_state_dict(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a published checkpoint to the names of `MMERForEmotionRecognition`.

    Args:
        official: tensors, (...,) of any shape, by published name.

    Returns:
        The same tensors by new name, without those that the model does not use.

    Raises:
        CheckpointError: a name is unknown, as in `translate_name`.
    """
    named = {translate_name(name): tensor for name, tensor in official.items()}
    return {name: tensor for name, tensor in named.items() if name is not None}


def official_config(**settings: Any) -> MMERConfig:
    """Configure the published model: wav2vec2-base, text features of width 768, official losses."""
    speech = Wav2Vec2Config(apply_spec_augment=False)
    labels: dict[int, str] = dict(enumerate(OFFICIAL_LABELS))
    return MMERConfig(
        speech_config=speech,
        formulation="official",
        id2label=labels,
        label2id={label: i for i, label in labels.items()},
        **settings,
    )


@writes("import_checkpoint")
def import_checkpoint(checkpoint: Path, out: Path, *, text_encoder: str = "roberta-base") -> None:
    """Turn a published checkpoint into a model folder.

    Args:
        checkpoint: pickle of tensors, alone or under the key `state_dict`; nothing else in it is run.
        out: folder to write.
        text_encoder: name or folder of the text encoder whose features the checkpoint was trained on.

    Raises:
        CheckpointError: the file is no checkpoint, or not one of the published model.
        EncoderError: the text encoder cannot be loaded.
        MMERError: the folder cannot be written to, or is not empty.
    """
    check_output_folder(out)
    check_own_folder(out, "a new folder")
    official = read_pickled_weights(checkpoint, "state_dict", _ADVICE)
    try:
        state = translate_state_dict(official)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    text_config = pretrained_encoders.text_encoder_config(text_encoder)
    with no_init_weights():  # all are loaded
        model = MMERForEmotionRecognition(official_config(text_config=text_config))
    pretrained_encoders.load_text_encoder(model, text_encoder)
    load_official(model, state, checkpoint)
    processor = MMERProcessor(
        Wav2Vec2FeatureExtractor(return_attention_mask=True),
        pretrained_encoders.encoder_tokenizer(text_encoder, text_config),
        labels=OFFICIAL_LABELS,
        ctc_symbols=WAV2VEC2_ALPHABET,
        minimum_samples=receptive_field(model.config.speech_config),
    )
    with writing_folder(out) as part:
        model.save_pretrained(part)
        processor.save_pretrained(part)


def load_official(model: MMERForEmotionRecognition, state: dict[str, Tensor], source: Path) -> None:
    """Load translated tensors into a model; only those of the text encoder may be missing.

    Args:
        model: changed in place.
        state: tensors, (...,) of the shapes of the model's weights, by name.
        source: the checkpoint, for errors.

    Raises:
        CheckpointError: tensors are missing, unknown or have other shapes.
    """
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        detail = message_of(error)[:200]
        raise CheckpointError(f"{source} is not of the published MMER model: {detail}") from error
    missing = [name for name in missing if not name.startswith("text_encoder.")]
    if missing or unexpected:
        example = (missing or unexpected)[0]
        raise CheckpointError(
            f"{source} is not of the published MMER model: {len(missing)} tensors are missing and "
            f"{len(unexpected)} unknown, such as '{example}'"
        )
