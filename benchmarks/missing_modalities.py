"""Does one model that does without words or without sound lose against models that never had them?

Trains on *spoken* (recipe `demo`) MMER with modality dropout, a text-only and a speech-only model of the same encoders
and the same number of epochs, and judges all on voices never heard in training: MMER on both, on sound alone and on
words alone. Runs that are complete are not repeated.

    python benchmarks/missing_modalities.py --out FOLDER [--epochs 60] [--drop-speech 0.1] [--drop-text 0.65] [--seed 0]
"""

import argparse
import json
from pathlib import Path

from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.corpora.synthetic.spoken import make_spoken_once
from mmer.evaluation.evaluate import evaluate
from mmer.recipe.schema import load_recipe
from mmer.training.run import train

MARGIN = 0.02
"""How much worse than a model of one side MMER may be on that side."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--drop-speech", type=float, default=0.1)
    parser.add_argument("--drop-text", type=float, default=0.65)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console = Console(stderr=True)
    options.out.mkdir(parents=True, exist_ok=True)
    table = make_spoken_once(options.out, options.seed, console)
    common = [
        f"data.corpus={json.dumps(str(table))}",
        f"training.epochs={options.epochs}",
        f"training.seed={options.seed}",
    ]
    drops = f"augment.missing={{speech: {options.drop_speech}, text: {options.drop_text}}}"
    accuracy, kept = {}, {}
    for system, override in (
        ("text only", "model.fusion=text"),
        ("speech only", "model.fusion=speech"),
        ("mmer", drops),
    ):
        name = f"{system.replace(' ', '-')}-{options.epochs}-{options.seed}"
        if system == "mmer":
            name += f"-{options.drop_speech}-{options.drop_text}"
        run = train(load_recipe("demo", [*common, override]), options.out / name, console=console)
        accuracy[system], kept[system] = run.metrics.judged("test").accuracy, run.metrics.kept_epoch
        model = run.model_folder
    judged = evaluate(model, Corpus.read(table), "test").modalities
    assert judged is not None
    both, sound, words = (judged[name].accuracy for name in ("both", "speech", "text"))
    checks = {
        "MMER, sound and words, at least 95 %": both >= 0.95,
        "MMER, words alone, 50 % and 5 points": abs(words - 0.5) <= 0.05,
        "MMER, words alone, against text only": words >= accuracy["text only"] - MARGIN,
        "MMER, sound alone, against speech only": sound >= accuracy["speech only"] - MARGIN,
    }
    print(f"{options.epochs} epochs, seed {options.seed}, {judged['both'].utterances} test utterances")
    for name, figure in (
        ("text only", accuracy["text only"]),
        ("speech only", accuracy["speech only"]),
        ("MMER, sound and words", both),
        ("MMER, sound alone", sound),
        ("MMER, words alone", words),
    ):
        print(f"  {name:24}{figure:7.1%}")
    print("  kept epochs: " + ", ".join(f"{system} {epoch}" for system, epoch in kept.items()))
    for name, holds in checks.items():
        print(f"  {'yes' if holds else 'NO ':4}{name}")


if __name__ == "__main__":
    main()
