"""Recipes and label maps that are damaged: read, or refused in one line."""

import pytest
from mutations import FEW_OR_MANY, check_one_line, mutations

from mmer.corpora.label_map import read_label_map
from mmer.errors import CorpusError, RecipeError
from mmer.recipe.schema import load_recipe
from mmer.recipes import read_recipe, recipe_names


@FEW_OR_MANY
def test_recipes(tmp_path, count: int) -> None:
    samples = [read_recipe(name)[1].encode() for name in recipe_names()] + [
        b"protocol: {test: [010, a], validation: 2}\ndata: {label_map: {exc: hap}, labels: [a, b]}\n",
        b"model: &m\n  speech: &s {train: lora}\n  text: *s\n  lora: {rank: 4}\n",
    ]
    path, read = tmp_path / "mine.yaml", 0
    for data in mutations(samples, count, seed=1):
        path.write_bytes(data)
        read += check_one_line(lambda: load_recipe(str(path)), path, data)
    assert 0 < read < count


@FEW_OR_MANY
def test_label_maps(tmp_path, count: int) -> None:
    samples = {
        ".yaml": b"excited: happy\n01: 'no'\nother: null\n",
        ".json": b'{"excited": "happy", "x": null}',
        ".csv": b'from,to\nexcited,happy\n"a,b",\n',
        ".tsv": b"from\tto\nexcited\thappy\n",
    }
    read = 0
    for suffix, sample in samples.items():
        path = tmp_path / f"map{suffix}"
        for data in mutations([sample], count // 4, seed=2):
            path.write_bytes(data)
            read += check_one_line(lambda path=path: read_label_map(path), path, data)
    assert 0 < read < count


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training: " + "[" * 5000, "nested too deeply"),
        ("training: {epochs: " + "9" * 5000 + "}", "must be a valid integer"),
        ("? [a, b]\n: c\n", "a key is no text"),
        ("? {a: b}\n: c\n", "a key is no text"),
        ("data: &a {label_map: *a}\n", "its aliases make it too large"),
        ("data: !!python/object/apply:os.getcwd []\n", "could not determine a constructor for the tag"),
        ("training: {epochs: !!int 3}\n", "could not determine a constructor for the tag"),
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n"
         + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
         "its aliases make it too large"),
        ('protocol: {test: ["\\ud800"]}', "not YAML"),
        ("protocol: {test: [a, [b]]}", 'protocol.test is ["a", ["b"]]; it must be text'),
        ("protocol: {test: {a: b}}", "it must be a list such as [A, B]"),
        ("data: {label_map: {a: null}}", "it must be text"),
        ("data: {label_map: [a]}", "data.label_map is"),
    ],
)  # fmt: skip
def test_one_line(tmp_path, text: str, told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    message = str(caught.value)
    assert message.startswith(f"recipe {path}")
    assert told in message
    assert "\n" not in message
    assert len(message) < 700


def test_anchors_and_merges_still_work(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "model:\n  speech: {compact: &small {hidden_size: 64}}\n  text: {compact: {<<: *small, dropout: 0.2}}\n"
    )
    recipe = load_recipe(str(path))
    assert recipe.model.speech.compact.hidden_size == recipe.model.text.compact.hidden_size == 64
    assert recipe.model.text.compact.dropout == 0.2


def test_long_names_in_an_error(tmp_path) -> None:
    """A file whose header is long does not make a long error."""
    path = tmp_path / "map.csv"
    path.write_text("from," + "x" * 100_000 + "\na,b\n")
    with pytest.raises(CorpusError) as caught:
        read_label_map(path)
    assert str(caught.value).startswith(f"{path}: has the columns from, xxx")
    assert len(str(caught.value)) == 1500


@pytest.mark.parametrize("filler", ["#", "a: [1, 2]\nb: "])
def test_a_file_without_end(tmp_path, filler: str) -> None:
    """PyYAML would read it for minutes."""
    path = tmp_path / "mine.yaml"
    path.write_text(filler * 1_000_000)
    with pytest.raises(RecipeError, match="has more than 500000 characters"):
        load_recipe(str(path))
    with pytest.raises(CorpusError, match="has more than 500000 characters"):
        read_label_map(path)
