"""How many unlabeled clips of a new voice are as good as all of them, for models that standardize per speaker.

FOLDS is a cross-validation of a recipe with `model.speech.normalization=speaker`. The statistics of each tested speaker
come from so many of the speaker's clips, drawn without looking at labels, or from all of them; with 0, no clip has a
speaker. Printed is balanced accuracy as the mean of folds, over `--draws` draws.

    python benchmarks/enrollment.py FOLDS [--clips 0 3 10 30] [--draws 3]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.evaluation.evaluate import predict_labeled
from mmer.inference.inputs import corpus_utterances
from mmer.inference.recognizer import EmotionRecognizer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folds", type=Path)
    parser.add_argument("--clips", type=int, nargs="+", default=[0, 3, 10, 30])
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    scores: dict[str, list[list[float]]] = {}
    for run in sorted((arguments.folds / "folds").iterdir()):
        corpus = Corpus.read(run / "corpus.parquet")
        test = corpus.select((corpus.table["split"] == "test").to_numpy())
        recognizer = EmotionRecognizer.from_pretrained(run / "model")
        for clips in arguments.clips:
            draws = range(arguments.draws if clips else 1)
            found = [score(recognizer, test, clips, draw) for draw in draws]
            scores.setdefault(str(clips), []).append(found)
        scores.setdefault("all", []).append([score(recognizer, test, len(test), 0)])
    print("| clips | balanced accuracy, mean of folds | standard deviation over folds |\n|---|---|---|")
    for clips, by_fold in scores.items():
        means = [np.mean(found) for found in by_fold]
        print(f"| {clips} | {np.mean(means):.1%} | {100 * np.std(means, ddof=1):.1f} |")


def score(recognizer: EmotionRecognizer, test: Corpus, clips: int, seed: int) -> float:
    """Judge the tested speaker, of whom so many clips are known beforehand."""
    if not clips:
        answers = predict_labeled(recognizer, Corpus(test.table.assign(speaker=None)), batch_size=32)
    else:
        chosen = np.random.default_rng(seed).permutation(len(test))[:clips]
        known = test.select(np.isin(np.arange(len(test)), chosen))
        statistics = recognizer.speaker_statistics(corpus_utterances(known))
        answers = predict_labeled(recognizer, test, speakers=statistics, batch_size=32)
    truth = test.table["emotion"]
    right = (answers["predicted"].to_numpy() == truth.to_numpy()).astype(float)
    return float(pd.Series(right).groupby(truth.to_numpy()).mean().mean())


if __name__ == "__main__":
    main()
