"""Text classifiers of transformers read the transcript, with the values of its pipeline."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_models import SENTENCES, TEXT, TEXT_LABELS, TEXT_SIZES, assert_refused, save_text_classifier
from transformers import AutoTokenizer, XmodConfig, XmodForSequenceClassification, pipeline

from mmer.errors import CheckpointError, MMERError
from mmer.inference import EmotionRecognizer
from mmer.inference.inputs import Utterance
from mmer.published import text_classifiers

READ = [*SENTENCES, "nie wiem"]  # 13, 10 and 7 tokens


def by_pipeline(folder: Path, sentences: list[str]) -> list[dict[str, float]]:
    # The overloads of `pipeline` do not know that a folder may be given.
    made: Any = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    return [{each["label"]: each["score"] for each in made([sentence])[0]} for sentence in sentences]


def table(rows: list[dict[str, float]], labels: list[str] = TEXT_LABELS) -> np.ndarray:
    return np.array([[row[label] for label in labels] for row in rows])


def answers(folder: Path, batch: int) -> list[dict[str, float]]:
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    utterances = [Utterance(None, transcript=sentence) for sentence in READ]
    found = list(recognizer.predict(utterances, batch_size=batch))
    assert [each.error for each in found] == [None] * len(found)
    return [each.probabilities or {} for each in found]


@pytest.mark.parametrize("kind", TEXT)
def test_values_are_those_of_the_pipeline_alone_and_in_a_batch(kind: str, tmp_path: Path) -> None:
    folder = save_text_classifier(tmp_path, kind)
    theirs = table(by_pipeline(folder, READ))
    assert np.abs(table(answers(folder, 1)) - theirs).max() <= 1e-5
    assert np.abs(table(answers(folder, 5)) - theirs).max() <= 1e-4
    assert np.ptp(theirs) > 0.05  # differences would show


@pytest.mark.parametrize(
    ("kind", "padded"), [("Roberta", True), ("Bart", True), ("GPT2", True), ("FNet", False)]
)
def test_a_network_is_asked_whether_it_ignores_padding(kind: str, padded: bool, tmp_path: Path) -> None:
    network = text_classifiers.load_network(save_text_classifier(tmp_path, kind))
    assert isinstance(network, text_classifiers.TextClassifier)
    assert network.padded == padded


def test_a_decoder_answers_the_same_where_its_tokenizer_pads_with_another_token(tmp_path: Path) -> None:
    folder = save_text_classifier(tmp_path, "GPT2", pad_token_id=59)
    assert np.abs(table(answers(folder, 1)) - table(answers(folder, 5))).max() <= 1e-4


def test_a_network_that_needs_more_than_tokens_is_refused(tmp_path: Path) -> None:
    save_text_classifier(tmp_path)
    size = len(AutoTokenizer.from_pretrained(tmp_path))
    config = XmodConfig(vocab_size=size, pad_token_id=0, languages=["en", "pl"], **TEXT_SIZES)
    config.id2label = dict(enumerate(TEXT_LABELS))
    XmodForSequenceClassification(config).save_pretrained(tmp_path)
    assert_refused(tmp_path, "its network fails on a made transcript .Input language unknown")


def test_a_transcript_that_is_too_long_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = EmotionRecognizer.from_pretrained(save_text_classifier(tmp_path), "cpu")
    recognizer.processor.tokenizer.model_max_length = 5
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with pytest.raises(MMERError, match="13 tokens and the text encoder reads 5"):
        recognizer(None, READ[0])
    assert not caplog.records


def test_scores_of_several_labels_are_divided_by_their_sum(tmp_path: Path) -> None:
    folder = save_text_classifier(tmp_path, "Roberta", problem_type="multi_label_classification")
    theirs = table(by_pipeline(folder, READ))
    assert theirs.sum(axis=1).max() > 1.1
    assert np.abs(table(answers(folder, 5)) - theirs / theirs.sum(axis=1, keepdims=True)).max() <= 1e-5


def test_a_recording_without_a_transcript_is_answered_with_a_warning(tmp_path: Path) -> None:
    recognizer = EmotionRecognizer.from_pretrained(save_text_classifier(tmp_path), "cpu")
    for words in (None, " ", "[LAUGHTER]", "(sighs)"):  # annotations are not read
        heard = recognizer(np.zeros(16000, np.float32), words, sampling_rate=16000)
        assert "no transcript" in " ".join(heard.warnings)
        assert heard.transcript_source == "none"


def test_a_network_of_numbers_and_one_without_tokenizer_are_refused(tmp_path: Path) -> None:
    folder = save_text_classifier(tmp_path / "numbers", problem_type="regression")
    with pytest.raises(CheckpointError, match="answers numbers, not classes"):
        EmotionRecognizer.from_pretrained(folder, "cpu")
    folder = save_text_classifier(tmp_path / "silent")
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="silent is not complete: it holds no tokenizer") as error:
        EmotionRecognizer.from_pretrained(folder, "cpu")
    assert "\n" not in str(error.value)
