"""Calibrators against slow references, how one is chosen, and what is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from inference.conftest import LABELS, save_model
from PIL import Image
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError
from mmer.evaluation.calibration import confidence
from mmer.evaluation.calibration.calibrate import (
    UncalibratedAnswers,
    calibrate,
    fit,
    fit_calibrator,
    fit_condition,
)
from mmer.evaluation.calibration.calibration_error import (
    calibration_error,
    calibration_figures,
    confidence_bins,
)
from mmer.evaluation.calibration.confidence import Confidence, area_under_risk_coverage, risk_coverage
from mmer.evaluation.calibration.plots import calibration_title
from mmer.inference import EmotionRecognizer, Prediction
from mmer.inference.trust.calibration import Calibration
from mmer.inference.trust.conformal import label_set

NAMES = ["angry", "calm", "happy", "sad"]


def drawn(
    utterances: int = 2000, temperature: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of a network that is `1 / temperature` times as sure as it should be, the truth, and speakers."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (utterances, len(NAMES)))
    truth = np.array([random.choice(len(NAMES), p=row) for row in softmax(logits, axis=1)])
    speakers = np.array([f"s{n % 8}" for n in range(utterances)], object)
    return softmax(logits / temperature, axis=1), truth, speakers


@pytest.mark.parametrize("temperature", [0.4, 0.1])
def test_temperature_is_found_and_keeps_labels(temperature: float):
    probabilities, truth, _ = drawn(20_000, temperature=temperature)
    calibrator = fit_calibrator("temperature", probabilities, truth)
    assert calibrator.parameters["temperature"] == pytest.approx(1 / temperature, rel=0.03)
    after = calibrator(probabilities)
    assert after.sum(axis=1) == pytest.approx(np.ones(len(after)))
    assert (after.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    before, then = calibration_figures(probabilities, truth), calibration_figures(after, truth)
    assert all(then[name] < before[name] for name in before)
    assert then["expected_calibration_error"] < 0.02


def test_temperature_against_a_search_of_the_grid():
    probabilities, truth, _ = drawn(300, temperature=0.7, seed=3)
    found = fit_calibrator("temperature", probabilities, truth)
    rest = 1 / 302
    targets = np.full(probabilities.shape, rest / 3)
    targets[np.arange(300), truth] = 1 - rest
    grid = np.exp(np.linspace(-2, 2, 4001))
    losses = [-(targets * np.log(softmax(np.log(probabilities) / t, axis=1))).sum() for t in grid]
    assert found.parameters["temperature"] == pytest.approx(grid[int(np.argmin(losses))], rel=2e-3)


def test_vector_scaling_undoes_a_factor_and_an_offset_of_each_emotion():
    probabilities, truth, _ = drawn(20_000, seed=1)
    weight, bias = np.array([0.5, 1.5, 1.0, 2.0]), np.array([1.0, -1.0, 0.0, 0.5])
    bent = softmax(np.log(probabilities) * weight + bias, axis=1)
    made = fit_calibrator("vector", bent, truth)(bent)
    assert calibration_figures(made, truth)["log_loss"] == pytest.approx(
        calibration_figures(probabilities, truth)["log_loss"], abs=0.02
    )


def test_isotonic_is_that_of_scikit_learn():
    probabilities, truth, _ = drawn(400, temperature=0.5, seed=2)
    made = fit_calibrator("isotonic", probabilities, truth)(probabilities)
    rest = 1 / 402
    columns = [
        IsotonicRegression(y_min=rest, y_max=1 - rest)
        .fit(probabilities[:, place], truth == place)
        .predict(probabilities[:, place])
        for place in range(4)
    ]
    expected = np.stack(columns, axis=1)
    assert made == pytest.approx(expected / expected.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_a_network_that_is_never_wrong_is_not_believed_without_end(method: str):
    truth = np.arange(50) % 4
    probabilities = np.full((50, 4), 0.1)
    probabilities[np.arange(50), truth] = 0.7
    made = fit_calibrator(method, probabilities, truth)(probabilities)
    assert 0.9 < made.max() < 1 - 1e-3


def test_the_choice_is_by_speakers_left_out():
    probabilities, truth, speakers = drawn(1200, temperature=0.4)
    found = fit_condition(UncalibratedAnswers(probabilities, truth, speakers), NAMES)
    assert found.folds == "8 folds of 8 speakers"
    assert found.calibrator.method == min(found.candidates, key=lambda name: found.candidates[name]) != "none"
    made = np.empty_like(probabilities)
    for speaker in set(speakers):
        other = speakers != speaker
        fitted = fit_calibrator("temperature", probabilities[other], truth[other])
        made[~other] = fitted(probabilities[~other])
    assert found.candidates["temperature"] == pytest.approx(sklearn_log_loss(truth, made, labels=range(4)))
    assert found.candidates["none"] == pytest.approx(found.before["log_loss"])
    assert found.after["log_loss"] == pytest.approx(min(found.candidates.values()))
    assert [len(found.scores[name]) for name in NAMES] == np.bincount(truth).tolist()


def test_utterances_without_a_speaker_are_not_counted_as_one():
    probabilities, truth, speakers = drawn(1200, temperature=0.4)
    some = np.where(speakers == "s0", "", speakers)
    none = np.full(len(speakers), "", object)
    folds = [
        fit_condition(UncalibratedAnswers(probabilities, truth, who), NAMES).folds for who in (some, none)
    ]
    assert folds == ["8 folds of 7 speakers and of the utterances without one", "5 folds of the utterances"]


def test_what_may_be_better_by_chance_is_not_chosen():
    found = fit_condition(
        UncalibratedAnswers(*drawn(200, temperature=0.9, seed=7)), NAMES, ("none", "temperature")
    )
    assert found.candidates["temperature"] < found.candidates["none"]  # by less than a standard error
    assert found.calibrator.method == "none"


def test_a_speaker_counts_by_utterances():
    """Of one who said little, the network is as sure as it should be; of two who said much, it is too sure."""
    probabilities, truth, _ = drawn(800, temperature=0.4)
    right = np.arange(20) % 4
    sure = np.where(np.arange(4) == right[:, None], 0.985, 0.005)
    few = UncalibratedAnswers(
        np.concatenate([probabilities, sure]),
        np.concatenate([truth, right]),
        np.repeat(np.array(["anna", "ben", "cleo"], object), [400, 400, 20]),
    )
    assert fit_condition(few, NAMES, ("none", "temperature")).calibrator.method == "temperature"


def test_what_does_not_hold_for_other_speakers_is_not_chosen():
    """One speaker is mostly angry, the other mostly sad, and the network cannot tell: each is no guide to the other."""
    random = np.random.default_rng(0)
    truth = np.concatenate(
        [random.choice(4, 300, p=[0.7, 0.1, 0.1, 0.1]), random.choice(4, 100, p=[0.1, 0.1, 0.1, 0.7])]
    )
    speakers = np.array(["a"] * 300 + ["b"] * 100, object)
    probabilities = random.dirichlet(np.full(4, 1000), 400)
    apart = fit_condition(UncalibratedAnswers(probabilities, truth, speakers), NAMES)
    mixed = fit_condition(UncalibratedAnswers(probabilities, truth, random.permutation(speakers)), NAMES)
    assert apart.calibrator.method in ("none", "temperature")
    assert mixed.calibrator.method in ("vector", "isotonic")
    alone = fit_condition(UncalibratedAnswers(probabilities, truth, np.full(400, "a", object)), NAMES)
    assert set(alone.candidates) == {"none", "temperature"}


def test_an_answer_like_those_calibrated_on_is_within_their_scores():
    # Half of 40 equal answers are wrong, so that the true emotion of the next one like them is the second half of the
    # time. A score of 5/6, rounded to the nearest, would leave it out always.
    probabilities = np.tile([1 / 6, 5 / 6], (40, 1))
    truth, speakers = np.arange(40) % 2, np.array([f"s{n // 10}" for n in range(40)], object)
    found = fit_condition(UncalibratedAnswers(probabilities, truth, speakers), ["calm", "sad"], ["none"])
    assert label_set({"calm": 1 / 6, "sad": 5 / 6}, found.scores, 0.9) == ["sad", "calm"]


def test_figures_by_hand():
    probabilities = np.array([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    found = calibration_figures(probabilities, np.array([0, 1, 1]))
    assert found["log_loss"] == pytest.approx(-np.log([0.7, 0.4, 0.8]).mean())
    assert found["brier"] == pytest.approx((2 * 0.09 + 2 * 0.36 + 2 * 0.04) / 3)
    assert found["expected_calibration_error"] == pytest.approx((0.3 + 0.6 + 0.2) / 3)
    impossible = calibration_figures(np.array([[1.0, 0.0]]), np.array([1]))
    assert impossible["log_loss"] == pytest.approx(-np.log(1e-30))
    bins = confidence_bins(np.array([0.55, 0.6, 1.0]), np.array([True, False, True]))
    assert bins["utterances"].tolist() == [2, 1]
    assert calibration_error(bins) == pytest.approx(2 / 3 * 0.075)


def test_bins_by_hand():
    """Ten bins of equal width; each holds its upper end, the first also 0, and the last what rounding puts above 1."""
    confidence = np.array([0.0, 0.05, 0.1, 0.11, 0.5, 0.51, 0.91, 1 + 1e-9])
    bins = confidence_bins(confidence, np.array([True, False, False, True, True, False, True, True]))
    assert bins["low"].tolist() == pytest.approx([0, 0.1, 0.4, 0.5, 0.9])
    assert bins["high"].tolist() == pytest.approx([0.1, 0.2, 0.5, 0.6, 1.0])
    assert bins["utterances"].tolist() == [3, 1, 1, 1, 2]
    assert bins["confidence"].tolist() == pytest.approx([0.05, 0.11, 0.5, 0.51, 0.955])
    assert bins["accuracy"].tolist() == pytest.approx([1 / 3, 1, 1, 0, 1])


def test_risk_and_coverage_by_hand():
    curve = risk_coverage(np.array([0.9, 0.5, 0.7, 0.7]), np.array([True, False, False, True]))
    assert curve["coverage"].tolist() == [0.25, 0.5, 0.75, 1.0]
    # The two of 0.7 cannot be told apart: each is half wrong.
    assert curve["risk"].tolist() == pytest.approx([0, 0.25, 1 / 3, 0.5])
    assert curve["confidence"].tolist() == [0.9, 0.7, 0.7, 0.5]
    assert area_under_risk_coverage(curve) == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)


def test_confidence_is_that_of_the_answers_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [
        ("sad", "sad", 0.3, 0.7),
        ("sad", "angry", 0.6, 0.4),
        ("angry", None, np.nan, np.nan),
        ("sad", "sad", 0.1, 0.9),
    ]
    columns = ["predicted", "emotion", "probability_angry", "probability_sad"]
    table = pd.DataFrame([(predicted, truth, *shares) for truth, predicted, *shares in rows], columns=columns)
    found = Confidence(table, ["angry", "sad"], fitted=True)
    assert found.curve.index.tolist() == [0, 1, 2]
    assert found.curve["confidence"].tolist() == [0.9, 0.7, 0.6]
    assert found.curve["risk"].tolist() == pytest.approx([0, 0, 1 / 3])
    figures = found.figures()
    assert figures.fitted
    assert figures.log_loss == pytest.approx(-np.log([0.7, 0.4, 0.9]).mean())
    assert figures.area_under_risk_coverage == pytest.approx(1 / 9)
    drawn = {}
    monkeypatch.setattr(confidence, "plot_reliability", lambda bins, path, title: drawn.update({path: bins}))
    found.write(tmp_path, title="t")
    assert list(drawn) == [tmp_path / "reliability.png"]
    assert list(drawn[tmp_path / "reliability.png"]) == ["calibrated"]
    assert (tmp_path / "risk_coverage.png").is_file()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "risk_coverage.csv"), found.curve)


def test_each_condition_has_its_own_and_few_answers_have_none():
    random = np.random.default_rng(0)
    rows = [dict(zip(NAMES, row, strict=True)) for row in random.dirichlet(np.ones(4), 40)]
    predictions = [
        Prediction(
            utterance_id=str(n),
            label=max(row, key=lambda name: row[name]),
            probabilities=row,
            condition="both" if n < 30 else "speech",
            alone={"speech": row, "text": row} if n < 15 else None,
        )
        for n, row in enumerate(rows)
    ]
    emotions = [NAMES[n % 4] for n in range(40)]
    fitted = fit(predictions, emotions, [f"s{n % 3}" for n in range(40)], NAMES)
    # From text alone there are 15, from sound alone 15 beside 10 that had no text.
    assert {name: found.utterances for name, found in fitted.items()} == {"both": 30, "speech": 25}
    with pytest.raises(CorpusError, match=r"^0 of 40 utterances have an answer and .*; calibration needs 16"):
        fit(predictions, ["bored"] * 40, [None] * 40, NAMES)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that reads."""
    return save_model(tmp_path_factory.mktemp("model"), fusion="text")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["The", "train", "leaves", "at", "nine", "I", "never", "said", "what", "a", "day"]
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in range(160)],
            "audio_path": None,
            "transcript": [" ".join(random.choice(words, 4)) for _ in range(160)],
            "emotion": [LABELS[n % 4] for n in range(160)],
            "speaker": [f"s{n // 20}" for n in range(160)],
            "split": ["validation" if n < 120 else "test" for n in range(160)],
        }
    )
    path = tmp_path_factory.mktemp("corpus") / "corpus.parquet"
    table.to_parquet(path)
    return path


def test_the_command_and_what_it_leaves(
    model: Path,
    corpus: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    before = EmotionRecognizer.from_pretrained(model, "cpu").predict_corpus(Corpus.read(corpus))
    done = run(capfd, monkeypatch, ["calibrate", model, corpus, "--device", "cpu"])
    assert done.code == 0, done.err
    assert "120 utterances of 6 speakers (split validation), 6 folds of 6 speakers" in done.out
    content = json.loads((model / "calibration.json").read_text())
    assert content["speakers"] == [f"s{n}" for n in range(6)]
    assert content["corpus"] == "corpus.parquet"
    (condition,) = content["conditions"].values()
    assert list(content["conditions"]) == ["text"]
    assert set(condition["candidates"]) == {"none", "temperature", "vector", "isotonic"}
    assert (
        set(condition["before"])
        == set(condition["after"])
        == {"log_loss", "brier", "expected_calibration_error"}
    )
    assert Image.open(model / "calibration.png").width >= 800
    title = calibration_title(Calibration.read(model / "calibration.json"))
    assert title.startswith("120 utterances of 6 speakers, ")
    assert title.endswith(", answers from text alone")
    assert ("calibrated by" in title) == (condition["calibrator"]["method"] != "none")
    assert not list(model.glob("*.part"))
    calibration = Calibration.of_model(model, LABELS)
    assert calibration is not None
    columns = [f"probability_{label}" for label in LABELS]
    after = EmotionRecognizer.from_pretrained(model, "cpu").predict_corpus(Corpus.read(corpus))
    assert after[columns].to_numpy() == pytest.approx(
        calibration(before[columns].to_numpy(), "text"), abs=1e-6
    )
    raw = EmotionRecognizer.from_pretrained(model, "cpu", calibrated=False).predict_corpus(
        Corpus.read(corpus)
    )
    pd.testing.assert_frame_equal(raw, before)
    seen = list[tuple[int, int]]()
    again = calibrate(
        model, Corpus.read(corpus), device="cpu", progress=lambda *done: seen.append(done)
    )  # fits the network's probabilities, not its own
    assert again == calibration
    assert seen[-1] == (120, 120)
    judged = run(
        capfd,
        monkeypatch,
        ["evaluate", model, corpus, "--split", "test", "--out", tmp_path, "--device", "cpu"],
    )
    assert judged.code == 0
    assert "probabilities, calibrated: calibration error" in judged.out
    figures = json.loads((tmp_path / "metrics.json").read_text())["confidence"]
    answers = after[Corpus.read(corpus).table["split"] == "test"]
    truth = [LABELS[n % 4] for n in range(120, 160)]
    assert figures["log_loss"] == pytest.approx(sklearn_log_loss(truth, answers[columns], labels=LABELS))
    for name in ("risk_coverage.png", "reliability.png"):
        assert Image.open(tmp_path / name).width >= 800
    assert len(pd.read_csv(tmp_path / "risk_coverage.csv")) == 40


def test_an_interrupted_one_goes_on(model: Path, corpus: Path, tmp_path: Path):
    def asked(name: str, progress: Callable[[int, int], None]) -> Calibration:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(model, folder)
        return calibrate(folder, Corpus.read(corpus), device="cpu", batch_size=8, progress=progress)

    def interrupt(done: int, total: int) -> None:
        if done > 40:
            raise KeyboardInterrupt

    shown, shown_again = list[int](), list[int]()
    whole = asked("whole", lambda done, _: shown.append(done))
    with pytest.raises(
        KeyboardInterrupt, match=r"of 120 answers are in .*; the same command goes on"
    ) as error:
        asked("again", interrupt)
    kept = int(str(error.value).removeprefix("interrupted: ").split()[0])
    assert asked("again", lambda done, _: shown_again.append(done)) == whole
    assert kept >= 30
    assert shown_again[0] == shown[0] + kept
    assert not list((tmp_path / "again").glob(".calibration*"))


def test_what_a_user_can_get_wrong(
    model: Path,
    corpus: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    missing = run(capfd, monkeypatch, ["calibrate", model, corpus, "--split", "dev", "--device", "cpu"])
    assert missing.code == 2
    told = "no utterance is in the split dev; the splits of the corpus are: test, validation; choose another, or all, "
    assert f"{told}with --split" in missing.err
    nothing = run(capfd, monkeypatch, ["calibrate", tmp_path, corpus])
    assert nothing.code == 2
    assert (
        "is no model folder with model.safetensors; calibrate the folder that training wrote" in nothing.err
    )
    alone = tmp_path / "alone.parquet"
    table = pd.read_parquet(corpus)
    table[table["speaker"] == "s0"].assign(split="validation").to_parquet(alone)
    done = run(capfd, monkeypatch, ["calibrate", model, alone, "--device", "cpu"])
    assert done.code == 0
    assert "5 folds of the utterances of one speaker" in done.out
    assert "note: fewer than two speakers: its effect on other speakers is unknown" in done.out
    some = table[table["split"] == "validation"].reset_index(drop=True)
    some.loc[:2, "emotion"], some.loc[3, "emotion"] = None, "smug"
    some.to_parquet(alone)
    done = run(capfd, monkeypatch, ["calibrate", model, alone, "--device", "cpu"])
    assert (
        "left out: 3 utterances without an emotion; left out: 1 utterance with an emotion that the model"
        in (" ".join(done.out.split()))
    )
    table[table["speaker"] == "s0"].assign(split="validation", speaker=None).to_parquet(alone)
    done = run(capfd, monkeypatch, ["calibrate", model, alone, "--device", "cpu"])
    assert "utterances of no named speaker (split validation), 5 folds of the utterances\n" in done.out
