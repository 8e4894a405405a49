"""Which fusion finds irony once it knows valence and prosody? Two trainings for each way of fusing.

The label of *irony* is whether valence and prosody agree; neither tells anything of it alone. So a first training is
told both, as four emotions, and a second one starts from its weights and is told the label. Both are judged on voices
and sentences that no training contained, and the ways of fusing are compared over test voices.

    python benchmarks/irony_taught.py IRONY/corpus.parquet OUT [--fusions mmer,naive] [SETTING=VALUE ...]

IRONY is a folder of `benchmarks/irony.py --reiterant --plain-decoy`.
"""

import argparse
import json
from pathlib import Path

from rich import print as show

from mmer.corpora.corpus import Corpus
from mmer.evaluation.comparison import compare
from mmer.evaluation.prediction_files import read_runs
from mmer.recipe.schema import load_recipe
from mmer.training.run import train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fusions", type=lambda text: text.split(","), default=["mmer", "naive"])
    parser.add_argument("settings", nargs="*")
    options = parser.parse_intermixed_args()
    options.out.mkdir(parents=True, exist_ok=True)
    irony = Corpus.read(options.corpus)
    facts = irony.table["valence"] + " " + irony.table["prosody"]
    taught = options.out / "taught.parquet"
    Corpus(irony.table.assign(emotion=facts)).write(taught)
    folders = []
    for fusion in options.fusions:
        first, second = options.out / f"{fusion}-taught", options.out / fusion
        settings = [f"model.fusion={fusion}", *options.settings]
        train(load_recipe("demo", [f"data.corpus={json.dumps(str(taught))}", *settings]), first)
        start = f"model.start_from={json.dumps(str(first / 'model'))}"
        corpus = f"data.corpus={json.dumps(str(options.corpus))}"
        train(load_recipe("demo", [corpus, start, *settings]), second)
        folders.append(second)
    show(compare(read_runs(folders)))


if __name__ == "__main__":
    main()
