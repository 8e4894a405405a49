"""What a model folder's calibration does to answers, label sets, and which calibrations are refused."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from inference.conftest import save_model

from mmer.errors import CheckpointError, MMERError
from mmer.inference import EmotionRecognizer, Prediction
from mmer.inference.trust.abstention import Abstention
from mmer.inference.trust.calibration import FILE, CalibratedCondition, Calibration, Calibrator, weights_hash
from mmer.inference.trust.conformal import label_set, thresholds

LABELS = ["angry", "happy", "neutral", "sad"]
WORDS = "What a day, what a day."


def condition(calibrator: Calibrator, scores: dict[str, list[float]] | None = None) -> CalibratedCondition:
    scores = scores or {label: [0.1, 0.2, 0.3, 0.4] for label in LABELS}
    return CalibratedCondition(calibrator, 16, "4 folds of 4 speakers", {}, {}, {}, {}, scores)


def calibration(folder: Path | None = None, **conditions: CalibratedCondition) -> Calibration:
    weights = weights_hash(folder) if folder else ""
    return Calibration(weights, LABELS, "corpus.parquet", "validation", ["a", "b"], conditions)


def temperature(value: float) -> Calibrator:
    return Calibrator("temperature", {"temperature": value})


@pytest.fixture
def folder(versatile_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(versatile_folder, tmp_path / "model"))


def sharpened(probabilities: dict[str, float], power: float) -> dict[str, float]:
    powers = {label: probability**power for label, probability in probabilities.items()}
    return {label: value / sum(powers.values()) for label, value in powers.items()}


def test_each_answer_by_the_calibrator_of_what_it_is_made_from(
    folder: Path, versatile: EmotionRecognizer, clips: Sequence[str]
):
    of = {"both": 2.0, "speech": 3.0, "text": 0.5}
    calibration(folder, **{name: condition(temperature(value)) for name, value in of.items()}).write(
        folder / FILE
    )
    calibrated = EmotionRecognizer.from_pretrained(folder, "cpu")
    both, heard, read = calibrated(clips[0], WORDS), calibrated(clips[0]), calibrated(None, WORDS)
    assert (both.condition, heard.condition, read.condition) == ("both", "speech", "text")
    raw_both, raw_heard, raw_read = versatile(clips[0], WORDS), versatile(clips[0]), versatile(None, WORDS)
    for made, raw, name in ((both, raw_both, "both"), (heard, raw_heard, "speech"), (read, raw_read, "text")):
        assert raw.probabilities is not None
        assert made.probabilities == pytest.approx(sharpened(raw.probabilities, 1 / of[name]), abs=1e-5)
        assert made.label == raw.label
    assert both.alone is not None
    assert both.alone["speech"] == pytest.approx(heard.probabilities, abs=1e-5)
    assert both.alone["text"] == pytest.approx(read.probabilities, abs=1e-5)
    assert both.confidence is not None
    assert both.contributions["speech"] == pytest.approx(
        both.confidence - both.alone["text"][both.label or ""], abs=1e-6
    )


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_a_model_of_one_modality_says_so(
    tmp_path: Path, clips: Sequence[str], modality: Literal["speech", "text"]
) -> None:
    """Files that older versions wrote call its only condition `both`."""
    folder = save_model(tmp_path / "model", fusion=modality)
    raw = EmotionRecognizer.from_pretrained(folder, "cpu")(clips[0], WORDS)
    assert raw.condition == modality
    for name in ("both", modality):
        calibration(folder, **{name: condition(temperature(2.0))}).write(folder / FILE)
        calibrated = EmotionRecognizer.from_pretrained(folder, "cpu")
        made = calibrated(clips[0], WORDS)
        assert raw.probabilities is not None
        assert made.probabilities == pytest.approx(sharpened(raw.probabilities, 0.5), abs=1e-5)
        sets = Abstention(calibrated.calibration, coverage=0.5)
        assert sets(made).label_set


def test_a_condition_nothing_was_fitted_for_stays_as_it_is(folder: Path, versatile: EmotionRecognizer):
    calibration(folder, both=condition(temperature(2.0))).write(folder / FILE)
    calibrated = EmotionRecognizer.from_pretrained(folder, "cpu")
    assert calibrated(None, WORDS).probabilities == pytest.approx(versatile(None, WORDS).probabilities)
    sets = Abstention(calibrated.calibration, coverage=0.5)
    marked = sets(calibrated(None, WORDS))
    assert marked.label_set is None
    assert marked.warnings == ["no label set: nothing was calibrated for answers from text alone"]


def test_what_is_written_is_read(folder: Path):
    isotonic = Calibrator("isotonic", {"x": [[0.0, 1.0]] * 4, "y": [[0.1, 0.9]] * 4})
    vector = Calibrator("vector", {"weight": [1.0] * 4, "bias": [0.0] * 4})
    written = calibration(folder, both=condition(isotonic), text=condition(vector))
    written.write(folder / FILE)
    assert Calibration.of_model(folder, LABELS) == written
    rows = np.random.default_rng(0).dirichlet(np.ones(4), 5)
    assert written(rows, "text") == pytest.approx(rows)
    flattened = 0.1 + 0.8 * rows
    assert written(rows, "both") == pytest.approx(flattened / flattened.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights": "0" * 64}, "was fitted to other weights than model.safetensors beside it; fit it again"),
        ({"labels": LABELS[::-1]}, "is for the emotions sad, neutral, happy, angry, the model knows angry"),
        ({"labels": ["a", "b", "c", "d"]}, "is for the emotions a, b, c, d, the model knows angry, happy"),
        (
            {"labels": ["a\nb", "c", "d", "e"]},
            "is for the emotions a b, c, d, e, the model knows angry, happy",
        ),
        (
            {"version": 7},
            "is of version 7, this mmer reads 1; fit it again, or delete it",
        ),
        ({"conditions": {"both": {}}}, "calibration.json cannot be read, it may be damaged"),
        ({"extra": 1}, "calibration.json cannot be read, it may be damaged"),
    ],
)
def test_a_calibration_of_something_else_is_refused(folder: Path, change: dict, told: str):
    path = folder / FILE
    calibration(folder, both=condition(temperature(2.0))).write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError) as error:
        EmotionRecognizer.from_pretrained(folder, "cpu")
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert EmotionRecognizer.from_pretrained(folder, "cpu", calibrated=False).calibration is None


GOOD = (
    Calibrator(),
    temperature(0.5),
    Calibrator("vector", {"weight": [1.0, -2.0], "bias": [0.0, 3.0]}),
    Calibrator("isotonic", {"x": [[0.0, 0.5, 0.5], [0.2]], "y": [[0.1, 0.1, 0.9], [0.3]]}),
)
BAD = (
    Calibrator("platt", {}),
    Calibrator("none", {"temperature": 1.0}),
    Calibrator("temperature", {"weight": 1.0}),
    *(temperature(value) for value in (0.0, -1.0, float("nan"))),
    Calibrator("temperature", {"temperature": [1.0, 2.0]}),
    Calibrator("vector", {"weight": [1.0] * 3, "bias": [0.0] * 3}),
    Calibrator("vector", {"weight": [1.0, 1.0], "bias": [0.0, float("inf")]}),
    Calibrator("isotonic", {"x": [[0.0, 1.0]], "y": [[0.1, 0.9]]}),
    Calibrator("isotonic", {"x": [[0.0, 1.0]] * 3, "y": [[0.1, 0.9]] * 3}),
    Calibrator("isotonic", {"x": [[0.0, 1.0], [1.0, 0.0]], "y": [[0.1, 0.9]] * 2}),
    Calibrator("isotonic", {"x": [[0.0, 1.0]] * 2, "y": [[0.1, 0.9], [0.9, 0.1]]}),
    Calibrator("isotonic", {"x": [[0.0, 1.0]] * 2, "y": [[0.1, 0.9], [0.0, 0.1]]}),
    Calibrator("isotonic", {"x": [[0.0, 1.0], []], "y": [[0.1, 0.9], []]}),
)


def test_functions_for_two_emotions_and_damaged_ones():
    for calibrator in GOOD:
        calibrator.check(2)
    for calibrator in BAD:
        with pytest.raises(ValueError, match=" "):
            calibrator.check(2)
    scores = {label: [0.5] for label in (*LABELS[:3], "bored")}
    with pytest.raises(ValueError, match="scores are of angry, happy, neutral, bored, not of every emotion"):
        calibration(both=condition(Calibrator(), scores)).check()
    with pytest.raises(ValueError, match="no condition 'sound'"):
        calibration(sound=condition(Calibrator())).check()


def test_probabilities_of_zero_and_extreme_functions():
    forgets = Calibrator("vector", {"weight": [0.0, 0.0], "bias": [2000.0, 2000.0]})
    np.testing.assert_allclose(forgets(np.array([[0.0, 1.0]])), [[0.5, 0.5]])
    sure = temperature(1e-3)(np.array([[0.5, 0.5], [0.4, 0.6]]))
    np.testing.assert_allclose(sure, [[0.5, 0.5], [0, 1]], atol=1e-9)


@pytest.mark.parametrize("name", ["model.safetensors", "models.json", "pytorch_model.bin", "model.pt"])
def test_a_calibration_holds_for_the_very_weights(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"1")
    before = weights_hash(tmp_path)
    (tmp_path / name).write_bytes(b"2")
    assert weights_hash(tmp_path) != before


@pytest.mark.parametrize(
    ("index", "part"),
    [
        ("model.safetensors.index.json", "model-00002-of-00002.safetensors"),
        ("pytorch_model.bin.index.json", "pytorch_model-00002-of-00002.bin"),
    ],
)
def test_a_calibration_holds_for_the_very_weights_in_parts(index: str, part: str, tmp_path: Path):
    (tmp_path / index).write_text("{}")
    (tmp_path / part.replace("00002-of", "00001-of")).write_bytes(b"1")
    (tmp_path / part).write_bytes(b"1")
    before = weights_hash(tmp_path)
    (tmp_path / part).write_bytes(b"2")
    assert weights_hash(tmp_path) != before


def test_thresholds_by_hand():
    scores = {"angry": [0.1, 0.2, 0.9], "happy": [0.3], "neutral": [], "sad": [0.05, 0.4, 0.5, 0.6, 0.7]}
    # Nine scores: the ceil(10 * 0.8) = 8th smallest is 0.7, and 0.9 would need a tenth.
    assert set(thresholds(scores, 0.8).values()) == {0.7}
    assert set(thresholds(scores, 0.9).values()) == {0.9}
    assert set(thresholds(scores, 0.95).values()) == {1.0}
    many = {"sad": [place / 180 for place in range(1, 180)]}
    assert thresholds(many, 0.55) == {"sad": 99 / 180}  # in floating point, 180 times 0.55 is above 99
    assert thresholds(scores, 0.5, by_class=True) == {"angry": 0.2, "happy": 0.3, "neutral": 1.0, "sad": 0.5}
    answer = {"angry": 0.65, "happy": 0.05, "neutral": 0.0, "sad": 0.3}
    assert label_set(answer, scores, 0.8) == ["angry", "sad"]
    assert label_set(answer, scores, 0.5, by_class=True) == ["angry", "neutral"]


@given(st.integers(1, 60), st.floats(0.05, 0.99), st.integers(0, 2**32 - 1))
def test_larger_coverage_never_takes_an_emotion_out(count: int, coverage: float, seed: int):
    random = np.random.default_rng(seed)
    scores = {label: sorted(random.random(count).tolist()) for label in LABELS}
    answer = dict(zip(LABELS, random.dirichlet(np.ones(4)).tolist(), strict=True))
    for by_class in (False, True):
        smaller = label_set(answer, scores, coverage, by_class=by_class)
        larger = label_set(answer, scores, (1 + coverage) / 2, by_class=by_class)
        assert set(smaller) <= set(larger)
        assert smaller[0] == max(answer, key=lambda label: answer[label])


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_coverage_by_simulation(coverage: float, by_class: bool):
    """Sets of new answers hold the truth as often as stated, and little more."""
    random = np.random.default_rng(1)
    held: list[tuple[int, bool]] = []
    for _ in range(400):
        rows = random.dirichlet([0.6, 0.6, 0.6, 0.6], 100)
        # The network is sure of itself, and right less often than it says; more rarely for one emotion.
        flat = 0.6 * rows + 0.1
        truth = np.array([random.choice(4, p=row) for row in flat])
        missed = 1 - rows[np.arange(100), truth]
        scores = {label: sorted(missed[:60][truth[:60] == n].tolist()) for n, label in enumerate(LABELS)}
        limits = thresholds(scores, coverage, by_class=by_class)
        for row, true in zip(rows[60:], truth[60:], strict=True):
            held.append((int(true), bool(1 - row[true] <= limits[LABELS[true]])))
    table = pd.DataFrame(held, columns=["truth", "held"])
    assert coverage - 0.01 <= table["held"].mean() <= coverage + (0.08 if by_class else 0.025)
    if by_class:
        assert (table.groupby("truth")["held"].mean() >= coverage - 0.015).all()


def test_abstention_marks_and_keeps_the_label():
    unsure = Prediction(utterance_id="a", label="sad", probabilities={"angry": 0.45, "sad": 0.55})
    marked = Abstention(None, min_confidence=0.6)(unsure)
    assert (marked.label, marked.abstained, marked.label_set) == ("sad", True, None)
    assert repr(marked) == "Prediction(a: abstained; sad 0.550, angry 0.450)"
    assert marked.to_row(["angry", "sad"])["abstained"] is True
    assert not Abstention(None, min_confidence=0.55)(unsure).abstained
    failed = Prediction(utterance_id="b", error="b: no such file")
    assert Abstention(None, min_confidence=0.6)(failed) == failed


def test_label_sets_and_notes_are_those_of_the_calibration():
    scores = {"angry": [0.2] * 30, "happy": [0.6] * 30, "neutral": [0.2] * 3, "sad": []}
    found = calibration(both=condition(Calibrator(), scores))
    answer = Prediction(
        utterance_id="a", label="angry", probabilities=dict(zip(LABELS, (0.4, 0.35, 0.15, 0.1), strict=True))
    )
    by_class = Abstention(found, coverage=0.9, by_class=True)
    assert by_class(answer).label_set == ["angry", "neutral", "sad"]
    told = "in every label set, for too few calibration utterances for a coverage of 0.9: neutral, sad"
    assert by_class.notes == [told]
    together = Abstention(found, min_confidence=0.5, coverage=0.9)
    assert together(answer).label_set == ["angry"]
    assert together(answer).abstained
    assert together.notes == []
    assert Abstention(found, min_confidence=0.5)(answer).label_set is None
    assert Abstention(found, min_confidence=0.5).notes == []
    assert Abstention(found, min_confidence=0.4)(answer).abstained is False
    alone = "confidences are not calibrated; calibrate the model before relying on them"
    assert Abstention(None, min_confidence=0.5).notes == [alone]
    assert Abstention(None).notes == []
    of_speech = calibration(speech=condition(Calibrator(), scores))
    clipped = replace(answer, warnings=["clipped"])
    heard = Abstention(of_speech, min_confidence=0.5, coverage=0.9)(clipped)
    assert (heard.label_set, heard.abstained) == (None, True)
    missing = "no label set: nothing was calibrated for answers from both modalities"
    assert heard.warnings == ["clipped", missing]


def test_what_abstention_refuses():
    with pytest.raises(
        MMERError, match=r"min_confidence 60 is not between 0 and 1; give a share such as 0\.9"
    ):
        Abstention(None, min_confidence=60)
    with pytest.raises(
        MMERError, match=r"coverage needs a model folder with calibration\.json; make it: calib"
    ):
        Abstention(None, coverage=0.9)
    with pytest.raises(MMERError, match="by_class requires coverage, for example"):
        Abstention(None, by_class=True)


def test_the_command_line(
    folder: Path,
    clips: Sequence[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    asked = ["predict", folder, clips[0], clips[1], "--device", "cpu"]
    bare = run(capfd, monkeypatch, [*asked, "--coverage", "0.9"])
    assert bare.code == 2
    assert bare.err.startswith("mmer: --coverage needs a model folder with calibration.json")
    noted = run(capfd, monkeypatch, [*asked, "--min-confidence", "0.99"])
    assert noted.code == 0
    assert "mmer: confidences are not calibrated; calibrate the model before relying" in noted.err
    scores = {"angry": [0.2] * 30, "happy": [0.2] * 30, "neutral": [0.2] * 3, "sad": [0.99] * 30}
    found = condition(Calibrator(), scores)
    calibration(folder, both=found, speech=found).write(folder / FILE)
    out = tmp_path / "answers.csv"
    done = run(
        capfd, monkeypatch, [*asked, "--coverage", "0.9", "--by-class", "--min-confidence", "0.99", "-o", out]
    )
    assert done.code == 0, done.err
    assert "in every label set, for too few calibration utterances for a coverage of 0.9: neutral" in done.err
    for row in pd.read_csv(out).to_dict("records"):
        said = str(row["label_set"]).split("; ")
        assert said[0] == row["label"]
        assert "neutral" in said
        assert row["abstained"] == (row[f"probability_{row['label']}"] < 0.99)
