import numpy as np
import pytest

from mmer.augment.quality_filters import QualityFilters, length_ratio

FILTERS = QualityFilters()


@pytest.mark.parametrize(
    ("source", "text", "reason"),
    [
        ("I never said that.", "I have never said so.", None),
        ("I never said that.", "i NEVER said that!", "text: unchanged"),
        ("I never said that.", " ...", "text: empty"),
        ("I never said that.", "I", "text: much shorter"),
        ("no", "no no no no", "text: much longer"),
    ],
)
def test_text(source, text, reason):
    assert FILTERS.judge_text(source, text, None) == reason


def test_meaning():
    assert FILTERS.judge_text("a b c", "a b d", 0.59) == "text: other meaning"
    assert FILTERS.judge_text("a b c", "a b d", 0.61) is None
    assert QualityFilters(min_similarity=0.4).judge_text("a b c", "a b d", 0.5) is None


def test_sound():
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert FILTERS.judge_sound(noise, 1.0, None) is None
    assert FILTERS.judge_sound(noise[:0], 0.0, None) == "sound: none"
    assert FILTERS.judge_sound(noise * np.nan, 1.0, None) == "sound: none"
    assert FILTERS.judge_sound(noise * 1e-3, 1.0, None) == "sound: silent"
    assert FILTERS.judge_sound(noise, 2.6, None) == "sound: much longer"
    assert FILTERS.judge_sound(noise, 0.39, None) == "sound: much shorter"
    assert FILTERS.judge_sound(noise, 1.0, 0.51) == "sound: unintelligible"
    assert FILTERS.judge_sound(noise, 1.0, 0.5) is None


def test_ratios():
    assert length_ratio("No, never!", "never") == 5 / 8
    assert length_ratio("...", "never") == float("inf")
