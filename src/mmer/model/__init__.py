"""The network, its configuration and its processor, known to the Auto classes of `transformers`."""

from transformers import AutoConfig, AutoModelForAudioClassification, AutoProcessor

from mmer.model.configuration import MMERConfig
from mmer.model.mmer import MMERForEmotionRecognition, MMEROutput
from mmer.model.processor import FeatureStatistics, MMERProcessor

AutoConfig.register("mmer", MMERConfig)
AutoModelForAudioClassification.register(MMERConfig, MMERForEmotionRecognition)
AutoProcessor.register(MMERConfig, MMERProcessor)

__all__ = ["FeatureStatistics", "MMERConfig", "MMERForEmotionRecognition", "MMEROutput", "MMERProcessor"]
