"""Tell which kind of published model a folder holds, without importing what would load it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mmer.errors import CheckpointError
from mmer.files.funasr_folder import is_funasr_folder

Kind = Literal["audio", "emotion2vec", "speech head", "text"]

PADDED = frozenset(
    f"{name}ForSequenceClassification"
    for name in ("Wav2Vec2", "Hubert", "WavLM", "UniSpeechSat", "Data2VecAudio", "Wav2Vec2Bert")
)
"""Audio classifiers whose clips of different lengths share a batch."""
UNPADDED = frozenset(
    f"{name}ForSequenceClassification" for name in ("UniSpeech", "SEW", "SEWD", "Wav2Vec2Conformer")
)
"""Audio classifiers in which padding changes the answer."""
WINDOWED = frozenset({"WhisperForAudioClassification", "ASTForAudioClassification"})
"""Audio classifiers that read a window of fixed length."""
_AUDIO = PADDED | UNPADDED | WINDOWED
KNOWN = (
    "known are the folders that training writes, the audio classifiers of transformers "
    f"({', '.join(sorted(name.partition('For')[0] for name in _AUDIO))}), its text classifiers, and emotion2vec as "
    "released for FunASR"
)
"""What may be given as a model, for messages."""
_NAMELESS = re.compile(r"LABEL_\d+")
_TEXT = re.compile(r"\w+ForSequenceClassification")


def published_kind(folder: Path) -> Kind | None:
    """Tell which kind of published model a folder holds; None for any other folder, whatever is wrong with it."""
    name = architecture(folder)
    if name in _AUDIO:
        return "audio"
    if name == "Wav2Vec2ForSpeechClassification":  # a name that transformers does not have
        return "speech head"
    if _TEXT.fullmatch(name):
        return "text"
    if is_funasr_folder(folder):
        return "emotion2vec"
    return None


def architecture(folder: Path) -> str:
    """Read the class of transformers that a config.json names; empty where it names none or cannot be read."""
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
        return str(named[0]) if len(named) == 1 else ""
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def check_named(labels: Sequence[str], folder: Path) -> None:
    """Refuse labels that say no emotion, as transformers numbers them.

    Raises:
        CheckpointError: there are such labels.
    """
    if nameless := [label for label in labels if _NAMELESS.fullmatch(label)]:
        numbered = " to ".join(dict.fromkeys((nameless[0], nameless[-1])))
        raise CheckpointError(
            f"the model in {folder} calls {len(nameless)} of its labels {numbered}, which says no "
            "emotion; name each in id2label of its config.json, or give a label map, a .yaml file with an entry such "
            f"as {nameless[0]}: angry for each, in the order that its authors state"
        )
