"""The folder of a cross-validation before a fold is trained: its folds, their recipes, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from consoles import quiet

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.folds import Folds
from mmer.errors import CorpusError, RecipeError
from mmer.recipe.schema import Recipe, load_recipe
from mmer.training.crossval.crossval import cross_validate


def prepared(recipe: Recipe, out: Path) -> tuple[Folds, dict[str, Recipe]]:
    """The folds of a cross-validation of which none is trained, and their recipes."""
    cross_validate(recipe, out, (), console=quiet())
    folds = Folds.read(out / "folds.json")
    return folds, {name: load_recipe(str(out / "folds" / name / "recipe.yaml")) for name in folds.folds}


def test_each_fold_is_a_recipe(tiny: Callable[..., Recipe], tmp_path: Path):
    recipe = tiny("protocol={test: [D], validation: 1}")
    _, recipes = prepared(recipe, tmp_path / "run")
    assert [(r.protocol.test, r.protocol.validation) for r in recipes.values()] == [
        (["A"], ["B"]),
        (["B"], ["C"]),
        (["C"], ["D"]),
        (["D"], ["A"]),
    ]
    assert recipes["D"].data.labels == ["angry", "calm", "sad"]
    assert set(recipe.differences(recipes["D"])) == {"data.labels", "protocol.validation"}
    splits = json.loads((tmp_path / "run" / "folds" / "C" / "splits.json").read_text())
    assert splits["speakers"] == {"train": ["A", "B"], "validation": ["D"], "test": ["C"]}


def test_folds_of_a_file(tones: Path, tiny: Callable[..., Recipe], tmp_path: Path):
    recipe = tiny("protocol={test: [], validation: 1, folds: 2}")
    folds, _ = prepared(recipe, tmp_path / "run")
    file = tmp_path / "run" / "folds.json"
    again, _ = prepared(
        tiny(f"protocol={{validation: 1, folds: {file}}}", "training.seed=5"), tmp_path / "again"
    )
    assert again == folds
    without, _ = prepared(
        tiny(f"protocol={{selection: last, validation: 0, folds: {file}}}"), tmp_path / "none"
    )
    assert [fold.test for fold in without.folds.values()] == [fold.test for fold in folds.folds.values()]
    assert [fold.validation for fold in without.folds.values()] == [(), ()]

    folds_of_two_emotions = tmp_path / "two" / "folds.json"
    two, _ = prepared(
        tiny("protocol={test: [], validation: 1, folds: 2}", "data.labels=[angry, sad]"), tmp_path / "two"
    )
    of_all, _ = prepared(
        tiny(f"protocol={{validation: 1, folds: {folds_of_two_emotions}}}"), tmp_path / "of all"
    )
    assert of_all == two

    table = Corpus.read(tones).table
    Corpus(table.iloc[1:]).write(tmp_path / "fewer.parquet")
    other = tiny(f"protocol={{validation: 1, folds: {file}}}", corpus=tmp_path / "fewer.parquet")
    with pytest.raises(CorpusError, match=r"its folds are of another corpus, 36 utterances .* has 35"):
        cross_validate(other, tmp_path / "other", console=quiet())
    file.write_text(file.read_text().replace('"C"', '"E"'))
    with pytest.raises(CorpusError, match="was changed after it was written"):
        cross_validate(
            tiny(f"protocol={{validation: 1, folds: {file}}}"), tmp_path / "changed", console=quiet()
        )
    assert not (tmp_path / "changed").exists()


def test_speakers_validate_in_folds_of_sessions(tones: Path, tiny: Callable[..., Recipe], tmp_path: Path):
    table = Corpus.read(tones).table
    Corpus(table.assign(session=table["speaker"].map({"A": "1", "B": "1", "C": "2", "D": "2"}))).write(
        tmp_path / "sessions.parquet"
    )
    protocol = "protocol={test: [], validation: 1, group: session, validation_group: speaker}"
    folds, recipes = prepared(tiny(protocol, corpus=tmp_path / "sessions.parquet"), tmp_path / "run")
    for name, fold in folds.folds.items():
        splits = json.loads((tmp_path / "run" / "folds" / name / "splits.json").read_text())["speakers"]
        assert splits["test"] == {"1": ["A", "B"], "2": ["C", "D"]}[name]
        assert splits["validation"] == list(fold.validation)
        assert len(splits["train"]) == 1
        assert recipes[name].protocol.validation_group == "speaker"


def test_folds_that_are_still_to_be_trained_run_as_the_recipe_says_now(
    tiny: Callable[..., Recipe], tmp_path: Path
):
    prepared(tiny("protocol={test: [], validation: 1}"), tmp_path / "run")
    changed = ["training.activation_checkpointing=cheap", "training.report_to=[]"]
    _, recipes = prepared(tiny("protocol={test: [], validation: 1}", *changed), tmp_path / "run")
    assert {
        (each.training.activation_checkpointing, len(each.training.report_to)) for each in recipes.values()
    } == {("cheap", 0)}


@pytest.mark.parametrize("deleted", ["folds/C", "folds"])
def test_a_fold_that_was_deleted_begins_again_as_it_was(
    tiny: Callable[..., Recipe], tmp_path: Path, deleted: str
):
    recipe, folder = tiny("protocol={test: [], validation: 1}"), tmp_path / "run"
    folds, _ = prepared(recipe, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(folder / deleted)
    assert prepared(recipe, folder)[0] == folds
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_official_folds(tones: Path, tiny: Callable[..., Recipe], tmp_path: Path):
    table = Corpus.read(tones).table
    table["fold"] = table["speaker"].map({"A": "1", "B": "1", "C": "2", "D": "3"})
    table["split"] = table["speaker"].map({"A": "train", "B": "train", "C": "test", "D": None})
    Corpus(table).write(tmp_path / "folds.parquet")
    Corpus(table.assign(fold=None)).write(tmp_path / "split.parquet")
    protocol = "protocol={test: [], folds: official, validation: 1}"
    folds, recipes = prepared(tiny(protocol, corpus=tmp_path / "folds.parquet"), tmp_path / "folds")
    assert folds.group == "fold"
    assert recipes["3"].protocol.model_dump(include={"group", "test", "validation", "folds"}) == {
        "group": "fold",
        "test": ["3"],
        "validation": ["1"],
        "folds": None,
    }
    prepared(tiny(protocol, corpus=tmp_path / "split.parquet"), tmp_path / "split")
    splits = json.loads((tmp_path / "split" / "folds" / "official" / "splits.json").read_text())["speakers"]
    assert splits["test"] == ["C"]
    assert sorted(splits["train"] + splits["validation"]) == ["A", "B"]
    used = Corpus.read(tmp_path / "split" / "corpus.parquet").table
    assert dict(zip(used["speaker"], used["fold"], strict=True)) == {
        "A": None,
        "B": None,
        "C": "official",
        "D": None,
    }


def test_what_a_fold_must_not_read_is_listed(tones: Path, tiny: Callable[..., Recipe], tmp_path: Path):
    table = Corpus.read(tones).table
    table["transcript"] = [f"{'yes' if i % 5 else 'no'} number{i // 5 if i % 3 else i}" for i in range(36)]
    Corpus(table).write(tmp_path / "corpus.parquet")
    protocol = "protocol={test: [], validation: 1, text_disjoint: true, text_similarity: 1}"
    folds, _ = prepared(tiny(protocol, corpus=tmp_path / "corpus.parquet"), tmp_path / "run")
    removed = set()
    for name, fold in folds.folds.items():
        tested = table[table["speaker"].isin(fold.test)]
        others = table[~table["speaker"].isin(fold.test)]
        same = others["utterance_id"][others["transcript"].isin(set(tested["transcript"]))]
        assert set(fold.removed) == set(same)
        skipped = pd.read_csv(tmp_path / "run" / "folds" / name / "skipped.csv")
        assert set(skipped["utterance_id"]) == set(same)
        removed |= set(same)
    assert removed


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["protocol.validation=[C]"],
            r'protocol.validation is \["C"\]; in a cross-validation it must be the number',
        ),
        (["protocol.validation=3"], "3 speakers besides the tested, too few for 3 to validate"),
        (
            ["protocol={validation: 1, no_test: true}"],
            "no_test is true, but a cross-validation tests each fold",
        ),
        (["protocol={validation: 1, folds: 5}"], "has 4 speakers and .* too few for 5 folds"),
        (["protocol={validation: 1, text_disjoint: true}"], "fold A: .*no utterance is left to train on"),
        (["protocol={validation: 1, group: dialogue}"], "no column 'dialogue' to group by"),
        (["protocol={validation: 1, folds: official}"], "has no official folds"),
        (["protocol={validation: 1, folds: nowhere.json}"], "cannot read the folds nowhere.json"),
        (
            ["protocol={validation: 0}"],
            "fold A: protocol.selection is validation, but the validation split is empty",
        ),
    ],
)
def test_refused(tiny: Callable[..., Recipe], tmp_path: Path, overrides: list[str], told: str):
    with pytest.raises((RecipeError, CorpusError), match=told) as caught:
        cross_validate(tiny("protocol.test=[]", *overrides), tmp_path / "run", console=quiet())
    assert "\n" not in str(caught.value)
    # Nothing was trained, so the folder can be used again.
    prepared(tiny("protocol={test: [], validation: 1}"), tmp_path / "run")
