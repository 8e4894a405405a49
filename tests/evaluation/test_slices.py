import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mmer.errors import MMERError
from mmer.evaluation.calibration.calibration_error import ConfidenceFigures
from mmer.evaluation.intervals import interval
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.results import Evaluation
from mmer.evaluation.slices import slices, worst_group, worst_groups
from mmer.evaluation.terminal_tables import figure_tables

LABELS = ["happy", "sad"]


def made(**columns: Sequence[object]) -> pd.DataFrame:
    """Utterances in turn happy and sad; those of `right` are answered."""
    right = columns.pop("right")
    emotions = [LABELS[n % 2] for n in range(len(right))]
    answers = [e if r else LABELS[1 - LABELS.index(e)] for e, r in zip(emotions, right, strict=True)]
    return pd.DataFrame({"emotion": emotions, "predicted": answers, **columns})


def groups(table: pd.DataFrame, name: str) -> dict[str, int]:
    rows = table[table["slice"] == name]
    return dict(zip(rows["group"], rows["utterances"], strict=True))


def test_figures_of_each_group() -> None:
    rng = np.random.default_rng(0)
    rows = made(
        right=(rng.random(240) < 0.7).tolist(),
        speaker=[f"s{n // 30}" for n in range(240)],
        gender=["female" if n < 120 else "male" for n in range(240)],
        session=["one" if n % 60 < 30 else None for n in range(240)],
        duration=rng.uniform(1, 5, 240).tolist(),
        transcript=["so it is"] * 240,
    )
    table = slices(rows, LABELS)
    assert list(dict.fromkeys(table["slice"])) == ["speaker", "gender", "session", "duration"]
    for row in table.to_dict("records"):
        if row["slice"] == "duration":
            continue
        of_group = rows[rows[row["slice"]].fillna("(not known)") == row["group"]]
        expected = compute_metrics([*of_group["emotion"]], [*of_group["predicted"]], LABELS)
        assert row["accuracy"] == expected.accuracy
        assert row["balanced_accuracy"] == expected.balanced_accuracy
        assert (row["utterances"], row["emotions"]) == (len(of_group), 2)
        assert row["speakers"] == of_group["speaker"].nunique()
        if row["slice"] == "gender":
            found = interval(of_group, labels=LABELS)
            assert (row["low"], row["high"]) == (found.low, found.high)
            assert row["low"] is not None
        if row["slice"] == "speaker":
            assert pd.isna(row["low"])
    assert groups(table, "session") == {"one": 120, "(not known)": 120}
    lowest = table[table["worst"]].sort_values("balanced_accuracy", kind="stable").iloc[0]
    expected = tuple(lowest[["slice", "group", "utterances", "balanced_accuracy"]])
    assert worst_group(rows, LABELS) == expected


def test_thirds_of_durations() -> None:
    rows = made(right=[True] * 10, duration=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, None])
    table = slices(rows, LABELS, smallest=1)
    # A third of nine durations from 1 to 9 is at 3.67, two thirds are at 6.33.
    expected = {"up to 3.67 s": 3, "3.67 to 6.33 s": 3, "over 6.33 s": 3, "(not known)": 1}
    assert groups(table, "duration") == expected
    ties = slices(made(right=[True] * 12, duration=[1.0] * 5 + [2.0] * 4 + [3.0] * 3), LABELS)
    assert groups(ties, "duration") == {"up to 1.00 s": 5, "1.00 to 2.00 s": 4, "over 2.00 s": 3}
    alike = slices(made(right=[True] * 4, duration=[2.0] * 4), LABELS)
    assert alike.empty


def test_a_group_of_the_smallest_size_may_be_the_worst() -> None:
    rows = made(right=[True] * 10 + [True, False] * 5, speaker=["a"] * 10 + ["b"] * 10)
    assert worst_groups(slices(rows, LABELS, smallest=10))["speaker"].group == "b"
    assert worst_group(rows, LABELS, smallest=10) == ("speaker", "b", 10, 0.5)


def test_words_of_transcripts() -> None:
    texts = ["", "[LAUGHTER]", "Well.", "I'm -- here", "a b c d e", "a b c d e f", "a " * 10, "a " * 11, None]
    table = slices(made(right=[True] * 9, transcript=[*texts]), LABELS)
    expected = {"no words": 2, "1 to 2 words": 2, "3 to 5 words": 1, "6 to 10 words": 2}
    assert groups(table, "transcript") == {**expected, "more than 10 words": 1, "(not known)": 1}


def test_the_worst_group_is_large_enough() -> None:
    # s0: 2 of 4 right, which is too few; s1: 18 of 24; s2: 20 of 24; nobody said who the rest are.
    right = [True] * 2 + [False] * 2 + [True] * 18 + [False] * 6 + [True] * 20 + [False] * 4 + [True] * 20
    speakers = ["s0"] * 4 + ["s1"] * 24 + ["s2"] * 24 + [None] * 20
    table = slices(made(right=right, speaker=speakers), LABELS)
    assert table.loc[table["worst"], "group"].tolist() == ["s1"]
    assert json.loads(json.dumps({name: vars(worst) for name, worst in worst_groups(table).items()})) == {
        "speaker": {
            "group": "s1",
            "utterances": 24,
            "speakers": 1,
            "emotions": 2,
            "accuracy": 0.75,
            "balanced_accuracy": 0.75,
            "low": None,
            "high": None,
        }
    }
    assert worst_groups(slices(made(right=right, speaker=speakers), LABELS, smallest=30)) == {}
    assert worst_group(made(right=right, speaker=speakers), LABELS, smallest=30) is None
    everyone = slices(made(right=right, speaker=speakers), LABELS, smallest=1)
    assert worst_groups(everyone)["speaker"].group == "s0"


def test_the_terminal_names_the_worst_group() -> None:
    rows = made(right=[True] * 30 + [False, True] * 15, gender=["female"] * 30 + ["male"] * 30)
    figures = Evaluation(
        **vars(compute_metrics([*rows["emotion"]], [*rows["predicted"]], LABELS)),
        in_training=None,
        unseen=None,
        unknown_speakers=0,
        left_out={"no_emotion": 2, "other_emotion": 1, "no_answer": 0},
        intervals={},
        worst_groups=worst_groups(slices(rows, LABELS)),
        confidence=ConfidenceFigures(
            fitted=False, log_loss=1, brier=1, expected_calibration_error=0, area_under_risk_coverage=0
        ),
    )
    with (console := Console(width=120)).capture() as captured:
        console.print(figure_tables(figures))
    assert "worst gender: male, balanced accuracy 50.0% (30 utterances)" in captured.get()
    assert "2 utterances have no emotion and cannot be judged" in captured.get()
    assert "1 utterance has an emotion that the model does not know; rename its labels" in captured.get()


def test_groups_of_the_same_score_do_not_differ_by_its_rounding() -> None:
    counts = [("a", 0, 1), ("a", 1, 2), ("b", 0, 3), ("b", 1, 0)]  # recalls 0.1 and 0.2; 0.3 and 0
    rows = pd.DataFrame(
        [
            {"speaker": who, "emotion": LABELS[true], "predicted": LABELS[true if n < right else 1 - true]}
            for who, true, right in counts
            for n in range(10)
        ]
    )
    table = slices(rows, LABELS, smallest=10)
    assert len(table) == 2
    assert not table["worst"].any()
    assert worst_group(rows, LABELS, smallest=10) is None


@pytest.mark.parametrize("right", [True, False])
def test_where_all_are_alike_none_is_the_worst(right: bool) -> None:
    rows = made(right=[right] * 60, gender=["female"] * 30 + ["male"] * 30)
    assert not slices(rows, LABELS)["worst"].any()
    assert worst_group(rows, LABELS) is None


def test_without_what_to_slice_by() -> None:
    rows = made(right=[True, False], speaker=[None, None], transcript=[None, None])
    assert slices(rows, LABELS).empty
    with pytest.raises(MMERError, match="no utterance has an answer"):
        slices(rows.assign(predicted=None), LABELS)
    with pytest.raises(MMERError, match="'sad': the labels are happy"):
        slices(rows, ["happy"])


def test_a_speaker_called_like_the_unknown_ones_is_counted_with_them() -> None:
    rows = made(right=[True] * 6, speaker=["a", "a", "(not known)", "(not known)", None, None])
    assert groups(slices(rows, LABELS), "speaker") == {"a": 2, "(not known)": 4}
