"""Reports of real runs and cross-validations, small ones: whole pages, right figures, nothing unescaped."""

import base64
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from commands import SMALL, make_recordings, run, train_folds_here, undrawn
from consoles import quiet

from mmer.corpora.corpus import Corpus
from mmer.display.picture import Picture
from mmer.errors import MMERError
from mmer.evaluation.intervals import Interval
from mmer.evaluation.report import page as report
from mmer.evaluation.report import plots as report_plots
from mmer.evaluation.report import tables as report_tables
from mmer.evaluation.report.page import write_report
from mmer.evaluation.report.run_files import Run, protocol, read_run, verdict, warnings
from mmer.evaluation.report.tables import ReportTable, latex_text
from mmer.evaluation.results import ChosenEpoch, SelectionBias
from mmer.inference import EmotionRecognizer
from mmer.inference.inputs import corpus_utterances
from mmer.model.encoders.speech import FUNCTIONALS_SCALE
from mmer.recipe.schema import load_recipe
from mmer.training.crossval import crossval
from mmer.training.crossval.baseline_runs import cross_validate_baseline

NASTY = ' <script>alert("1")</script> 50% of $x_1$ | & #{~^} \\end{table}'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "br", "img", "link", "hr", "input"}
TEST = "ben & <b>"


class Page(HTMLParser):
    """Elements of a page, with a check that each is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.parents: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parents.append(self.open[-1] if self.open else "")
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parents.append(self.open[-1])
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spoken recordings of three speakers, whose names and words are meant to break a page."""
    folder = tmp_path_factory.mktemp("recordings")
    make_recordings(folder)
    table = pd.read_csv(folder / "metadata.csv")
    table["speaker"] = table["speaker"].replace("ben", TEST)
    table["transcript"] += NASTY
    table["gender"] = table["speaker"].map({TEST: "male", "anna": "female", "cleo": "female"})
    table.to_csv(folder / "metadata.csv", index=False)
    return folder


def recipe(recordings: Path, *overrides: str):
    protocol = "protocol={test: ['ben & <b>'], validation: 0, selection: last}"
    return load_recipe("compact", [*SMALL, f"data.corpus={recordings}", protocol, *overrides])


@pytest.fixture(scope="module")
def validated(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation."""
    folder = tmp_path_factory.mktemp("runs") / "validated"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossval, "train_folds", train_folds_here)
        with undrawn():
            crossval.cross_validate(recipe(recordings, "protocol.test=[]"), folder, console=quiet())
    return folder


@pytest.fixture(scope="module")
def ordinary(validated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run: the fold of a cross-validation is one like any other."""
    (fold,) = [path for path in (validated / "folds").iterdir() if path.name.startswith("ben")]
    return Path(shutil.copytree(fold, tmp_path_factory.mktemp("runs") / "ordinary"))


@pytest.fixture(scope="module")
def pages(ordinary: Path, validated: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("reports")
    return {
        folder.name: write_report(folder, out / folder.name, console=quiet()).parent
        for folder in (ordinary, validated)
    }


@pytest.fixture
def copied(ordinary: Path, tmp_path: Path) -> Path:
    """A run that may be damaged."""
    return Path(shutil.copytree(ordinary, tmp_path / "copy"))


@pytest.mark.parametrize("kind", ["ordinary", "validated"])
def test_page_is_whole_accessible_and_needs_nothing_else(pages: dict[str, Path], kind: str):
    text = (pages[kind] / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "://" not in text
    assert "@import" not in text
    assert not page.count("script") + page.count("link") + page.count("img")
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    assert not any(" " in str(name) for name in ids)
    for _, attributes in page.elements:
        for name in ("href", "src"):
            if name in attributes:
                assert str(attributes[name])[:1] == "#"
                assert str(attributes[name])[1:] in ids
        for used in re.findall(r"url\((.*?)\)", " ".join(map(str, attributes.values()))):
            assert used[1:] in ids
    curves = [svg for svg in page.all("svg") if re.search(r" over \d+ epochs?\.$", str(svg["aria-label"]))]
    assert len(curves) > 2  # each of its own, to fill a wide page and to stand one above the other on a phone
    assert page.count("svg") - len(curves) + 1 == page.count("figure") == page.count("figcaption") == 4
    assert all(svg["role"] == "img" and svg["aria-label"] and "viewbox" in svg for svg in page.all("svg"))
    assert page.count("table") == page.count("caption") > 8
    assert all("scope" in heading for heading in page.all("th"))
    assert "Scores are not feelings" in page.text
    assert "must\nnot be used to decide about people" in page.text
    assert f"torch{torch.__version__}" in re.sub(r"\s", "", page.text)


@pytest.mark.parametrize("kind", ["ordinary", "validated"])
def test_figures_are_those_of_the_run(pages: dict[str, Path], ordinary: Path, validated: Path, kind: str):
    folder = {"ordinary": ordinary, "validated": validated}[kind]
    metrics = json.loads((folder / "metrics.json").read_text())
    figures = metrics["test"] if kind == "ordinary" else metrics["pooled"]
    table = (pages[kind] / "tables" / "results.md").read_text()
    row = next(line for line in table.splitlines() if line.startswith(("| **test", "| **pooled")))
    cells = [cell.strip().strip("*").split()[0] for cell in row.split("|")[2:-1]]
    names = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")
    assert cells == [str(figures["utterances"]), *(f"{figures[name]:.1%}" for name in names)]
    text = Page((pages[kind] / "report.html").read_text()).text
    assert f"balanced accuracy (UA){figures['balanced_accuracy']:.1%}" in text


def test_a_run_that_keeps_its_last_epoch_is_told_as_such(pages: dict[str, Path]):
    text = " ".join(Page((pages["ordinary"] / "report.html").read_text()).text.split())
    assert re.search(r"It was trained for \d+ epochs? on ", text)
    assert "Dot: the epoch that is kept." in text  # without a score after each epoch, no line is dashed


def test_a_baseline_is_not_said_to_lack_what_it_never_has(recordings: Path, tmp_path: Path):
    settings = recipe(recordings, "protocol.test=[]")
    cross_validate_baseline("majority", settings, tmp_path / "majority", console=quiet())
    text = Page(write_report(tmp_path / "majority", console=quiet()).read_text(encoding="utf-8")).text
    assert "A baseline has no learning curves." in text
    assert "A baseline has no embeddings." in text
    assert "was deleted" not in text
    assert "Software the run was made with" not in text  # a table without rows


def test_one_speaker_that_validates_in_each_fold_counts_as_training_for_the_audit(
    recordings: Path, pages: dict[str, Path], tmp_path: Path
):
    settings = recipe(recordings, "protocol.test=[]", "protocol.validation=1")
    cross_validate_baseline("majority", settings, tmp_path / "majority", console=quiet())
    counted = "Utterances that validate count as training."
    text = Page(write_report(tmp_path / "majority", console=quiet()).read_text(encoding="utf-8")).text
    assert "1 other speaker validates, and all others train" in " ".join(text.split())
    assert counted in text
    assert counted not in (pages["validated"] / "report.html").read_text(encoding="utf-8")


def test_a_fold_that_is_called_all(recordings: Path, tmp_path: Path):
    Corpus(Corpus.read(recordings).table.replace({"speaker": {"cleo": "all"}})).write(
        tmp_path / "all.parquet"
    )
    settings = recipe(tmp_path / "all.parquet", "protocol.test=[]")
    cross_validate_baseline("majority", settings, tmp_path / "majority", console=quiet())
    rows = report_tables.splits(read_run(tmp_path / "majority")).rows
    assert sorted(list(row[:3]) for row in rows) == [
        *(["all", "1", "8"], ["all", "3", "24"], ["anna", "1", "8"], [TEST, "1", "8"])
    ]


def test_folds_that_do_not_keep_speakers_apart(recordings: Path, tmp_path: Path):
    table = Corpus.read(recordings).table
    Corpus(table.assign(take=[number % 3 for number in range(len(table))])).write(tmp_path / "takes.parquet")
    together = ("protocol.group=take", "protocol.speakers_apart=false")
    settings = recipe(tmp_path / "takes.parquet", "protocol.test=[]", *together)
    folder = cross_validate_baseline("majority", settings, tmp_path / "majority", console=quiet()).folder
    told = " ".join(protocol(read_run(folder)))
    assert "the model that never trained on it; 100.0% are of speakers whom that model trained on" in told
    apart = cross_validate_baseline(
        "majority", recipe(recordings, "protocol.test=[]"), tmp_path / "apart", console=quiet()
    ).folder
    assert "the model that never trained on its speaker; “pooled”" in " ".join(protocol(read_run(apart)))


def test_who_validates_in_official_folds_and_splits(recordings: Path, tmp_path: Path):
    table = Corpus.read(recordings).table
    splits = [("train", "validation", "test")[number % 3] for number in range(len(table))]
    asked = (
        "protocol.test=[]",
        "protocol.folds=official",
        "protocol.speakers_apart=false",
        "protocol.validation=1",
    )
    for column, values, told in (
        ("fold", table["speaker"], "3 in all; 1 other fold validates, and"),
        ("split", splits, "is the only fold; its validation split validates, and"),
        (
            "split",
            [name.replace("validation", "train") for name in splits],
            "fold; 1 other speaker validates, and",
        ),
    ):
        Corpus(table.assign(**{column: values})).write(tmp_path / "corpus.parquet")
        folder = tmp_path / told.replace(" ", "-")
        settings = recipe(tmp_path / "corpus.parquet", *asked)
        cross_validate_baseline("majority", settings, folder, console=quiet())
        assert told in " ".join(protocol(read_run(folder)))


def test_groups_that_are_numbers_validate(recordings: Path, tmp_path: Path):
    table = Corpus.read(recordings).table
    rooms = table["speaker"].map({name: room for room, name in enumerate(sorted(table["speaker"].unique()))})
    Corpus(table.assign(room=rooms)).write(tmp_path / "rooms.parquet")
    asked = ("protocol.test=[]", "protocol.group=room", "protocol.validation=1")
    settings = recipe(tmp_path / "rooms.parquet", *asked)
    folder = cross_validate_baseline("majority", settings, tmp_path / "majority", console=quiet()).folder
    read = read_run(folder)
    advices = verdict(replace(read, metrics=replace(read.metrics, system=None))).advices
    assert "Record more speakers: training had 1." in [advice.text for advice in advices]


def test_long_names_and_those_from_right_to_left_leave_the_figures_in_place(recordings: Path, tmp_path: Path):
    long = "anna who speaks for the second time, in another room"
    table = Corpus.read(recordings).table.replace({"speaker": {"anna": long}, "emotion": {"sad": "غضب شديد"}})
    Corpus(table).write(tmp_path / "corpus.parquet")
    settings = recipe(tmp_path / "corpus.parquet", "protocol.test=[]")
    cross_validate_baseline("majority", settings, tmp_path / "majority", console=quiet())
    page = write_report(tmp_path / "majority", console=quiet()).read_text(encoding="utf-8")
    assert f'<th scope="row" class="long">{long}</th>' in page
    assert '<th scope="row">cleo</th>' in page
    assert '<th scope="row">\u2068غضب شديد\u2069</th>' in page
    assert "%2C" not in page  # as the folder of the fold is called


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the page is not tried in a browser")
def test_a_long_emotion_fits_a_phone(recordings: Path, tmp_path: Path):
    from playwright.sync_api import sync_playwright

    long = "exuberanthappinessbeyondallmeasuresofjoy"
    table = Corpus.read(recordings).table
    table["emotion"] = table["emotion"].replace({table["emotion"].iloc[0]: long})
    Corpus(table).write(tmp_path / "corpus.parquet")
    settings = recipe(tmp_path / "corpus.parquet", "protocol.test=[]")
    cross_validate_baseline("majority", settings, tmp_path / "majority", console=quiet())
    page = write_report(tmp_path / "majority", console=quiet())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 360, "height": 740})
        opened.goto(page.as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth") == 360
        heading = opened.locator(".shaded").first.get_by_role("columnheader", name=long)
        assert heading.evaluate("each => each.offsetWidth") < 150
        browser.close()


def test_speakers_are_the_folds_where_each_is_one(validated: Path):
    table = report_tables.speaker_figures(read_run(validated)).set_index("speaker")
    folds = json.loads((validated / "metrics.json").read_text())["folds"]
    assert len(table) == len(folds) == 3
    assert table["balanced_accuracy"].is_monotonic_increasing
    assert table.loc[TEST, "balanced_accuracy"] == pytest.approx(
        folds["ben %26 %3Cb%3E"]["balanced_accuracy"]
    )
    assert table.loc[TEST, "gender"] == "male"


def test_a_speaker_of_unknown_gender_among_others(validated: Path):
    run = read_run(validated)
    run.predictions.loc[run.predictions["speaker"] == TEST, "gender"] = None
    table = report_tables.speakers(report_tables.speaker_figures(run))
    assert {row[0]: row[1] for row in table.rows}[TEST] == ""
    assert "male" in table.latex()


def test_columns_that_nothing_fills_are_left_out():
    columns, rows = (
        ["speaker", "gender", "utterances", "accuracy"],
        [["anna", "", "", "50%"], ["ben", "", "4", ""]],
    )
    table = report_tables.ReportTable("speakers", "Figures.", columns, rows, strong=(1,), words=2).filled()
    assert table is not None
    assert table.columns == ["speaker", "utterances", "accuracy"]
    assert table.rows == [["anna", "", "50%"], ["ben", "4", ""]]
    assert (table.words, table.strong) == (1, (1,))
    assert report_tables.ReportTable("software", "Software.", ["name", "version"], []).filled() is None


def test_what_others_wrote_is_escaped(pages: dict[str, Path]):
    text = (pages["ordinary"] / "report.html").read_text()
    assert "&lt;script&gt;alert(" in text
    assert "<script" not in text
    assert NASTY.strip() in Page(text).text
    assert "ben &amp; &lt;b&gt;" in text
    latex = (pages["ordinary"] / "tables" / "mistakes.tex").read_text()
    assert r"50\% of \$x\_1\$ \textbar{} \& \#\{\textasciitilde{}\textasciicircum{}\}" in latex
    assert latex.count(r"\end{table}") == 1


@pytest.mark.parametrize("kind", ["ordinary", "validated"])
def test_every_table_has_its_latex_and_markdown(pages: dict[str, Path], kind: str):
    folder = pages[kind]
    names = [str(table["id"]) for table in Page((folder / "report.html").read_text()).all("table")]
    for suffix in (".tex", ".md"):
        files = {f"table-{path.stem}" for path in (folder / "tables").glob(f"*{suffix}")}
        assert files == set(names)
    for path in (folder / "tables").glob("*.tex"):
        text = path.read_text()
        spec = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
        assert spec
        assert re.search(r"\\label\{tab:[\w-]+\}", text)
        for line in (line for line in text.splitlines() if line.endswith(r" \\")):
            assert len(re.findall(r"(?<!\\)&", line)) == len(spec[1]) - 1
    for path in (folder / "tables").glob("*.md"):
        lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_latex_and_markdown_by_hand():
    table = ReportTable("t", "50% & more", ["who", "a_b"], [["<x|y>", "1"], ["all", "2"]], (1,))
    assert table.latex().splitlines()[3:12] == [
        r"\caption{50\% \& more}",
        r"\label{tab:t}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"who & a\_b \\",
        r"\midrule",
        r"\textless{}x\textbar{}y\textgreater{} & 1 \\",
        r"\textbf{all} & \textbf{2} \\",
        r"\bottomrule",
    ]
    assert table.markdown() == (
        "| who | a\\_b |\n| :-- | --: |\n| &lt;x\\|y&gt; | 1 |\n| **all** | **2** |\n\n50% &amp; more\n"
    )
    bracketed = ReportTable("t", "", ["who", "n"], [["[sigh]", "[1]"], ["*", "2"]])
    assert bracketed.latex().splitlines()[9:11] == [r"{}[sigh] & [1] \\", r"{}* & 2 \\"]
    assert latex_text("\\ ~ ^\n{}") == r"\textbackslash{} \textasciitilde{} \textasciicircum{} \{\}"


def test_interval_by_hand():
    assert report_tables.with_ends(0.6128, 0.522, 0.6964) == "61.3% [52.2, 69.6]"
    assert report_tables.with_ends(0.6128, None, None) == "61.3%"


def made(confidence: Sequence[float], right: Sequence[bool], run: Run) -> Run:
    """A run of two emotions with these answers."""
    rows = {
        "utterance_id": [f"u{place}" for place in range(len(right))],
        "emotion": ["sad"] * len(right),
        "predicted": ["sad" if good else "angry" for good in right],
        "probability_sad": [sure if good else 1 - sure for sure, good in zip(confidence, right, strict=True)],
        "probability_angry": [
            1 - sure if good else sure for sure, good in zip(confidence, right, strict=True)
        ],
    }
    return replace(run, predictions=pd.DataFrame(rows), figures=replace(run.figures, labels=["angry", "sad"]))


def test_calibration_error_by_hand(ordinary: Path):
    answers = made([0.55, 0.6, 0.9, 1.0], [True, False, True, True], read_run(ordinary))
    bins = report_tables.reliability_bins(answers)
    # (0.5, 0.6] holds two answers: confidence 0.575, one right; (0.8, 0.9] and (0.9, 1] one each, both right.
    assert bins["utterances"].tolist() == [2, 1, 1]
    assert bins["low"].tolist() == pytest.approx([0.5, 0.8, 0.9])
    assert bins["accuracy"].tolist() == [0.5, 1, 1]
    assert report_tables.calibration_error(bins) == pytest.approx((2 * 0.075 + 0.1 + 0) / 4)


def test_long_names_stay_in_their_pictures(monkeypatch: pytest.MonkeyPatch):
    kept: list[Picture] = []
    monkeypatch.setattr(report_plots, "Picture", lambda **named: kept.append(Picture(**named)) or kept[-1])
    labels = [f"{n} disappointed and resigned, almost despairing" for n in range(12)]
    report_plots.embedding_map(np.eye(12)[:, :2], labels, labels, labels)
    speakers = pd.DataFrame({"speaker": labels, "gender": labels, "balanced_accuracy": 0.5})
    report_plots.speaker_dots(speakers, 0.5, Interval(0.5, 0.4, 0.6, 0.95, 12, "speaker"))
    for figure in kept:
        (axes,) = figure.axes
        (legend,) = figure.legends
        frame, panel = legend.get_window_extent(), axes.get_window_extent()
        assert frame.x0 >= 0
        assert frame.x1 <= figure.bbox.x1
        assert panel.height > figure.bbox.height / 3
        assert panel.width > figure.bbox.width / 3


def test_numbers_of_many_layers_do_not_overlap(monkeypatch: pytest.MonkeyPatch):
    kept: list[Picture] = []
    monkeypatch.setattr(report_plots, "Picture", lambda **named: kept.append(Picture(**named)) or kept[-1])
    report_plots.layer_weights({"fold": {"speech": {str(n): 0.04 for n in range(25)}}})
    (axes,) = kept[0].axes
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def test_groups_without_a_worst_are_not_said_to_have_one(ordinary: Path):
    run = read_run(ordinary)
    few = report_tables.groups(replace(run, predictions=run.predictions.iloc[:19]))
    many = report_tables.groups(
        replace(run, predictions=pd.concat([run.predictions] * 20, ignore_index=True))
    )
    assert few is not None
    assert many is not None
    assert ("Bold" in few.caption, few.strong) == (False, ())
    assert "Bold" in many.caption
    assert many.strong


def test_most_confident_mistakes_by_hand(ordinary: Path):
    answers = made([0.7, 0.9, 0.8, 0.99], [False, False, False, True], read_run(ordinary))
    assert report_tables.confident_mistakes(answers)["utterance_id"].tolist() == ["u1", "u2", "u0"]


def test_confidence_is_that_of_the_answer(ordinary: Path):
    """A support vector machine of several emotions votes; its answer may have not the largest decision value."""
    answers = made([0.7, 0.9, 0.4], [True, False, False], read_run(ordinary))
    assert report_tables.confidences(answers).tolist() == pytest.approx([0.7, 0.9, 0.4])


def test_recordings_only_where_asked_for(
    ordinary: Path, pages: dict[str, Path], tmp_path: Path, capfd, monkeypatch
):
    assert "data:audio" not in (pages["ordinary"] / "report.html").read_text()
    outcome = run(capfd, monkeypatch, ["report", ordinary, "--out", tmp_path, "--audio"])
    assert (outcome.code, outcome.out.split()) == (
        0,
        [str(tmp_path / "report.html"), str(ordinary / "model" / "README.md")],
    )
    page = Page((tmp_path / "report.html").read_text())
    wrong = report_tables.confident_mistakes(read_run(ordinary))
    sounds = page.all("audio")
    assert 0 < len(sounds) == len(wrong) <= report_tables.MISTAKES
    kind, _, content = str(sounds[0]["src"]).partition(",")
    assert kind == "data:audio/flac;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
    assert len(samples) / rate == pytest.approx(wrong["duration"].iloc[0], abs=1e-3)


def test_embeddings_are_what_the_answers_are_computed_from(ordinary: Path):
    corpus = Corpus.read(ordinary / "corpus.parquet")
    recognizer = EmotionRecognizer.from_pretrained(ordinary / "model", "cpu")
    embeddings = [
        each for each in recognizer.embed(corpus_utterances(corpus), batch_size=5) if each is not None
    ]
    model, fused = recognizer.model, torch.from_numpy(np.stack(embeddings))
    assert model.functionals_classifier is not None
    last = model.config.speech_size  # the pooled frames end with the functionals of the clip
    functionals = fused[:, last - model.config.speech_functionals : last] / FUNCTIONALS_SCALE
    with torch.inference_mode():
        share = model.config.functionals_share
        logits = (1 - share) * model.classifier(fused) + share * model.functionals_classifier(functionals)
    answers = pd.read_parquet(ordinary / "predictions.parquet").set_index("utterance_id")
    answers = answers.loc[corpus.table["utterance_id"]]
    columns = [f"probability_{label}" for label in recognizer.labels]
    assert np.allclose(logits.softmax(dim=-1).numpy(), answers[columns].to_numpy(), atol=1e-4)


def test_map_says_how_it_was_made_and_of_what(
    ordinary: Path, pages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert "8 utterances of the test split: two principal components" in text_of(pages["ordinary"])
    fold = "8 utterances of fold anna alone, by its own model: two principal components"
    assert fold in text_of(pages["validated"])
    monkeypatch.setattr(report, "_FEW", 5)
    monkeypatch.setattr(report, "MAPPED", 6)
    page = text_of(write_report(ordinary, tmp_path, console=quiet()).parent)
    assert "6 of the 8 utterances of the test split, drawn at random: t-SNE (perplexity 1.5, seed 0)" in page


def text_of(folder: Path) -> str:
    return Page((folder / "report.html").read_text()).text


def test_the_folder_one_stands_in_has_its_name(copied: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.rmtree(copied / "model")
    monkeypatch.chdir(copied)
    assert list(read_run(".").runs) == [copied.name]
    page = text_of(write_report(".", console=quiet()).parent)
    assert f"No embedding map: no model folder at {copied.name}/model" in page


def test_what_is_gone_is_said_to_be(copied: Path):
    shutil.rmtree(copied / "model")
    shutil.rmtree(copied / "checkpoints")
    page = text_of(write_report(copied, console=quiet()).parent)
    assert "No embedding map: no model folder at" in page
    assert "No learning curves: the folder checkpoints" in page
    corpus = Corpus.read(copied / "corpus.parquet")
    corpus.table["audio_path"] = [f"/gone/{name}.wav" for name in corpus.table["utterance_id"]]
    corpus.write(copied / "corpus.parquet")
    page = text_of(write_report(copied, audio=True, console=quiet()).parent)
    assert "No embedding map: 8 of 8 recordings are not there any more." in page
    assert "recordings were not compared" in page
    assert "not there" in page


def test_selection_is_told_as_it_was(ordinary: Path, validated: Path):
    read = read_run(ordinary)
    assert "The model of the last epoch (epoch 1 of 1) was kept" in " ".join(protocol(read))
    bias = SelectionBias(
        test_selected=ChosenEpoch(epoch=3, accuracy=0.7, balanced_accuracy=0.65),
        validation_selected=ChosenEpoch(epoch=2, accuracy=0.6, balanced_accuracy=0.6),
        difference=ChosenEpoch(accuracy=0.1, balanced_accuracy=0.05),
    )
    chosen = replace(read, metrics=replace(read.metrics, selection="test", selection_bias=bias))
    assert warnings(chosen)[0].startswith("The test split chose the epoch: every figure of it is optimistic.")
    assert "the utterances that are judged" in " ".join(protocol(chosen))
    assert any("test (chose the epoch)" in row[0] for row in report_tables.results(chosen).rows)
    assert report_tables.selection_bias(bias).rows[2] == ["optimism, points", "+10.0", "+5.0"]
    others = replace(read, metrics=replace(read.metrics, selection="validation"))
    assert "the test utterances were judged once, after that choice" in " ".join(protocol(others))
    told = "Speakers are kept apart: train: 16 utterances of 2 speakers (anna, cleo); test: 8 utterances of 1"
    assert told in " ".join(protocol(read))
    folds = " ".join(protocol(read_run(validated)))
    assert "Cross-validation leaves one speaker out at a time, 3 in all; no speaker validates" in folds


@pytest.mark.parametrize(("number", "named"), [(12, True), (13, False)])
def test_up_to_twelve_speakers_are_named(ordinary: Path, number: int, named: bool):
    names = [f"speaker-{n}" for n in range(number)]
    corpus = Corpus(
        pd.DataFrame({"utterance_id": names, "audio_path": None, "speaker": names, "split": "train"})
    )
    told = " ".join(protocol(replace(read_run(ordinary), corpus=corpus)))
    assert f"{number} speakers" in told
    assert ("speaker-11" in told) == named


def test_what_was_not_used_is_counted_by_reason(ordinary: Path):
    rows = [["a", "", "left out", "unreadable", "x"], ["b", "", "left out", "unreadable", "y"]]
    rows.append(["c", "", "cut", "to 3 s", "z"])
    skipped = pd.DataFrame(rows, columns=["utterance_id", "audio_path", "what", "kind", "reason"])
    table = report_tables.skipped(replace(read_run(ordinary), skipped=skipped))
    assert table is not None
    assert table.rows == [["left out", "unreadable", "2"], ["cut", "to 3 s", "1"]]


def test_no_folder_of_the_machine_is_told(pages: dict[str, Path], recordings: Path):
    for folder in pages.values():
        assert str(recordings.parent) not in (folder / "report.html").read_text()


def test_errors_are_one_line(copied: Path, tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch):
    def error(*arguments: object) -> str:
        outcome = run(capfd, monkeypatch, ["report", *arguments])
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        return outcome.err

    assert "is not there; give a folder that mmer train" in error(tmp_path / "none")
    (tmp_path / "nothing").mkdir()
    assert "holds no recipe.yaml" in error(tmp_path / "nothing")
    for name in "gfedcba":
        (tmp_path / "demo" / name).mkdir(parents=True)
        (tmp_path / "demo" / name / "recipe.yaml").touch()
    several = "is no run folder, but holds some: a, b, c, d, e and 2 more; give one of them"
    assert several in error(tmp_path / "demo")
    (tmp_path / "file").touch()
    assert "cannot be written" in error(copied, "--out", tmp_path / "file")
    whole = (copied / "metrics.json").read_text()
    (copied / "metrics.json").write_text(whole[:50])
    assert "missing or damaged" in error(copied)
    metrics = json.loads(whole)
    (copied / "metrics.json").write_text(json.dumps({**metrics, "test": None, "validation": None}))
    assert "neither a test nor a validation split was judged" in error(copied)
    (copied / "metrics.json").unlink()
    assert "is not finished, it holds no metrics.json; start it again with the same settings" in error(copied)


@pytest.mark.skipif(os.name == "nt", reason="files have no limit there")
def test_a_report_on_a_disk_that_was_full_is_written_by_the_same_call(copied: Path, tmp_path: Path):
    import resource

    out = tmp_path / "report"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(MMERError, match=r"report\.html: cannot be written \(File too large\)"):
            write_report(copied, out, console=quiet())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert write_report(copied, out, console=quiet()).exists()


def test_a_missing_file_is_named(copied: Path):
    (copied / "predictions.parquet").unlink()
    with pytest.raises(MMERError, match=r"predictions\.parquet"):
        read_run(copied)
