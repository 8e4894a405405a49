"""Speech emotion recognition from what is said and how it is said.

>>> from mmer import EmotionRecognizer
>>> recognizer = EmotionRecognizer.from_pretrained("run/model")  # doctest: +SKIP
>>> recognizer("clip.wav", transcript="I never said that!").label  # doctest: +SKIP
'angry'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmer.telemetry import switch_off
from mmer.version import __version__ as __version__

if TYPE_CHECKING:
    from mmer.corpora import read_corpus
    from mmer.corpora.audit.audit import Audit, audit
    from mmer.corpora.corpus import Corpus
    from mmer.corpora.protocol.folds import Folds, make_folds
    from mmer.errors import MMERError
    from mmer.evaluation.calibration.calibrate import calibrate
    from mmer.evaluation.comparison import Comparison, compare
    from mmer.evaluation.evaluate import evaluate
    from mmer.evaluation.intervals import Interval, interval
    from mmer.evaluation.metrics import compute_metrics
    from mmer.evaluation.model_card import write_model_card
    from mmer.evaluation.prediction_files import read_predictions, read_runs
    from mmer.evaluation.report.page import write_report
    from mmer.inference.archive.score import score
    from mmer.inference.backends.bundle import write_bundle
    from mmer.inference.backends.export import export_onnx
    from mmer.inference.backends.models import model_folder
    from mmer.inference.embedding.embed import embed
    from mmer.inference.enrollment import enroll
    from mmer.inference.explain.explain import Explanation, explain
    from mmer.inference.inputs import Utterance
    from mmer.inference.listen import Listener
    from mmer.inference.pipeline import EmotionRecognitionPipeline
    from mmer.inference.prediction import Prediction, predictions_frame, write_predictions
    from mmer.inference.recognizer import EmotionRecognizer
    from mmer.inference.timeline.archive import timelines
    from mmer.inference.timeline.input_segments import read_segments
    from mmer.inference.timeline.timeline import Timeline, timeline
    from mmer.inference.transcribe_corpus import transcribe
    from mmer.inference.trust.abstention import Abstention
    from mmer.model import MMERConfig, MMERForEmotionRecognition, MMEROutput, MMERProcessor
    from mmer.recipe.schema import Recipe, load_recipe
    from mmer.text.transcripts import normalize_transcript
    from mmer.training.adaptation.adapt import adapt
    from mmer.training.adaptation.adapt_published import adapt_published
    from mmer.training.crossval.baseline_runs import cross_validate_baseline
    from mmer.training.crossval.crossval import CrossValidation, cross_validate
    from mmer.training.run import TrainingRun, train

switch_off()

_HOMES = {
    "Abstention": "mmer.inference.trust.abstention",
    "Audit": "mmer.corpora.audit.audit",
    "Comparison": "mmer.evaluation.comparison",
    "Corpus": "mmer.corpora.corpus",
    "CrossValidation": "mmer.training.crossval.crossval",
    "EmotionRecognitionPipeline": "mmer.inference.pipeline",
    "EmotionRecognizer": "mmer.inference.recognizer",
    "Explanation": "mmer.inference.explain.explain",
    "Folds": "mmer.corpora.protocol.folds",
    "Interval": "mmer.evaluation.intervals",
    "Listener": "mmer.inference.listen",
    "MMERConfig": "mmer.model",
    "MMERError": "mmer.errors",
    "MMERForEmotionRecognition": "mmer.model",
    "MMEROutput": "mmer.model",
    "MMERProcessor": "mmer.model",
    "Prediction": "mmer.inference.prediction",
    "Recipe": "mmer.recipe.schema",
    "Timeline": "mmer.inference.timeline.timeline",
    "TrainingRun": "mmer.training.run",
    "Utterance": "mmer.inference.inputs",
    "adapt": "mmer.training.adaptation.adapt",
    "adapt_published": "mmer.training.adaptation.adapt_published",
    "audit": "mmer.corpora.audit.audit",
    "calibrate": "mmer.evaluation.calibration.calibrate",
    "compare": "mmer.evaluation.comparison",
    "compute_metrics": "mmer.evaluation.metrics",
    "cross_validate": "mmer.training.crossval.crossval",
    "cross_validate_baseline": "mmer.training.crossval.baseline_runs",
    "embed": "mmer.inference.embedding.embed",
    "enroll": "mmer.inference.enrollment",
    "evaluate": "mmer.evaluation.evaluate",
    "explain": "mmer.inference.explain.explain",
    "export_onnx": "mmer.inference.backends.export",
    "interval": "mmer.evaluation.intervals",
    "load_recipe": "mmer.recipe.schema",
    "make_folds": "mmer.corpora.protocol.folds",
    "model_folder": "mmer.inference.backends.models",
    "normalize_transcript": "mmer.text.transcripts",
    "predictions_frame": "mmer.inference.prediction",
    "read_corpus": "mmer.corpora",
    "read_predictions": "mmer.evaluation.prediction_files",
    "read_runs": "mmer.evaluation.prediction_files",
    "read_segments": "mmer.inference.timeline.input_segments",
    "score": "mmer.inference.archive.score",
    "timeline": "mmer.inference.timeline.timeline",
    "timelines": "mmer.inference.timeline.archive",
    "train": "mmer.training.run",
    "transcribe": "mmer.inference.transcribe_corpus",
    "write_bundle": "mmer.inference.backends.bundle",
    "write_model_card": "mmer.evaluation.model_card",
    "write_predictions": "mmer.inference.prediction",
    "write_report": "mmer.evaluation.report.page",
}

__all__ = [
    "Abstention",
    "Audit",
    "Comparison",
    "Corpus",
    "CrossValidation",
    "EmotionRecognitionPipeline",
    "EmotionRecognizer",
    "Explanation",
    "Folds",
    "Interval",
    "Listener",
    "MMERConfig",
    "MMERError",
    "MMERForEmotionRecognition",
    "MMEROutput",
    "MMERProcessor",
    "Prediction",
    "Recipe",
    "Timeline",
    "TrainingRun",
    "Utterance",
    "adapt",
    "adapt_published",
    "audit",
    "calibrate",
    "compare",
    "compute_metrics",
    "cross_validate",
    "cross_validate_baseline",
    "embed",
    "enroll",
    "evaluate",
    "explain",
    "export_onnx",
    "interval",
    "load_recipe",
    "make_folds",
    "model_folder",
    "normalize_transcript",
    "predictions_frame",
    "read_corpus",
    "read_predictions",
    "read_runs",
    "read_segments",
    "score",
    "timeline",
    "timelines",
    "train",
    "transcribe",
    "write_bundle",
    "write_model_card",
    "write_predictions",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `mmer --help` need not wait for PyTorch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mmer' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
