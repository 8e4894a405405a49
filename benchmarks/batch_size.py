"""What the contrastive objectives gain from large batches.

For each batch size, the same model is trained twice over the same number of utterances, and so with the same number of
steps: with both contrastive objectives, and without them. What they are worth at that size is the difference, since a
size changes the steps too. The learning rate grows with the root of the size. Figures are balanced accuracies of the
test split at the epoch that the validation split chooses, over all seeds.

    python benchmarks/batch_size.py OUT [--recipe demo] [--sizes 4 16 64 256] [--seeds 2] [SETTING=VALUE ...]

Without `data.corpus=...` the corpus is *spoken*. A study that was interrupted goes on.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

from rich.console import Console

from mmer.corpora.synthetic.spoken import make_spoken_once
from mmer.recipe.schema import load_recipe
from mmer.training.run import train

MICRO = 16
OFF = ["objectives.supervised_contrastive_weight=0", "objectives.augmented_contrastive_weight=0"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_intermixed_args()
    console = Console(stderr=True)
    settings = list(arguments.settings)
    if not any(setting.startswith("data.corpus=") for setting in settings):
        arguments.out.mkdir(parents=True, exist_ok=True)
        settings.append(f"data.corpus={make_spoken_once(arguments.out, 0, console)}")
    base = load_recipe(arguments.recipe, settings).training
    found: dict[int, dict[str, list[float]]] = {}
    for size in arguments.sizes:
        shape = [
            f"training.batch_size={size}",
            f"training.micro_batch_size={min(size, MICRO)}",
            f"training.learning_rate={base.learning_rate * math.sqrt(size / base.batch_size)}",
        ]
        found[size] = {"with": [], "without": []}
        for seed in range(arguments.seeds):
            for side, off in (("with", []), ("without", OFF)):
                recipe = load_recipe(
                    arguments.recipe,
                    [*settings, *shape, *off, f"training.seed={seed}", "training.order=balanced"],
                )
                run = train(recipe, arguments.out / f"{size}_{side}_{seed}", console=console)
                found[size][side].append(run.metrics.judged("test").balanced_accuracy)
        (arguments.out / "batch_size.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
        means = {side: statistics.mean(scores) for side, scores in found[size].items()}
        each = ", ".join(
            f"{100 * (a - b):+.1f}" for a, b in zip(found[size]["with"], found[size]["without"], strict=True)
        )
        print(
            f"batch {size:3}: {means['without']:.1%} without, {means['with']:.1%} with; differences {each}",
            flush=True,
        )


if __name__ == "__main__":
    main()
