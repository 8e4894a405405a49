"""Loading pretrained encoders by name or folder, with errors a user can act on."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    Wav2Vec2FeatureExtractor,
)

from mmer.display.progress import quiet_transformers
from mmer.errors import CheckpointError, EncoderError, MMERError, reason_of
from mmer.files.funasr_folder import is_funasr_folder
from mmer.files.hub import hub_is_reachable, hub_model
from mmer.model.encoders.emotion2vec.release import Release
from mmer.model.encoders.emotion2vec.weights import read_weights
from mmer.model.encoders.speech import check_speech_config
from mmer.model.encoders.text import check_text_config, encoder_part, without_pooler
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import MMERProcessor
from mmer.plain_text import counted

_MAY_BE_MISSING = re.compile(r"(^|\.)(masked_spec_embed$|pooler\.)")
"""Weights that not every checkpoint has: of masking, which draws them, and of sentence poolers, which are not used."""
_RELEASES = "emotion2vec/"
"""Owner of the releases of emotion2vec on the Hugging Face Hub."""
_EXACT = 1e-3
"""Largest difference between hidden states alone and in a batch, as a share of the largest hidden state."""


def fetch(load: Callable[..., Any], name: str, what: str = "encoder", /, **settings: Any) -> Any:
    """Load something of transformers by name or from a folder; code that comes along is not run.

    Args:
        load: a `from_pretrained`.
        name: what it takes.
        what: is loaded, for the error.
        settings: more of what it takes.

    Raises:
        EncoderError: there is nothing of that name, or it cannot be fetched, or a file is damaged.
    """
    if not os.path.isdir(name) and not hub_is_reachable():
        settings["local_files_only"] = True  # the cache, without half a minute of further tries
    try:
        with quiet_transformers():
            return load(name, trust_remote_code=False, **settings)
    except Exception as error:
        # errors of transformers, safetensors, pickle, tokenizers, … have no common base
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (told[0] if told else type(error).__name__).rstrip(".")
        raise EncoderError(
            f"{what} '{name}' cannot be loaded ({reason}); check the name and the network, or give the path of a "
            "local folder that holds its config.json, weights and preprocessor or tokenizer files"
        ) from error


def _release_folder(name: str) -> Path | None:
    """Return the folder of an encoder that is an emotion2vec as released for FunASR; None for any other encoder."""
    folder = Path(name)
    if name.startswith(_RELEASES) and not folder.is_dir():
        with _naming_encoder(name):
            folder = hub_model(name)
    return folder if is_funasr_folder(folder) else None


def _read_release(name: str) -> Release | None:
    """Read the configuration of such an encoder; None for any other."""
    folder = _release_folder(name)
    if folder is None:
        return None
    with _naming_encoder(name):
        return Release.read(folder)


@contextmanager
def _naming_encoder(name: str) -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise EncoderError(f"encoder '{name}': {error}") from error


def encoder_config(name: str) -> Any:
    """Load the configuration of a pretrained encoder of any kind; errors as in `fetch`."""
    if release := _read_release(name):
        return release.config
    return full_attention(fetch(AutoConfig.from_pretrained, name))


def full_attention(config: Any) -> Any:
    """Let a network attend to every token, with kernels of this machine; return its configuration, which is changed."""
    config._attn_implementation = None  # that of the training may not be installed, or want half precision
    if config.model_type == "big_bird":
        # Otherwise the length of the first batch decides it, for that batch and all later ones.
        config.attention_type = "original_full"
    return config


def speech_encoder_config(name: str) -> Any:
    """Load the configuration of a pretrained speech encoder.

    Raises:
        EncoderError: there is no such encoder, it cannot be fetched, or its kind is not supported.
    """
    return _config(name, check_speech_config)


def text_encoder_config(name: str) -> Any:
    """Load the configuration of a pretrained text encoder; errors as in `speech_encoder_config`."""
    return _config(name, check_text_config)


def _config(name: str, check: Callable[[PreTrainedConfig], None]) -> Any:
    config = encoder_config(name)
    try:
        check(config)
    except EncoderError as error:
        raise EncoderError(f"encoder '{name}': {error}") from None
    return config


def encoder_feature_extractor(name: str) -> Any:
    """Load the feature extractor of a pretrained speech encoder; errors as in `fetch`."""
    if _release_folder(name):  # its network normalizes
        return Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    return fetch(AutoFeatureExtractor.from_pretrained, name)


def encoder_tokenizer(name: str, config: PreTrainedConfig) -> Any:
    """Load the tokenizer of a pretrained text encoder; set its padding token and the encoder's maximum length.

    Args:
        name: of the encoder.
        config: its configuration.

    Raises:
        EncoderError: as in `fetch`, or it has no token to pad with.
    """
    tokenizer = fetch(AutoTokenizer.from_pretrained, name)
    if tokenizer.pad_token is None:  # as that of GPT-2; any other will do, since it is masked
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise EncoderError(
            f"encoder '{name}': its tokenizer has no token for padding, end or unknown words; "
            "set pad_token in its tokenizer_config.json"
        )
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and 2 < positions < tokenizer.model_max_length:
        tokenizer.model_max_length = positions - 2  # RoBERTa and its kin reserve two
    return tokenizer


def load_speech_encoder(model: MMERForEmotionRecognition, name: str) -> None:
    """Give the model the weights of a pretrained speech encoder.

    Raises:
        EncoderError: as in `fetch`, or weights are missing or of other shapes.
    """
    assert model.speech_encoder is not None
    encoder = model.speech_encoder.model
    if release := _read_release(name):
        with _naming_encoder(name):
            encoder.load_state_dict(read_weights(release)[0], strict=False)
        return
    encoder.load_state_dict(_pretrained(name, encoder.config).state_dict())


def load_text_encoder(model: MMERForEmotionRecognition, name: str) -> None:
    """Give the model the weights of a pretrained text encoder; errors as in `load_speech_encoder`."""
    assert model.text_encoder is not None
    config = model.config.text_config
    loaded = encoder_part(_pretrained(name, config, **without_pooler(config)))
    model.text_encoder.model.load_state_dict(loaded.state_dict())


def _pretrained(name: str, config: PreTrainedConfig, **settings: Any) -> Any:
    """Load a model with all of its weights, in float32."""
    loaded, report = fetch(
        AutoModel.from_pretrained,
        name,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are reported, which says more than the error
        **settings,
    )
    wrong = sorted((key, tuple(found), tuple(wanted)) for key, found, wanted in report["mismatched_keys"])
    if wrong:
        key, found, wanted = wrong[0]
        raise EncoderError(
            f"encoder '{name}': {counted(len(wrong), 'weight', 'has', 'have')} other shapes than its "
            f"config.json says, the first is {key}, "
            f"{list(found)} where {list(wanted)} is expected; give the files of one encoder"
        )
    missing = sorted(key for key in report["missing_keys"] if not _MAY_BE_MISSING.search(key))
    if missing:
        unknown = sorted(report["unexpected_keys"])
        beside = f", while {unknown[0]} and {len(unknown) - 1} others are unknown" if unknown else ""
        raise EncoderError(
            f"encoder '{name}' lacks {len(missing)} of its weights, such as {', '.join(missing[:3])}{beside}; they "
            "would stay random: give a complete checkpoint of this kind of encoder"
        )
    return loaded


def check_encoders(
    model: MMERForEmotionRecognition,
    processor: MMERProcessor,
    speech: str | None = None,
    text: str | None = None,
) -> None:
    """Make sure that encoders work with their files, and that an utterance gets the same answer in any batch.

    Args:
        model: with its weights.
        processor: of it.
        speech: name of the speech encoder; None to leave it out.
        text: name of the text encoder; likewise.

    Raises:
        EncoderError: one does not.
    """
    training = model.training
    model.eval()
    noise = np.random.default_rng(0)
    clips = [
        0.1 * noise.standard_normal(round(seconds * processor.sampling_rate), np.float32)
        for seconds in (1.0, 0.4)
    ]
    texts = ["I never said that you were late again.", "No."]

    def heard(rows: slice) -> tuple[Tensor, Tensor]:
        batch = processor.pad([processor.features(clip) for clip in clips[rows]], texts[rows])
        inputs = batch["input_features" if processor.reads_features else "input_values"]
        return model.encode_speech(inputs, batch["speech_attention_mask"])[:2]

    def read(rows: slice) -> tuple[Tensor, Tensor]:
        batch = processor.tokenize(texts[rows])
        return model.encode_text(batch["input_ids"], batch["text_attention_mask"])[:2]

    try:
        if speech is not None:
            _check_exact(speech, model.config.speech_config, "clip", heard)
        if text is not None:
            _check_exact(text, model.config.text_config, "transcript", read)
    finally:
        model.train(training)


def _check_exact(
    name: str, config: PreTrainedConfig, what: str, encode: Callable[[slice], tuple[Tensor, Tensor]]
) -> None:
    kind = f"encoder '{name}' of type '{config.model_type}'"
    try:
        with torch.no_grad():
            together, mask = encode(slice(None))
            alone, _ = encode(slice(1, 2))
            shared = together[1][mask[1]]
            apart = (shared - alone[0]).abs().max().item() / alone.abs().max().item()
    except MMERError:
        raise
    except Exception as error:  # whatever an encoder raises about files that do not belong together
        raise EncoderError(
            f"{kind} fails on a made {what} ({reason_of(error)}); use another encoder"
        ) from error
    if not apart <= _EXACT:
        raise EncoderError(
            f"{kind} cannot be used: what it makes of a {what} depends on the padding of its batch (its hidden states "
            f"change by {apart:.1%}, and {_EXACT:.1%} is allowed); use another encoder"
        )
