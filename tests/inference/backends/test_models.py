"""Any model that a user can name: other labels, and two models joined."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_models import SENTENCES, save_audio_classifier, save_text_classifier

from mmer.errors import CheckpointError, MMERError
from mmer.inference import EmotionRecognizer
from mmer.inference.backends.models import EQUAL, compose, model_folder, read_model_processor
from mmer.inference.inputs import Utterance

RATE = 16000
CLIP = (0.1 * np.random.default_rng(0).standard_normal(12000)).astype(np.float32)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of ang, hap, neu, sad and fru."""
    return save_audio_classifier(tmp_path_factory.mktemp("models") / "speech", "hubert")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of anger, joy, neutral, sadness and fear."""
    return save_text_classifier(tmp_path_factory.mktemp("models") / "text")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def heard(model: Path | str, label_map: str | Path | None = None) -> dict[str, float]:
    notes: list[str] = []
    folder = model_folder(model, label_map=label_map, note=notes.append)
    prediction = EmotionRecognizer.from_pretrained(folder, "cpu")(CLIP, sampling_rate=RATE)
    return prediction.probabilities or {}


def test_a_map_renames_adds_up_and_leaves_out(speech: Path, tmp_path: Path) -> None:
    before = heard(speech)
    (tmp_path / "map.yaml").write_text("ang: negative\nsad: negative\nfru: null\nhap: positive\n")
    notes: list[str] = []
    folder = model_folder(speech, label_map=tmp_path / "map.yaml", note=notes.append)
    assert notes == [f"{speech}: labels not in the label map, which keep their names: neu"]
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    assert recognizer.labels == ["negative", "positive", "neu"]
    left = 1 - before["fru"]
    expected = {
        "negative": (before["ang"] + before["sad"]) / left,
        "positive": before["hap"] / left,
        "neu": before["neu"] / left,
    }
    assert recognizer(CLIP, sampling_rate=RATE).probabilities == pytest.approx(expected, abs=1e-6)
    assert read_model_processor(folder).labels == recognizer.labels  # what `score` reads first
    (tmp_path / "other.yaml").write_text("wrath: negative\n")
    with pytest.raises(
        CheckpointError, match=r"other.yaml: renames wrath, and .* none of these labels; it has ang, "
    ):
        model_folder(speech, label_map=tmp_path / "other.yaml")


def test_shipped_maps_know_the_usual_spellings(speech: Path) -> None:
    before = heard(speech)
    canonical = heard(speech, "canonical")
    assert list(canonical) == ["angry", "happy", "neutral", "sad", "frustrated"]
    assert list(canonical.values()) == list(before.values())
    assert list(heard(speech, "four")) == ["angry", "happy", "neutral", "sad"]
    assert list(heard(speech, "polarity")) == ["negative", "positive", "neutral"]


def test_numbered_labels_need_a_map(tmp_path: Path) -> None:
    numbered = [f"LABEL_{number}" for number in range(3)]
    folder = save_audio_classifier(tmp_path / "model", "wav2vec2-layer", labels=numbered)
    told = "3 of its labels LABEL_0 to LABEL_2, .*; name each in id2label of its config.json, or give a"
    with pytest.raises(CheckpointError, match=told):  # also where a command takes no map
        EmotionRecognizer.from_pretrained(folder, "cpu")
    (tmp_path / "map.json").write_text('{"LABEL_0": "sad", "LABEL_1": "angry"}')
    with pytest.raises(CheckpointError, match="1 of its labels LABEL_2"):
        model_folder(folder, label_map=tmp_path / "map.json", note=print)
    (tmp_path / "map.json").write_text('{"LABEL_0": "sad", "LABEL_1": "angry", "LABEL_2": "happy"}')
    assert list(heard(folder, tmp_path / "map.json")) == ["sad", "angry", "happy"]


def test_maps_that_do_not_fit_are_refused(speech: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no label map 'five'; give canonical, four, polarity"):
        model_folder(speech, label_map="five")
    with pytest.raises(CheckpointError, match="no label map ''; give canonical, four, polarity"):
        model_folder(speech, label_map="")  # as of an empty variable of the shell
    (tmp_path / "one.yaml").write_text("ang: x\nhap: x\nneu: x\nsad: x\nfru: x\n")
    with pytest.raises(CheckpointError, match="fewer than two labels are left"):
        model_folder(speech, label_map=tmp_path / "one.yaml")


def test_speech_and_text_are_averaged_and_answer_alone(speech: Path, text: Path) -> None:
    with pytest.warns(UserWarning, match=EQUAL):
        folder = model_folder(f"{speech}+{text}")
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    labels = ["angry", "happy", "neutral", "sad"]
    assert recognizer.labels == labels

    def share(given: dict[str, float], names: list[str]) -> np.ndarray:
        return np.array([given[name] for name in names]) / sum(given[name] for name in names)

    words = SENTENCES[1]
    by_speech = share(heard(speech), ["ang", "hap", "neu", "sad"])
    read = EmotionRecognizer.from_pretrained(text, "cpu")(None, words).probabilities or {}
    by_text = share(read, ["anger", "joy", "neutral", "sadness"])
    utterances = [
        Utterance(CLIP, words, RATE),
        Utterance(CLIP[:5000], None, RATE),
        Utterance(CLIP, None, RATE),
        Utterance(None, words),
        Utterance(CLIP, words, RATE),
    ]
    for size in (1, 2, 5):
        both, _, only_speech, only_text, again = recognizer.predict(utterances, batch_size=size)
        assert both.error is None
        for answer, expected in (
            (both, (by_speech + by_text) / 2),
            (again, (by_speech + by_text) / 2),
            (only_speech, by_speech),
            (only_text, by_text),
        ):
            assert answer.probabilities is not None
            assert [answer.probabilities[label] for label in labels] == pytest.approx(expected, abs=1e-5)
        assert both.alone is not None
        assert list(both.alone["speech"].values()) == pytest.approx(by_speech, abs=1e-5)
        assert list(both.alone["text"].values()) == pytest.approx(by_text, abs=1e-5)
        assert (both.condition, only_speech.condition, only_text.condition) == ("both", "speech", "text")
    (failed,) = recognizer.predict([Utterance(None, None)])
    assert "neither a recording nor a transcript" in str(failed.error)


@pytest.mark.filterwarnings("ignore:speech and text count equally")
@pytest.mark.parametrize("plus", ["both", "speech", "text"])
def test_a_plus_sign_in_the_name_of_a_folder_joins_nothing(
    plus: str, speech: Path, text: Path, tmp_path: Path
) -> None:
    folders = {"speech": speech, "text": text}
    for name, folder in list(folders.items()):
        if plus in ("both", name):
            folders[name] = shutil.copytree(folder, tmp_path / f"emotion+{name}" / "plus+")
    joined = heard(f"{folders['speech']}+{folders['text']}")
    assert joined == heard(f"{speech}+{text}")


def test_what_cannot_be_joined_is_refused(speech: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="a model that only listens, a plus sign, and one that only reads"
    ):
        model_folder(f"{text}+{speech}")
    with pytest.raises(CheckpointError, match="names 3 models"):
        model_folder(f"{speech}+{text}+{text}")
    other = save_text_classifier(tmp_path / "other", labels=["love", "hate"])
    with pytest.raises(CheckpointError, match=r"fewer than two labels are left of ang, hap.* and love, hate"):
        model_folder(f"{speech}+{other}")
    with pytest.raises(MMERError, match="no model folder at"):
        model_folder(f"{speech}+{tmp_path}/none")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"temperature": 0.0}, "models.json cannot be read.*a temperature is not above 0"),
        ({"weight": 1.5}, "models.json cannot be read.*or a weight not between 0 and 1"),
        ({"labels": ["angry", None, None, None, None]}, "models.json cannot be read.*fewer than two labels"),
        ({"labels": ["angry", "happy"]}, "has 5 classes, and its composition names 2; make it again"),
    ],
)
def test_a_composition_that_was_changed_by_hand_is_refused(
    changed: dict[str, Any], told: str, speech: Path, tmp_path: Path
) -> None:
    composition, _ = compose([str(speech)], "canonical")
    content = composition.content()
    content["models"][0] |= changed
    (tmp_path / "models.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=told):
        EmotionRecognizer.from_pretrained(tmp_path, "cpu")


def test_only_a_relabeled_or_joined_model_loses_its_calibration(text: Path, tmp_path: Path) -> None:
    speech = save_audio_classifier(tmp_path / "speech", "wav2vec2-layer")
    (speech / "calibration.json").write_text("{}")
    lost = f"{speech}: its calibration is not used, since it is of its own labels and of it alone"
    assert compose([str(speech)], None)[1] == []
    assert lost in compose([str(speech)], "canonical")[1]
    assert lost in compose([str(speech), str(text)], None)[1]


def test_a_model_made_of_others_is_not_looked_into(speech: Path, text: Path) -> None:
    for folder in (model_folder(speech, label_map="canonical"), model_folder(f"{speech}+{text}", note=print)):
        with pytest.raises(
            MMERError, match=r"joined or relabeled model, or one .* cannot be looked into; give a model"
        ):
            _ = EmotionRecognizer.from_pretrained(folder).model


def test_a_changed_member_is_noticed(speech: Path, tmp_path: Path) -> None:
    member = save_audio_classifier(tmp_path / "member", "wav2vec2-layer")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = model_folder(member, label_map="canonical")
    save_audio_classifier(member, "wav2vec2-group")
    with pytest.raises(CheckpointError, match="was made with other files than are in"):
        EmotionRecognizer.from_pretrained(folder, "cpu")
    member.rename(tmp_path / "elsewhere")
    with pytest.raises(
        CheckpointError, match=r"models\.json names .*member, where no model is now; move it back"
    ):
        EmotionRecognizer.from_pretrained(folder, "cpu")
