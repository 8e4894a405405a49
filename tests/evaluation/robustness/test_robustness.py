"""Disturbances in their stated amounts, and judging under them, interrupted or not."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from inference.conftest import LABELS, save_model
from matplotlib.colors import to_rgb
from PIL import Image
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError, MMERError
from mmer.evaluation.intervals import Interval, interval
from mmer.evaluation.plots import COLORS
from mmer.evaluation.robustness import robustness
from mmer.evaluation.robustness.disturbances import AXES, Disturbance, disturb, disturbances, pink_noise
from mmer.evaluation.robustness.plot import plot_robustness
from mmer.evaluation.robustness.results import DisturbedFigures, DisturbedGroup, Robustness
from mmer.evaluation.robustness.robustness import measure, robustness_table


def tone(seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 300 * np.arange(round(16_000 * seconds)) / 16_000)).astype(np.float32)


def level(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=float))))


@pytest.mark.parametrize("ratio", AXES["noise"])
def test_noise_is_as_loud_as_stated(ratio: float):
    clean = tone()
    noise = disturb(clean, Disturbance("noise", ratio), "a") - clean
    assert level(clean) - level(noise) == pytest.approx(ratio, abs=0.05)
    again = disturb(clean, Disturbance("noise", ratio), "a") - clean
    assert (again == noise).all()
    assert not (disturb(clean, Disturbance("noise", ratio), "b") - clean == noise).any()


def test_noise_is_pink():
    power = np.abs(np.fft.rfft(pink_noise(64_000, "a"))) ** 2
    octaves = [power[low : 2 * low].sum() for low in (250, 1000, 4000, 16_000)]
    assert np.array(octaves) / np.mean(octaves) == pytest.approx(1, abs=0.15)


def test_the_other_disturbances():
    clean = tone()
    assert disturb(clean, Disturbance("length", 0.5), "a").tolist() == clean[:8000].tolist()
    silent = disturb(clean, Disturbance("silence", 0.25), "a")
    assert silent.tolist() == [0.0] * 4000 + clean.tolist() + [0.0] * 4000
    seconds = len(clean) / 16_000
    assert len(disturb(clean, Disturbance("silence", 9), "a", seconds + 1)) == len(clean) + 16_000
    assert len(disturb(clean, Disturbance("silence", 9), "a", seconds - 0.1)) == len(clean)
    assert level(disturb(clean, Disturbance("loudness", -20), "a")) == pytest.approx(
        level(clean) - 20, abs=0.01
    )
    assert np.abs(disturb(clean, Disturbance("loudness", 20), "a")).max() == 1
    high = np.sin(2 * np.pi * 5000 * np.arange(16_000) / 16_000).astype(np.float32)
    for codec in AXES["codec"]:
        made = disturb(clean, Disturbance("codec", codec), "a")
        assert len(made) == len(clean)
        assert np.corrcoef(made[2000:-2000], clean[2000:-2000])[0, 1] > 0.9
        lost = level(high) - level(disturb(high, Disturbance("codec", codec), "a"))
        assert (lost > 20) == (codec in ("gsm", "u-law"))
    for silent in (Disturbance(None), Disturbance("words", 0.1)):
        assert disturb(clean, silent, "a") is clean


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that listens and reads."""
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def corpus(nemo_samples: Path) -> Corpus:
    paths = sorted(nemo_samples.glob("*.opus"))[::100][:24]
    table = pd.DataFrame(
        {
            "utterance_id": [path.stem for path in paths],
            "audio_path": [str(path) for path in paths],
            "transcript": [["the train leaves", "I never said that"][n % 2] for n in range(24)],
            "emotion": [LABELS[n % 4] for n in range(24)],
            "speaker": [f"s{n % 6}" for n in range(24)],
            "split": ["test"] * 20 + ["train"] * 4,
        }
    )
    return Corpus(table)


@pytest.mark.parametrize("groups", [True, False])
def test_the_picture_names_the_worst_group_only_where_there_is_one(tmp_path: Path, groups: bool):
    worst = DisturbedGroup(slice="speaker", group="ben", utterances=9, balanced_accuracy=0.4)
    conditions = [
        DisturbedFigures(
            axis=axis,
            level=level,
            utterances=20,
            balanced_accuracy=0.6,
            interval=Interval(0.6, None, None, 0.95, 1, "speaker"),
            worst_group=worst if groups else None,
        )
        for axis, level in ((None, None), ("noise", 20.0), ("noise", 10.0))
    ]
    result = Robustness(
        model="made",
        corpus="made",
        split=None,
        sample=None,
        seed=0,
        utterances=20,
        speakers=1,
        in_training=None,
        chance=0.5,
        conditions=conditions,
    )
    plot_robustness(result, tmp_path / "robustness.png")
    pixels = np.asarray(Image.open(tmp_path / "robustness.png").convert("RGB")).reshape(-1, 3)
    orange = np.array([round(255 * part) for part in to_rgb(COLORS["ctc"])])
    assert (pixels == orange).all(axis=1).any() == groups


@pytest.mark.parametrize(
    ("axis", "level", "name"),
    [
        (None, None, "as it is"),
        ("noise", -5, "noise -5 dB"),
        ("codec", "gsm", "codec gsm"),
        ("loudness", 20, "loudness +20 dB"),
        ("loudness", -40, "loudness -40 dB"),
        ("length", 0.5, "length 0.5 s"),
        ("words", 0.2, "words 20% wrong"),
        ("words", 1, "no words"),
    ],
)
def test_the_table_gives_each_level_its_unit_and_fits_a_terminal(
    axis: str | None, level: str | float | None, name: str
) -> None:
    found = DisturbedFigures(
        axis=axis,
        level=level,
        utterances=2000,
        balanced_accuracy=0.6,
        interval=Interval(0.6, 0.5, 1.0, 0.95, 6, "speaker"),
        worst_group=DisturbedGroup(
            slice="duration", group="up to 1.31 s", utterances=600, balanced_accuracy=0.4
        ),
        unlike=1000,
    )
    result = Robustness(
        model="made",
        corpus="made",
        split=None,
        sample=None,
        seed=0,
        utterances=2000,
        speakers=6,
        in_training=None,
        chance=0.25,
        conditions=[found],
    )
    screen = io.StringIO()
    Console(width=80, file=screen).print(robustness_table(result))
    said = screen.getvalue()
    assert f" {name} " in said
    assert " 50.0 to 100.0% " in said


def test_judging(model: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done: list[tuple[int, int]] = []
    chosen = ["length", "words:0.2"]
    result = measure(
        model,
        corpus,
        tmp_path,
        split="test",
        axes=chosen,
        device="cpu",
        progress=lambda *told: done.append(told),
    )
    assert done[-1] == (120, 120)
    assert [(found.axis, found.level) for found in result.conditions] == [
        (each.axis, each.level) for each in disturbances(chosen)
    ]
    assert Robustness.read(tmp_path / "robustness.json") == result
    assert Image.open(tmp_path / "robustness.png").width >= 800
    assert result.utterances == 20
    answers = pd.read_parquet(tmp_path / "answers" / "length-0.5.parquet")
    assert answers["duration"].tolist() == pytest.approx([0.5] * 20)
    (short,) = [found for found in result.conditions if found.level == 0.5]
    expected = interval(answers, "balanced_accuracy", labels=LABELS)
    assert (short.balanced_accuracy, short.interval.low) == (expected.estimate, expected.low)

    calls: list[Disturbance] = []
    original = robustness._disturbed

    def counted(*arguments):
        calls.append(arguments[2])
        return original(*arguments)

    monkeypatch.setattr(robustness, "_disturbed", counted)
    (tmp_path / "answers" / "length-2.parquet").write_bytes(b"PAR1")
    with pytest.raises(MMERError, match=r"length-2\.parquet cannot be read, .*; delete it, and the same"):
        measure(model, corpus, tmp_path, split="test", axes=chosen, device="cpu")
    (tmp_path / "answers" / "length-2.parquet").unlink()
    again = measure(model, corpus, tmp_path, split="test", axes=chosen, device="cpu")
    assert calls == [Disturbance("length", 2)]
    assert again == result
    with pytest.raises(MMERError, match="holds results of something else, different in split"):
        measure(model, corpus, tmp_path, axes=chosen, sample=10, device="cpu")


def test_levels_that_a_user_names(model: Path, corpus: Corpus, tmp_path: Path):
    assert disturbances(["words:0.2", "noise:15", "codec:gsm", "words:none"]) == [
        Disturbance(None),
        Disturbance("words", 0.2),
        Disturbance("noise", 15),
        Disturbance("codec", "gsm"),
        Disturbance("words", 1),
    ]
    for wrong, allowed in (
        ("words:2", "a number from 0 to 1, or none"),
        ("words:x", "a number from 0 to 1, or none"),
        ("codec:flac", "one of opus, mp3, gsm, u-law"),
        ("length:0", "a number from 0.1 to 3600"),
    ):
        with pytest.raises(MMERError, match=f"axes: the level .* must be {allowed}"):
            disturbances([wrong])
    result = measure(model, corpus, tmp_path, axes=["words:0.3", "words:none"], device="cpu")
    assert [found.word_error_rate for found in result.conditions] == [
        None,
        pytest.approx(0.3, abs=0.15),
        1.0,
    ]
    assert {path.name for path in (tmp_path / "answers").iterdir()} == {
        "as-it-is.parquet",
        "words-0.3.parquet",
        "words-1.parquet",
    }


def test_what_a_user_can_get_wrong(
    model: Path,
    corpus: Corpus,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    reading: Callable[[], Path],
):
    table = tmp_path / "corpus.parquet"
    corpus.write(table)
    out = tmp_path / "out"
    unknown = run(
        capfd, monkeypatch, ["robustness", model, table, "--out", out, "--axes", "echo", "--device", "cpu"]
    )
    assert unknown.code == 2
    assert unknown.err.startswith(
        "mmer: --axes: there is no axis 'echo'; choose among noise, codec, loudness"
    )
    with pytest.raises(MMERError, match="this model cannot be disturbed by 'noise'; choose among words"):
        measure(reading(), corpus, out, axes=["noise"], device="cpu")
    with pytest.raises(
        CorpusError, match=r"no utterance is in the split dev; the splits .* are: test, train;"
    ):
        measure(model, corpus, out, split="dev", device="cpu")
    done = run(
        capfd,
        monkeypatch,
        ["robustness", model, table, "--out", out, "--axes", "words", "--sample", "8", "--device", "cpu"],
    )
    assert done.code == 0, done.err
    assert "8 utterances of" in done.out


@pytest.fixture
def reading(tmp_path: Path) -> Callable[[], Path]:
    return lambda: save_model(tmp_path / "reads", fusion="text")


def test_a_disturbed_recording_stays_as_long_whatever_rate_the_model_hears(
    model: Path, corpus: Corpus, tmp_path: Path
):
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    file = folder / "processor_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["feature_extractor"]["sampling_rate"] = 8000
    file.write_text(json.dumps(settings), encoding="utf-8")
    measure(folder, corpus, tmp_path / "out", axes=["loudness:10"], sample=3)
    before, after = (
        pd.read_parquet(tmp_path / "out" / "answers" / f"{name}.parquet")["duration"].to_numpy()
        for name in ("as-it-is", "loudness-10")
    )
    assert after == pytest.approx(before, abs=0.001)
