"""What a timeline writes, read back by other programs' readers."""

import csv
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import av
import pytest
import srt
import webvtt
from av.subtitles.subtitle import AssSubtitle
from hypothesis import example, given
from hypothesis import strategies as st
from praatio import textgrid
from pympi.Elan import Eaf
from pympi.Praat import TextGrid

from mmer.audio.speech_segments import Segment
from mmer.errors import MMERError
from mmer.inference import Prediction
from mmer.inference.timeline.input_segments import read_segments
from mmer.inference.timeline.timeline import Timeline


def segment(start: float, end: float, **settings: Any) -> Prediction:
    answer: dict[str, Any] = {"label": "sad", "probabilities": {"happy": 0.25, "sad": 0.75}}
    return Prediction(utterance_id="call", start=start, end=end, **(answer | settings))


EXAMPLE = Timeline(
    recording="my call.wav",
    duration=10.0,
    labels=["happy", "sad"],
    segments=[
        segment(0.5, 2.0, channel="left", speaker="anna b", transcript='zażółć "gęślą" <b> & --> jaźń'),
        segment(1.0, 3.0, channel="right"),
        segment(1.5, 2.5, channel="left", speaker="anna b", transcript="two\nlines"),
        segment(4.0, 8.0, channel="left", speaker="anna b", label=None, probabilities=None, error="too long"),
        segment(9.0, 8.0, label=None, probabilities=None, error="turned around"),
    ],
)


def write(folder: Path, suffix: str, timeline: Timeline = EXAMPLE) -> Path:
    path = folder / f"out.{suffix}"
    timeline.write(path)
    return path


def test_json(tmp_path: Path) -> None:
    assert json.loads(write(tmp_path, "json").read_text(encoding="utf-8")) == EXAMPLE.to_dict()


def test_csv_holds_all_and_is_read_as_segments(tmp_path: Path) -> None:
    path = write(tmp_path, "csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows] == ["", "", "", "too long", "turned around"]
    assert [float(row["probability_sad"] or -1) for row in rows] == [0.75, 0.75, 0.75, -1, -1]
    first, second = read_segments(path, "call.wav")[:2]
    assert first == Segment(0.5, 2.0, "left", "anna b", EXAMPLE.segments[0].transcript)
    assert second == Segment(1.0, 3.0, "right")


def test_csv_of_words_with_a_carriage_return(tmp_path: Path) -> None:
    said = segment(0.0, 1.0, speaker="anna", transcript="two\rlines")
    path = write(tmp_path, "csv", replace(EXAMPLE, segments=[said]))
    assert read_segments(path, "call.wav") == [Segment(0.0, 1.0, "mix", "anna", "two\rlines")]


def test_srt(tmp_path: Path) -> None:
    text = write(tmp_path, "srt").read_text(encoding="utf-8")
    first, second, third, failed = srt.parse(text)
    assert (first.start, first.end) == (timedelta(seconds=0.5), timedelta(seconds=2))
    assert first.content == 'anna b: sad 75%\nzażółć "gęślą" <b> & --> jaźń'
    assert second.content == "right: sad 75%"
    assert third.content == "anna b: sad 75%\ntwo lines"
    assert failed.content == "anna b: no answer: too long"
    assert [caption.start for caption in webvtt.from_srt(str(tmp_path / "out.srt"))][3] == "00:00:04.000"


def test_webvtt(tmp_path: Path) -> None:
    first, second, third, failed = webvtt.read(str(write(tmp_path, "vtt")))
    assert (first.start, first.end, first.voice) == ("00:00:00.500", "00:00:02.000", "anna b")
    assert first.text == 'sad 75%\nzażółć "gęślą" &lt;b&gt; &amp; --&gt; jaźń'
    assert (second.voice, second.text) == ("right", "sad 75%")
    assert third.text == "sad 75%\ntwo lines"
    assert failed.text == "no answer: too long"
    words = read_segments(tmp_path / "out.vtt", "call.wav")[0].transcript
    assert words == 'sad 75% zażółć "gęślą" <b> & --> jaźń'


def test_arrows_in_subtitles(tmp_path: Path) -> None:
    said = ["go --> there", "--> x", "12", "00:00:01,000 --> 00:00:02,000 hi"]
    asked = [segment(i, i + 1, speaker="a --> b", transcript=words) for i, words in enumerate(said)]
    timeline = replace(EXAMPLE, segments=asked)
    path = write(tmp_path, "vtt", timeline)
    assert [(s.speaker, s.transcript) for s in read_segments(path, "call.wav")] == [
        ("a --> b", f"sad 75% {words}") for words in said
    ]
    path = write(tmp_path, "srt", timeline)
    expected = [f"a --> b: sad 75%\n{words}" for words in [*said[:3], "00:00:01,000 -> 00:00:02,000 hi"]]
    assert [each.content for each in srt.parse(path.read_text(encoding="utf-8"))] == expected
    assert [each.text for each in webvtt.from_srt(str(path))] == expected
    assert [s.transcript for s in read_segments(path, "call.wav")] == [
        words.replace("\n", " ") for words in expected
    ]
    with av.open(str(path)) as file:
        read = [each for packet in file.demux() if packet.size for each in packet.decode()]
    assert [cast(AssSubtitle, each).dialogue.decode() for each in read] == expected


TIERS = {
    "anna b emotion": [(0.5, 2.0, "sad 75%"), (4.0, 8.0, "no answer: too long")],
    "anna b words": [(0.5, 2.0, 'zażółć "gęślą" <b> & --> jaźń')],
    "right emotion": [(1.0, 3.0, "sad 75%")],
    "anna b 2 emotion": [(1.5, 2.5, "sad 75%")],
    "anna b 2 words": [(1.5, 2.5, "two lines")],
}


def test_textgrid(tmp_path: Path) -> None:
    path = write(tmp_path, "TextGrid")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, 10)
    assert {name: [tuple(entry) for entry in grid.getTier(name).entries] for name in grid.tierNames} == TIERS
    other = TextGrid(str(path))
    assert [tier.name for tier in other.get_tiers()] == list(TIERS)
    words = read_segments(path, "call.wav", ["anna b words"])
    assert words == [Segment(0.5, 2.0, "mix", "anna b words", EXAMPLE.segments[0].transcript)]


def test_elan(tmp_path: Path) -> None:
    (tmp_path / "call 1.wav").touch()
    path = write(tmp_path, "eaf", replace(EXAMPLE, recording=str(tmp_path / "call 1.wav")))
    document = Eaf(str(path))
    found = {name: sorted(document.get_annotation_data_for_tier(name)) for name in document.get_tier_names()}
    assert found == {
        name: [(round(1000 * start), round(1000 * end), text) for start, end, text in intervals]
        for name, intervals in TIERS.items()
    }
    (media,) = document.get_linked_files()
    assert media["MEDIA_URL"].endswith("/call%201.wav")
    assert media["MIME_TYPE"] == "audio/x-wav"
    assert path.read_text(encoding="utf-8").startswith('<?xml version="1.0" encoding="UTF-8"?>')


def test_audacity(tmp_path: Path) -> None:
    rows = [line.split("\t") for line in write(tmp_path, "txt").read_text(encoding="utf-8").splitlines()]
    assert rows[0] == ["0.500000", "2.000000", 'anna b | sad 75% | zażółć "gęślą" <b> & --> jaźń']
    assert rows[3] == ["4.000000", "8.000000", "anna b | no answer: too long"]


def test_rttm(tmp_path: Path) -> None:
    path = write(tmp_path, "rttm")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "SPEAKER my_call 1 0.500 1.500 <NA> sad anna_b 0.7500 <NA>"
    assert lines[1] == "SPEAKER my_call 2 1.000 2.000 <NA> sad right 0.7500 <NA>"
    assert lines[3] == "SPEAKER my_call 1 4.000 4.000 <NA> <NA> anna_b <NA> <NA>"
    assert all(len(line.split()) == 10 for line in lines)
    again = read_segments(path, "my call.wav")
    assert again[1] == Segment(1.0, 3.0, "right", "right")
    nameless = replace(EXAMPLE, recording=" .wav", segments=[segment(0.0, 1.0, speaker="\u3000")])
    path = write(tmp_path, "rttm", nameless)
    assert path.read_text(encoding="utf-8") == (
        "SPEAKER recording 1 0.000 1.000 <NA> sad speaker 0.7500 <NA>\n"
    )


def test_times_before_the_beginning_and_segments_without_length(tmp_path: Path) -> None:
    odd = replace(EXAMPLE, segments=[segment(-0.5, 1.0), segment(2.0, 2.0), segment(3.0, 3.0004)])
    (subtitle,) = srt.parse(write(tmp_path, "srt", odd).read_text(encoding="utf-8"))
    assert (subtitle.start, subtitle.end) == (timedelta(0), timedelta(seconds=1))


def test_hours_and_a_segment_that_ends_after_the_recording(tmp_path: Path) -> None:
    long = replace(EXAMPLE, duration=3726.0, segments=[segment(3725.5, 3726.04)])
    (subtitle,) = srt.parse(write(tmp_path, "srt", long).read_text(encoding="utf-8"))
    assert subtitle.start == timedelta(hours=1, minutes=2, seconds=5.5)
    assert "01:02:05.500 --> 01:02:06.040" in write(tmp_path, "vtt", long).read_text(encoding="utf-8")
    grid = textgrid.openTextgrid(str(write(tmp_path, "TextGrid", long)), includeEmptyIntervals=False)
    assert grid.maxTimestamp == 3726.04


texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), exclude_characters="\ufeff"), max_size=12
)


@pytest.mark.parametrize("odd", ["\x1b", "\x01", "\ufffe", "\uffff"])
def test_elan_of_what_xml_cannot_hold(tmp_path: Path, odd: str) -> None:
    recording = tmp_path / f"a{odd}.wav"
    recording.touch()
    said = [segment(0.0, 1.0, speaker=f"b{odd}", transcript=f"c{odd}")]
    document = Eaf(str(write(tmp_path, "eaf", replace(EXAMPLE, recording=str(recording), segments=said))))
    assert len(list(document.get_tier_names())) == 2
    assert document.get_linked_files()[0]["RELATIVE_MEDIA_URL"].startswith("a")


@example([(0.0, 1.0, None, " ")])
@given(
    st.lists(
        st.tuples(st.floats(0, 90), st.floats(0.002, 5), st.sampled_from([None, "anna"]), texts),
        min_size=1,
        max_size=6,
    )
)
def test_any_segments_come_back(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[float, float, str | None, str]]
) -> None:
    folder = tmp_path_factory.mktemp("out")
    segments = [
        segment(start, start + length, speaker=who, transcript=text) for start, length, who, text in drawn
    ]
    timeline = replace(EXAMPLE, duration=100.0, segments=sorted(segments, key=lambda each: each.start or 0))
    expected = [(round(s.start or 0, 3), round(s.end or 0, 3)) for s in timeline.segments]
    words = sorted(
        " ".join((s.transcript or "").split()) for s in timeline.segments if (s.transcript or "").split()
    )
    subtitles = list(srt.parse(write(folder, "srt", timeline).read_text(encoding="utf-8")))
    assert [(s.start.total_seconds(), s.end.total_seconds()) for s in subtitles] == expected
    captions = webvtt.read(str(write(folder, "vtt", timeline))).captions
    assert [(c.start_time.in_milliseconds(), c.end_time.in_milliseconds()) for c in captions] == [
        (round(1000 * start), round(1000 * end)) for start, end in expected
    ]
    grid = textgrid.openTextgrid(str(write(folder, "TextGrid", timeline)), includeEmptyIntervals=False)
    entries = [(name, *entry) for name in grid.tierNames for entry in grid.getTier(name).entries]
    assert sorted((start, end) for name, start, end, _ in entries if "emotion" in name) == sorted(expected)
    assert sorted(text for name, _, _, text in entries if "words" in name) == words
    document = Eaf(str(write(folder, "eaf", timeline)))
    annotations = [
        (name, *entry)
        for name in document.get_tier_names()
        for entry in document.get_annotation_data_for_tier(name)
    ]
    assert sorted(entry[3] for entry in annotations if "words" in entry[0]) == words
    assert sorted(entry[1] / 1000 for entry in annotations if "emotion" in entry[0]) == sorted(
        s for s, _ in expected
    )


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(
        MMERError, match=r"its name must end in one of \.json, \.csv, \.html, \.srt, \.vtt, \.textgrid, \.eaf"
    ):
        EXAMPLE.write(tmp_path / "a.docx")
    with pytest.raises(MMERError, match="there is no folder"):
        EXAMPLE.write(tmp_path / "nowhere" / "a.srt")
    (tmp_path / "a.srt").mkdir()
    with pytest.raises(MMERError, match=r"a\.srt: cannot be written, a folder is there; name a file"):
        EXAMPLE.write(tmp_path / "a.srt")
