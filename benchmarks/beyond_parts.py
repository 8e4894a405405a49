"""What each part that goes beyond the paper does to a network trained from scratch: same epochs, same seed.

The recipe as it is, then with one change: without contrastive objectives, with a larger batch for them, with modality
dropout, with views that `mmer augment` made of the recordings by WORLD; and with all of it. Figures are balanced
accuracies of the test speakers, with intervals over them: those of the recipe's split, or with `--test` each of these
in turn, by a model that did not hear them. LoRA and words that a recognizer heard are not in it, since both want a
pretrained model; `benchmarks/meld_text.py` has the former.

    python benchmarks/beyond_parts.py OUT [--recipe demo] [--batch 64] [--test SPEAKER,SPEAKER] [SETTING=VALUE ...]

Without `data.corpus=...` the corpus is *spoken*. A study that was interrupted goes on.
"""

import argparse
import json
import math
from pathlib import Path

import pandas as pd
from rich.console import Console

from mmer.augment.generators.by_name import speech_generators
from mmer.augment.make import make_views
from mmer.corpora.corpus import Corpus
from mmer.corpora.synthetic.spoken import make_spoken_once
from mmer.display.progress import counting
from mmer.evaluation.evaluate import evaluate
from mmer.evaluation.intervals import interval
from mmer.evaluation.modalities import by_modality
from mmer.recipe.schema import load_recipe
from mmer.training.run import TrainingRun, train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--test", type=lambda names: names.split(","), default=[], metavar="SPEAKER,...")
    arguments = parser.parse_intermixed_args()
    console, settings = Console(stderr=True), list(arguments.settings)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not any(setting.startswith("data.corpus=") for setting in settings):
        settings.append(f"data.corpus={json.dumps(str(make_spoken_once(arguments.out, 0, console)))}")
    base = load_recipe(arguments.recipe, settings)
    assert base.data.corpus is not None
    contrastive = {
        "batch_size": arguments.batch,
        "micro_batch_size": min(arguments.batch, base.training.batch_size),
        "learning_rate": base.training.learning_rate * math.sqrt(arguments.batch / base.training.batch_size),
    }
    batch = [f"training.{name}={value}" for name, value in contrastive.items()]
    missing = ["augment.missing={speech: 0.1, text: 0.4}"]
    variants = {
        "the recipe": [],
        "no contrastive objective": [
            "objectives.supervised_contrastive_weight=0",
            "objectives.augmented_contrastive_weight=0",
        ],
        f"contrastive batch {arguments.batch}": batch,
        "modality dropout": missing,
        "made views": [],
        "all of it": [*batch, *missing],
    }
    tests = [[f"protocol.test=[{speaker}]"] for speaker in arguments.test] or [[]]
    print("| | sound and words | 95 % interval | sound alone | words alone |\n|---|---|---|---|---|")
    for name, changes in variants.items():
        views = []
        if name in ("made views", "all of it"):
            table = _views(Path(base.data.corpus), arguments.out, console)
            views = [f"augment.views={json.dumps(str(table))}"]
        answers = []
        for number, test in enumerate(tests):
            recipe = load_recipe(arguments.recipe, [*settings, *test, *changes, *views])
            run = train(recipe, arguments.out / f"{name.replace(' ', '-')}-{number}", console=console)
            answers.append(judge(run))
        print(f"| {name} | {' | '.join(figures(pd.concat(answers, ignore_index=True)))} |", flush=True)


def judge(run: TrainingRun) -> pd.DataFrame:
    """The answers of a run's model for its test split."""
    evaluate(run.model_folder, Corpus.read(run.folder / "corpus.parquet"), "test", run.folder / "judged")
    return pd.read_parquet(run.folder / "judged" / "predictions.parquet")


def figures(answers: pd.DataFrame) -> list[str]:
    """The cells of a row."""
    labels = sorted(answers["emotion"].unique())
    both = interval(answers, labels=labels)
    between = "none" if both.low is None or both.high is None else f"{both.low:.1%} to {both.high:.1%}"
    alone = by_modality(answers, labels)
    sides = [f"{alone[side].balanced_accuracy:.1%}" if alone else "" for side in ("speech", "text")]
    return [f"{both.estimate:.1%}", between, *sides]


def _views(corpus: Path, out: Path, console: Console) -> Path:
    """Views of all recordings, by WORLD: other pitch, formants and rate, nobody else's voice."""
    with counting(console, "making views") as progress:
        make_views(Corpus.read(corpus), out / "views", speech_generators(["world"]), progress=progress)
    return out / "views" / "views.parquet"


if __name__ == "__main__":
    main()
