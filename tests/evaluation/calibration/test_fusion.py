"""Late fusion is fitted on labeled utterances and kept in a folder."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from published_models import save_audio_classifier, save_text_classifier
from transformers import RobertaForSequenceClassification
from typer.testing import CliRunner

from mmer.cli.main import app
from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, CorpusError, MMERError
from mmer.evaluation.calibration.calibrate import calibrate
from mmer.evaluation.calibration.fusion import _applied
from mmer.inference import EmotionRecognizer, Prediction
from mmer.inference.backends.composition import read_composition
from mmer.inference.trust.calibration import Calibration, Calibrator
from mmer.inference.trust.trained_on import TrainedOn

LABELS = ["angry", "happy", "neutral", "sad"]
WORDS = ["yes", "no", "what a day", "never", "I said that", "the train", "nie wiem", "co"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A speech model, a text model, and a corpus whose emotions are what the text model answers."""
    folder = tmp_path_factory.mktemp("fusion")
    save_audio_classifier(folder / "speech", "wav2vec2-group")
    save_text_classifier(folder / "text")
    reader = EmotionRecognizer.from_pretrained(folder / "text", "cpu", label_map="four")
    noise = np.random.default_rng(0)
    rows = []
    for number in range(48):
        soundfile.write(folder / f"{number}.wav", 0.1 * noise.standard_normal(4000), 16000)
        words = f"{WORDS[number % 8]} {WORDS[noise.integers(8)]} {WORDS[noise.integers(8)]}"
        label = reader(None, words).label
        rows.append((str(number), f"{number}.wav", label, f"s{number % 6}", words, "validation"))
    names = ["utterance_id", "audio_path", "emotion", "speaker", "transcript", "split"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "corpus.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_model_that_knows_is_weighed_more(folder: Path, tmp_path: Path) -> None:
    model, out = f"{folder}/speech+{folder}/text", tmp_path / "fused"
    done = CliRunner().invoke(app, ["calibrate", model, str(folder / "corpus.csv"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    composition = read_composition(out)
    assert composition is not None
    assert composition.fit is not None
    speech, text = composition.models
    assert composition.labels == LABELS
    assert text.weight > 0.8
    assert speech.weight == pytest.approx(1 - text.weight)
    assert composition.fit.log_loss["fitted"] < composition.fit.log_loss["equal"]
    assert composition.fit.speakers == [f"s{number}" for number in range(6)]
    assert f"text {text.weight:.0%} (temperature {text.temperature:.2f})" in done.output
    utterance = Corpus.read(folder / "corpus.csv").table.iloc[3]
    answer = EmotionRecognizer.from_pretrained(out, "cpu")(utterance["audio_path"], utterance["transcript"])

    def softened(of: str, temperature: float, path: str | None, words: str | None) -> np.ndarray:
        made = EmotionRecognizer.from_pretrained(folder / of, "cpu", label_map="four")(path, words)
        powers = np.array([(made.probabilities or {})[label] for label in LABELS]) ** (1 / temperature)
        return powers / powers.sum()

    heard = softened("speech", speech.temperature, utterance["audio_path"], None)
    read = softened("text", text.temperature, None, utterance["transcript"])
    expected = speech.weight * heard + text.weight * read
    assert list((answer.probabilities or {}).values()) == pytest.approx(expected.tolist(), abs=1e-5)
    calibration = Calibration.of_model(out, LABELS)
    assert calibration is not None
    assert set(calibration.conditions) == {"both", "speech", "text"}
    assert "fitted on the same utterances" in str(calibration.note)
    assert "only one of the models knows frustrated, fearful, which are left out" in str(calibration.note)
    assert "count equally" not in str(calibration.note)
    judged = CliRunner().invoke(app, ["evaluate", str(out), str(folder / "corpus.csv")])
    assert judged.exit_code == 0, judged.output
    assert "counts equally" not in judged.output


def test_a_published_model_is_calibrated_in_its_folder_or_elsewhere(folder: Path, tmp_path: Path) -> None:
    corpus = Corpus.read(folder / "corpus.csv")
    out = tmp_path / "calibrated"
    calibration = calibrate(folder / "text", corpus, out=out, label_map="four")
    assert "labels left out, since the label map does not name them: fear" in str(calibration.note)
    recognizer = EmotionRecognizer.from_pretrained(out, "cpu")
    assert recognizer.calibration is not None
    assert recognizer.labels == LABELS
    assert not (folder / "text" / "calibration.json").exists()
    own = save_text_classifier(tmp_path / "own", labels=[*LABELS, "fearful"])
    calibrate(own, corpus)
    assert EmotionRecognizer.from_pretrained(own, "cpu").calibration is not None
    (own / "model.safetensors").write_bytes((folder / "text" / "model.safetensors").read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match=r"fitted to other weights than model\.safetensors"):
        Calibration.of_model(own, [*LABELS, "fearful"])


def test_a_calibration_is_of_all_files_of_the_weights(folder: Path, tmp_path: Path) -> None:
    save_text_classifier(tmp_path, labels=LABELS)
    model: Any = RobertaForSequenceClassification.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="5KB")
    calibrate(tmp_path, Corpus.read(folder / "corpus.csv"))
    assert EmotionRecognizer.from_pretrained(tmp_path, "cpu").calibration is not None
    model.classifier.out_proj.weight.data *= 2
    model.save_pretrained(tmp_path, max_shard_size="5KB")  # an index with the same names and sizes
    with pytest.raises(
        CheckpointError, match=r"fitted to other weights than model\.safetensors\.index\.json"
    ):
        EmotionRecognizer.from_pretrained(tmp_path, "cpu")


def test_what_cannot_be_fitted_or_kept_is_refused(folder: Path, tmp_path: Path) -> None:
    corpus, model = Corpus.read(folder / "corpus.csv"), f"{folder}/speech+{folder}/text"
    with pytest.raises(
        CheckpointError, match="no folder in which a calibration could be kept; name one with out"
    ):
        calibrate(model, corpus)
    with pytest.raises(MMERError, match="is neither a calibrated model nor an empty folder, it holds"):
        calibrate(model, corpus, out=folder / "text")
    table = corpus.table.assign(transcript=None)
    with pytest.raises(CorpusError, match="0 of 48 utterances can be fitted on, and 16 are needed"):
        calibrate(model, Corpus(table), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("trained", ["speech", "text"])
def test_what_either_model_learned_from_is_not_calibrated_on(
    trained: str, folder: Path, tmp_path: Path
) -> None:
    for name in ("speech", "text"):
        shutil.copytree(folder / name, tmp_path / name)
    corpus = Corpus.read(folder / "corpus.csv")
    TrainedOn.of(Corpus(corpus.table.assign(split="train"))).write(tmp_path / trained)
    model = f"{tmp_path}/speech+{tmp_path}/text"
    told = f"48 of 48 utterances are in the training data of {model}, on which"
    with pytest.raises(CorpusError, match=re.escape(told)):
        calibrate(model, corpus, out=tmp_path / "out")


def test_fitted_weights_and_temperatures_by_hand() -> None:
    """A temperature of 2 makes odds their square root: 0.8 to 0.2 becomes 2 to 1."""
    fusion = (Calibrator("temperature", {"temperature": 2.0}), Calibrator(), 0.25)
    speech, text = {"angry": 0.8, "sad": 0.2}, {"angry": 0.4, "sad": 0.6}
    both = Prediction(utterance_id="a", probabilities=text, alone={"speech": speech, "text": text})
    assert _applied(both, fusion).probabilities == pytest.approx({"angry": 7 / 15, "sad": 8 / 15})
    heard = Prediction(utterance_id="b", probabilities=speech, condition="speech")
    assert _applied(heard, fusion).probabilities == pytest.approx({"angry": 2 / 3, "sad": 1 / 3})
    read = Prediction(utterance_id="c", probabilities=text, condition="text")
    assert _applied(read, fusion).probabilities == pytest.approx(text)
    failed = Prediction(utterance_id="d", error="no sound")
    assert _applied(failed, fusion) == failed
