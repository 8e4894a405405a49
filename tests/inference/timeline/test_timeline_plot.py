"""The picture of a timeline: what it is computed from, and that it can be drawn of anything."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from PIL import Image

from mmer.corpora.emotion_colors import NAMED, OTHER
from mmer.display.picture import Picture, ink_on
from mmer.inference import Prediction
from mmer.inference.timeline.curves import smoothed_curves
from mmer.inference.timeline.plot import BINS, _are_many, _binned, _clock, _tick
from mmer.inference.timeline.timeline import Timeline

LABELS = ["happy", "sad"]
HAN = "\u6012"


def segment(start: float, end: float, happy: float = 0.25, **settings: Any) -> Prediction:
    shares = {"happy": happy, "sad": 1 - happy}
    label = max(shares, key=lambda name: shares[name])
    return Prediction(
        utterance_id="u", start=start, end=end, **({"label": label, "probabilities": shares} | settings)
    )


@given(st.lists(st.tuples(st.floats(0, 47), st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=5))
def test_a_bin_has_the_emotion_of_most_of_its_speech(drawn: list[tuple[float, float, float]]) -> None:
    duration = 48.0
    segments = [segment(s, min(s + d, duration), p) for s, d, p in drawn]
    moments = (np.arange(BINS * 2000) + 0.5) * duration / (BINS * 2000)
    seconds = {label: np.zeros(len(moments)) for label in LABELS}
    for each in segments:
        assert each.label is not None
        seconds[each.label] += (moments >= (each.start or 0)) & (moments < (each.end or 0))
    bins = {round(start * BINS / duration): label for start, _, label in _binned(segments, duration)}
    for place in range(BINS):
        inside = slice(place * 2000, (place + 1) * 2000)
        counts = {label: seconds[label][inside].sum() for label in LABELS}
        if place not in bins:
            assert max(counts.values()) <= 2
        elif abs(counts["happy"] - counts["sad"]) > 4:
            assert bins[place] == max(counts, key=lambda label: counts[label])


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 1.5), (2, 1.5), (10, 7.5), (60, 45.0)])
def test_curves_average_over_a_share_of_the_recording(minutes: int, seconds: float) -> None:
    assert smoothed_curves([], LABELS, 60.0 * minutes).seconds == pytest.approx(seconds)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.5, 30), st.floats(0, 1)), min_size=1, max_size=5),
)
def test_curves_are_the_average_around_every_moment(drawn: list[tuple[float, float, float]]) -> None:
    duration = 120.0
    segments = [segment(s, min(s + d, duration), p) for s, d, p in drawn]
    found = smoothed_curves([*segments, segment(1, 2, label=None, probabilities=None)], LABELS, duration)
    steps = np.arange(0.005, duration, 0.01)
    for place in range(0, len(found.times), 37):
        kernel = np.exp(-(((steps - found.times[place]) / found.seconds) ** 2) / 2)
        weights = [kernel[(steps > (s.start or 0)) & (steps < (s.end or 0))].sum() for s in segments]
        share = sum(weights) * 0.01 / (found.seconds * np.sqrt(2 * np.pi))
        if share > 0.06:
            happy = [(s.probabilities or {})["happy"] for s in segments]
            assert found.values[place] == pytest.approx(
                [np.average(happy, weights=weights), 1 - np.average(happy, weights=weights)], abs=0.02
            )
        elif share < 0.04:
            assert np.isnan(found.values[place]).all()


def test_times_are_round() -> None:
    assert [_tick(seconds) for seconds in (1, 20, 100, 600, 7200, 36_000)] == [0.1, 2, 10, 60, 600, 3600]
    assert [_clock(seconds) for seconds in (0, 0.5, 20, 65, 3900)] == [
        "0:00",
        "0:00.5",
        "0:20",
        "1:05",
        "1:05:00",
    ]
    assert all(duration / _tick(duration) <= 13 for duration in (0.3, 7.0, 99.0, 5000.0, 90_000.0, 1e6))


def test_strip_lines_and_peaks_are_those_of_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Picture] = []
    monkeypatch.setattr(Picture, "savefig", lambda figure, *_, **__: kept.append(figure))
    timeline = Timeline(
        recording="a.wav",
        duration=10.0,
        labels=LABELS,
        segments=[segment(1, 3, 0.75, transcript="hello"), segment(5, 9)],
    )
    timeline.plot("a.png")
    strip, lines, words = kept[0].axes
    blocks = [(p.get_x(), p.get_width(), p.get_facecolor()) for p in strip.patches]  # pyright: ignore[reportAttributeAccessIssue]
    assert blocks == [(1, 2, to_rgba(NAMED["happy"].light)), (5, 4, to_rgba(NAMED["sad"].light))]
    assert [text.get_text() for text in strip.texts] == ["happy", "sad"]
    assert [text.get_text() for text in lines.texts] == [
        "happy 75% at 0:01",
        "sad 75% at 0:05",
    ]  # where they begin, as in tables
    marks = [(line.get_xdata(), line.get_ydata()) for line in lines.lines if line.get_marker() == "v"]
    assert marks == [([2.0], [0.75]), ([7.0], [0.75])]
    drawn = [line for line in lines.lines if len(line.get_xdata()) > 2]  # pyright: ignore[reportArgumentType]
    assert len(drawn) == 2
    assert lines.get_ylim()[1] > 0.8
    assert [text.get_text().strip() for text in words.texts] == ["hello", ""]


def test_a_channel_without_speech_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = np.zeros(2000, np.float32)
    kept: list[Picture] = []
    monkeypatch.setattr(Picture, "savefig", lambda figure, *_, **__: kept.append(figure))
    said, peaks = [segment(1, 5, channel="left")], {"left": quiet, "right": quiet}
    Timeline(recording="a.wav", duration=10.0, labels=LABELS, segments=said, peaks=peaks).plot("a.png")
    titles = [(axes.get_title("left"), axes.get_title("right")) for axes in kept[0].axes]
    assert [names for names in titles if any(names)][-1] == ("right", "no segments of speech")
    assert "no segments of speech" not in [right for _, right in titles[:-1]]


def test_strips_of_bins_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Picture] = []
    monkeypatch.setattr(Picture, "savefig", lambda figure, *_, **__: kept.append(figure))
    for duration in (10.0, 3600.0):
        said = [segment(1, 3), segment(5, 8)]
        Timeline(recording="a.wav", duration=duration, labels=LABELS, segments=said).plot("a.png")
    short, long = (figure.axes[-1].get_xlabel() for figure in kept)
    assert "Strips" not in short
    assert "Strips: the emotion of most speech in each 15 s." in long


def test_dimensions_outside_their_scale_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Picture] = []
    monkeypatch.setattr(Picture, "savefig", lambda figure, *_, **__: kept.append(figure))
    low = Prediction(utterance_id="u", start=1.0, end=3.0, dimensions={"valence": -0.25})
    Timeline(recording="a.wav", duration=10.0, labels=[], dimensions=["valence"], segments=[low]).plot(
        "a.png"
    )
    assert kept[0].axes[1].get_ylim() == (-0.25, 1)


def test_text_on_every_color_can_be_read() -> None:
    for color in (each.light for each in (*NAMED.values(), *OTHER)):
        assert contrast(ink_on(color), color) >= 4.5, color


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(color: str) -> float:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgba(color)[:3]]
        return float(np.dot([0.2126, 0.7152, 0.0722], parts))

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("start", [0, 300, 598])
def test_names_of_peaks_do_not_overlap(monkeypatch: pytest.MonkeyPatch, start: int) -> None:
    kept: list[Picture] = []
    monkeypatch.setattr(Picture, "savefig", lambda figure, *_, **__: kept.append(figure))
    peaks = [segment(start + n, start + 0.5 + n, 0.9 - 0.8 * (n % 2)) for n in range(2)]
    Timeline(recording="a.wav", duration=600.0, labels=LABELS, segments=peaks).plot("a.png")
    figure = kept[0]
    figure.draw_without_rendering()
    first, second = (text.get_window_extent() for text in figure.axes[1].texts)
    assert first.x1 < second.x0
    assert second.x1 < figure.bbox.x1
    places = [text.get_position()[0] for text in figure.axes[1].texts]
    if start == 300:  # as far to the left as to the right
        assert sum(places) / 2 == pytest.approx(start + 0.75)


def test_many_and_long_names_stay_in_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The legend below the panels, above the note on characters without a font, and no name wider than its block."""
    monkeypatch.setattr("mmer.display.picture._lacking", lambda _, wanted: wanted & {HAN})
    kept: list[Picture] = []
    monkeypatch.setattr(
        "mmer.inference.timeline.plot.Picture",
        lambda **named: kept.append(Picture(**named)) or kept[-1],
    )
    labels = [HAN, *(f"{n} disappointed and resigned" for n in range(11))]
    segments = [
        segment(5 * n, 5 * n + 3, label=HAN, probabilities=dict.fromkeys(labels, 1 / 12)) for n in range(11)
    ]
    Timeline(recording="a" * 150, duration=60.0, labels=labels, segments=segments).plot(tmp_path / "a.png")
    (figure,) = kept
    (legend,) = figure.legends
    (note,) = (text for text in figure.texts if text.get_text().startswith("Some characters"))
    strip, lines = figure.axes
    frame = legend.get_window_extent()
    assert frame.x0 >= 0
    assert frame.x1 <= figure.bbox.x1
    assert note.get_window_extent().y1 <= frame.y0
    assert lines.xaxis.label.get_window_extent().y0 >= frame.y1
    assert all(text.get_window_extent().width < figure.bbox.width * 3 / 60 for text in strip.texts)


def test_what_stands_beside_a_name_from_right_to_left_keeps_its_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[Picture] = []
    monkeypatch.setattr(Picture, "savefig", lambda figure, *_, **__: kept.append(figure))
    glad = "\u0633\u0639\u064a\u062f"
    answers = [segment(1, 3, label=glad, probabilities={glad: 1.0})]
    Timeline(recording="a.wav", duration=10.0, labels=[glad], segments=answers).plot("a.png")
    assert [text.get_text() for text in kept[0].axes[1].texts] == [f"\u200e{glad}\u200e 100% at 0:01"]


def test_anything_can_be_drawn(tmp_path: Path) -> None:
    error = {"label": None, "probabilities": None, "error": "too long"}
    many = [
        segment(4 * n, 4 * n + 2, n % 10 / 10, channel="left", transcript="some words") for n in range(1800)
    ]
    assert _are_many(many, 7200.0)
    odd = [
        segment(3, 2, **error),
        segment(100, 200, **error),
        segment(0, 2, transcript="long" * 90),
        segment(1, 1.01),
    ]
    peaks = {"left": np.ones(720_000, np.float32), "right": np.zeros(0, np.float32)}
    for duration, segments in ((7200.0, many), (20.0, odd), (0.1, [])):
        timeline = Timeline(
            recording="a.wav", duration=duration, labels=LABELS, segments=segments, peaks=peaks
        )
        picture = io.BytesIO()
        timeline.plot(picture)
        width, height = Image.open(picture).size
        assert (width, height > 100) == (1560, True)
    for suffix, head in ((".svg", b"<?xml"), (".pdf", b"%PDF")):
        timeline.plot(tmp_path / f"a{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes().startswith(head)
