"""The network, its configuration and its processor, known to the Auto classes of `transformers`.

Without PyTorch there is no network, and the rest serves models that were exported.
"""

from transformers import AutoConfig, AutoProcessor
from transformers.utils.import_utils import is_torch_available

from mmer.features.statistics import FeatureStatistics
from mmer.model.configuration import MMERConfig
from mmer.model.processor import MMERProcessor

AutoConfig.register("mmer", MMERConfig)
AutoProcessor.register(MMERConfig, MMERProcessor)

if is_torch_available():
    from transformers import AutoModelForAudioClassification

    from mmer.model.mmer import MMERForEmotionRecognition, MMEROutput

    AutoModelForAudioClassification.register(MMERConfig, MMERForEmotionRecognition)

__all__ = ["FeatureStatistics", "MMERConfig", "MMERForEmotionRecognition", "MMEROutput", "MMERProcessor"]
