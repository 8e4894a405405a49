"""Predicting emotions with a trained model."""

from mmer.inference.inputs import Utterance, collect_inputs
from mmer.inference.prediction import Prediction, write_predictions
from mmer.inference.recognizer import EmotionRecognizer

__all__ = ["EmotionRecognizer", "Prediction", "Utterance", "collect_inputs", "write_predictions"]
