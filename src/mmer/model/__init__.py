"""The network, its configuration and its processor, known to the Auto classes of `transformers`.

Without PyTorch there is no network, and the rest serves models that were exported.
"""

from transformers import AutoConfig, AutoProcessor
from transformers.utils.import_utils import is_torch_available

from mmer.features.statistics import FeatureStatistics
from mmer.model.configuration import MMERConfig
from mmer.model.encoders.emotion2vec.configuration import Emotion2VecConfig
from mmer.model.processor import MMERProcessor

AutoConfig.register("mmer", MMERConfig)
AutoConfig.register("emotion2vec", Emotion2VecConfig)
AutoProcessor.register(MMERConfig, MMERProcessor)

if is_torch_available():
    from transformers import AutoModel, AutoModelForAudioClassification

    from mmer.model.encoders.emotion2vec.network import Emotion2VecModel
    from mmer.model.mmer import MMERForEmotionRecognition, MMEROutput

    AutoModel.register(Emotion2VecConfig, Emotion2VecModel)
    AutoModelForAudioClassification.register(MMERConfig, MMERForEmotionRecognition)

__all__ = ["FeatureStatistics", "MMERConfig", "MMERForEmotionRecognition", "MMEROutput", "MMERProcessor"]
