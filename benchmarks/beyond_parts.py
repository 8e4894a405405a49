"""What each part that goes beyond the paper does to a network trained from scratch: one run each, same epochs.

The recipe as it is, then with one change: without contrastive objectives, with a larger batch for them, with modality
dropout, with views that `mmer augment` made of the training recordings; and with all of it. Figures are balanced
accuracies of the test split, intervals over its speakers. LoRA and words that a recognizer heard are not in it, since
both want a pretrained model; `benchmarks/meld_text.py` has the former.

    python benchmarks/beyond_parts.py OUT [--recipe demo] [--batch 64] [SETTING=VALUE ...]

Without `data.corpus=...` the corpus is *spoken*. A study that was interrupted goes on.
"""

import argparse
import json
import math
from pathlib import Path

from rich.console import Console

from mmer.augment.generators import speech_generators
from mmer.augment.make import make_views
from mmer.corpora.corpus import Corpus
from mmer.demo import make_spoken_once
from mmer.evaluation.evaluate import evaluate
from mmer.progress import counting
from mmer.recipe import load_recipe
from mmer.training.run import train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_intermixed_args()
    console, settings = Console(stderr=True), list(arguments.settings)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not any(setting.startswith("data.corpus=") for setting in settings):
        settings.append(f"data.corpus={json.dumps(str(make_spoken_once(arguments.out, 0, console)))}")
    base = load_recipe(arguments.recipe, settings)
    contrastive = {
        "batch_size": arguments.batch,
        "micro_batch_size": min(arguments.batch, base.training.batch_size),
        "learning_rate": base.training.learning_rate * math.sqrt(arguments.batch / base.training.batch_size),
    }
    batch = [f"training.{name}={value}" for name, value in contrastive.items()]
    missing = ["augment.missing={speech: 0.1, text: 0.4}"]
    # The same utterances train in all rows, so that views may be made of what the first of them trained on.
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
    print("| | sound and words | 95 % interval | sound alone | words alone |\n|---|---|---|---|---|")
    for name, changes in variants.items():
        views = []
        if name in ("made views", "all of it"):
            views = [f"augment.views={json.dumps(str(_views(arguments.out, console)))}"]
        recipe = load_recipe(arguments.recipe, [*settings, *changes, *views])
        run = train(recipe, arguments.out / name.replace(" ", "-"), console=console)
        found = evaluate(run.model_folder, Corpus.read(run.folder / "corpus.parquet"), "test")
        between = found["intervals"]["balanced_accuracy"]
        alone = found.get("modalities", {})
        sides = [f"{alone[side]['balanced_accuracy']:.1%}" if alone else "" for side in ("speech", "text")]
        print(
            f"| {name} | {found['balanced_accuracy']:.1%} | {between['low']:.1%} to {between['high']:.1%} | "
            f"{sides[0]} | {sides[1]} |",
            flush=True,
        )


def _views(out: Path, console: Console) -> Path:
    """Views of the recordings that train, by WORLD: other pitch, formants and rate."""
    corpus = Corpus.read(out / "the-recipe" / "corpus.parquet")
    with counting(console, "making views") as progress:
        make_views(corpus, out / "views", speech_generators(["world"]), progress=progress)
    return out / "views" / "views.parquet"


if __name__ == "__main__":
    main()
