"""The picture of a timeline: what it is computed from, and that it can be drawn of anything."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmer.display.picture import Picture
from mmer.inference import Prediction
from mmer.inference.timeline.plot import BINS, _are_many, _averaged, _clock, _tick
from mmer.inference.timeline.timeline import Timeline

LABELS = ["happy", "sad"]


def segment(start: float, end: float, happy: float = 0.25, **settings: Any) -> Prediction:
    shares = {"happy": happy, "sad": 1 - happy}
    label = max(shares, key=lambda name: shares[name])
    return Prediction(
        utterance_id="u", start=start, end=end, **({"label": label, "probabilities": shares} | settings)
    )


@given(st.lists(st.tuples(st.floats(0, 47), st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=5))
def test_averages_are_those_of_every_moment(drawn: list[tuple[float, float, float]]) -> None:
    duration = 48.0
    edges, shares = _averaged([segment(s, min(s + d, duration), p) for s, d, p in drawn], LABELS, duration)
    assert shares.sum(axis=1) == pytest.approx(1)
    moments = (np.arange(BINS * 2000) + 0.5) * duration / (BINS * 2000)
    sums, weights = np.zeros(len(moments)), np.zeros(len(moments))
    for start, length, happy in drawn:
        inside = (moments >= start) & (moments < min(start + length, duration))
        sums += inside * happy
        weights += inside
    for (left, right), (happy, _) in zip(edges, shares, strict=True):
        within = (moments >= left) & (moments < right)
        if weights[within].sum() > 50:
            assert happy == pytest.approx(sums[within].sum() / weights[within].sum(), abs=0.02)


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


def test_bars_are_as_wide_and_as_high_as_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Picture] = []
    monkeypatch.setattr(Picture, "savefig", lambda figure, *_, **__: kept.append(figure))
    timeline = Timeline(
        recording="a.wav",
        duration=10.0,
        labels=LABELS,
        segments=[segment(1, 3, 0.75, transcript="hello"), segment(5, 9)],
    )
    timeline.plot("a.png")
    answers, words = kept[0].axes
    bars = [(p.get_x(), p.get_width(), p.get_y(), p.get_height()) for p in answers.patches]  # pyright: ignore[reportAttributeAccessIssue]
    assert bars == [(1, 2, 0, 0.75), (5, 4, 0, 0.25), (1, 2, 0.75, 0.25), (5, 4, 0.25, 0.75)]
    assert [text.get_text() for text in answers.texts] == ["happy", "sad"]
    assert [text.get_text().strip() for text in words.texts] == ["hello", ""]


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
