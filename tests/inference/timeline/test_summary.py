"""Summaries of timelines: by hand, against every moment of drawn timelines, on screen and in files."""

import io
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import t

from mmer.display.terminal import PlainConsole
from mmer.inference import Prediction
from mmer.inference.timeline.segments import amount, clock
from mmer.inference.timeline.summary import Peak, Stretch, Summary, summarize
from mmer.inference.timeline.timeline import Timeline
from mmer.inference.timeline.timeline_table import print_timeline

LABELS = ["angry", "calm", "sad"]


def said(start: float, end: float, angry: float, calm: float = 0.0, **settings: Any) -> Prediction:
    probabilities = dict(zip(LABELS, (angry, calm, 1 - angry - calm), strict=True))
    label = max(LABELS, key=lambda name: probabilities[name])
    answer = {"label": label, "probabilities": probabilities}
    return Prediction(utterance_id="u", start=start, end=end, **(answer | settings))


def silent(start: float, end: float, **settings: Any) -> Prediction:
    return Prediction(utterance_id="u", start=start, end=end, error="too long", **settings)


CALL = [
    said(0, 4, 0.7, 0.2, channel="left", transcript="no!"),
    said(4, 5, 0.1, 0.8, channel="right"),
    said(6, 8, 0.9, 0.1, channel="left", transcript="I said <no>!"),
    silent(9, 10, channel="left"),
    said(25, 30, 0.6, 0.1, channel="left"),
]


def emotions(summary: Summary) -> dict[str, Any]:
    return {each.label: each for each in summary.emotions}


def test_segments_without_length_that_overlap_or_are_equally_long() -> None:
    whole = summarize([said(0, 0, 1.0), said(1, 3, 0.0, 1.0)], LABELS, 3.0)[0]
    assert emotions(whole)["angry"].mean == pytest.approx(0.001 / 2.001)
    whole = summarize([said(0, 5, 0.9, channel="left"), said(1, 2, 0.9, channel="right")], LABELS, 5.0)[0]
    assert emotions(whole)["angry"].longest == Stretch(start=0, end=5, speech=6.0)
    first = summarize([said(0, 2, 1.0), said(2, 3, 0.0), said(3, 5, 1.0)], LABELS, 5.0)[0]
    assert emotions(first)["angry"].longest == Stretch(start=0, end=2, speech=2.0)


def test_times_are_rounded_before_they_are_split() -> None:
    assert [clock(59.96), clock(12.36), clock(3599.96)] == ["01:00.0", "00:12.4", "1:00:00.0"]
    assert [amount(59.94), amount(59.96), amount(3605)] == ["59.9 s", "1 min 0 s", "1 h 0 min 5 s"]


def test_the_main_emotions_are_those_of_most_speech_not_those_of_the_highest_mean() -> None:
    whole = summarize([said(0, 6, 0.4, 0.3), said(6, 10, 0.0, 1.0)], LABELS, 10.0)[0]
    assert [each.label for each in whole.main()] == ["angry", "calm"]
    assert emotions(whole)["calm"].mean == pytest.approx(0.58)


def test_by_hand() -> None:
    whole, left, right = summarize(CALL, LABELS, 30.0)
    assert [(s.scope, s.voice, s.segments, s.unanswered, s.speech) for s in (whole, left, right)] == [
        ("recording", "", 4, 1, 12.0),
        ("voice", "left", 3, 1, 11.0),
        ("voice", "right", 1, 0, 1.0),
    ]
    assert [each.share for each in whole.emotions] == pytest.approx([11 / 12, 1 / 12, 0])
    angry = emotions(left)["angry"]
    assert angry.mean == pytest.approx((4 * 0.7 + 2 * 0.9 + 5 * 0.6) / 11)
    assert angry.thirds == [pytest.approx((4 * 0.7 + 2 * 0.9) / 6), None, pytest.approx(0.6)]
    assert angry.trend == pytest.approx(0.6 - (4 * 0.7 + 2 * 0.9) / 6)
    # A pause does not end a stretch; the segment without an answer does.
    assert angry.longest == Stretch(start=0, end=8, speech=6.0)
    assert emotions(whole)["angry"].longest == Stretch(start=25, end=30, speech=5.0)
    assert angry.peak == Peak(probability=0.9, start=6, end=8, voice="left", transcript="I said <no>!")
    assert emotions(left)["sad"].peak is None
    assert emotions(left)["sad"].longest is None
    assert emotions(right)["calm"].trend is None


class TestIntervalOfAShare:
    def test_segments_of_one_length(self) -> None:
        """Student's t on the logit, worked out for equal weights."""
        segments = [said(n, n + 1, 0.9 if n % 10 < 4 else 0.1, 0.0) for n in range(10)]
        whole, _ = summarize(segments, LABELS, 10.0)
        reach = t.ppf(0.975, 9) / np.sqrt(9 * 0.4 * 0.6)
        angry = emotions(whole)["angry"]
        assert angry.share == pytest.approx(0.4)
        assert (angry.share_low, angry.share_high) == pytest.approx(
            tuple(expit(logit(0.4) + reach * np.array([-1, 1])))
        )
        sad = emotions(whole)["sad"]
        assert (sad.share_low, sad.share_high) == pytest.approx(
            (1 - (angry.share_high or 0), 1 - (angry.share_low or 0))
        )

    def test_one_long_segment_shows_little(self) -> None:
        """As much speech with the same share, most of it in one segment: the interval is wider."""
        even = [said(n, n + 1, 0.9 if n < 5 else 0.1) for n in range(10)]
        long = [said(0, 5, 0.9), *even[5:]]
        narrow, wide = (emotions(summarize(each, LABELS, 10.0)[0])["angry"] for each in (even, long))
        assert narrow.share == wide.share == 0.5
        assert (
            (wide.share_low or 0)
            < (narrow.share_low or 0)
            < 0.5
            < (narrow.share_high or 1)
            < (wide.share_high or 1)
        )

    def test_none_without_spread(self) -> None:
        for segments in (CALL[:2], [said(n, n + 1, 0.9) for n in range(5)]):
            for summary in summarize(segments, LABELS, 10.0):
                assert {(each.share_low, each.share_high) for each in summary.emotions} == {(None, None)}


def test_nothing_answered() -> None:
    for segments in ([], [silent(0, 1)]):
        whole, *voices = summarize(segments, LABELS, 3.0)
        assert (whole.segments, whole.unanswered, whole.speech) == (0, len(segments), 0.0)
        assert len(voices) == len(segments)
        assert {(e.share, e.mean, e.trend, e.longest, e.peak) for e in whole.emotions} == {(None,) * 5}
        assert [each.thirds for each in whole.emotions] == [[None] * 3] * 3


@given(
    st.lists(
        st.tuples(st.integers(0, 29), st.integers(1, 10), st.floats(0, 1), st.sampled_from(["x", "y"])),
        min_size=1,
        max_size=6,
    )
)
def test_is_that_of_every_moment(drawn: list[tuple[int, int, float, str]]) -> None:
    """Held against sums over tenths of seconds, each of which lies in whole segments and whole thirds."""
    segments = [said(s, min(s + d, 30), p, speaker=who) for s, d, p, who in sorted(drawn)]
    moments = np.arange(300) / 10 + 0.05
    for summary in summarize(segments, LABELS, 30.0):
        mine = [s for s in segments if summary.scope == "recording" or s.speaker == summary.voice]
        inside = [(moments > (s.start or 0)) & (moments < (s.end or 0)) for s in mine]
        for each in summary.emotions:
            assert each.share == pytest.approx(
                sum(i.sum() for i, s in zip(inside, mine, strict=True) if s.label == each.label)
                / sum(i.sum() for i in inside)
            )
            for number, found in enumerate(each.thirds):
                third = slice(100 * number, 100 * (number + 1))
                weight = sum(i[third].sum() for i in inside)
                total = sum(
                    i[third].sum() * (s.probabilities or {})[each.label]
                    for i, s in zip(inside, mine, strict=True)
                )
                assert found == (pytest.approx(total / weight, abs=1e-9) if weight else None)
            if each.peak:
                assert each.peak.probability == max((s.probabilities or {})[each.label] for s in mine)
        assert sum(each.share or 0 for each in summary.emotions) == pytest.approx(1)
        assert sum(each.mean or 0 for each in summary.emotions) == pytest.approx(1)


def test_rows_have_the_same_columns_whatever_the_model_knows() -> None:
    rows = [row for summary in summarize(CALL, LABELS, 30.0) for row in summary.to_rows()]
    other = summarize([], ["share", "longest_start"], 1.0)[0].to_rows()
    assert {tuple(row) for row in (*rows, *other)} == {tuple(rows[0])}
    assert len(rows) == 9
    left_angry = next(row for row in rows if (row["voice"], row["emotion"]) == ("left", "angry"))
    assert left_angry["peak_transcript"] == "I said <no>!"
    assert (left_angry["middle_third"], left_angry["longest_speech"], left_angry["unanswered"]) == (
        None,
        6.0,
        1,
    )


def test_in_the_json_and_on_screen() -> None:
    found = Timeline(recording="[b]call.wav", duration=30.0, labels=LABELS, segments=CALL)
    assert found.to_dict()["summaries"] == [asdict(summary) for summary in found.summaries]
    file = io.StringIO()
    print_timeline(found, PlainConsole(file=file, width=80))
    lines = file.getvalue().splitlines()
    rows = [line.split() for line in lines]
    assert ["left", "angry", "69%", "77%", "-", "60%", "██████████", "100.0%", "11.0", "3"] in rows
    after = lines[lines.index("the recording: longest stretch angry, 00:25.0 - 00:30.0, 5.0 s of speech") :]
    assert "  peak of calm 80% at 00:04.0 - 00:05.0 right" in after
    left = after[after.index("left: longest stretch angry, 00:00.0 - 00:08.0, 6.0 s of speech") :]
    assert left[1:3] == [
        "  sad changed most: 7% in the first third, 30% in the last",
        "  peak of angry 90% at 00:06.0 - 00:08.0: I said <no>!",
    ]
    single = Timeline(recording="a.wav", duration=2.0, labels=LABELS, segments=[said(0, 1, 1.0)])
    print_timeline(single, PlainConsole(file=file, width=80))
    assert file.getvalue().count("the recording: longest stretch") == 2


def test_forty_segments_are_listed_and_a_fall_is_a_change() -> None:
    segments = [
        said(second, second + 1, *((0.9, 0.05) if second < 21 else (0.1, 0.45))) for second in range(42)
    ]
    file = io.StringIO()
    found = Timeline(recording="a.wav", duration=42.0, labels=LABELS, segments=segments)
    print_timeline(found, PlainConsole(file=file, width=80))
    lines = file.getvalue().splitlines()
    assert "and 2 more segments, which a file or another format holds" in lines
    assert sum(" - 00:" in line for line in lines[: lines.index("")]) == 40
    assert "  angry changed most: 90% in the first third, 10% in the last" in lines


def test_where_nothing_was_said_there_is_no_empty_table() -> None:
    file, quiet = io.StringIO(), np.zeros(200, np.float32)
    peaks = {"left": quiet, "right": quiet}
    silence = Timeline(recording="a.wav", duration=2.0, labels=LABELS, segments=[], peaks=peaks)
    print_timeline(silence, PlainConsole(file=file, width=80))
    assert file.getvalue() == "a.wav: no segments of speech in 2.0 s\n"
    one = Timeline(recording="b.wav", duration=30.0, labels=LABELS, segments=CALL[:1], peaks=peaks)
    print_timeline(one, PlainConsole(file=file, width=80))
    assert "b.wav: 1 segment in 30.0 s, none in right" in map(str.rstrip, file.getvalue().splitlines())
    long = Timeline(recording="b.wav", duration=3605.0, labels=LABELS, segments=[said(0, 90.04, 1.0)])
    print_timeline(long, PlainConsole(file=file, width=80))
    assert "b.wav: 1 segment in 1 h 0 min 5 s" in map(str.rstrip, file.getvalue().splitlines())
    assert file.getvalue().endswith("1 min 30 s of speech\n  peak of angry 100% at 00:00.0 - 01:30.0\n")
    assert repr(long) == "Timeline(b.wav: 1 segment in 1 h 0 min 5 s, angry 1 min 30 s)"
    failed = Timeline(recording="c.wav", duration=2.0, labels=LABELS, segments=[silent(0, 1)])
    print_timeline(failed, PlainConsole(file=file, width=80))
    assert file.getvalue().endswith("\nc.wav: 1 segment in 2.0 s\n")
