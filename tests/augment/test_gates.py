import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer.augment.gates import Gates, character_error_rate, length_ratio

GATES = Gates()


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
    assert GATES.judge_text(source, text, None) == reason


def test_meaning():
    assert GATES.judge_text("a b c", "a b d", 0.69) == "text: other meaning"
    assert GATES.judge_text("a b c", "a b d", 0.71) is None
    assert Gates(min_similarity=0.5).judge_text("a b c", "a b d", 0.6) is None


def test_sound():
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert GATES.judge_sound(noise, 1.0, None) is None
    assert GATES.judge_sound(noise[:0], 0.0, None) == "sound: none"
    assert GATES.judge_sound(noise * np.nan, 1.0, None) == "sound: none"
    assert GATES.judge_sound(noise * 1e-3, 1.0, None) == "sound: silent"
    assert GATES.judge_sound(noise, 2.6, None) == "sound: much longer"
    assert GATES.judge_sound(noise, 0.39, None) == "sound: much shorter"
    assert GATES.judge_sound(noise, 1.0, 0.51) == "sound: unintelligible"
    assert GATES.judge_sound(noise, 1.0, 0.5) is None


def test_ratios():
    assert length_ratio("No, never!", "never") == 5 / 8
    assert length_ratio("...", "never") == float("inf")


def slow_distance(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(
        slow_distance(a[1:], b) + 1, slow_distance(a, b[1:]) + 1, slow_distance(a[1:], b[1:]) + (a[0] != b[0])
    )


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_character_error_rate(said, understood):
    expected = slow_distance(said, understood) / len(said) if said else float(bool(understood))
    assert character_error_rate(said, understood) == expected
