"""How often intervals hold the truth, on made data where the truth is known and speakers differ.

Each speaker gets a beta-distributed accuracy, which is the same for all of four emotions, and utterances of emotions as
uneven as in IEMOCAP; sizes of speakers are equal or log-normal. The truth is the figure of infinitely many speakers.
Beside the intervals of `mmer` stand those that are usual: quantiles of figures of resampled speakers, and of resampled
utterances. Then two runs that are equally good, but not for the same speakers, are compared: how often is their
difference called significant at 5 %?

    python benchmarks/interval_coverage.py OUT.json [--datasets 1000]
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmer.evaluation.comparison import compare
from mmer.evaluation.intervals import FIGURES, cluster_margins, figure_of, interval, weighted_figure

LABELS = ["angry", "happy", "neutral", "sad"]
SHARES = np.array([0.2, 0.3, 0.31, 0.19])
RESAMPLES = 1000
METHODS = ("mmer", "speakers, quantiles", "utterances, quantiles")


class Setting(NamedTuple):
    """Made data: speakers, their mean accuracy and how alike they are (of a beta distribution), their utterances (mean,
    and spread of the logarithm)."""

    speakers: int
    accuracy: float
    alike: float
    utterances: int
    spread: float


CONDITIONS = {
    "equal sizes": (0.7, 15, 60, 0.0),
    "unequal sizes": (0.7, 15, 60, 0.6),
    "very unequal sizes": (0.7, 15, 60, 1.0),
    "easy": (0.9, 15, 60, 0.6),
    "few utterances": (0.5, 30, 20, 0.6),
}


def make(setting: Setting, rng: np.random.Generator, runs: int = 1) -> list[pd.DataFrame]:
    """Predictions of runs that know nothing of each other."""
    sizes = setting.utterances * np.exp(
        rng.normal(-(setting.spread**2) / 2, setting.spread, setting.speakers)
    )
    speakers = np.repeat(np.arange(setting.speakers), np.maximum(len(LABELS), np.round(sizes)).astype(int))
    truth = rng.choice(len(LABELS), len(speakers), p=SHARES)
    made = []
    for _ in range(runs):
        accuracies = rng.beta(
            setting.accuracy * setting.alike, (1 - setting.accuracy) * setting.alike, setting.speakers
        )
        right = rng.random(len(speakers)) < accuracies[speakers]
        wrong = (truth + rng.integers(1, len(LABELS), len(speakers))) % len(LABELS)
        made.append(
            pd.DataFrame(
                {
                    "utterance_id": np.arange(len(speakers)),
                    "speaker": speakers,
                    "emotion": np.array(LABELS)[truth],
                    "predicted": np.array(LABELS)[np.where(right, truth, wrong)],
                }
            )
        )
    return made


def true_figure(setting: Setting, figure: str) -> float:
    """Of infinitely many speakers."""
    errors = (1 - setting.accuracy) / (len(LABELS) - 1)
    confusion = SHARES[:, None] * np.where(np.eye(len(LABELS)) > 0, setting.accuracy, errors)
    margins = np.stack([confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()])
    return float(figure_of(margins, figure, LABELS)[0])


def usual_intervals(
    predictions: pd.DataFrame, figure: str, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Ends of the quantile intervals from resampled speakers and from resampled utterances."""
    # Utterances of one cell of the confusion matrix are all the same, so a cell is drawn as often as it is large.
    for clusters, alike in (
        (predictions["speaker"], False),
        (predictions["emotion"] + predictions["predicted"], True),
    ):
        margins = cluster_margins(predictions, LABELS, clusters)
        sizes = margins[:, 0].sum(axis=1) if alike else np.ones(len(margins))
        drawn = rng.multinomial(round(sizes.sum()), sizes / sizes.sum(), RESAMPLES) / sizes
        yield np.nanquantile(weighted_figure(margins, drawn, figure, LABELS)[0], [0.025, 0.975])


def coverage(
    setting: Setting, datasets: int, rng: np.random.Generator
) -> dict[str, dict[str, dict[str, float]]]:
    """Share of intervals that hold the truth, and their mean width: figure -> method -> `coverage`, `width`."""
    held: dict[tuple[str, str], list[bool]] = defaultdict(list)
    widths: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(datasets):
        (predictions,) = make(setting, rng)
        for figure in FIGURES:
            truth = true_figure(setting, figure)
            ours = interval(predictions, figure, resamples=RESAMPLES, seed=int(rng.integers(2**31)))
            ends = [(ours.low, ours.high)] if ours.low is not None and ours.high is not None else []
            usual = [(low, high) for low, high in usual_intervals(predictions, figure, rng)]
            for method, (low, high) in zip(METHODS[-len(ends + usual) :], ends + usual, strict=True):
                held[figure, method].append(low <= truth <= high)
                widths[figure, method].append(high - low)
    return {
        figure: {
            method: {
                "coverage": float(np.mean(held[figure, method])),
                "width": float(np.mean(widths[figure, method])),
            }
            for method in METHODS
        }
        for figure in FIGURES
    }


def false_alarms(setting: Setting, datasets: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of equally good pairs of runs whose difference is called significant at 5 %."""
    p_values = []
    for _ in range(datasets):
        first, second = make(setting, rng, runs=2)
        runs = {"first": first, "second": second}
        (found,) = compare(runs, resamples=RESAMPLES, seed=int(rng.integers(2**31))).differences
        p_values.append((1.0 if found.p_value is None else found.p_value, found.mcnemar))
    mmer, mcnemar = (np.array(p_values) < 0.05).mean(axis=0)
    return {"mmer": float(mmer), "mcnemar": float(mcnemar)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--datasets", type=int, default=1000, help="of each setting; half as many pairs of runs"
    )
    parser.add_argument("--speakers", type=int, nargs="+", default=[4, 6, 10, 20, 50])
    arguments = parser.parse_args()
    results = []
    for speakers in arguments.speakers:
        for place, (name, condition) in enumerate(CONDITIONS.items()):
            setting, rng = Setting(speakers, *condition), np.random.default_rng([speakers, place])
            found = coverage(setting, arguments.datasets, rng)
            alarms = false_alarms(setting, arguments.datasets // 2, rng)
            results.append({"condition": name, **setting._asdict(), "figures": found, "false_alarms": alarms})
            arguments.out.write_text(
                json.dumps({"datasets": arguments.datasets, "settings": results}, indent=1)
            )
            shown = found["balanced_accuracy"]
            methods = ", ".join(
                f"{method} {100 * shown[method]['coverage']:.1f} % (width {100 * shown[method]['width']:.0f})"
                for method in METHODS
            )
            all_ours = [100 * found[figure]["mmer"]["coverage"] for figure in FIGURES]
            print(f"{speakers} speakers, {name}: balanced accuracy: {methods}; ", end="")
            print(f"mmer on all figures {min(all_ours):.1f} to {max(all_ours):.1f} %; ", end="")
            print(f"false alarms mmer {alarms['mmer']:.1%}, McNemar {alarms['mcnemar']:.1%}", flush=True)


if __name__ == "__main__":
    main()
