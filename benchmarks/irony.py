"""Can a model use the prosody of one word? Ranks rows of `mmer ablate` on *irony*, with intervals over test voices.

Trains the recipe `demo` (`model.fusion: mmer`) and each row on the same split, and judges them once, on voices and
sentences that training did not contain. Counts how often the top word of an explanation of MMER carries valence.
`ablation.md` in the folder also has MMER with wrong and missing words; `mmer robustness` adds noise.
Repeat the command to go on with an interrupted study.

    python benchmarks/irony.py --out FOLDER [--rows text,speech,naive,mmer] [--plain-decoy] [--reiterant]
        [--contour 35] [SETTING=VALUE ...]
"""

import argparse
import json
import resource
from pathlib import Path

from rich import print as show
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.corpora.synthetic.irony import make_irony
from mmer.display.progress import counting
from mmer.evaluation.comparison import compare
from mmer.evaluation.prediction_files import read_runs
from mmer.inference import EmotionRecognizer
from mmer.inference.explain.explain import explain
from mmer.inference.inputs import corpus_utterances
from mmer.training.ablation.ablation import ablate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=lambda text: text.split(","))
    parser.add_argument("--plain-decoy", action="store_true")
    parser.add_argument("--reiterant", action="store_true")
    parser.add_argument("--contour", type=int, default=35)
    parser.add_argument("--explained", type=int, default=24)
    parser.add_argument("settings", nargs="*")
    options = parser.parse_args()
    table = options.out / "corpus.parquet"
    if not table.exists():
        with counting(Console(stderr=True), "eSpeak NG is speaking") as progress:
            corpus = make_irony(
                options.out / "recordings",
                contour=options.contour,
                contrasted_decoy=not options.plain_decoy,
                reiterant=options.reiterant,
                progress=progress,
            )
        corpus.write(table)
    settings = [f"data.corpus={json.dumps(str(table.resolve()))}", *options.settings]
    ablation = ablate("demo", settings, options.out / "ablation", options.rows)
    trained = [name for name, row in ablation.rows.items() if row.note is None]
    names = sorted(trained, key=lambda name: name != "mmer")  # MMER first: the others are compared with it
    runs = read_runs([options.out / "ablation" / name for name in names])
    if len(runs) > 1:
        show(compare(runs))
    if "mmer" in trained:
        _explain(options.out / "ablation" / "mmer" / "folds" / "split" / "model", table, options.explained)
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = sum(each.ru_utime for each in used)
    memory = max(each.ru_maxrss for each in used) / 1e6
    print(f"{seconds:.0f} s of processor time, {memory:.1f} GB")


def _explain(model: Path, table: Path, most: int) -> None:
    """Count how often the word of the largest share is the one that carries valence, in test answers that are right."""
    recognizer = EmotionRecognizer.from_pretrained(model, "cpu")
    corpus = Corpus.read(table)
    corpus = corpus.select((corpus.table["split"] == "test").to_numpy())
    step = max(1, len(corpus) // most)
    rows = corpus.table.to_dict("records")[::step][:most]
    found = []
    for row, utterance in zip(rows, corpus_utterances(corpus)[::step][:most], strict=True):
        told = explain(recognizer, utterance)
        if told.prediction.label == row["emotion"]:
            found.append(max(told.words, key=lambda each: abs(each.share)).word == row["word"])
    print(f"the word of the largest share carries valence in {sum(found)} of {len(found)} right answers")


if __name__ == "__main__":
    main()
