import json
import re
from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from mmer.augment.settings import AugmentSettings
from mmer.errors import RecipeError
from mmer.recipe.parsing import list_settings, read_settings
from mmer.recipe.schema import Recipe, load_recipe
from mmer.recipe.values import Section
from mmer.recipes import recipe_names
from mmer.serving.settings import ServeSettings

PUBLISHED = ["iemocap-beyond", "iemocap-official", "iemocap-paper"]
SHIPPED = ["compact", "demo", "emotion2vec", *PUBLISHED, "laptop", "probe"]


@pytest.fixture
def recipe_file(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def error_of(name: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, list(overrides))
    message = str(caught.value)
    assert "\n" not in message
    return message


SHIPPED = [
    "compact",
    "demo",
    "emotion2vec",
    "iemocap-beyond",
    "iemocap-official",
    "iemocap-paper",
    "laptop",
    "probe",
]


def test_shipped_recipes():
    assert recipe_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_dump_is_complete_and_reloads_equal(name: str, recipe_file):
    recipe = load_recipe(name)
    text = recipe.dump()
    assert load_recipe(recipe_file(text)) == recipe

    def keys(model: type[Section]) -> set[str]:
        inside = {name: field.annotation for name, field in model.model_fields.items()}
        return {
            path
            for name, kind in inside.items()
            for path in (
                {f"{name}.{key}" for key in keys(kind)}
                if isinstance(kind, type) and issubclass(kind, Section)
                else {name}
            )
        }

    def dumped(settings: dict, known: set[str]) -> set[str]:
        return {key for key in known if _has(settings, key.split("."))}

    assert dumped(yaml.safe_load(text), keys(Recipe)) == keys(Recipe)


def _has(settings: dict, path: list[str]) -> bool:
    for key in path:
        if key not in settings:
            return False
        settings = settings[key]
    return True


def test_paper_and_official_settings():
    paper, official = load_recipe("iemocap-paper"), load_recipe("iemocap-official")
    for recipe in (paper, official):
        assert recipe.data.labels == ["angry", "happy", "neutral", "sad"]
        assert recipe.data.label_map == {"excited": "happy"}
        assert recipe.protocol.group == "session"
        assert recipe.model.speech.encoder == "facebook/wav2vec2-base"
        assert recipe.model.speech.train == "full"
        assert recipe.model.speech.freeze_feature_extractor
        assert not recipe.model.speech.spec_augment
        assert (recipe.model.text.encoder, recipe.model.text.train) == ("roberta-base", "frozen")
        weights = recipe.objectives
        assert (
            weights.ctc_weight
            == weights.supervised_contrastive_weight
            == weights.augmented_contrastive_weight
            == 0.1
        )
        assert (recipe.training.epochs, recipe.training.accumulation, recipe.training.schedule) == (
            100,
            4,
            "constant",
        )
    assert (paper.training.batch_size, paper.training.learning_rate) == (4, 1e-5)
    assert (paper.objectives.formulation, paper.protocol.selection) == ("paper", "validation")
    assert (official.training.batch_size, official.training.learning_rate) == (2, 5e-5)
    assert (official.objectives.formulation, official.protocol.selection) == ("official", "test")
    assert official.data.crop_duration == 210_000 / 16_000


def test_every_setting_is_described():
    def undescribed(model: type[Section]) -> list[str]:
        missing = [
            f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description
        ]
        for field in model.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                missing += undescribed(field.annotation)
        return missing

    assert undescribed(Recipe) == []


def test_the_last_override_wins():
    recipe = load_recipe(
        "demo",
        [
            "training.epochs=3",
            "training.epochs=4",
            "training.learning_rate=1e-4",
            "protocol.test=[F01, 5]",
            "data.labels=null",
            "data.corpus=clips/corpus.parquet",
            "augment.speech.snr_db=[5, 20]",
        ],
    )
    assert recipe.training.epochs == 4
    assert recipe.training.learning_rate == 1e-4
    assert recipe.protocol.test == ["F01", "5"]
    assert recipe.data.labels is None
    assert recipe.data.corpus == Path("clips/corpus.parquet")
    assert recipe.augment.speech.snr_db == (5.0, 20.0)


def test_override_of_a_section_changes_only_what_it_names():
    changed = load_recipe("demo", ["model.text.compact={hidden_size: 40}"])
    assert changed.differences(load_recipe("demo")) == ["model.text.compact.hidden_size"]


def test_partial_section_keeps_the_defaults(recipe_file):
    recipe = load_recipe(recipe_file("model: {text: {compact: {hidden_size: 64}}}"))
    assert recipe.differences(Recipe()) == ["model.text.compact.hidden_size"]


def test_empty_file_is_all_defaults(recipe_file):
    assert load_recipe(recipe_file("")) == Recipe()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.epoch=3", "unknown key training.epoch; did you mean training.epochs?"),
        ("epochs=3", "unknown key epochs; did you mean training.epochs?"),
        ("model.speech.compact={hiden_size: 3}", "did you mean model.speech.compact.hidden_size?"),
        ("zzz=1", "the keys of a recipe are data, protocol"),
        ("training.epochs.x=3", 'training.epochs is {"x": "3"}; it must be a valid integer'),
        ("training.epochs=three", 'training.epochs is "three"; it must be a valid integer'),
        ("training.epochs=true", 'training.epochs is "true"; it must be a valid integer'),
        ("training.seed=1.5", "training.seed is 1.5; it must be a valid integer"),
        ("training.epochs=0", "training.epochs is 0; it must be greater than 0"),
        (
            "training.precision=bf16",
            "training.precision is \"bf16\"; it must be 'float32', 'bfloat16' or 'float16'",
        ),
        ("protocol.test=a,,b", 'protocol.test is ["a", null, "b"]; it must be text'),
        ("protocol.validation=1.5", "it must be a valid integer or a list such as [A, B]"),
        ("data.labels=[sad]", "it must be a list of at least 2 items"),
        ("augment.speech.snr_db=[30, 10]", "it must be two numbers [smallest, largest]"),
        (
            "model.speech.compact.hidden_size=130",
            "hidden_size is 130, not a multiple of num_attention_heads (4)",
        ),
        ("model.speech=compact", 'model.speech is "compact", not a section; its settings are encoder,'),
        ("training.learning_rate=[", 'training.learning_rate is "["; it must be a valid number'),
        ("training={seed: 1, seed: 2}", "'seed' is given twice"),
        ("training={seed: 1", "not YAML"),
        ("training.max_grad_norm=.inf", "it must be a finite number"),
        ("training.seed", "is not of the form section.setting=value"),
    ],
)
def test_wrong_override_is_one_line_that_names_it(override: str, told: str):
    message = error_of("demo", "training.batch_size=4", override)
    assert message.startswith(f"override {override!r}")
    assert told in message


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["protocol.group=session", "protocol.refit=true", "protocol.selection=last"],
            "protocol.selection=last",
        ),
        (
            ["protocol.group=session", "protocol={refit: true, validation: 0}"],
            "protocol={refit: true, validation: 0}",
        ),
        (["model.dropout=0.2", "model.lora.rank=4"], "model.lora.rank=4"),
        (["model.lora.rank=4", "model.speech={train: frozen}"], "model.speech={train: frozen}"),
        (
            ["model.speech.encoder=x", "model.lora={rank: 4}", "model.speech.layers=last"],
            "model.lora={rank: 4}",
        ),
        (["data.max_duration=9", "data.rehearsal=old"], "data.rehearsal=old"),
    ],
)
def test_settings_that_do_not_go_together_are_told_by_one_of_them(overrides: list[str], told: str):
    assert error_of("demo", *overrides).startswith(f"override {told!r}: ")


def test_settings_that_do_not_go_together_in_a_file_are_told_by_the_file(recipe_file):
    file = recipe_file("protocol: {refit: true, selection: last}")
    assert error_of(file, "protocol.group=session").startswith(f"recipe {file}: in protocol, refit is true")


def test_wrong_setting_in_a_file_names_the_file(recipe_file):
    path = recipe_file("training:\n  epochs: many\n")
    assert (
        error_of(path, "training.seed=1")
        == f'recipe {path}: training.epochs is "many"; it must be a valid integer'
    )
    path = recipe_file("trainin:\n  epochs: 1\n")
    assert error_of(path) == f"recipe {path}: unknown key trainin; did you mean training?"
    path = recipe_file("training: {epochs: 1\nmodel:")
    assert error_of(path).startswith(f"recipe {path}, line 2: not YAML")
    path = recipe_file("- a\n- b\n")
    assert error_of(path).startswith(f'recipe {path}: found ["a", "b"], not a section')


def test_unknown_recipe_names_the_nearest_and_all():
    message = error_of("iemocap-papr")
    assert "did you mean iemocap-paper?" in message
    assert all(name in message for name in recipe_names())
    assert error_of("missing.yaml") == "cannot read recipe missing.yaml: No such file or directory"


def test_file_that_is_not_text(tmp_path: Path):
    path = tmp_path / "clip.yaml"
    path.write_bytes(b"\xff\xfe\x00RIFF")
    assert error_of(str(path)) == f"cannot read recipe {path}: it is not UTF-8 text"


def test_recipe_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("demo").training.epochs = 3  # type: ignore[misc]


@settings(max_examples=30)
@given(
    epochs=st.integers(1, 10**6),
    rate=st.floats(1e-9, 10, allow_nan=False),
    groups=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=8), max_size=3
    ),
)
def test_any_valid_recipe_survives_its_dump(tmp_path_factory, epochs: int, rate: float, groups: list[str]):
    recipe = Recipe.model_validate(
        {
            "training": {"epochs": epochs, "learning_rate": rate},
            "protocol": {"test": groups, "validation": groups},
        }
    )
    path = tmp_path_factory.getbasetemp() / "mine.yaml"
    path.write_text(recipe.dump(), encoding="utf-8")
    assert load_recipe(str(path)) == recipe


@pytest.mark.parametrize(
    ("overrides", "has"),
    [
        ([], False),
        (["model.missing_modality_embeddings=true"], True),
        (["augment.missing.text=0.1"], True),
        (["augment.missing.speech=0.1", "model.fusion=naive"], True),
        (["augment.missing.speech=0.1", "model.fusion=text"], False),
    ],
)
def test_when_a_network_has_missing_modality_embeddings(overrides: list[str], has: bool) -> None:
    assert load_recipe("demo", overrides).missing_modality_embeddings == has


def test_not_everything_can_be_missing() -> None:
    with pytest.raises(
        RecipeError,
        match=r"in augment\.missing, speech and text add up to 1\.2, more than 1; lower one of them$",
    ):
        load_recipe("demo", ["augment.missing={speech: 0.6, text: 0.6}"])


@pytest.mark.parametrize("side", ["speech", "text"])
def test_what_of_an_encoder_learns(side: str):
    for train in ("full", "frozen", "lora", "last:1", "last:12"):
        assert getattr(load_recipe("demo", [f"model.{side}.train={train}"]).model, side).train == train
    for wrong in ("last:0", "last:-1", "last:", "last", "Lora", "true", "2"):
        message = error_of("demo", f"model.{side}.train={wrong}")
        assert "must be full, frozen, lora, or last:N for its last N layers, as last:2" in message


def test_settings_of_lora_without_lora():
    assert load_recipe("demo", ["model.lora.rank=4", "model.text.train=lora"]).model.lora.rank == 4
    message = error_of("demo", "model.lora.rank=4")
    assert (
        "in model, lora is set, but neither speech.train nor text.train is lora; set one of them to"
        in message
    )


def test_parts_to_ablate_of_a_fusion_without_parts():
    told = "in model, ablate is set and fusion is text, which has no parts to ablate; set fusion to mmer"
    assert told in error_of("demo", "model.fusion=text", "model.ablate=gate")


WRONG = (
    "three",
    "-1",
    "1e99",
    "[a, b]",
    "{a: b}",
    "[]",
    "null",
    "true",
    "''",
    "[1, 2, 3]",
    "[[a]]",
    "1.5",
    ".nan",
)


@pytest.mark.parametrize("kind", [Recipe, AugmentSettings, ServeSettings])
def test_no_error_of_a_setting_is_in_the_words_of_pydantic(kind: type[BaseModel]):
    refused = []
    for setting, value in product(list_settings(kind), WRONG):
        text = value
        for key in reversed(setting.name.split(".")):
            text = f"{{{key}: {text}}}"
        try:
            read_settings(kind, text, "a file")
        except RecipeError as error:
            refused.append(str(error))
    assert len(refused) > 30
    theirs = re.compile(r"Input|Value error|after validation|boolean|\bobject\b|\barray\b|\n")
    assert [message for message in refused if theirs.search(message)] == []


TEXTS = [
    "010",
    "007",
    "1_1",
    "1:30",
    "NO",
    "on",
    "y",
    "true",
    "1e3",
    "0x1F",
    "2024-05-01",
    "null",
    "~",
    ".inf",
    "=",
]


@pytest.mark.parametrize("name", TEXTS)
def test_names_are_text(recipe_file, name: str):
    written = f"protocol: {{test: [{name}], validation: [x, {name}], group: {name}}}\n"
    from_file = load_recipe(recipe_file(f"{written}data: {{label_map: {{{name}: {name} b}}}}\n"))
    assert from_file.protocol.test == [name]
    assert from_file.protocol.validation == ["x", name]
    assert from_file.protocol.group == name
    assert from_file.data.label_map == {name: f"{name} b"}
    for override in (f"[{name}]", name, f'["{name}"]', f"'{name}'", f" [ {name} , ] "):
        if override != name or not name.isdecimal():
            assert load_recipe("demo", [f"protocol.test={override}"]).protocol.test == [name]
    changed = load_recipe("demo", [f"protocol.validation=[{name}]", f"data.label_map={{a: {name} b}}"])
    assert changed.protocol.validation == [name]
    assert changed.data.label_map == {"a": f"{name} b"}


@pytest.mark.parametrize(
    "path",
    ["2024", "010.csv", "a #b.csv", "a: b.csv", "{x}.csv", "[x].csv", "it's.csv", '"a" b.csv', "*.csv", "&a", "!x",
     "@x",
     "%x", "- a", "? a", "a\\b", "true", "1e3", "2024-05-01", "a, b.csv", "ł ż.csv", "a=b.csv", "😀.csv"],
)  # fmt: skip
def test_paths_are_what_is_written(path: str):
    assert load_recipe("demo", [f"data.corpus={path}"]).data.corpus == Path(path)
    assert load_recipe("demo", [f"data.corpus={json.dumps(path)}"]).data.corpus == Path(path)
    quoted = path.replace("'", "''")
    assert load_recipe("demo", [f"data.corpus='{quoted}'"]).data.corpus == Path(path)


def test_no_path():
    for nothing in ("null", "~", ""):
        assert load_recipe("demo", [f"data.corpus={nothing}"]).data.corpus is None
    assert load_recipe("demo", ['data.corpus="null"']).data.corpus == Path("null")


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("anna", ["anna"]),
        ("anna,ben", ["anna", "ben"]),
        ("anna, ben", ["anna", "ben"]),
        ('"Smith, Anna",ben', ["Smith, Anna", "ben"]),
        ('["Smith, Anna", \'O\'\'Neil\']', ["Smith, Anna", "O'Neil"]),
        ("[a: b, #c, {d}, [e], *f, &g, !h, @i]", ["a: b", "#c", "{d}", "[e]", "*f", "&g", "!h", "@i"]),
        ("O'Neil,5' 2\"", ["O'Neil", "5' 2\""]),
        ("[]", []),
        ("5", ["5"]),
        ("  Zoe\u0308\u00a0 K. ", ["Zo\u00eb K."]),
    ],
)  # fmt: skip
def test_names_with_and_without_brackets(recipe_file, written: str, names: list[str]):
    assert load_recipe("demo", [f"protocol.test={written}"]).protocol.test == names
    assert load_recipe("demo", ["protocol.validation=2"]).protocol.validation == 2
    assert load_recipe("demo", ["protocol.validation=[2]"]).protocol.validation == ["2"]
    assert load_recipe(recipe_file("protocol: {test: anna}")).protocol.test == ["anna"]
    assert load_recipe(recipe_file("protocol:\n  test: anna, ben\n")).protocol.test == ["anna", "ben"]
    assert load_recipe(recipe_file("protocol: {test: 'Smith, Anna'}")).protocol.test == ["Smith, Anna"]


def test_numbers_are_decimal():
    for written, value in (("010", 10), ("+3", 3), ("1_000", 1000)):
        assert load_recipe("demo", [f"training.epochs={written}"]).training.epochs == value
    for written, value in (("1e-5", 1e-5), ("1.e2", 100.0), (".5", 0.5), ("3", 3.0)):
        assert load_recipe("demo", [f"training.learning_rate={written}"]).training.learning_rate == value
    for wrong in ("1:30", "0x10", '"3"', "3 # x", "nan", "9" * 5000):
        assert "training.epochs is" in error_of("demo", f"training.epochs={wrong}")
    for truth in ("true", "yes", "On"):
        assert load_recipe("demo", [f"protocol.text_disjoint={truth}"]).protocol.text_disjoint is True


def test_a_label_that_is_there_twice():
    for labels in ("[angry, sad, angry]", "angry,sad,angry\u00a0"):
        assert "a list that has each name once" in error_of("demo", f"data.labels={labels}")


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        (
            "{refit: true, selection: last, validation: 1}",
            "refit is true and selection is last, which already trains on all that it may; set selection to",
        ),
        (
            "{refit: true, selection: test, validation: 1}",
            "refit is true and selection is test, which has read the test split; set selection to",
        ),
        (
            "{refit: true, validation: 0}",
            "refit is true and validation is 0, so no split can choose the epoch; set validation to",
        ),
    ],
)
def test_what_refit_cannot_be_joined_with(protocol: str, reason: str):
    assert reason in error_of("compact", f"protocol={protocol}")


def test_settings_that_change_no_answer_are_no_difference():
    recipe = load_recipe("iemocap-paper")
    how = [
        "training.activation_checkpointing=none",
        "training.workers=3",
        "training.log_gradient_shares=true",
    ]
    how += ["training.report_to=[]", "training.text_cache_gb=0"]
    changed = load_recipe("iemocap-paper", how)
    assert changed != recipe
    assert changed.differences(recipe) == []
    assert recipe.run_as(changed) == changed
    other = load_recipe("iemocap-paper", [*how, "training.micro_batch_size=2", "protocol.seed=1"])
    assert other.differences(recipe) == ["protocol.seed"]


@pytest.mark.parametrize(("utterances", "epochs"), [(1, 300), (72, 100), (2099, 6), (9600, 6), (100_000, 6)])
def test_a_small_corpus_is_passed_over_more_often(utterances: int, epochs: int) -> None:
    """By `compact`, until 300 steps of 32 utterances are reached; a number of epochs that is given stays."""
    assert load_recipe("compact").training.epochs_of(utterances) == epochs
    assert load_recipe("compact", ["training.steps=600"]).training.epochs_of(72) == 200
    assert load_recipe("compact", ["training.epochs=7"]).training.epochs_of(utterances) == 7
    accumulating = load_recipe("compact", ["training.accumulation=3"]).training
    assert (accumulating.steps_an_epoch(192), accumulating.epochs_of(192)) == (2, 150)
