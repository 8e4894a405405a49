"""Timelines of real recordings by small random models."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from audio.test_audio import encode
from commands import Outcome
from hypothesis import given
from hypothesis import strategies as st
from inference.conftest import save_model

from mmer.audio.decoding.libsndfile import SoundFileRecording
from mmer.audio.load import load_audio
from mmer.audio.speech_segments import Segment
from mmer.errors import AudioError, MMERError
from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.inference.timeline.smoothing import smoothed
from mmer.inference.timeline.timeline import Timeline, timeline
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET

RATE = 16_000
Mmer = Callable[..., Outcome]
Make = Callable[..., EmotionRecognizer]


@pytest.fixture(scope="session")
def call(clips: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stereo call: three utterances on the left, two on the right, in turn, with 1 s between."""
    sides = [[np.zeros(RATE, np.float32)], [np.zeros(RATE, np.float32)]]
    for number, clip in enumerate(clips[:5]):
        said = np.concatenate([load_audio(clip), np.zeros(RATE, np.float32)])
        sides[number % 2].append(said)
        sides[1 - number % 2].append(np.zeros_like(said))
    path = tmp_path_factory.mktemp("call") / "call.flac"
    soundfile.write(path, np.stack([np.concatenate(side) for side in sides], axis=1), RATE)
    return path


@pytest.fixture(scope="module")
def whole_call(recognizer: EmotionRecognizer, call: Path) -> Timeline:
    return timeline(recognizer, call, channel="each")


def answer(start: float, end: float, *shares: float, **settings: str) -> Prediction:
    probabilities = dict(zip("abc", shares, strict=False)) if shares else None
    label = max(probabilities, key=lambda name: probabilities[name]) if probabilities else None
    return Prediction(
        utterance_id="u",
        start=start,
        end=end,
        probabilities=probabilities,
        label=label,
        **settings,  # pyright: ignore[reportArgumentType]
    )


class TestFound:
    def test_each_channel_is_a_speaker(self, whole_call: Timeline, clips: list[str]) -> None:
        assert whole_call.silent == []
        assert [segment.channel for segment in whole_call.segments] == [
            "left",
            "right",
            "left",
            "right",
            "left",
        ]
        assert [segment.speaker for segment in whole_call.segments] == [
            "left",
            "right",
            "left",
            "right",
            "left",
        ]
        at = 1.0
        for segment, clip in zip(whole_call.segments, clips, strict=False):
            length = soundfile.info(clip).duration
            assert segment.start == pytest.approx(at, abs=0.35)
            assert segment.end == pytest.approx(at + length, abs=0.5)
            at += length + 1

    def test_an_answer_is_that_of_the_same_part_of_the_file(
        self, recognizer: EmotionRecognizer, whole_call: Timeline, call: Path
    ) -> None:
        for segment in whole_call.segments:
            (alone,) = recognizer.predict(
                [Utterance(call, start=segment.start, end=segment.end, channel=segment.channel)]
            )
            assert segment.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
            assert segment.label == alone.label

    @pytest.mark.parametrize("rate", [8000, RATE])
    def test_speech_at_the_end_of_aac_is_answered(
        self, recognizer: EmotionRecognizer, clips: list[str], tmp_path: Path, rate: int
    ) -> None:
        said = load_audio(clips[0], sampling_rate=rate)
        said = said[: len(said) * 2 // 3 // 1024 * 1024 + 37]  # the last frame is filled up
        path = encode(tmp_path / "a.m4a", "aac", said[None], rate)
        found = timeline(recognizer, path)
        assert found.segments[-1].error is None
        assert found.segments[-1].end == found.duration == pytest.approx(len(said) / rate, abs=0.002)

    def test_bytes_and_open_files_are_the_same(
        self, recognizer: EmotionRecognizer, whole_call: Timeline, call: Path
    ) -> None:
        sent = timeline(recognizer, call.read_bytes(), channel="each", name="sent")
        with open(call, "rb") as file:
            opened = timeline(recognizer, file, channel="each")
        for other in (sent, opened):
            assert [s.probabilities for s in other.segments] == [
                pytest.approx(s.probabilities, abs=1e-6) for s in whole_call.segments
            ]
        assert sent.recording == "sent"
        assert sent.segments[0].audio_path is None

    def test_other_channels(self, recognizer: EmotionRecognizer, call: Path) -> None:
        right = timeline(recognizer, call, channel="right")
        assert [s.channel for s in right.segments] == ["right"] * 2
        assert len(timeline(recognizer, call).segments) == 5
        assert list(right.peaks) == ["right"]
        with pytest.raises(AudioError, match="has no channel 3, it has 2"):
            timeline(recognizer, call, channel="3")

    def test_a_longer_pause_ends_fewer_segments(
        self, recognizer: EmotionRecognizer, whole_call: Timeline, call: Path
    ) -> None:
        made = timeline(recognizer, call, pause=2.0)
        assert 0 < len(made.segments) < len(whole_call.segments) == 5

    def test_long_speech_is_cut_to_what_the_model_takes(self, recognizer_of: Make, call: Path) -> None:
        recognizer = recognizer_of(max_duration=1.2)
        made = timeline(recognizer, call)
        assert len(made.segments) > 5
        assert made.errors == []
        assert max((s.end or 0) - (s.start or 0) for s in made.segments) <= 1.2

    def test_progress_ends_with_all_seconds(self, recognizer: EmotionRecognizer, call: Path) -> None:
        told: list[tuple[int, int]] = []
        made = timeline(recognizer, call, channel="each", progress=lambda *done: told.append(done))
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert {total for _, total in told} == {int(2 * made.duration)}
        assert told[-1][0] == told[-1][1]

    def test_peaks_are_the_loudest_of_each_hundredth(self, whole_call: Timeline, call: Path) -> None:
        for channel in ("left", "right"):
            samples = load_audio(call, channel=channel)
            expected = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(axis=1)
            np.testing.assert_allclose(whole_call.peaks[channel], expected, atol=1e-6)

    def test_speech_at_the_very_end_is_a_segment(
        self, recognizer: EmotionRecognizer, clips: list[str], tmp_path: Path
    ) -> None:
        samples = load_audio(clips[0])
        loud = np.flatnonzero(np.abs(samples) > 0.05)
        soundfile.write(tmp_path / "cut.wav", samples[: loud[-1]], RATE)
        made = timeline(recognizer, tmp_path / "cut.wav")
        assert made.segments[-1].end == pytest.approx(loud[-1] / RATE)

    def test_silence_has_no_segments(self, recognizer: EmotionRecognizer, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "silence.wav", np.zeros(3 * RATE), RATE)
        made = timeline(recognizer, tmp_path / "silence.wav")
        assert made.segments == []
        assert repr(made) == f"Timeline({tmp_path / 'silence.wav'}: 0 segments in 3.0 s)"
        for suffix in ("json", "csv", "srt", "vtt", "TextGrid", "eaf", "txt", "rttm", "png"):
            made.write(tmp_path / f"silence.{suffix}")


class TestGiven:
    def test_words_and_speakers_are_those_given(self, recognizer: EmotionRecognizer, call: Path) -> None:
        given = [Segment(5.0, 6.0, "right", "ben", "What a day"), Segment(1.0, 2.0, "left", "anna")]
        made = timeline(recognizer, call, segments=given, channel="each")
        assert [(s.start, s.channel, s.speaker, s.transcript) for s in made.segments] == [
            (1.0, "left", "anna", None),
            (5.0, "right", "ben", "What a day"),
        ]
        assert [s.channel for s in timeline(recognizer, call, segments=given).segments] == ["mix", "mix"]

    def test_what_cannot_be_answered_is_there_with_its_reason(
        self, recognizer: EmotionRecognizer, call: Path
    ) -> None:
        given = [Segment(1.0, 2.0), Segment(3.0, 2.5), Segment(0.0, 10.5), Segment(500.0, 501.0)]
        made = timeline(recognizer, call, segments=given)
        reasons = {segment.start: segment.error for segment in made.segments}
        assert reasons.pop(1.0) is None
        assert "start 3 s is not before end 2.5 s" in (reasons[3.0] or "")
        assert "10.5 s long, at most 10 s are allowed" in (reasons[0.0] or "")
        assert "500 s to 501 s is not within the file" in (reasons[500.0] or "")
        assert len(made.errors) == 3
        assert "3 without an answer" in repr(made)

    def test_each_channel_needs_segments_that_say_theirs(
        self, recognizer: EmotionRecognizer, call: Path
    ) -> None:
        with pytest.raises(
            MMERError,
            match=r"segment at 1 s is of channel mix; .* one of left, right, which RTTM or .* the mix$",
        ):
            timeline(recognizer, call, segments=[Segment(1.0, 2.0)], channel="each")

    def test_speakers_are_those_that_features_are_standardized_over(
        self, recognizer_of: Make, call: Path
    ) -> None:
        recognizer = recognizer_of(speech="wav2vec2-bert", normalization="speaker")
        given = [Segment(1.0, 2.0, speaker="a"), Segment(2.0, 3.0, speaker="a"), Segment(3.0, 4.0)]
        made = timeline(recognizer, call, segments=given)
        expected = list(
            recognizer.predict(Utterance(call, start=s.start, end=s.end, speaker=s.speaker) for s in given)
        )
        for segment, other in zip(made.segments, expected, strict=True):
            assert segment.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        alone = [any("over this clip alone" in w for w in s.warnings) for s in made.segments]
        assert alone == [False, False, True]
        together = timeline(recognizer, call, segments=given, one_speaker=True)
        assert [s.speaker for s in together.segments] == ["a", "a", "the one speaker"]
        found = timeline(recognizer, call, channel="each")
        assert not any("alone" in w for s in found.segments for w in s.warnings)


def test_all_channels_are_decoded_at_once(
    recognizer: EmotionRecognizer, call: Path, whole_call: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole recording is gone through once, and each channel is what it is alone."""
    read = SoundFileRecording.blocks
    through: list[float | None] = []

    def blocks(recording: SoundFileRecording, start: float = 0.0, end: float | None = None) -> Any:
        through.append(end)
        return read(recording, start, end)

    monkeypatch.setattr(SoundFileRecording, "blocks", blocks)
    again = timeline(recognizer, call, channel="each")
    assert through.count(None) == 1
    assert [segment.start for segment in again.segments] == [s.start for s in whole_call.segments]
    for channel in ("left", "right"):
        alone = timeline(recognizer, call, channel=channel)
        found = [(s.start, s.end) for s in again.segments if s.channel == channel]
        assert found == [(s.start, s.end) for s in alone.segments]
        np.testing.assert_array_equal(again.peaks[channel], alone.peaks[channel])


def test_a_recording_that_breaks_off_gives_what_there_is(
    recognizer: EmotionRecognizer, call: Path, tmp_path: Path
) -> None:
    samples = np.concatenate([load_audio(call)] * 3)
    samples[-10:] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    made = timeline(recognizer, tmp_path / "a.wav")
    assert len(made.segments) > 5
    *answered, last = made.segments
    assert all(s.label for s in answered)
    assert "10 samples are NaN" in (last.error or "")
    assert (last.end or 0) == pytest.approx(made.duration)
    with pytest.raises(AudioError, match="no such file"):
        timeline(recognizer, tmp_path / "nowhere.wav")


def test_segments_are_heard(call: Path, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", ctc_symbols=WAV2VEC2_ALPHABET)
    heard = EmotionRecognizer.from_pretrained(folder, "cpu", transcription="ctc")
    made = timeline(heard, call, channel="left")
    assert {s.transcript_source for s in made.segments} == {"ctc"}
    assert made.to_dict()["segments"][0]["transcript"] == made.segments[0].transcript


class TestSmoothing:
    def test_by_hand(self) -> None:
        first, second = answer(0, 2, 1.0, 0.0), answer(2, 3, 0.0, 1.0)
        one, two = smoothed([first, second], 3.0)
        assert one.probabilities == {"a": 1.0, "b": 0.0}
        kept = 2 * math.exp(-1.5 / 3)
        assert two.probabilities == pytest.approx({"a": kept / (kept + 1), "b": 1 / (kept + 1)})
        assert two.label == "a"
        assert (second.label, second.probabilities) == ("b", {"a": 0.0, "b": 1.0})

    def test_speakers_channels_and_errors_stay_apart(self) -> None:
        answers = [
            answer(0, 1, 1.0, 0.0, speaker="x"),
            answer(1, 2, 0.0, 1.0, speaker="y"),
            answer(2, 3),
            answer(3, 4, 0.0, 1.0, channel="left"),
            answer(4, 5, 1.0, 0.0, channel="right"),
        ]
        assert smoothed(answers, 10.0) == answers

    def test_contributions_are_those_of_one_segment_and_are_left_out(self) -> None:
        said = replace(answer(0, 1, 1.0, 0.0), contributions={"speech": 0.5, "text": 0.25})
        assert smoothed([said], 1.0)[0].contributions == {"speech": None, "text": None}

    def test_a_segment_without_length_weighs_a_millisecond(self) -> None:
        _, moment = smoothed([answer(0, 2, 1.0, 0.0), answer(1, 1, 0.0, 1.0)], 1.0)
        assert smoothed([answer(1, 1, 0.0, 1.0)], 1.0)[0].probabilities == {"a": 0.0, "b": 1.0}
        assert moment.probabilities == pytest.approx({"a": 2 / 2.001, "b": 0.001 / 2.001})

    @given(
        st.lists(
            st.tuples(st.floats(0, 100), st.floats(0.01, 5), st.floats(0, 1), st.sampled_from(["x", None])),
            max_size=8,
        ),
        st.floats(0.1, 50),
    )
    def test_is_the_weighted_mean_of_what_was_before(
        self, drawn: list[tuple[float, float, float, str | None]], seconds: float
    ) -> None:
        answers = [
            replace(answer(start, start + length, share, 1 - share), speaker=who)
            for start, length, share, who in drawn
        ]
        middles = [start + length / 2 for start, length, _, _ in drawn]
        for index, got in enumerate(smoothed(answers, seconds)):
            before = [
                other
                for other in range(len(drawn))
                if drawn[other][3] == drawn[index][3] and (middles[other], other) <= (middles[index], index)
            ]
            weights = [drawn[o][1] * math.exp((middles[o] - middles[index]) / seconds) for o in before]
            expected = sum(w * drawn[o][2] for w, o in zip(weights, before, strict=True)) / sum(weights)
            assert got.probabilities is not None
            assert got.probabilities["a"] == pytest.approx(expected, abs=1e-9)
            assert sum(got.probabilities.values()) == pytest.approx(1)

    def test_of_a_timeline(self, recognizer: EmotionRecognizer, whole_call: Timeline, call: Path) -> None:
        made = timeline(recognizer, call, channel="each", smoothing=5.0)
        assert made.smoothing == 5.0
        assert [s.probabilities for s in made.segments] == [
            pytest.approx(s.probabilities, abs=1e-6) for s in smoothed(whole_call.segments, 5.0)
        ]


class TestAsText:
    def test_repr_and_dict(self, whole_call: Timeline, call: Path) -> None:
        assert repr(whole_call).startswith(f"Timeline({call}: 5 segments in ")
        told = whole_call.to_dict()
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert told["labels"] == whole_call.labels
        assert told["segments"][1]["confidence"] == whole_call.segments[1].confidence
        assert {"start", "end", "channel", "speaker", "label", "probabilities", "transcript", "error"} <= set(
            told["segments"][0]
        )
        assert sum(whole_call.seconds_by_label().values()) == pytest.approx(
            sum((s.end or 0) - (s.start or 0) for s in whole_call.segments)
        )

    def test_frame(self, whole_call: Timeline) -> None:
        frame = whole_call.to_frame()
        assert frame["start"].tolist() == [s.start for s in whole_call.segments]
        assert frame["label"].tolist() == [s.label for s in whole_call.segments]
        assert frame[[f"probability_{label}" for label in whole_call.labels]].sum(
            axis=1
        ).to_numpy() == pytest.approx(1)
        assert isinstance(frame, pd.DataFrame)


def test_the_code_of_the_docs(
    model_folder: Path, call: Path, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "recordings.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(model_folder)
    (tmp_path / "call.wav").symlink_to(call)
    for name, clip in zip(("a.wav", "b.wav"), clips, strict=False):
        (tmp_path / name).symlink_to(clip)
    (tmp_path / "call.csv").write_text("start,end,channel\n1,2,left\n")
    names: dict[str, Any] = {}
    exec(compile(code, "docs/recordings.md", "exec"), names)
    assert len(names["table"]) == len(names["found"].segments) == 5
    assert names["given"].errors == []
    assert names["answers"]["label"].notna().all()
    assert (tmp_path / "call.TextGrid").is_file()


def test_json_and_csv_hold_what_the_docs_promise(whole_call: Timeline, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "recordings.md").read_text(encoding="utf-8")
    promised = re.search(r"^\| `\.json`, `\.csv` \| everything: (.+) \|$", page, re.MULTILINE)
    assert promised is not None
    names = promised[1].split(", ")
    assert {"confidence", "all probabilities", "warnings"} < set(names)
    whole_call.write(tmp_path / "call.csv")
    whole_call.write(tmp_path / "call.json")
    columns = pd.read_csv(tmp_path / "call.csv")
    told = json.loads((tmp_path / "call.json").read_text())["segments"][0]
    for name in names:
        if name == "all probabilities":
            assert set(told["probabilities"]) == set(whole_call.labels)
            assert {f"probability_{label}" for label in whole_call.labels} < set(columns)
        else:
            assert name in columns
            assert name in told
    assert columns["confidence"].tolist() == [segment.confidence for segment in whole_call.segments]


class TestCommand:
    def test_files_of_every_kind(self, mmer: Mmer, model_folder: Path, call: Path, tmp_path: Path) -> None:
        suffixes = ["json", "csv", "srt", "vtt", "TextGrid", "eaf", "txt", "rttm", "png", "svg", "pdf"]
        out = [argument for suffix in suffixes for argument in ("-o", tmp_path / f"call.{suffix}")]
        done = mmer(
            "timeline", model_folder, call, "--channel", "each", "--smoothing", "2", *out, "--device", "cpu"
        )
        assert done.code == 0, done.err
        assert done.out == ""
        assert f"{call}: 5 segments in" in done.err
        assert "mmer: 5 of 5 segments: no transcript" in done.err
        assert all((tmp_path / f"call.{suffix}").stat().st_size > 100 for suffix in suffixes)
        assert json.loads((tmp_path / "call.json").read_text())["smoothing"] == 2.0
        assert (tmp_path / "call.png").read_bytes().startswith(b"\x89PNG")
        assert b"%PDF" in (tmp_path / "call.pdf").read_bytes()[:10]

    def test_standard_output_and_errors(
        self, mmer: Mmer, model_folder: Path, call: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "given.csv").write_text("start,end,transcript\n1,2,What a day\n700,701,\n")
        done = mmer("timeline", model_folder, call, "--segments", tmp_path / "given.csv")
        assert done.code == 2
        assert "700 s to 701 s is not within the file" in done.err
        segments = json.loads(done.out)["segments"]
        assert [s["transcript"] for s in segments] == ["What a day", None]
        assert [bool(s["error"]) for s in segments] == [False, True]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere.wav"], "nowhere.wav: no such file"),
            (
                ["{call}", "-o", "x.doc"],
                "cannot write a timeline to x.doc: its name must end in one of .json, .csv, .html, .srt",
            ),
            (["{call}", "-o", "nowhere/x.srt"], "there is no folder nowhere"),
            (
                ["{call}", "--channel", "both"],
                "no channel 'both'; it must be mix, left, right, each or a number",
            ),
            (["{call}", "--channel", "3"], "has no channel 3, it has 2"),
            (["{call}", "--segments", "x.srt"], "x.srt: no such file of segments"),
            (["*.wav", "-o", "x", "--embed-audio"], "--embed-audio is for a page; ask for --each .html"),
            (["{call}", "--tier", "anna"], "--tier is of a TextGrid; give one with --segments"),
            (["{call}", "--tier", "anna", "--segments", "x.csv"], "--tier is of a TextGrid"),
        ],
    )
    def test_what_a_user_can_get_wrong(
        self, mmer: Mmer, model_folder: Path, call: Path, arguments: list[str], message: str
    ) -> None:
        done = mmer("timeline", model_folder, *(argument.format(call=call) for argument in arguments))
        assert (done.code, done.out) == (2, "")
        (line,) = [line for line in done.err.splitlines() if line.startswith("mmer: ")]
        assert message in line
