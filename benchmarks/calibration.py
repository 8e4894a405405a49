"""Are probabilities for unheard speakers what they claim, before and after calibration, and do label sets cover?

Reads the answers of a finished cross-validation that leaves speakers out, and computes no network. Two protocols:

- each fold's own: what `mmer calibrate` does with the fold's validation speakers, judged on its test speakers;
- each speaker in turn: what calibration on the test answers of all other speakers would do, of networks trained alike.

    python benchmarks/calibration.py FOLDER [--coverage 0.9]

FOLDER has folds/*/predictions.parquet or */predictions.parquet.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmer.evaluation.calibration.calibrate import METHODS, UncalibratedAnswers, fit_condition
from mmer.evaluation.calibration.calibration_error import calibration_figures
from mmer.inference.trust.calibration import CalibratedCondition
from mmer.inference.trust.conformal import thresholds

FIGURES = ("log_loss", "brier", "expected_calibration_error")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--coverage", type=float, default=0.9)
    options = parser.parse_args()
    files = sorted(options.folder.glob("folds/*/predictions.parquet"))
    files = files or sorted(options.folder.glob("*/predictions.parquet"))
    tables = {file.parent.name: pd.read_parquet(file).dropna(subset=["predicted"]) for file in files}
    columns = [name for name in next(iter(tables.values())) if str(name).startswith("probability_")]
    labels = [str(name).removeprefix("probability_") for name in columns]

    def answers(table: pd.DataFrame) -> UncalibratedAnswers:
        truth = pd.Index(labels).get_indexer(pd.Index(table["emotion"]))
        speakers = table["speaker"].to_numpy(object)
        return UncalibratedAnswers(table[columns].to_numpy(float), truth, speakers)

    own = {
        name: (table[table["split"] == "validation"], table[table["split"] == "test"])
        for name, table in tables.items()
    }
    if all(len(validation) for validation, _ in own.values()):
        report("calibrated on the validation speakers of each fold", own, answers, labels, options.coverage)
    tested = pd.concat([test.assign(fold=name) for name, (_, test) in own.items()])
    turns = {name: (tested[tested["fold"] != name], tested[tested["fold"] == name]) for name in own}
    report("calibrated on the test answers of the other folds", turns, answers, labels, options.coverage)


def report(
    title: str,
    pairs: dict[str, tuple[pd.DataFrame, pd.DataFrame]],
    answers: Callable[[pd.DataFrame], UncalibratedAnswers],
    labels: list[str],
    coverage: float,
) -> None:
    """Print the mean over folds of each figure before and after, and how often label sets hold the truth."""
    rows = []
    for name, (fitted_on, judged_on) in pairs.items():
        fitted, judged = answers(fitted_on), answers(judged_on)
        found = fit_condition(fitted, labels, METHODS)
        after = found.calibrator(judged.probabilities)
        row = {"fold": name, "method": found.calibrator.method}
        for when, probabilities in (("before", judged.probabilities), ("after", after)):
            figures = calibration_figures(probabilities, judged.truth)
            row |= {f"{figure} {when}": figures[figure] for figure in FIGURES}
        for kind, by_class in (("sets", False), ("by class", True)):
            held = in_sets(found, after, labels, coverage, by_class)
            right = held[np.arange(len(judged)), judged.truth]
            row |= {f"{kind} coverage": right.mean(), f"{kind} size": held.sum(axis=1).mean()}
            if by_class:
                classes = [right[judged.truth == place].mean() for place in set(judged.truth)]
                row["worst class"] = min(classes)
        rows.append(row)
    table = pd.DataFrame(rows)
    utterances = sum(len(judged) for _, judged in pairs.values())
    print(f"{title}: {len(pairs)} folds, {utterances} answers judged")
    for figure in FIGURES:
        before, after = table[f"{figure} before"], table[f"{figure} after"]
        better = int((after < before).sum())
        print(
            f"  {figure:28}{before.mean():7.3f} -> {after.mean():6.3f}   better in {better} of {len(table)} folds"
        )
    chosen = [f"{fold} {method}" for fold, method in zip(table["fold"], table["method"], strict=True)]
    print(f"  chosen: {', '.join(chosen)}")
    for kind in ("sets", "by class"):
        share, size = table[f"{kind} coverage"], table[f"{kind} size"]
        held = f"held {share.mean():.1%} (folds {share.min():.1%} to {share.max():.1%})"
        print(f"  {kind:9}asked {coverage:.0%}: {held}, {size.mean():.2f} of {len(labels)} emotions")
    worst = table["worst class"]
    print(f"  by class, the worst emotion of a fold: {worst.min():.1%}; mean of the worst {worst.mean():.1%}")


def in_sets(
    found: CalibratedCondition,
    probabilities: NDArray[np.float64],
    labels: list[str],
    coverage: float,
    by_class: bool,
) -> NDArray[np.bool_]:
    """(answers, emotions) which emotions are in the label set, as `Calibration.label_set` has it."""
    limits = thresholds(found.scores, coverage, by_class=by_class)
    held = 1 - probabilities <= np.array([limits[label] for label in labels]) + 1e-12
    held[np.arange(len(held)), probabilities.argmax(axis=1)] = True
    return held


if __name__ == "__main__":
    main()
