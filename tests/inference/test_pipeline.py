"""Model folders in transformers' own hands: Auto classes and `pipeline`."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from inference.conftest import save_model
from rich.console import Console
from transformers import AutoConfig, AutoModelForAudioClassification, AutoProcessor, pipeline

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.errors import MMERError
from mmer.inference import EmotionRecognizer
from mmer.inference.enrollment import enroll
from mmer.inference.inputs import Utterance
from mmer.inference.pipeline import TASK, EmotionRecognitionPipeline
from mmer.inference.trust.calibration import FILE, CalibratedCondition, Calibration, Calibrator, weights_hash
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


def test_pipeline_answers_as_the_folder_is_calibrated(
    model_folder: Path, recognizer: EmotionRecognizer, clips: Sequence[str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    softer = Calibrator("temperature", {"temperature": 3.0})
    scores = {label: [0.1, 0.2] for label in recognizer.labels}
    fitted = {"both": CalibratedCondition(softer, 8, "2 folds of 2 speakers", {}, {}, {}, {}, scores)}
    Calibration(weights_hash(folder), recognizer.labels, "corpus", None, ["a"], fitted).write(folder / FILE)
    recognize = cast(Any, pipeline)(TASK, model=str(folder), device="cpu")
    found = [
        (row["label"], row["score"]) for row in recognize({"audio": clips[0], "transcript": "What a day"})
    ]
    calibrated = EmotionRecognizer.from_pretrained(folder, "cpu")
    assert found == calibrated(clips[0], "What a day").ranking
    assert found[0][1] < recognizer(clips[0], "What a day").ranking[0][1] - 0.01


def test_pipeline_knows_the_speakers_of_the_folder(clips: Sequence[str], tmp_path: Path) -> None:
    plain = save_model(tmp_path / "plain", speech="wav2vec2-bert", normalization="speaker")
    rows = {"utterance_id": ["a", "b"], "audio_path": clips[:2], "speaker": ["anna", "anna"]}
    Corpus(pd.DataFrame(rows)).write(tmp_path / "anna.parquet")
    folder = enroll(plain, tmp_path / "anna.parquet", tmp_path / "enrolled", console=Console(quiet=True))
    recognize = cast(Any, pipeline)(TASK, model=str(folder), device="cpu")
    later = Utterance(clips[2], "la", speaker="anna")
    found = [(row["label"], row["score"]) for row in recognize(later)]
    answers = {
        name: next(iter(EmotionRecognizer.from_pretrained(each, "cpu").predict([later]))).ranking
        for name, each in (("known", folder), ("unknown", plain))
    }
    assert found == answers["known"]
    assert found != answers["unknown"]


def test_a_program_needs_no_other_import() -> None:
    program = "from mmer import EmotionRecognitionPipeline; from transformers import AutoConfig"
    program += "; AutoConfig.for_model('mmer')"
    subprocess.run([sys.executable, "-c", program], check=True)
