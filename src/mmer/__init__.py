"""Speech emotion recognition from what is said and how it is said.

>>> from mmer import EmotionRecognizer
>>> recognizer = EmotionRecognizer.from_pretrained("run/model")  # doctest: +SKIP
>>> recognizer("clip.wav", transcript="I never said that!").label  # doctest: +SKIP
'angry'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmer.telemetry import switch_off

if TYPE_CHECKING:
    from mmer.corpora.corpus import Corpus
    from mmer.errors import MMERError
    from mmer.inference.inputs import Utterance
    from mmer.inference.prediction import Prediction, predictions_frame
    from mmer.inference.recognizer import EmotionRecognizer
    from mmer.inference.timeline.segment_files import read_segments
    from mmer.inference.timeline.timeline import timeline
    from mmer.model import MMERConfig, MMERForEmotionRecognition, MMEROutput, MMERProcessor
    from mmer.recipe.schema import Recipe, load_recipe
    from mmer.training.run import train

__version__ = "0.1.0"
switch_off()

_HOMES = {
    "Corpus": "mmer.corpora.corpus",
    "EmotionRecognizer": "mmer.inference.recognizer",
    "MMERConfig": "mmer.model",
    "MMERError": "mmer.errors",
    "MMERForEmotionRecognition": "mmer.model",
    "MMEROutput": "mmer.model",
    "MMERProcessor": "mmer.model",
    "Prediction": "mmer.inference.prediction",
    "Recipe": "mmer.recipe.schema",
    "Utterance": "mmer.inference.inputs",
    "load_recipe": "mmer.recipe.schema",
    "predictions_frame": "mmer.inference.prediction",
    "read_segments": "mmer.inference.timeline.segment_files",
    "timeline": "mmer.inference.timeline.timeline",
    "train": "mmer.training.run",
}

__all__ = [
    "Corpus",
    "EmotionRecognizer",
    "MMERConfig",
    "MMERError",
    "MMERForEmotionRecognition",
    "MMEROutput",
    "MMERProcessor",
    "Prediction",
    "Recipe",
    "Utterance",
    "load_recipe",
    "predictions_frame",
    "read_segments",
    "timeline",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `mmer --help` need not wait for PyTorch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mmer' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
