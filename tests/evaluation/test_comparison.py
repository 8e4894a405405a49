import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import Outcome
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import binomtest, ttest_rel

from mmer.errors import MMERError
from mmer.evaluation.comparison import compare, holm, mcnemar
from mmer.evaluation.intervals import cluster_margins, weight_of, weighted_figure
from mmer.evaluation.metrics import compute_metrics
from mmer.studentized import studentize

Command = Callable[..., Outcome]
LABELS = ["angry", "happy", "neutral", "sad"]


def made(
    *accuracies: float, speakers: int = 8, each: int = 25, alike: float = 20, seed: int = 0
) -> list[pd.DataFrame]:
    """Runs of such accuracies on the same utterances; each finds other speakers hard."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(speakers), each)
    truth = rng.choice(4, len(speaker))
    runs = []
    for accuracy in accuracies:
        right = (
            rng.random(len(speaker)) < rng.beta(accuracy * alike, (1 - accuracy) * alike, speakers)[speaker]
        )
        predicted = np.where(right, truth, (truth + rng.integers(1, 4, len(speaker))) % 4)
        columns = {
            "utterance_id": [f"u{n}" for n in range(len(speaker))],
            "speaker": speaker.astype(str),
            "emotion": np.array(LABELS)[truth],
            "predicted": np.array(LABELS)[predicted],
        }
        runs.append(pd.DataFrame(columns).astype(object))
    return runs


def rights(table: pd.DataFrame) -> pd.Series:
    return (table["emotion"] == table["predicted"]).groupby(table["speaker"]).mean()


class TestDifference:
    def test_of_speakers_of_equal_size_is_the_paired_t_test(self) -> None:
        first, second = made(0.5, 0.7)
        (found,) = compare({"a": first, "b": second}, "accuracy").differences
        expected = ttest_rel(rights(second), rights(first))
        ends = expected.confidence_interval(0.95)
        assert found.difference == pytest.approx(rights(second).mean() - rights(first).mean())
        assert (found.low, found.high) == (pytest.approx(ends.low), pytest.approx(ends.high))
        assert found.p_value == found.p_holm == pytest.approx(expected.pvalue)
        assert found.note is None

    @pytest.mark.parametrize("figure", ["balanced_accuracy", "macro_f1", "recall_sad"])
    def test_resamples_both_runs_alike(self, figure: str) -> None:
        first, second = (table.iloc[11:] for table in made(0.5, 0.7))  # speakers of unequal size
        (found,) = compare({"a": first, "b": second}, figure, resamples=200, seed=5).differences
        margins = [cluster_margins(table, LABELS, table["speaker"]) for table in (first, second)]

        def difference(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            (a, slope_a), (b, slope_b) = (weighted_figure(each, weights, figure, LABELS) for each in margins)
            return b - a, slope_b - slope_a

        spread = studentize(difference, weight_of(margins[0], figure, LABELS), 200, 5)
        assert spread is not None
        assert found.low == pytest.approx(spread.estimate - spread.reach(0.95))
        assert found.p_value == pytest.approx(spread.p_value())
        name = figure.removeprefix("recall_")
        values = [
            compute_metrics([*table["emotion"]], [*table["predicted"]], LABELS) for table in (first, second)
        ]
        before, after = (v.recall[name] if figure == "recall_sad" else getattr(v, figure) for v in values)
        assert before is not None
        assert after is not None
        assert found.difference == pytest.approx(after - before)

    def test_turns_round_with_the_runs(self) -> None:
        first, second = made(0.5, 0.7)
        (forth,) = compare({"a": first, "b": second}).differences
        (back,) = compare({"b": second, "a": first}).differences
        assert (back.difference, back.low) == (
            pytest.approx(-forth.difference),
            pytest.approx(-(forth.high or 0)),
        )
        assert (back.better, back.worse) == (forth.worse, forth.better)
        assert (back.p_value, back.mcnemar) == (pytest.approx(forth.p_value), pytest.approx(forth.mcnemar))

    def test_of_a_run_with_itself(self) -> None:
        (table,) = made(0.5)
        (found,) = compare({"a": table, "b": table}).differences
        assert (found.difference, found.low, found.p_value, found.mcnemar) == (0, None, None, 1)
        assert found.note == "no interval: the difference is the same for all 8 speakers"

    def test_of_two_speakers_has_no_interval(self) -> None:
        first, second = made(0.5, 0.7, speakers=2)
        (found,) = compare({"a": first, "b": second}).differences
        assert (found.low, found.p_value, found.p_holm) == (None, None, None)
        assert found.note == "no interval: 2 speakers, at least 3 are needed"
        assert found.mcnemar < 1

    def test_stays_within_what_a_difference_can_be(self) -> None:
        rows = [
            {"utterance_id": f"{speaker}{number}", "speaker": speaker, "emotion": "sad"}
            for speaker in "abc"
            for number in range(10)
        ]
        right = pd.DataFrame(rows).assign(predicted="sad")
        wrong = right.assign(predicted=["sad"] * 4 + ["angry"] * 26)
        (better,) = compare({"wrong": wrong, "right": right}, "accuracy").differences
        (worse,) = compare({"right": right, "wrong": wrong}, "accuracy").differences
        assert (better.high, worse.low) == (1.0, -1.0)

    def test_equal_runs_are_rarely_told_apart(self) -> None:
        p_values = []
        for seed in range(80):
            runs = made(0.6, 0.6, each=40, alike=10, seed=seed)
            (found,) = compare({"a": runs[0], "b": runs[1]}, "accuracy", resamples=200).differences
            p_values.append((found.p_value, found.mcnemar))
        ours, mcnemars = (np.array(p_values) < 0.05).mean(axis=0)
        assert 0 < ours < 0.1
        assert mcnemars > 0.3  # it takes utterances of a speaker for independent


class TestMcNemar:
    def test_by_hand(self) -> None:
        # 1 of 5: 2 * (1 + 5) / 32.
        assert mcnemar(1, 4) == mcnemar(4, 1) == pytest.approx(12 / 32)
        assert mcnemar(0, 0) == 1

    def test_counts_who_is_right_alone(self) -> None:
        runs = made(0.5, 0.7)
        right = [table["emotion"] == table["predicted"] for table in runs]
        (found,) = compare({"a": runs[0], "b": runs[1]}).differences
        assert found.better == sum(b and not a for a, b in zip(*right, strict=True))
        assert found.worse == sum(a and not b for a, b in zip(*right, strict=True))
        assert found.mcnemar == binomtest(found.better, found.better + found.worse).pvalue


class TestHolm:
    @given(st.lists(st.floats(0, 1), max_size=6))
    def test_against_one_at_a_time(self, p_values: list[float]) -> None:
        corrected, least = [0.0] * len(p_values), 0.0
        for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            least = max(least, min(1, (len(p_values) - rank) * p_values[place]))
            corrected[place] = least
        assert holm(p_values) == pytest.approx(corrected)

    def test_of_several_runs(self) -> None:
        names = ["baseline", "b", "c", "d"]
        found = compare(dict(zip(names, made(0.5, 0.55, 0.7, 0.65), strict=True))).differences
        assert [each.run for each in found] == names[1:]
        assert [each.p_holm for each in found] == holm([each.p_value or 0 for each in found])
        assert [each.mcnemar_holm for each in found] == holm([each.mcnemar for each in found])


class TestUtterances:
    def test_are_joined_by_id(self) -> None:
        first, second = made(0.5, 0.7)
        shuffled = second.sample(frac=1, random_state=2)
        assert (
            compare({"a": first, "b": shuffled}).differences == compare({"a": first, "b": second}).differences
        )

    def test_speakers_come_from_the_first_run_that_has_them(self) -> None:
        first, second = made(0.5, 0.7)
        whole = compare({"a": first, "b": second})
        assert compare({"a": first, "b": second.drop(columns="speaker")}) == whole
        without = first.assign(speaker=None)
        assert compare({"a": without, "b": second}) == whole
        nobody = compare({"a": without, "b": without})
        assert nobody.differences[0].note == "no interval: 200 of 200 utterances have no speaker"

    def test_others_are_refused_or_left_out(self) -> None:
        first, second = made(0.5, 0.7)
        second.loc[3, "predicted"] = None
        second = second.drop(index=[7, 9])
        told = "^b has no answer to 3 of 200 utterances of a; the first is 'u3'"
        with pytest.raises(MMERError, match=told + "; give common=True"):
            compare({"a": first, "b": second})
        with pytest.raises(
            MMERError, match=r"^b has no answer to 3 of 200 utterances of a; the first is 'u3'"
        ):
            compare({"b": second, "a": first})
        both = "^b has no answer to 2 of 197 utterances of a and a has no answer to 1 of 196 utterances of b"
        with pytest.raises(MMERError, match=both):
            compare({"a": first.drop(index=[7, 9, 11]), "b": second.drop(index=12)})
        found = compare({"a": first, "b": second}, common=True)
        assert (found.utterances, found.left_out) == (197, 3)
        kept = first.drop(index=[3, 7, 9])
        assert found.runs["a"].accuracy == (kept["emotion"] == kept["predicted"]).mean()
        with pytest.raises(MMERError, match="a and b have no utterance in common"):
            compare({"a": first, "b": second.assign(utterance_id="x" + second["utterance_id"])}, common=True)

    def test_of_another_truth_are_refused(self) -> None:
        first, second = made(0.5, 0.7)
        second.loc[[5, 6], "emotion"] = "excited"
        told = "a and b differ in the truth of 2 of 200 utterances: 'u5' is .* and excited"
        with pytest.raises(MMERError, match=told + ".* rename one with label_map"):
            compare({"a": first, "b": second})

    def test_of_one_run_are_refused(self) -> None:
        with pytest.raises(MMERError, match="cannot compare 1 run; give two or more"):
            compare({"a": made(0.5)[0]})


def test_tables_say_it_all() -> None:
    runs = made(0.5, 0.7, 0.5, speakers=4)
    runs[1] = runs[1].drop(index=0)
    found = compare(dict(zip(("[a]", "b", "c"), runs, strict=True)), common=True)
    console = Console(file=StringIO(), width=160)
    console.print(found)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    difference = found.differences[0]
    for shown in (
        *("99 utterances, %", "balanced accuracy (UA)", "[a]", "Against [a], points of balanced accuracy"),
        f"{100 * found.runs['b'].balanced_accuracy:.1f}",
        f"{100 * difference.difference:+.1f}",
        f"{100 * (difference.low or 0):+.1f} to {100 * (difference.high or 0):+.1f}",
        "note: left out: 1 utterance not answered by all runs",
    ):
        assert shown in printed
    assert printed.count("4 speakers are few, the interval is rough") == 1


@pytest.mark.parametrize(("p_value", "shown"), [(0.0004, "< 0.001"), (0.0014, "0.001"), (0.0096, "0.010")])
def test_small_p_values_keep_three_digits(p_value: float, shown: str) -> None:
    found = compare(dict(zip("ab", made(0.5, 0.7), strict=True)))
    difference = replace(found.differences[0], p_value=p_value, p_holm=0.5, mcnemar=0.5, mcnemar_holm=0.5)
    console = Console(file=StringIO(), width=160)
    console.print(replace(found, differences=[difference]))
    (row,) = [line for line in console.file.getvalue().splitlines() if " to +" in line]  # type: ignore[attr-defined]
    assert row.split("│")[-3].strip() == shown


def test_answers_in_other_words_than_the_truth_are_noted() -> None:
    first, second = made(0.5, 0.7, speakers=4)
    second["predicted"] = second["predicted"].str[:3]
    console = Console(file=StringIO(), width=250)
    console.print(compare({"a": first, "[b]": second}))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "no answer" not in printed  # sad is sad
    second["predicted"] = second["predicted"].replace("sad", "sadness")
    console.print(compare({"a": first, "[b]": second}))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    told = "[b]: no answer (ang, hap, neu, sadness) occurs in the truth (angry, happy, neutral, sad); if both"
    assert printed.count(told) == 1
    assert "a: no answer" not in printed


@pytest.mark.parametrize("width", [80, 79, 60])
def test_words_stay_whole_on_a_narrow_screen(width: int) -> None:
    names = ("speech_only", "wavlm-base-plus-new", "a-run-whose-name-is-longer-than-most-others")
    for chosen in (names[:2], names[1:]):
        screen = StringIO()
        Console(file=screen, width=width).print(
            compare(dict(zip(chosen, made(0.5, 0.7, speakers=6), strict=True)))
        )
        printed = screen.getvalue()
        assert max(map(len, printed.splitlines())) <= width
        assert all(word in printed for word in ("balanced ", "accuracy ", "weighted ", "difference "))
        assert ("speech_only " in printed) == ("speech_only" in chosen)
        assert "…" not in printed


class TestCommand:
    @pytest.fixture
    def tables(self, tmp_path: Path) -> list[Path]:
        paths = [tmp_path / f"{name}.csv" for name in ("mine", "theirs")]
        for path, table in zip(paths, made(0.5, 0.7), strict=True):
            table.to_csv(path, index=False)
        return paths

    def test_compares_files(self, mmer: Command, tables: list[Path], tmp_path: Path) -> None:
        theirs = pd.read_csv(tables[1]).replace("happy", "hap")
        theirs.to_csv(tables[1], index=False)
        out = tmp_path / "found.json"
        refused = mmer("compare", *tables)
        assert refused.code == 2
        assert "mine.csv and theirs.csv differ in the truth of" in refused.err
        done = mmer("compare", *tables, "--rename", "hap=happy", "--figure", "accuracy", "--out", out)
        assert done.code == 0, done.err
        (difference,) = json.loads(out.read_text())["differences"]
        first, second = made(0.5, 0.7)
        expected = compare({"mine.csv": first, "theirs.csv": second}, "accuracy")
        assert difference["p_value"] == pytest.approx(expected.differences[0].p_value)
        assert f"{100 * difference['difference']:+.1f}" in done.out
        assert json.loads(out.read_text())["baseline"] == "mine.csv"

    def test_needs_no_pytorch(self, tables: list[Path]) -> None:
        program = "import sys; from mmer.cli.main import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
        done = subprocess.run(
            [sys.executable, "-c", program, "compare", *tables], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["{mine}"], "cannot compare 1 run"),
            (["{mine}", "{mine}"], "mine.csv is given twice"),
            (["{mine}", "nowhere.csv"], "nowhere.csv: no such file"),
            (["{mine}", "{theirs}", "--figure", "f1"], "unknown figure 'f1'"),
            (["{mine}", "{theirs}", "--rename", "joy=happy"], "no run has the emotion 'joy'"),
            (
                ["{mine}", "{theirs}", "--out", "{folder}/no/x.json"],
                "x.json: cannot be written, there is no folder",
            ),
        ],
    )
    def test_errors(self, mmer: Command, tables: list[Path], arguments: list[str], message: str) -> None:
        filled = [a.format(mine=tables[0], theirs=tables[1], folder=tables[0].parent) for a in arguments]
        outcome = mmer("compare", *filled)
        assert outcome.code == 2
        assert message in outcome.err.strip().splitlines()[-1]
