"""`mmer ablate` on tones, its figures by hand, its pictures, and what it refuses."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import train_folds_here
from consoles import quiet
from PIL import Image
from rich.console import Console, RenderableType

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.folds import Folds
from mmer.display.picture import Picture
from mmer.errors import MMERError, RecipeError, TrainingError
from mmer.evaluation.evaluate import evaluate
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.report.run_files import read_run, verdict
from mmer.evaluation.results import CrossValidationMetrics
from mmer.evaluation.terminal_tables import figure_tables
from mmer.training.ablation import report
from mmer.training.ablation.ablation import ablate, neutral_bias
from mmer.training.ablation.results import Ablation, RowFigures, TranscriptFigures
from mmer.training.ablation.rows import ROWS, learns, row_recipe
from mmer.training.crossval import crossval
from mmer.training.crossval.baseline_runs import baseline_of, cross_validate_baseline
from mmer.training.data.preparation import prepare


def printed(content: RenderableType) -> str:
    console = quiet()
    console.print(content)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def recipe_file(tiny, tones: Path, tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(tiny("training.epochs=1").dump())
    return str(path)


def test_long_names_leave_room_for_the_matrices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Picture] = []
    monkeypatch.setattr(report, "Picture", lambda **named: kept.append(Picture(**named)) or kept[-1])
    labels = ["very deeply disappointed and resigned, almost despairing", "sad"]
    figures = compute_metrics(labels, labels, labels)
    row = RowFigures(title="text only", learns="text", paper_accuracy=None, pooled=figures)
    report.plot(Ablation(rows={"text": row}, transcripts=[], gradient_shares={}), tmp_path)
    (axes,) = kept[0].axes
    names = [name.get_text() for name in axes.get_yticklabels()]
    assert max(len(line) for name in names for line in name.split("\n")) <= 26
    assert [name.get_text() for name in axes.get_xticklabels()] == ["very deeply…", "sad"]


def test_neutral_bias_by_hand() -> None:
    labels = ["angry", "neutral", "sad"]
    truth = ["angry"] * 5 + ["sad"] * 5 + ["neutral"] * 9
    predicted = [*["angry"] * 2, *["neutral"] * 3, *["sad"] * 4, "angry", *["sad"] * 9]
    # Of 10 that are not neutral 4 are wrong, 3 as neutral: 3/10 - 4/10/2.
    assert neutral_bias(compute_metrics(truth, predicted, labels)) == pytest.approx(0.1)
    even = ["sad"] + ["neutral"] + ["angry"] * 3 + ["angry"] + ["neutral"] + ["sad"] * 3 + ["neutral"] * 9
    assert neutral_bias(compute_metrics(truth, even, labels)) == pytest.approx(0)
    assert neutral_bias(compute_metrics(["neutral"], ["sad"], labels)) is None
    assert neutral_bias(compute_metrics(["sad"], ["sad"], ["angry", "happy", "sad"])) is None
    assert neutral_bias(compute_metrics(["sad"], ["sad"], ["neutral", "sad"])) is None


def test_rows_on_one_split(recipe_file: str, tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossval, "train_folds", train_folds_here)
    out = tmp_path / "ablation"
    content = ablate(recipe_file, [], out, ["mmer", "majority"], console=quiet())
    assert Ablation.read(out / "ablation.json") == content
    # The fold is the split that mmer train would make.
    split = prepare(tiny()).part("test").table["utterance_id"]
    predictions = pd.read_parquet(out / "mmer" / "predictions.parquet")
    assert set(predictions["utterance_id"]) == set(split)
    (fold,) = Folds.read(out / "folds.json").folds.values()
    assert (fold.test, fold.validation) == (("D",), ("C",))
    rows = content.rows
    assert list(rows) == ["mmer", "majority"]
    assert rows["mmer"].accuracy == (predictions["predicted"] == predictions["emotion"]).mean()
    assert rows["majority"].accuracy == pytest.approx(1 / 3)
    assert (rows["mmer"].learns, rows["majority"].learns) == ("speech, text", "")
    assert (rows["mmer"].paper_accuracy, rows["majority"].paper_accuracy) == (0.812, None)
    gold, *_, none = content.transcripts
    assert (gold.condition, gold.word_error_rate) == ("gold", 0)
    assert gold.accuracy == rows["mmer"].accuracy
    assert (none.condition, none.word_error_rate) == ("none", 1)
    run = out / "mmer" / "folds" / "split"
    corpus = Corpus.read(run / "corpus.parquet")
    figures = evaluate(run / "model", corpus, "test", transcripts="none")
    assert figures.transcripts is not None
    assert (figures.accuracy, figures.transcripts.word_error_rate) == (none.accuracy, 1)
    assert "word error rate 100.0%, character error rate 100.0% of 9 transcripts" in printed(
        figure_tables(figures)
    )
    with pytest.raises(MMERError, match="no transcript condition 'asr'"):
        evaluate(run / "model", corpus, transcripts="asr")
    rates = [each.word_error_rate for each in content.transcripts]
    assert rates == sorted(rate for rate in rates if rate is not None)
    assert len(content.gradient_shares) == 4
    assert sum(shares[0] for shares in content.gradient_shares.values()) == pytest.approx(1)
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {"confusion_matrices.png", "gradient_shares.png", "transcripts.png"}
    # The same call again trains nothing and says the same, whatever changes no answer or a file manager leaves there.
    (out / "mmer" / "folds" / "Thumbs.db").touch()
    trained = (out / "mmer" / "folds" / "split" / "model" / "model.safetensors").stat().st_mtime_ns
    how = ["training.activation_checkpointing=layers"]
    assert ablate(recipe_file, how, out, ["mmer", "majority"], console=quiet()) == content
    assert (out / "mmer" / "folds" / "split" / "model" / "model.safetensors").stat().st_mtime_ns == trained
    # Answers of another model, as after the row was deleted and trained again, are not taken for those of this one.
    kept = out / "mmer" / "transcripts" / "none split.parquet"
    stale = pd.read_parquet(kept)
    stale.attrs = {name: "another model" for name in stale.attrs}
    assert stale.attrs
    stale.assign(predicted=stale["predicted"].iloc[0]).to_parquet(kept, index=False)
    assert ablate(recipe_file, how, out, ["mmer", "majority"], console=quiet()) == content
    with pytest.raises(TrainingError, match="an ablation with other folds"):
        ablate(recipe_file, ["protocol.folds=2", "protocol.validation=1"], out, ["majority"], console=quiet())


@pytest.mark.parametrize(
    ("columns", "protocol", "tested"),
    [
        pytest.param(
            {"speaker": ["A", "B"] * 18, "split": ["train"] * 12 + ["validation"] * 12 + ["test"] * 12},
            {"test": [], "validation": 1, "speakers_apart": False},
            range(24, 36),
            id="official split that divides speakers",
        ),
        pytest.param(
            {"speaker": None, "dialogue": [*"abcd"] * 9},
            {"group": "dialogue", "test": ["d"], "validation": ["c"], "speakers_apart": False},
            range(3, 36, 4),
            id="no speakers",
        ),
        pytest.param(
            {"speaker": None, "batch": [1.0, 2.0, 3.0, 4.0] * 9},
            {"group": "batch", "test": ["3"], "validation": ["2"], "speakers_apart": False},
            range(2, 36, 4),
            id="groups named by numbers",
        ),
        pytest.param(
            {"speaker": [*"abcd"] * 6 + [*"ef"] * 6, "improvised": [True] * 24 + [False] * 12},
            {"test": [], "validation": 1, "folds": "leave-one-out", "style": "improvised"},
            range(24),
            id="improvised alone",
        ),
    ],
)
def test_rows_are_tested_on_the_utterances_of_the_protocol(
    tiny, tones: Path, tmp_path: Path, columns: dict[str, Any], protocol: dict[str, object], tested: range
) -> None:
    table = Corpus.read(tones).table
    ids = [f"u{row}" for row in range(36)]
    emotions = [("angry", "calm", "sad")[row // 4 % 3] for row in range(36)]
    Corpus(table.assign(utterance_id=ids, emotion=emotions, **columns)).write(tmp_path / "corpus.parquet")
    (tmp_path / "recipe.yaml").write_text(tiny(corpus=tmp_path / "corpus.parquet").dump())
    settings = [f"protocol={json.dumps(protocol)}"]
    ablate(str(tmp_path / "recipe.yaml"), settings, tmp_path / "out", ["majority"], console=quiet())
    predictions = pd.read_parquet(tmp_path / "out" / "majority" / "predictions.parquet")
    assert sorted(predictions["utterance_id"]) == sorted(ids[row] for row in tested)


def test_a_split_that_no_names_describe_is_refused_where_validation_is_named(
    tiny, tones: Path, tmp_path: Path
) -> None:
    table = Corpus.read(tones).table
    splits = table["speaker"].map({"A": "train", "B": "train", "D": "test"})
    splits[table["utterance_id"] == "C_sad_1"] = "train"  # of C, only this one
    Corpus(table.assign(split=splits)).write(tmp_path / "corpus.parquet")
    (tmp_path / "recipe.yaml").write_text(tiny(corpus=tmp_path / "corpus.parquet").dump())
    named = ["protocol={test: [], validation: [B]}"]
    with pytest.raises(
        RecipeError, match=r'protocol.validation is \["B"\], but the split column of .*leaves out'
    ):
        ablate(str(tmp_path / "recipe.yaml"), named, tmp_path / "out", ["majority"], console=quiet())


def test_a_corpus_without_words_has_a_row_of_speech(
    recipe_file: str, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossval, "train_folds", train_folds_here)
    Corpus(Corpus.read(tones).table.assign(transcript=None)).write(tmp_path / "silent.parquet")
    corpus = [f"data.corpus={tmp_path / 'silent.parquet'}"]
    content = ablate(recipe_file, corpus, tmp_path / "out", ["speech", "majority"], console=quiet())
    assert content.rows["speech"].learns == "speech"
    assert content.rows["speech"].accuracy is not None


def test_baselines_use_the_folds_of_a_cross_validation_and_every_utterance_is_tested_once(
    tiny, tmp_path: Path
) -> None:
    recipe = tiny("protocol.folds=leave-one-out", "protocol.validation=1")
    found = cross_validate_baseline("majority", recipe, tmp_path / "majority", console=quiet())
    predictions = pd.read_parquet(found.folder / "predictions.parquet")
    table = Corpus.read(recipe.data.corpus or "").table
    assert sorted(predictions["utterance_id"]) == sorted(table["utterance_id"])
    assert (predictions["fold"] == predictions["speaker"]).all()
    assert found.metrics.system == "majority class"
    assert found.metrics.pooled.accuracy == pytest.approx(1 / 3)
    assert CrossValidationMetrics.read(found.folder / "metrics.json") == found.metrics
    with pytest.raises(TrainingError, match="holds majority class, not eGeMAPS"):
        cross_validate_baseline("egemaps", recipe, found.folder, console=quiet())


def test_labels_are_not_doubted_where_each_fold_has_one_answer(tiny, tmp_path: Path) -> None:
    said = {"A": ["happy"] * 7 + ["sad"] * 2, "B": ["happy"] * 2 + ["sad"] * 6, "C": ["happy", "sad"] * 4}
    rows = [(name, emotion) for name, emotions in said.items() for emotion in emotions]
    table = pd.DataFrame(rows, columns=pd.Index(["speaker", "emotion"])).assign(
        audio_path=None, transcript="hm"
    )
    table.assign(utterance_id=table.index.astype(str)).to_csv(tmp_path / "corpus.csv", index=False)
    recipe = tiny(
        "model.fusion=text", "protocol={folds: leave-one-out, validation: 1}", corpus=tmp_path / "corpus.csv"
    )
    found = cross_validate_baseline("majority", recipe, tmp_path / "majority", console=quiet())
    assert found.metrics.pooled.confusion_matrix == [[6, 7], [10, 2]]
    told = verdict(read_run(found.folder))
    assert "weak_emotion" not in [each.code for each in told.advices]


def test_a_baseline_does_not_write_over_trained_models(tiny, tmp_path: Path) -> None:
    (tmp_path / "run" / "folds" / "A" / "checkpoints").mkdir(parents=True)
    with pytest.raises(TrainingError, match="holds trained models, not majority class"):
        cross_validate_baseline("majority", tiny("protocol.validation=1"), tmp_path / "run", console=quiet())


def test_what_is_refused(recipe_file: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no row 'no-cct', the nearest is 'no-ctc'"):
        ablate(recipe_file, [], tmp_path / "out", ["no-cct"], console=quiet())
    with pytest.raises(RecipeError, match=r"data\.corpus is not set"):
        ablate("compact", [], tmp_path / "out", console=quiet())
    with pytest.raises(RecipeError, match="must be the number of groups"):
        ablate(recipe_file, ["protocol.folds=leave-one-out"], tmp_path / "out", console=quiet())
    with pytest.raises(MMERError, match="no baseline 'majorty', the nearest is 'majority'"):
        baseline_of("majorty")


def content_of(rows: list[str], epochs: int, neutral: bool) -> Ablation:
    """What an ablation might have found."""
    labels = ["angry", "happy", "neutral" if neutral else "calm", "sad"]
    random = np.random.default_rng(0)
    truth = labels * 50
    results = {}
    for name in rows:
        predicted = [label if random.random() < 0.6 else random.choice(labels) for label in truth]
        figures = compute_metrics(truth, predicted, labels)
        results[name] = RowFigures(
            title=ROWS[name].title,
            learns="speech, text frozen",
            paper_accuracy=ROWS[name].paper,
            note=None,
            accuracy=figures.accuracy,
            balanced_accuracy=figures.balanced_accuracy,
            neutral_bias=neutral_bias(figures),
            pooled=figures,
        )
    shares = random.dirichlet([4, 3, 2, 1], epochs).T.tolist()
    names = ("cross_entropy", "ctc", "supervised_contrastive", "augmented_contrastive")
    curve = [("gold", 0.0, 0.9), ("wer:0.2", 0.19, 0.8), ("wer:0.6", 0.55, 0.65), ("none", 1.0, 0.5)]
    transcripts = [
        TranscriptFigures(
            condition=name, word_error_rate=rate, accuracy=score, balanced_accuracy=score, utterances=200
        )
        for name, rate, score in curve
    ]
    return Ablation(
        rows=results, transcripts=transcripts, gradient_shares=dict(zip(names, shares, strict=True))
    )


def test_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = content_of(list(ROWS), 3, True)
    console = Console(width=80, file=io.StringIO())
    with console.capture() as capture:
        console.print(report.ablation_tables(content))
    assert "…" not in capture.get()
    kept: list[Picture] = []
    monkeypatch.setattr(Picture, "savefig", lambda figure, *_, **__: kept.append(figure))
    figures = compute_metrics(["surprised", "contemptuous"], ["surprised"] * 2, ["surprised", "contemptuous"])
    rows = {"text": replace(content.rows["text"], pooled=figures)}
    report.plot(replace(content, rows=rows, transcripts=[], gradient_shares={}), tmp_path)
    assert [name.get_text() for name in kept[0].axes[0].get_xticklabels()] == ["surprised", "contemptuous"]


@pytest.mark.parametrize(
    ("rows", "epochs", "neutral"), [(list(ROWS), 30, True), (["speech", "mmer"], 1, False)]
)
def test_table_and_pictures(tmp_path: Path, rows: list[str], epochs: int, neutral: bool) -> None:
    content = content_of(rows, epochs, neutral)
    report.write_markdown(content, tmp_path / "ablation.md")
    lines = (tmp_path / "ablation.md").read_text().splitlines()
    mmer = content.rows["mmer"]
    bias = "" if mmer.neutral_bias is None else f"{100 * mmer.neutral_bias:+.1f}"
    assert bool(bias) == neutral
    shown = [
        "MMER",
        "speech, text frozen",
        f"{mmer.accuracy:.1%}",
        "+0.0",
        f"{mmer.balanced_accuracy:.1%}",
        bias,
        "81.2%",
    ]
    assert "| " + " | ".join(shown) + " |" in lines
    assert "| wer:0.2 | 19.0% | 80.0% | 80.0% |" in lines
    assert "another corpus" in printed(report.ablation_tables(content))
    for picture in report.plot(content, tmp_path):
        pixels = np.asarray(Image.open(picture).convert("RGB"))
        assert pixels.shape[1] >= 800
        border = np.concatenate(
            [pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, :2].reshape(-1, 3)]
        )
        assert (border == 255).all(), "something is cut off at the edge"


def test_what_learns_in_the_rows_of_the_paper() -> None:
    plain = ["model.fusion=mmer"]
    rows = {
        (recipe, name): row_recipe(recipe, plain, ROWS[name])
        for recipe in ("iemocap-paper", "iemocap-official", "iemocap-beyond", "compact")
        for name in ("text", "text-frozen", "speech", "naive", "naive-frozen", "mmer")
    }
    told = {key: learns(row) for key, row in rows.items() if row is not None}
    for recipe in ("iemocap-paper", "iemocap-official"):
        names = ("text", "text-frozen", "speech", "naive", "naive-frozen", "mmer")
        shown = (
            "text",
            "text frozen",
            "speech",
            "speech, text",
            "speech, text frozen",
            "speech, text frozen",
        )
        assert [told[recipe, name] for name in names] == list(shown)
    assert told["iemocap-beyond", "text"] == "text by LoRA"
    assert told["iemocap-beyond", "naive-frozen"] == "speech, text frozen"
    assert ("compact", "text-frozen") not in told

    # Of the published text-only script.
    text = rows["iemocap-paper", "text"]
    assert text is not None
    assert text.training.model_dump(
        include={"learning_rate", "batch_size", "accumulation", "epochs", "schedule"}
    ) == {
        **{"learning_rate": 2.2e-5, "batch_size": 32, "accumulation": 1, "epochs": 50},
        "schedule": "linear",
    }
    naive = rows["iemocap-paper", "naive"]
    assert naive is not None
    assert (naive.training.learning_rate, naive.training.text_learning_rate) == (1e-5, 2.2e-5)
    # What the caller sets holds in every row.
    quick = row_recipe("iemocap-paper", [*plain, "training.epochs=1"], ROWS["text"])
    assert quick is not None
    assert (quick.training.epochs, quick.training.batch_size) == (1, 32)


def test_a_row_that_the_recipe_is_already_is_not_trained_again(recipe_file: str, tmp_path: Path) -> None:
    settings = ["objectives.ctc_weight=0"]
    content = ablate(recipe_file, settings, tmp_path / "out", ["no-ctc", "majority"], console=quiet())
    assert content.rows["no-ctc"].note == "the recipe is without it already"
    assert not (tmp_path / "out" / "no-ctc").exists()
    assert "the recipe is without it already" in (tmp_path / "out" / "ablation.md").read_text()


def test_a_row_joins_those_that_the_folder_has(
    recipe_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossval, "train_folds", train_folds_here)
    out = tmp_path / "out"
    first = ablate(recipe_file, ["objectives.ctc_weight=0"], out, ["speech", "no-ctc"], console=quiet())
    trained = (out / "speech" / "folds" / "split" / "model" / "model.safetensors").stat().st_mtime_ns
    both = ablate(recipe_file, ["objectives.ctc_weight=0"], out, ["majority"], console=quiet())
    assert list(both.rows) == ["speech", "no-ctc", "majority"]
    assert {name: both.rows[name] for name in first.rows} == first.rows
    assert Ablation.read(out / "ablation.json") == both
    assert "| speech only |" in (out / "ablation.md").read_text()
    assert (out / "speech" / "folds" / "split" / "model" / "model.safetensors").stat().st_mtime_ns == trained
    # What the folder has was trained with other settings: nothing is put beside it.
    with pytest.raises(RecipeError, match=r"speech: .*different in training\.epochs; use another folder"):
        ablate(recipe_file, ["training.epochs=2"], out, ["naive"], console=quiet())
    assert not (out / "naive").exists()


def test_a_corpus_without_recordings_has_rows_of_text(
    recipe_file: str, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossval, "train_folds", train_folds_here)
    Corpus(Corpus.read(tones).table.assign(audio_path=None)).write(tmp_path / "words.parquet")
    corpus = [f"data.corpus={tmp_path / 'words.parquet'}"]
    content = ablate(recipe_file, corpus, tmp_path / "out", ["text", "majority"], console=quiet())
    assert content.rows["text"].accuracy is not None
    assert content.rows["majority"].accuracy == pytest.approx(1 / 3)
