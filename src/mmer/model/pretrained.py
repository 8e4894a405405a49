"""Loading pretrained encoders by name or folder, with errors a user can act on."""

from collections.abc import Callable
from typing import Any

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoTokenizer

from mmer.errors import EncoderError
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.text_encoder import without_pooler


def fetch(load: Callable[..., Any], name: str, what: str = "encoder", /, **settings: Any) -> Any:
    """Load something of transformers by name or from a folder; code that comes along is not run.

    Args:
        load: a `from_pretrained`.
        name: what it takes.
        what: is loaded, for the error.
        settings: more of what it takes.

    Raises:
        EncoderError: there is nothing of that name, or it cannot be fetched.
    """
    try:
        return load(name, trust_remote_code=False, **settings)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise EncoderError(
            f"{what} '{name}' cannot be loaded ({reason}); check the name and the network, or give the path of a "
            "local folder that holds its config.json, weights and preprocessor or tokenizer files"
        ) from error


def encoder_config(name: str) -> Any:
    """Configuration of a pretrained encoder.

    Raises:
        EncoderError: there is no such encoder, or it cannot be fetched.
    """
    return fetch(AutoConfig.from_pretrained, name)


def encoder_feature_extractor(name: str) -> Any:
    """Feature extractor of a pretrained speech encoder; errors as in `encoder_config`."""
    return fetch(AutoFeatureExtractor.from_pretrained, name)


def encoder_tokenizer(name: str) -> Any:
    """Tokenizer of a pretrained text encoder; errors as in `encoder_config`."""
    return fetch(AutoTokenizer.from_pretrained, name)


def load_speech_encoder(model: MMERForEmotionRecognition, name: str) -> None:
    """Give the model the weights of a pretrained speech encoder; errors as in `encoder_config`."""
    assert model.speech_encoder is not None
    encoder = model.speech_encoder.model
    pretrained = fetch(AutoModel.from_pretrained, name, config=encoder.config)
    encoder.load_state_dict(pretrained.state_dict())


def load_text_encoder(model: MMERForEmotionRecognition, name: str) -> None:
    """Give the model the weights of a pretrained text encoder; errors as in `encoder_config`."""
    assert model.text_encoder is not None
    encoder = model.text_encoder.model
    pretrained = fetch(
        AutoModel.from_pretrained, name, config=encoder.config, **without_pooler(encoder.config)
    )
    encoder.load_state_dict(pretrained.state_dict())
