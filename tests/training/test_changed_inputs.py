"""The same command on a corpus that has changed: no old figures."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from consoles import quiet
from interrupting import Interrupting
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.errors import RecipeError
from mmer.evaluation.evaluate import evaluate
from mmer.recipe.schema import Recipe
from mmer.training.changed_inputs import keep_sources, source_changes
from mmer.training.crossval.baseline_runs import cross_validate_baseline
from mmer.training.crossval.crossval import cross_validate
from mmer.training.run import train


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def own(tones: Path, tmp_path: Path) -> Path:
    """A copy of the corpus that may be changed."""
    shutil.copytree(tones.parent, tmp_path / "corpus")
    return tmp_path / "corpus" / tones.name


def relabel(table: Path) -> None:
    corpus = Corpus.read(table)
    corpus.table.loc[:3, "emotion"] = "sad"
    corpus.write(table)


def test_a_finished_run_of_another_corpus_is_refused(
    tiny: Callable[..., Recipe], own: Path, tmp_path: Path
) -> None:
    """That of an earlier version goes on with a note; the model knows what it was trained on."""
    recipe, out = tiny("training.epochs=1", corpus=own), tmp_path / "run"
    run = train(recipe, out, console=quiet())
    figures = evaluate(run.model_folder, Corpus.read(own), device="cpu")
    assert figures.in_training == {"utterances": 36, "train": 18, "validation": 9}
    shutil.move(out / "content", tmp_path / "content")
    console = quiet()
    train(recipe, out, console=console)
    assert "an earlier version began it" in printed(console)
    assert "is complete" in printed(console)
    shutil.move(tmp_path / "content", out / "content")
    shutil.move(own, tmp_path / "elsewhere")
    console = quiet()
    train(recipe, out, console=console)
    assert "is not there" in printed(console)
    assert "is complete" in printed(console)
    shutil.move(tmp_path / "elsewhere", own)
    for path in own.parent.glob("A_*"):  # as they were, under another date
        path.touch()
    console = quiet()
    train(recipe, out, console=console)
    assert "is complete" in printed(console)
    notes = [line for line in printed(console).splitlines() if line.startswith("note:")]
    assert all("CTC found no alignment" in note for note in notes)  # of the run, not of its corpus
    before = own.read_bytes()
    relabel(own)
    with pytest.raises(
        RecipeError,
        match=r"emotion of 4 utterances \(first A_angry_0: 'angry' before, 'sad' now\).*another folder",
    ):
        train(recipe, out, console=quiet())
    own.write_bytes(before)
    corpus = Corpus.read(own)
    corpus.table.loc[5, "transcript"] = "other words"
    corpus.write(own)
    with pytest.raises(RecipeError, match=r"transcript of 1 utterance"):
        train(recipe, out, console=quiet())
    own.write_bytes(before)
    shutil.copy(own.parent / "A_sad_0.wav", own.parent / "A_angry_0.wav")
    with pytest.raises(RecipeError, match=r"1 recording \(.*A_angry_0\.wav\)"):
        train(recipe, out, console=quiet())
    shutil.rmtree(out / "checkpoints")  # what remains is a finished run all the same
    with pytest.raises(RecipeError, match=r"1 recording"):
        train(recipe, out, console=quiet())


def test_an_encoder_that_was_replaced_is_another(
    tiny: Callable[..., Recipe], own: Path, reader: Path, tmp_path: Path
) -> None:
    encoder = shutil.copytree(reader, tmp_path / "reader")
    recipe = tiny("training.epochs=1", f"model.text.encoder={encoder}", "model.fusion=text", corpus=own)
    with pytest.raises(KeyboardInterrupt):  # before the judgement
        train(recipe, tmp_path / "run", console=Console(file=Interrupting("epoch 1/1")))
    config = encoder / "config.json"
    config.write_text(
        config.read_text().replace('"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2') + " "
    )
    with pytest.raises(RecipeError, match=r"the files of model\.text\.encoder"):
        train(recipe, tmp_path / "run", console=quiet())


@pytest.mark.parametrize("as_folder", [False, True])
def test_recordings_that_are_rehearsed_are_compared_too(
    tiny: Callable[..., Recipe], own: Path, tmp_path: Path, as_folder: bool
) -> None:
    table = Corpus.read(own).table
    names = [Path(path).name for path in table["audio_path"]]
    pd.DataFrame({"file_name": names, "label": table["emotion"]}).to_csv(own.parent / "metadata.csv")
    recipe = tiny(f"data.rehearsal={own.parent if as_folder else own}", "model.start_from=model")
    keep_sources(tmp_path, recipe)
    assert source_changes(tmp_path, recipe, quiet()) == []
    shutil.copy(own.parent / "A_sad_0.wav", own.parent / "A_angry_0.wav")
    assert source_changes(tmp_path, recipe, quiet()) == [
        "what is in data.corpus: the files of data.rehearsal"
    ]


@pytest.mark.slow
def test_a_cross_validation_of_another_corpus_is_refused(
    tiny: Callable[..., Recipe], own: Path, tmp_path: Path
) -> None:
    recipe = tiny("training.epochs=1", "protocol={test: [], folds: leave-one-out, validation: 1}", corpus=own)
    cross_validate(recipe, tmp_path / "cv", ["A"], console=quiet())
    relabel(own)
    with pytest.raises(RecipeError, match=r"emotion of 4 utterances"):
        cross_validate(recipe, tmp_path / "cv", ["A"], console=quiet())


def test_a_baseline_is_judged_anew(tiny: Callable[..., Recipe], own: Path, tmp_path: Path) -> None:
    recipe = tiny("protocol={test: [], folds: leave-one-out, validation: 1}", corpus=own)
    first = cross_validate_baseline("majority", recipe, tmp_path / "majority", console=quiet()).metrics
    relabel(own)
    again = cross_validate_baseline("majority", recipe, tmp_path / "majority", console=quiet()).metrics
    answers = pd.read_parquet(tmp_path / "majority" / "predictions.parquet")
    assert (answers["emotion"] == "sad").sum() == (Corpus.read(own).table["emotion"] == "sad").sum() == 16
    assert again.pooled.confusion_matrix != first.pooled.confusion_matrix


def test_a_refitted_model_knows_what_it_was_trained_on(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path
) -> None:
    run = train(tiny("training.epochs=1", "protocol.refit=true"), tmp_path / "refitted", console=quiet())
    figures = evaluate(run.model_folder, Corpus.read(tones), device="cpu")
    assert figures.in_training == {"utterances": 36, "train": 27, "validation": 0}
