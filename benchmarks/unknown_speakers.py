"""What a model that standardizes features per speaker answers when the speaker is not named.

Each speaker of `--test` is held out in turn. One model is trained with `normalization=corpus` and one with `=speaker`.
Both answer the held-out speaker: the one per speaker with the speaker named (statistics over all his or her clips), not
named, and not named as it was before there was a `SpeakerPrior`, when a clip was standardized over itself alone.
Figures are balanced accuracies over all held-out speakers, with 95 % intervals over speakers.

    python benchmarks/unknown_speakers.py OUT data.corpus=nemo.parquet --test EB0,KS0,KD0 [SETTING=VALUE ...]

A study that was interrupted goes on.
"""

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.evaluation.evaluate import predict_labeled
from mmer.evaluation.intervals import interval
from mmer.inference.recognizer import EmotionRecognizer
from mmer.recipe.schema import load_recipe
from mmer.training.run import train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--recipe", default="compact")
    parser.add_argument("--test", type=lambda names: names.split(","), required=True, metavar="SPEAKER,...")
    arguments = parser.parse_intermixed_args()
    console = Console(stderr=True)
    fixed = ["protocol.validation=0", "protocol.selection=last"]
    print("| model | speaker | balanced accuracy | 95 % interval |\n|---|---|---|---|")
    for kind in ("corpus", "speaker"):
        answers: dict[str, list[pd.DataFrame]] = {}
        for speaker in arguments.test:
            settings = [*arguments.settings, *fixed, f'protocol.test=["{speaker}"]']
            recipe = load_recipe(arguments.recipe, [*settings, f"model.speech.normalization={kind}"])
            run = train(recipe, arguments.out / f"{kind} {speaker}", console=console)
            for asked, table in _answers(run.folder).items():
                answers.setdefault(asked, []).append(table)
        for asked, tables in answers.items():
            together = pd.concat(tables, ignore_index=True)
            found = interval(together, labels=sorted(together["emotion"].unique()))
            between = "" if found.low is None else f"{found.low:.1%} to {found.high:.1%}"
            print(f"| {kind} | {asked} | {found.estimate:.1%} | {between} |", flush=True)


def _answers(run: Path) -> dict[str, pd.DataFrame]:
    """Answers for the test speaker, by how the model was asked."""
    corpus = Corpus.read(run / "corpus.parquet")
    test = corpus.select((corpus.table["split"] == "test").to_numpy())
    unnamed = Corpus(test.table.assign(speaker=None), source=test.source)
    recognizer = EmotionRecognizer.from_pretrained(run / "model")

    def ask(asked: Corpus) -> pd.DataFrame:
        answers = predict_labeled(recognizer, asked, batch_size=32)
        return answers.assign(speaker=test.table["speaker"].to_numpy())

    if not recognizer.processor.per_speaker:
        return {"not named": ask(unnamed)}
    answers = {"named": ask(test), "not named": ask(unnamed)}
    recognizer.processor.speaker_prior = None
    return {**answers, "not named, clip over itself": ask(unnamed)}


if __name__ == "__main__":
    main()
