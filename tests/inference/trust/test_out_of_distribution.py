"""Recordings unlike those of the training carry a warning, whatever runs the network and however they are batched."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from commands import Outcome
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mmer.audio.load import as_waveform, load_audio
from mmer.cli.main import app
from mmer.corpora.corpus import Corpus
from mmer.display.picture import Picture
from mmer.errors import AudioError, CheckpointError, CodedWarning
from mmer.features.heard import heard
from mmer.features.model_files import LogMelExtractor
from mmer.files.damaged import read_json_object
from mmer.inference.backends.bundle import write_bundle
from mmer.inference.explain import attribution
from mmer.inference.explain.explain import explain
from mmer.inference.inputs import Utterance
from mmer.inference.listen_command import listen_to
from mmer.inference.prediction import AnswerFault, Prediction
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.timeline.timeline import timeline
from mmer.inference.trust import out_of_distribution
from mmer.inference.trust.out_of_distribution import (
    COUNT,
    FEWEST,
    FILE,
    SHAPES,
    UNLIKE,
    OutOfDistribution,
    TrainingSound,
    count_unlike,
    sound_statistics,
    unlike_note,
)

RATE = 16_000
TOLD = "unlike the recordings this model was trained on (score "


def noise(seconds: float = 1.5, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def load(utterance: Utterance) -> np.ndarray:
    return load_audio(utterance.path or "")


@pytest.fixture(scope="module")
def people(nemo_samples: Path) -> dict[str, list[str]]:
    """Recordings of each of the six speakers of nEMO, at most 30 of each."""
    found: dict[str, list[str]] = {}
    for path in sorted(nemo_samples.glob("*.opus")):
        found.setdefault(path.name.split("_")[0], []).append(str(path))
    return {speaker: paths[:: max(1, len(paths) // 30)][:30] for speaker, paths in found.items()}


@pytest.fixture(scope="module")
def of_five(people: dict[str, list[str]]) -> tuple[OutOfDistribution, list[str]]:
    """The distribution of five of the speakers, and the recordings of the sixth."""
    *known, last = people
    rows = [(path, speaker) for speaker in known for path in people[speaker]]
    table = pd.DataFrame(rows, columns=["audio_path", "speaker"])
    table["utterance_id"], table["emotion"], table["split"] = table["audio_path"], "neutral", "train"
    sound = OutOfDistribution.of_corpus(Corpus(table), RATE, load)
    assert sound is not None
    return sound, people[last]


@pytest.fixture(scope="module")
def exported_that_warns(
    exported: Path, of_five: tuple[OutOfDistribution, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("exported") / "model")
    of_five[0].write(folder / FILE)
    return folder


def told(prediction: Prediction) -> list[str]:
    assert prediction.error is None
    return [
        warning
        for warning in prediction.warnings
        if isinstance(warning, CodedWarning) and warning.fault is AnswerFault.OUT_OF_DISTRIBUTION
    ]


def test_new_speakers_of_the_corpus_are_like_it_and_other_sound_is_not(
    of_five: tuple[OutOfDistribution, list[str]],
) -> None:
    sound, others = of_five
    warned = [sound.warning(load_audio(path), RATE) is not None for path in others]
    assert np.mean(warned) <= 0.1
    time = np.arange(2 * RATE) / RATE
    tune = np.sum([np.sin(2 * np.pi * 220 * harmonic * time) / harmonic for harmonic in range(1, 6)], axis=0)
    for waveform in (noise(), (0.1 * tune).astype(np.float32), np.zeros(RATE, np.float32)):
        assert str(sound.warning(waveform, RATE)).startswith(TOLD)
    score = sound.trainings[0].score(sound_statistics(noise(), RATE))
    barely = replace(sound.trainings[0], threshold=score - 0.02)
    told = re.findall(r"\d+\.\d+", str(OutOfDistribution(trainings=[barely]).warning(noise(), RATE)))
    assert [float(number) for number in told] == pytest.approx([score, score - 0.02], abs=0.005)
    close = replace(sound.trainings[0], threshold=score - 0.0004)
    above, below = re.findall(r"\d+\.\d+", str(OutOfDistribution(trainings=[close]).warning(noise(), RATE)))
    assert float(above) > float(below)


def test_synthetic_speech_is_unlike_that_of_people(of_five: tuple[OutOfDistribution, list[str]]) -> None:
    pytest.importorskip("espeakng_loader")
    from mmer.corpora.synthetic.espeak import ESpeak

    with ESpeak() as synthesizer:
        for voice in ("en-us+f2", "en+m3", "pl+f1"):
            waveform = synthesizer.synthesize(
                "I never said that to anyone", voice=voice, rate=175, pitch=50, pitch_range=50, volume=80
            )
            heard = as_waveform(waveform, synthesizer.sampling_rate, name=voice, target_rate=RATE)
            assert of_five[0].warning(heard, RATE) is not None


def test_statistics_are_those_of_a_loop(clips: list[str]) -> None:
    whole = load_audio(clips[0])
    waveform = whole[heard(whole)]
    filters = LogMelExtractor(RATE, 80, 1, 0.0).mel_filters
    shapes = []
    for start in range(0, len(waveform) - 399, 640):
        frame = waveform[start : start + 400].astype(np.float64)
        frame = (frame - frame.mean()) * np.hanning(400)
        power = np.abs(np.fft.rfft(frame, 512)) ** 2
        bins = [np.log(1 + 2**30 * sum(power * filters[:, each])) for each in range(80)]
        shapes.append(
            [
                np.mean([bins[each] * np.cos(np.pi * (each + 0.5) * shape / 80) for each in range(80)])
                for shape in range(SHAPES)
            ]
        )
    found = np.array(shapes) * np.sqrt(2)
    spread = np.log(0.05 + np.concatenate([found.std(axis=0), np.diff(found, axis=0).std(axis=0)]))
    expected = np.concatenate([found.mean(axis=0)[1:], spread])
    np.testing.assert_allclose(sound_statistics(whole, RATE), expected, rtol=1e-6, atol=1e-6)


def test_statistics_leave_out_level_duration_an_offset_and_silence_at_the_ends(clips: list[str]) -> None:
    waveform = load_audio(clips[0])
    waveform = waveform[heard(waveform)]
    statistics = sound_statistics(waveform, RATE)
    silent = np.pad(waveform, (16_000, 40_000))
    np.testing.assert_allclose(sound_statistics(silent, RATE), statistics, atol=0.3)
    for offset in (np.float32(0.05), np.linspace(-0.05, 0.05, len(waveform), dtype=np.float32)):
        np.testing.assert_allclose(sound_statistics(waveform + offset, RATE), statistics, atol=0.05)
    np.testing.assert_allclose(sound_statistics(np.float32(0.5) * waveform, RATE), statistics, atol=0.1)
    whole = waveform[: len(waveform) // 640 * 640]
    np.testing.assert_allclose(
        sound_statistics(np.tile(whole, 4), RATE), sound_statistics(whole, RATE), atol=0.1
    )


@given(samples=st.integers(1, 3000), loud=st.sampled_from([0.0, 1e-9, 1.0, 1e3]))
def test_statistics_of_any_sound_are_finite(samples: int, loud: float) -> None:
    waveform = (loud * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)
    assert np.isfinite(sound_statistics(waveform, RATE)).all()


def test_the_threshold_is_that_of_left_out_speakers() -> None:
    generator = np.random.default_rng(0)
    speakers = ["a"] * 20 + ["b"] * 15 + ["c"] * 10
    statistics = generator.standard_normal((45, COUNT)) + np.repeat(
        [[0.0], [1.0], [2.0]], [20, 15, 10], axis=0
    )
    scores = []
    for row, speaker in enumerate(speakers):
        others = statistics[[each != speaker for each in speakers]]
        z = (statistics[row] - others.mean(axis=0)) / (others.std(axis=0) + 0.05)
        scores.append(np.sqrt(np.mean(z**2)))
    found = TrainingSound.of(statistics, speakers)
    assert found is not None
    assert found.threshold == pytest.approx(np.quantile(scores, 0.95))
    assert found.recordings == 45
    assert found.score(np.array(found.mean)) == 0


@pytest.mark.parametrize("speakers", [["a"] * 30, [None] * 30, ["a"] * 29 + ["b"], [None] + ["a"] * 29])
def test_recordings_are_left_out_where_speakers_cannot_be(speakers: list[str | None]) -> None:
    statistics = np.random.default_rng(0).standard_normal((30, COUNT))
    found = TrainingSound.of(statistics, speakers)
    assert found is not None
    assert 1 < found.threshold < 3


def test_recordings_that_are_all_alike_make_a_model_that_can_be_read(tmp_path: Path) -> None:
    sound = TrainingSound.of(np.ones((FEWEST, COUNT)), ["a", "b"] * (FEWEST // 2))
    assert sound is not None
    OutOfDistribution(trainings=[sound]).write(tmp_path / FILE)
    read = OutOfDistribution.of_model(tmp_path)
    assert read is not None
    assert read.trainings[0].threshold == 1
    assert read.warning(noise(), RATE) is not None


@pytest.mark.parametrize("second", [None, "1"])
def test_each_speaker_is_left_out_and_a_fifth_of_the_recordings_without_one(second: str | None) -> None:
    generator = np.random.default_rng(0)
    speakers = [*["0"] * 12, *[second] * 10]
    statistics = generator.standard_normal((22, COUNT)) + np.repeat([[0.0], [3.0]], [12, 10], axis=0)
    groups = ["first" if row < 12 else second or str(row % 5) for row in range(22)]
    scores = []
    for row, group in enumerate(groups):
        others = statistics[[each != group for each in groups]]
        z = (statistics[row] - others.mean(axis=0)) / (others.std(axis=0) + 0.05)
        scores.append(np.sqrt(np.mean(z**2)))
    found = TrainingSound.of(statistics, speakers)
    assert found is not None
    assert found.threshold == pytest.approx(np.quantile(scores, 0.95))


def test_what_a_model_was_trained_and_selected_on_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"u{number}" for number in range(30)]
    table = pd.DataFrame({"utterance_id": names, "emotion": "neutral", "speaker": ["a", "b", "c"] * 10})
    table["audio_path"] = [None if name == "u3" else name for name in names]
    table["split"] = ["train"] * 20 + ["validation"] * 6 + ["test"] * 3 + [None]
    heard_names: list[str] = []

    def sound(utterance: Utterance) -> np.ndarray:
        name = utterance.utterance_id or ""
        heard_names.append(name)
        if name == "u5":
            raise AudioError("u5: cannot be read")
        return noise(0.3, int(name[1:]))

    done: list[int] = []
    found = OutOfDistribution.of_corpus(Corpus(table), RATE, sound, done.append)
    used = [name for name in names[:26] if name not in ("u3", "u5")]
    statistics = np.array([sound_statistics(noise(0.3, int(name[1:])), RATE) for name in used])
    expected = TrainingSound.of(statistics, [["a", "b", "c"][int(name[1:]) % 3] for name in used])
    assert expected is not None
    assert found == OutOfDistribution(trainings=[expected])
    assert sorted(heard_names) == sorted([*used, "u5"])
    assert done == list(range(1, 26))
    drawn = []
    monkeypatch.setattr(out_of_distribution, "MOST", 22)
    for _ in range(2):
        heard_names.clear()
        OutOfDistribution.of_corpus(Corpus(table), RATE, sound)
        drawn.append(sorted(heard_names))
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 22
    assert set(drawn[0]) < {*used, "u5"}


def test_the_warning_is_of_the_nearest_training_with_digits_that_tell_it_from_the_threshold() -> None:
    recording = noise()
    own = sound_statistics(recording, RATE)
    far = [
        TrainingSound(mean=(own - 5).tolist(), std=[1.0] * COUNT, threshold=t, recordings=20)
        for t in (2, 4.9996)
    ]
    sound = OutOfDistribution(trainings=far)
    expected = "score 5.0000; 95% of held-out ones are below 4.9996)"
    assert str(sound.warning(recording, RATE)).endswith(expected)
    assert str(replace(sound, trainings=far[:1]).warning(recording, RATE)).endswith("below 2.00)")
    at = replace(far[0], threshold=far[0].score(own))
    assert replace(sound, trainings=[at]).warning(recording, RATE) is None
    assert replace(sound, trainings=[*far, replace(far[0], threshold=6)]).warning(recording, RATE) is None


def test_unlike_recordings_are_counted() -> None:
    assert count_unlike([None, f"quiet; {UNLIKE} (score 2.00)", "quiet", UNLIKE]) == 2
    assert unlike_note(0, 3) is None
    told = unlike_note(2, 3)
    assert told is not None
    assert told.startswith("2 of 3 recordings are unlike those of the training (column warnings); before ")


def test_too_few_recordings_are_no_distribution() -> None:
    assert TrainingSound.of(np.zeros((FEWEST - 1, COUNT)), ["a"] * (FEWEST - 1)) is None
    assert TrainingSound.of(np.zeros((0, COUNT)), []) is None


def test_alone_in_a_batch_and_by_onnx_the_warning_is_the_same(
    exportable: Path,
    exported_that_warns: Path,
    of_five: tuple[OutOfDistribution, list[str]],
    tmp_path: Path,
) -> None:
    folder = shutil.copytree(exportable, tmp_path / "model")
    of_five[0].write(folder / FILE)
    bundle = tmp_path / "model.mmer"
    write_bundle(folder, bundle)
    asked = [
        *(Utterance(path, "nie wiem") for path in of_five[1][:4]),
        *(Utterance(noise(seconds), "nie wiem", RATE) for seconds in (0.3, 1.5)),
    ]
    recognizers = [
        EmotionRecognizer.from_pretrained(model, "cpu") for model in (folder, exported_that_warns, bundle)
    ]
    answers = [list(recognizer.predict(asked)) for recognizer in recognizers]
    alone = [next(recognizers[0].predict([utterance])) for utterance in asked]
    warnings = [told(prediction) for prediction in alone]
    assert warnings[-2]
    assert warnings[-1]
    assert not any(warnings[:3])
    for found in answers:
        assert [told(prediction) for prediction in found] == warnings
    (folder / FILE).unlink()  # as in a model of an earlier version
    assert not any(map(told, EmotionRecognizer.from_pretrained(folder, "cpu").predict(asked)))


def test_a_model_with_other_labels_warns_too(
    versatile_folder: Path,
    of_five: tuple[OutOfDistribution, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shutil.copytree(versatile_folder, tmp_path / "model")
    of_five[0].write(folder / FILE)
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu", label_map="canonical")
    (warning,) = told(recognizer(noise(), "yes", sampling_rate=RATE))
    assert warning.startswith(TOLD)
    assert not told(recognizer(None, "yes"))


@pytest.mark.parametrize("command", ["predict", "timeline"])
def test_commands_show_it(command: str, exported_that_warns: Path, clips: list[str], tmp_path: Path) -> None:
    """Of speech from a bad telephone, since a timeline leaves out what is no speech."""
    muffled = soxr.resample(soxr.resample(load_audio(clips[0]), RATE, 5000), 5000, RATE)
    soundfile.write(tmp_path / "muffled.wav", muffled, RATE)
    arguments = [command, str(exported_that_warns), str(tmp_path / "muffled.wav")]
    if command == "predict":
        arguments += ["--format", "table"]
    made = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert made.exit_code == 0
    assert " ".join(TOLD.split()[:6]) in " ".join(made.output.split())


@pytest.fixture(scope="module")
def labeled(people: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two recordings of the sixth speaker, one of them as a bad telephone transmits it."""
    folder = tmp_path_factory.mktemp("labeled")
    plain, other = (load_audio(path) for path in list(people.values())[-1][:2])
    soundfile.write(folder / "plain.wav", plain, RATE)
    soundfile.write(folder / "muffled.wav", soxr.resample(soxr.resample(other, RATE, 5000), 5000, RATE), RATE)
    rows = [
        (name, "yes", emotion, "anna") for name, emotion in (("plain.wav", "sad"), ("muffled.wav", "happy"))
    ]
    table = pd.DataFrame(rows, columns=["file_name", "transcript", "emotion", "speaker"])
    table.to_csv(folder / "metadata.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("command", "out"),
    [("score", "out"), ("timeline", "out"), ("embed", "out.npy"), ("evaluate", "out"), ("robustness", "out")],
)
def test_commands_count_the_recordings(
    command: str,
    out: str,
    mmer: Callable[..., Outcome],
    exported_that_warns: Path,
    labeled: Path,
    tmp_path: Path,
) -> None:
    options = ["--axes", "noise:0"] if command == "robustness" else []
    done = mmer(command, exported_that_warns, labeled, "--out", tmp_path / out, *options)
    assert done.code == 0
    printed = " ".join((done.out + done.err).split())
    if command == "robustness":
        found = read_json_object(tmp_path / out / "robustness.json", "")["conditions"]
        assert [each["unlike"] for each in found] == [1, 2]
        assert "1 of 2" in printed
        return
    assert "warning: 1 of 2 recordings is unlike those of the training (column warnings); before" in printed
    assert "adapt it" in printed
    if command == "evaluate":
        assert read_json_object(tmp_path / out / "metrics.json", "")["unlike"] == 1


def test_pictures_and_the_page_show_it(
    exportable: Path,
    labeled: Path,
    of_five: tuple[OutOfDistribution, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("captum")
    folder = shutil.copytree(exportable, tmp_path / "model")
    of_five[0].write(folder / FILE)
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    titles, draw = list[str](), Picture.savefig

    def savefig(self: Picture, *arguments: Any, **settings: Any) -> None:
        titles.append(" ".join(self.get_suptitle().split()))
        draw(self, *arguments, **settings)

    monkeypatch.setattr(Picture, "savefig", savefig)
    monkeypatch.setattr(attribution, "STEPS", (1,))  # shares are no matter here
    for name in ("muffled.wav", "plain.wav"):
        explain(recognizer, Utterance(str(labeled / name), "yes")).plot(tmp_path / "explained.png")
        found = timeline(recognizer, labeled / name)
        found.plot(tmp_path / "timeline.png")
        found.write(tmp_path / f"{name}.html")
    muffled, plain = titles[:2], titles[2:]
    assert f"Warning: {TOLD}" in muffled[0]
    assert f"Warning: 1 of 1 segment: {TOLD}" in muffled[1]
    assert not any(TOLD in title for title in plain)
    assert TOLD in (tmp_path / "muffled.wav.html").read_text(encoding="utf-8").partition("<main>")[0]
    assert TOLD not in (tmp_path / "plain.wav.html").read_text(encoding="utf-8")


def test_listening_prints_it(
    exported_that_warns: Path,
    labeled: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples, _ = soundfile.read(labeled / "muffled.wav", dtype="int16")
    source, sink = os.pipe()
    with os.fdopen(sink, "wb") as file:
        file.write(samples.tobytes())
    with os.fdopen(source, "rb") as pipe:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))
        listen_to(
            exported_that_warns,
            piped=True,
            rate=RATE,
            microphone_name=None,
            pause=0.5,
            interval=0.0,
            format="table",
            transcription="none",
            device="cpu",
        )
    assert f"warning: {TOLD}" in capsys.readouterr().out


def test_a_recording_like_any_of_several_trainings_is_like_them(
    of_five: tuple[OutOfDistribution, list[str]],
) -> None:
    sound, others = of_five
    noises = np.array([sound_statistics(noise(1, seed), RATE) for seed in range(30)])
    of_noise = TrainingSound.of(noises, ["a", "b", "c"] * 10)
    assert of_noise is not None
    both = OutOfDistribution(trainings=[of_noise]).after(sound)
    assert both is not None
    assert both.warning(noise(1, 99), RATE) is None
    assert both.warning(load_audio(others[0]), RATE) is None
    assert both.warning(np.zeros(RATE, np.float32), RATE) is not None
    assert OutOfDistribution(trainings=[of_noise]).after(None) is None


def test_damage_is_an_error(of_five: tuple[OutOfDistribution, list[str]], tmp_path: Path) -> None:
    sound = of_five[0].trainings[0]
    for damaged in (
        replace(sound, mean=sound.mean[:-1]),
        replace(sound, std=[0.0, *sound.std[1:]]),
        replace(sound, threshold=-1.0),
        replace(sound, mean=[float("nan"), *sound.mean[1:]]),
    ):
        (tmp_path / FILE).write_text(
            json.dumps(OutOfDistribution(trainings=[damaged]).content()), encoding="utf-8"
        )
        with pytest.raises(CheckpointError, match=FILE):
            OutOfDistribution.of_model(tmp_path)
    OutOfDistribution(trainings=[]).write(tmp_path / FILE)
    with pytest.raises(CheckpointError, match="no training"):
        OutOfDistribution.of_model(tmp_path)
