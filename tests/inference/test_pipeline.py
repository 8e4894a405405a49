"""Model folders in transformers' own hands: Auto classes and `pipeline`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForAudioClassification, AutoProcessor, pipeline

from mmer.audio.load import load_audio
from mmer.errors import MMERError
from mmer.inference import EmotionRecognizer
from mmer.inference.pipeline import TASK, EmotionRecognitionPipeline
from mmer.model import MMERConfig, MMERForEmotionRecognition, MMERProcessor


def test_auto_classes(model_folder: Path, recognizer: EmotionRecognizer, clips: Sequence[str]) -> None:
    assert isinstance(AutoConfig.from_pretrained(model_folder), MMERConfig)
    model = AutoModelForAudioClassification.from_pretrained(model_folder)
    processor = AutoProcessor.from_pretrained(model_folder)
    assert isinstance(model, MMERForEmotionRecognition)
    assert isinstance(processor, MMERProcessor)
    with torch.inference_mode():
        logits = model(**processor([load_audio(clips[0])], ["What a day"])).logits[0]
    answer = recognizer(clips[0], "What a day").probabilities
    assert dict(zip(recognizer.labels, logits.softmax(-1).tolist(), strict=True)) == pytest.approx(answer)


def test_pipeline(model_folder: Path, recognizer: EmotionRecognizer, clips: Sequence[str]) -> None:
    recognize = cast(Any, pipeline)(TASK, model=str(model_folder), device="cpu")
    assert type(recognize).__name__ == EmotionRecognitionPipeline.__name__
    with_words = recognize({"audio": clips[0], "transcript": "What a day"})
    expected = recognizer(clips[0], "What a day").ranking
    assert [(row["label"], row["score"]) for row in with_words] == expected
    several = recognize([clips[0], Path(clips[1])])
    assert [rows[0]["label"] for rows in several] == [recognizer(clip).label for clip in clips[:2]]
    samples = {"audio": np.zeros(16_000, np.float32), "sampling_rate": 16_000}
    assert sum(row["score"] for row in recognize(samples)) == pytest.approx(1)
    with pytest.raises(MMERError, match=r"gone\.wav"):
        recognize("gone.wav")
