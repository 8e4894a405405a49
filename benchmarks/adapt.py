"""What `mmer adapt` gains on a new voice from a few labeled clips, and loses on the voices of training.

Each row is a new voice, of which `--clips` clips of each emotion are drawn to adapt to. Printed is balanced accuracy on
its other clips, and on clips of the old voices that training did not hold: before, and after with and without the
recordings that the model learned from (`data.rehearsal`). A study that was interrupted resumes.

    python benchmarks/adapt.py OUT [--clips 2 5 10] [--factors 0.7 1.6] [--voices 3]

The recipe `demo` learns *spoken* from four voices of eSpeak NG. Each new voice is another one of eSpeak NG, resampled
so that pitch, formants and tempo are multiplied by a factor far from those of training.

    python benchmarks/adapt.py OUT --corpus CORPUS --speakers EB0 KS0 [--clips 5] [--draws 2] [--per-speaker]

The recipe `compact` learns to listen from `LEARNED` clips of the other speakers of a corpus. With `--per-speaker` it
standardizes features per speaker; before is then without statistics of the new speaker, and one more column is of
`mmer.enroll` on the same clips, whose labels it does not read.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile
import soxr
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.corpora.synthetic.spoken import make_spoken
from mmer.evaluation.evaluate import judge, predict_labeled
from mmer.inference.enrollment import enroll
from mmer.inference.recognizer import EmotionRecognizer
from mmer.recipe.schema import load_recipe
from mmer.training.adaptation.adapt import adapt
from mmer.training.run import train

KEPT_FOR_TRAINING = 24  # of 36 groups of four sentences of each old voice
LEARNED, OLD, NEW = 1200, 300, 250  # clips of a corpus: of training, of its voices, of the new voice
SETTINGS = ["protocol.no_test=true", "protocol.validation=0", "protocol.selection=last"]
LISTENS = [
    "model.fusion=speech",
    "objectives.augmented_contrastive_weight=0",
    "training.epochs=null",
    "training.steps=300",
]
QUIET = Console(quiet=True)


@dataclass(frozen=True)
class Case:
    """A new voice: the model, clips to adapt to, other clips of it, and clips of the old voices."""

    name: str
    model: Path
    few: Corpus
    new: Corpus
    old: Corpus


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, nargs="+", default=[5])
    parser.add_argument("--factors", type=float, nargs="+", default=[0.7, 1.6])
    parser.add_argument("--voices", type=int, default=3)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--speakers", nargs="+", default=[])
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--per-speaker", action="store_true")
    given = parser.parse_args()
    enrolls = " new enrolled |" if given.per_speaker else ""
    print(
        f"| voice | clips of each emotion | new before |{enrolls} new after | without recordings | old before | "
        f"after | without recordings |\n|{'---|' * (9 if enrolls else 8)}",
        flush=True,
    )
    for clips in given.clips:
        if given.corpus is None:
            cases = spoken_cases(given.out, given.voices, given.factors, clips)
        else:
            cases = corpus_cases(
                given.out, given.corpus, given.speakers, given.draws, clips, given.per_speaker
            )
        for case in cases:
            figures = measured(case, given.out, clips, per_speaker=given.per_speaker)
            said = " | ".join(f"{figure:.1%}" for figure in figures)
            print(f"| {case.name} | {clips} | {said} |", flush=True)


def measured(case: Case, out: Path, clips: int, *, per_speaker: bool) -> list[float]:
    """Return the balanced accuracies of a row."""
    folder = out / f"{case.name} clips {clips}"
    folder.mkdir(exist_ok=True)
    few = folder / "few.parquet"
    case.few.write(few)
    after = [
        adapt(case.model, few, folder / name, settings, console=QUIET).model_folder
        for name, settings in (("with", []), ("without", ["data.rehearsal=null"]))
    ]
    enrolled = folder / "enrolled" / "model"
    if per_speaker and not enrolled.exists():
        enroll(case.model, few, folder / "enrolled", console=QUIET)
    nobody = Corpus(case.new.table.assign(speaker=None))
    return [
        accuracy(case.model, nobody),
        *([accuracy(enrolled, case.new)] if per_speaker else []),
        *(accuracy(model, case.new) for model in after),
        *(accuracy(model, case.old) for model in (case.model, *after)),
    ]


def spoken_cases(out: Path, voices: int, factors: list[float], clips: int) -> Iterator[Case]:
    """Yield new voices of *spoken*."""
    model, old = trained(out)
    for voice in range(voices):
        for factor in factors:
            new = transformed(out, voice, factor)
            yield Case(f"{new.table['speaker'].iloc[0]}, {factor:g}", model, *drawn(new, clips), old)


def corpus_cases(
    out: Path, path: Path, speakers: list[str], draws: int, clips: int, per_speaker: bool
) -> Iterator[Case]:
    """Yield speakers of a corpus, each left out of training, with several draws of clips."""
    table = Corpus.read(path).table.assign(split=None)
    for speaker in speakers:
        folder = out / speaker
        folder.mkdir(parents=True, exist_ok=True)
        others = table[table["speaker"] != speaker].sample(frac=1, random_state=0)
        learned = folder / "learned.parquet"
        Corpus(others[:LEARNED].reset_index(drop=True)).write(learned)
        old = Corpus(others[LEARNED : LEARNED + OLD].reset_index(drop=True))
        standardized = ["model.speech.normalization=speaker"] if per_speaker else []
        recipe = load_recipe("compact", [f"data.corpus={learned}", *SETTINGS, *LISTENS, *standardized])
        model = train(recipe, folder / "run", console=QUIET).model_folder
        for draw in range(draws):
            own = table[table["speaker"] == speaker].sample(frac=1, random_state=draw)
            few, new = drawn(Corpus(own.reset_index(drop=True)), clips)
            rest = Corpus(new.table[:NEW].reset_index(drop=True))
            yield Case(f"{speaker}, draw {draw + 1}", model, few, rest, old)


def trained(out: Path) -> tuple[Path, Corpus]:
    """Return a model that knows four voices, and clips of them that it was not trained on."""
    table_path = out / "old.parquet"
    if not table_path.exists():
        made = make_spoken(out / "old", train_voices=4, validation_voices=0, test_voices=0, utterances=144)
        groups = made.table.groupby("speaker").cumcount() // 4
        split = (groups < KEPT_FOR_TRAINING).map({True: "train", False: None})
        Corpus(made.table.assign(split=split)).write(table_path)
    corpus = Corpus.read(table_path)
    learned = corpus.table["split"].notna().to_numpy()
    corpus.select(learned).write(out / "learned.parquet")
    recipe = load_recipe("demo", [f"data.corpus={out / 'learned.parquet'}", *SETTINGS])
    run = train(recipe, out / "run", console=QUIET)
    return run.model_folder, corpus.select(~learned)


def transformed(out: Path, voice: int, factor: float) -> Corpus:
    """Return the clips of a new voice, resampled by a factor."""
    folder = out / f"voice {voice} factor {factor:g}"
    # The voices of a seed come in one order, of which training has the first four.
    made = make_spoken(out / "new", train_voices=4, validation_voices=voice, test_voices=1, utterances=100)
    table = made.table[made.table["split"] == "test"].reset_index(drop=True).assign(split=None)
    folder.mkdir(exist_ok=True)
    for row, path in enumerate(table["audio_path"]):
        sound, rate = soundfile.read(path, dtype="float32")
        changed = soxr.resample(sound, rate * factor, rate)
        soundfile.write(folder / Path(path).name, changed, rate)
        table.loc[row, ["audio_path", "duration"]] = str(folder / Path(path).name), len(changed) / rate
    return Corpus(table)


def drawn(corpus: Corpus, clips: int) -> tuple[Corpus, Corpus]:
    """Return so many clips of each emotion, and the others."""
    first = (corpus.table.groupby("emotion").cumcount() < clips).to_numpy()
    return corpus.select(first), corpus.select(~first)


def accuracy(model: Path, corpus: Corpus) -> float:
    """Return the balanced accuracy of a model."""
    recognizer = EmotionRecognizer.from_pretrained(model)
    judged = judge(predict_labeled(recognizer, corpus, batch_size=32), recognizer.labels)
    assert judged is not None
    return judged.balanced_accuracy


if __name__ == "__main__":
    main()
