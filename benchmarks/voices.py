"""Compare the recipe `compact` with the classical baseline on voices that training has not heard.

Every speaker of a corpus is held out in turn, with features standardized over the corpus, so that nothing is known of a
new voice, and per speaker. The same is done on `--draws` small corpora of `--speakers` speakers with `--clips` clips
each, as a student might record. Nothing is chosen on a test speaker: the recipe runs as it is, without validation, to
its last epoch. The baseline, eGeMAPS functionals and a support vector machine, needs `pip install opensmile`; without
it, its rows are left out.

    python benchmarks/voices.py CORPUS.parquet OUT [--draws 5] [--speakers 5] [--clips 24] [--jobs 2] [SETTING=VALUE]
    python benchmarks/voices.py CORPUS.parquet OUT --half [--jobs 2] [SETTING=VALUE]

Balanced accuracy is the mean of folds, with the standard deviation over folds; for draws, the mean over draws, with the
standard deviation over draws. The pooled figure has its 95 % interval over speakers. A study that was interrupted
resumes.

With `--half`, instead, each fold trains on half of the sentences, and is judged on the held-out speaker's clips of
these sentences and of the other half, which neither the words nor the melody of training contained.
"""

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.evaluation.evaluate import judge, predict_labeled
from mmer.inference.recognizer import EmotionRecognizer
from mmer.recipe.schema import load_recipe
from mmer.runs.folder import RunFolder
from mmer.training.crossval.baseline_runs import cross_validate_baseline
from mmer.training.crossval.crossval import CrossValidation, cross_validate

FIXED = ["protocol.folds=leave-one-out", "protocol.validation=0", "protocol.selection=last"]
CONDITIONS = {"corpus": "corpus", "per speaker": "speaker"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--speakers", type=int, default=5)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--half", action="store_true")
    arguments = parser.parse_intermixed_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    corpus = Corpus.read(arguments.corpus)
    if arguments.half:
        half_of_the_sentences(corpus, arguments)
        return
    small = []
    for draw in range(arguments.draws):
        path = arguments.out / f"draw {draw}.parquet"
        if not path.exists():
            drawn(corpus, arguments.speakers, arguments.clips, draw).write(path)
        small.append(path)
    print(
        "| corpus | standardized | system | mean of folds | pooled | 95 % interval |\n|---|---|---|---|---|---|"
    )
    for name, paths in (("all", [arguments.corpus]), (f"{arguments.draws} draws", small)):
        for condition in CONDITIONS:
            for system, runs in studied(paths, arguments, condition):
                print(f"| {name} | {condition} | {system} | {row(runs)} |", flush=True)


def half_of_the_sentences(corpus: Corpus, arguments: argparse.Namespace) -> None:
    """Train on half of the sentences, and print the mean of folds on these and on the others."""
    sentences = corpus.table["transcript"]
    chosen = np.random.default_rng(0).permutation(sorted(sentences.unique()))[::2]
    known = sentences.isin(chosen).to_numpy()
    path = arguments.out / "half.parquet"
    corpus.select(known).write(path)
    print("| standardized | sentences of training | other sentences |\n|---|---|---|")
    for condition, normalization in CONDITIONS.items():
        normalized = f"model.speech.normalization={normalization}"
        settings = [*FIXED, *arguments.settings, f"data.corpus={path}", normalized]
        out = arguments.out / f"half {condition}"
        console = Console(stderr=True)
        cross_validate(load_recipe("compact", settings), out, jobs=arguments.jobs, console=console)
        figures = []
        for kept in (known, ~known):
            part, found = corpus.select(kept), []
            for speaker in sorted(part.table["speaker"].unique()):
                recognizer = EmotionRecognizer.from_pretrained(RunFolder(out).fold(speaker).model)
                own = part.select((part.table["speaker"] == speaker).to_numpy())
                judged = judge(predict_labeled(recognizer, own, batch_size=32), recognizer.labels)
                assert judged is not None
                found.append(judged.balanced_accuracy)
            figures.append(f"{np.mean(found):.1%} ± {np.std(found, ddof=1):.1%}")
        print(f"| {condition} | {' | '.join(figures)} |", flush=True)


def drawn(corpus: Corpus, speakers: int, clips: int, seed: int) -> Corpus:
    """Draw a small corpus, in which each speaker has the same number of clips of each emotion as far as possible."""
    random = np.random.default_rng(seed)
    table = corpus.table
    kept: list[int] = []
    for speaker in random.choice(sorted(table["speaker"].dropna().unique()), speakers, replace=False):
        own = table[table["speaker"] == speaker]
        shuffled = own.iloc[random.permutation(len(own))]
        turn = shuffled.groupby("emotion").cumcount()
        kept += list(shuffled.iloc[np.argsort(turn, kind="stable")].index[:clips])
    return corpus.select(table.index.isin(kept))


def studied(
    paths: list[Path], arguments: argparse.Namespace, condition: str
) -> Iterator[tuple[str, list[CrossValidation]]]:
    """Cross-validate each system on each corpus."""
    console = Console(stderr=True)
    by_system: dict[str, list[CrossValidation]] = {}
    for path in paths:
        normalization = f"model.speech.normalization={CONDITIONS[condition]}"
        settings = [*FIXED, *arguments.settings, f"data.corpus={path}", normalization]
        recipe, out = load_recipe("compact", settings), arguments.out / f"{path.stem} {condition}"
        run = cross_validate(recipe, out / "compact", jobs=arguments.jobs, console=console)
        by_system.setdefault("compact", []).append(run)
        if find_spec("opensmile"):
            run = cross_validate_baseline(
                "egemaps", recipe, out / "egemaps", per_speaker=condition != "corpus", console=console
            )
            by_system.setdefault("eGeMAPS + SVM", []).append(run)
    yield from by_system.items()


def row(runs: list[CrossValidation]) -> str:
    """Format the balanced accuracies of the runs of one system."""
    metrics = [run.metrics for run in runs if run.metrics is not None]
    means = [each.mean["balanced_accuracy"] for each in metrics]
    if len(metrics) > 1:
        return f"{np.mean(means):.1%} ± {np.std(means, ddof=1):.1%} | | "
    (only,) = metrics
    found = only.intervals["balanced_accuracy"]
    between = "" if found.low is None else f"{found.low:.1%} to {found.high:.1%}"
    spread = only.std["balanced_accuracy"]
    return f"{means[0]:.1%} ± {spread or 0:.1%} | {only.pooled.balanced_accuracy:.1%} | {between}"


if __name__ == "__main__":
    main()
