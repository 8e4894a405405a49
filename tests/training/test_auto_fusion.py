"""`model.fusion: auto`: what decides, what is said, and that a run and its folds go on with what was decided."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from commands import train_folds_here
from interrupting import Interrupting
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.errors import RecipeError
from mmer.evaluation.report.page import write_report
from mmer.inference import EmotionRecognizer
from mmer.model.build import fusion_note, with_fusion
from mmer.recipe.schema import Recipe, load_recipe, load_run_recipe
from mmer.training.crossval import crossval
from mmer.training.crossval.crossval import cross_validate
from mmer.training.data.preparation import prepare, write_preparation
from mmer.training.run import train

Tiny = Callable[..., Recipe]
TELLING = [
    (f"I {word} {thing}", emotion)
    for word, emotion in (("hate", "angry"), ("love", "happy"))
    for thing in ("my car", "the dog", "this cup", "her hat", "old songs", "the sea", "his coat", "our cat")
]
SAME = [(text, emotion) for text, _ in TELLING for emotion in ("angry", "happy")]
ONE_EPOCH = ("model.fusion=auto", "training.epochs=1")


def said(*texts: tuple[str | None, str], audio: str | None = "a.wav") -> Corpus:
    rows = [
        {"utterance_id": str(i), "audio_path": audio, "transcript": text, "emotion": emotion}
        for i, (text, emotion) in enumerate(texts)
    ]
    return Corpus(pd.DataFrame(rows))


def console() -> Console:
    return Console(file=StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return " ".join(console.file.getvalue().split())


@pytest.mark.parametrize(
    ("corpus", "settings", "fusion", "note"),
    [
        (said(*TELLING), [], "mmer", None),
        (said(*SAME), [], "speech", "do not tell the emotions of other sentences apart"),
        (said((None, "angry"), ("[laughter]", "happy")), [], "speech", "has a transcript"),
        (said(*SAME, audio=None), [], "text", "has a recording"),
        (said(*SAME), ["augment.missing.text=0.1"], "mmer", None),
        (said(*SAME), ["model.fusion=naive"], "naive", None),
    ],
)
def test_the_training_utterances_decide(
    corpus: Corpus, settings: list[str], fusion: str, note: str | None
) -> None:
    asked = load_recipe("compact", settings)
    decided = with_fusion(asked, corpus)
    assert decided.model.fusion == fusion
    assert with_fusion(decided, corpus) == decided
    told = fusion_note(asked, decided, corpus)
    assert (told is None) if note is None else (told is not None and note in told)


def test_a_run_keeps_what_was_decided(tiny: Tiny, tones: Path, tmp_path: Path) -> None:
    """A corpus without transcripts needs no setting; the same command goes on, one that reads is another recipe."""
    silent = tones.parent / "silent.parquet"
    pd.read_parquet(tones).drop(columns="transcript").to_parquet(silent)
    recipe, screen = tiny(*ONE_EPOCH, corpus=silent), console()
    run = train(recipe, tmp_path / "run", console=screen)
    assert "note: no training utterance has a transcript, so the network only listens" in printed(screen)
    assert load_run_recipe(run.folder).model.fusion == "speech"
    assert train(recipe, tmp_path / "run", console=console()).metrics == run.metrics
    with pytest.raises(RecipeError, match=r"model\.fusion"):
        train(tiny("model.fusion=mmer", "training.epochs=1"), tmp_path / "run", console=console())
    answer = EmotionRecognizer.from_pretrained(run.model_folder)(str(tones.parent / "A_sad_0.wav"))
    assert not answer.warnings
    assert "CTC (weight" not in write_report(run.folder).read_text()  # there were no words to learn it from


def test_another_corpus_decides_anew(tiny: Tiny, tones: Path, tmp_path: Path) -> None:
    """A folder whose run reached no epoch, for example because of an error in the recipe, takes another corpus."""
    table = pd.read_parquet(tones)
    telling = tones.parent / "telling.parquet"
    table.assign(transcript=table["emotion"] + " word" + table.index.astype(str)).to_parquet(telling)
    first, second = (tiny(*ONE_EPOCH, corpus=corpus) for corpus in (tones, telling))
    begun = prepare(first)
    write_preparation(begun, with_fusion(first, begun.part("train")), tmp_path / "run")
    assert load_run_recipe(tmp_path / "run").model.fusion == "speech"
    with pytest.raises(KeyboardInterrupt):  # before the judgement
        train(second, tmp_path / "run", console=Console(file=Interrupting("epoch 1/1")))
    assert load_run_recipe(tmp_path / "run").model.fusion == "mmer"


def test_folds_decide_for_themselves(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sentences are too few to tell whether words tell, so that both folds listen."""
    monkeypatch.setattr(crossval, "train_folds", train_folds_here)
    recipe = tiny(*ONE_EPOCH, "protocol={test: [], folds: 2, validation: 0, selection: last}")
    screen = console()
    made = cross_validate(recipe, tmp_path / "folds", console=screen)
    assert "note: in 2 of 2 folds, the words of the training utterances do not tell" in printed(screen)
    assert load_run_recipe(made.folder).model.fusion == "auto"
    report = write_report(made.folder).read_text()
    assert "A model of the kind “speech” (encoders: compact for speech)" in report
    assert "training had 2" in report  # two of four speakers, in each fold
    again = console()
    cross_validate(recipe, tmp_path / "folds", console=again)
    assert "only listens" not in printed(again)
