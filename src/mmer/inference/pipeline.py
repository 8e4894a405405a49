"""Model folders in `transformers.pipeline`: importing this module makes the task known.

The task `audio-classification` of transformers itself hands a network sound alone, and features that are not those it
was trained on, so it does not suit models of mmer.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import AutoModelForAudioClassification, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

import mmer.model  # noqa: F401  transformers then knows the classes of model folders
from mmer.errors import MMERError
from mmer.inference.inputs import Utterance, as_utterance
from mmer.inference.prediction import Prediction
from mmer.inference.recognizer import EmotionRecognizer

TASK = "emotion-recognition"


class EmotionRecognitionPipeline(Pipeline):
    """Emotions of recordings, most probable first.

    A bundle is named as `model=mmer.model_folder("calls.mmer")`.

    Each input is what `EmotionRecognizer.predict` takes, or a dictionary with the arguments of `Utterance`. The answer
    is that of `EmotionRecognizer.from_pretrained`, calibrated if the model folder is: a list of `{"label", "score"}`.

    Example:
        >>> from mmer import EmotionRecognitionPipeline  # doctest: +SKIP
        >>> recognize = pipeline("emotion-recognition", model="run/model")  # doctest: +SKIP
        >>> recognize({"audio": "clip.wav", "transcript": "I never said that!"})  # doctest: +SKIP
    """

    _load_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False
    _load_image_processor = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model: Any = self.model
        processor: Any = self.processor
        folder = Path(model.name_or_path)
        if folder.is_dir():
            self._recognizer = EmotionRecognizer.of_folder(folder, model, processor, self.device)
        else:
            self._recognizer = EmotionRecognizer(model, processor, self.device)

    def _sanitize_parameters(
        self, **kwargs: Any
    ) -> tuple[dict[str, object], dict[str, object], dict[str, object]]:
        return {}, {}, {}

    def preprocess(self, input_: Any, **kwargs: Any) -> dict[str, Any]:
        if isinstance(input_, dict):
            known = [field.name for field in fields(Utterance)]
            if unknown := sorted(map(str, set(input_) - set(known))):
                raise MMERError(f"an input has no {unknown[0]!r}; give {', '.join(known)}")
            input_ = Utterance(**{"audio": None, **input_})
        return {"utterance": as_utterance(input_, 1)}

    def _forward(self, input_tensors: dict[str, Any], **kwargs: Any) -> Any:
        (prediction,) = self._recognizer.predict([input_tensors["utterance"]])
        if prediction.error is not None:
            raise MMERError(prediction.error)
        return {"prediction": prediction}

    def postprocess(self, model_outputs: Any, **kwargs: Any) -> list[dict[str, str | float]]:
        prediction: Prediction = model_outputs["prediction"]
        return [{"label": label, "score": score} for label, score in prediction.ranking]


PIPELINE_REGISTRY.register_pipeline(
    TASK, pipeline_class=EmotionRecognitionPipeline, pt_model=AutoModelForAudioClassification
)
