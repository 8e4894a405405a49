"""Views in an audit: counted where they used somebody who is not in training."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from commands import run
from rich.console import Console

from mmer.corpora.audit.audit import audit
from mmer.corpora.audit.conditions import AuditCondition
from mmer.corpora.audit.leaks import BrokenView
from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import View, write_views


@pytest.fixture
def corpus() -> Corpus:
    """Six speakers with an utterance each, two in each of three sessions; 1 and 2 train, 3 is tested."""
    return Corpus(
        pd.DataFrame(
            {
                "utterance_id": [f"u{speaker}" for speaker in "ABCDEF"],
                "audio_path": [None] * 6,
                "transcript": [f"words of {speaker}" for speaker in "ABCDEF"],
                "emotion": ["sad"] * 6,
                "speaker": list("ABCDEF"),
                "session": list("112233"),
                "split": ["train"] * 4 + ["test"] * 2,
            }
        )
    )


def view(source: str, voice: str, donor: str | None = None, rejected: str | None = None) -> View:
    return View(
        view_id=f"{source}.{voice}",
        source_utterance=f"u{source}",
        audio_path=None,
        transcript="words",
        speech_generator="yourtts",
        text_generator="none",
        settings="{}",
        voice=voice,
        voices=(voice,),
        texts=(source,),
        donor=donor,
        seed=0,
        rejected=rejected,
    )


VIEWS = [
    view("A", "B", "uB"),  # of the same session: breaks no fold of sessions
    view("A", "C", "uC"),  # breaks the fold that tests session 2
    view("B", "E", "uE"),  # breaks the fold that tests session 3, and the split
    view("E", "A", "uA"),  # of a test utterance: does not train in the split; breaks the fold of session 1
    view("B", "F", "uF", rejected="sound: silent"),
]


def test_by_split(corpus):
    found = audit(corpus, views=VIEWS)
    assert found.folds["test"].counts["view_overlap"] == [1, 3]
    assert found.folds["test"].view_overlap == found.total.view_overlap == 1 / 3
    assert found.broken_views == [
        BrokenView(view="B.E", fold="test", reason="it has the voice of E, who is not in training")
    ]


def test_by_session(corpus):
    found = audit(corpus, "session", views=VIEWS)
    counts = {name: fold.counts["view_overlap"] for name, fold in found.folds.items()}
    assert counts == {"1": [1, 1], "2": [1, 4], "3": [1, 3]}
    assert found.total.counts["view_overlap"] == [3, 4]
    assert [(row.view, row.fold) for row in found.broken_views] == [
        ("E.A", "1"),
        ("A.C", "2"),
        ("B.E", "3"),
    ]


def test_not_known_without_views(corpus):
    found = audit(corpus)
    assert found.folds["test"].view_overlap is None
    assert found.folds["test"].counts["view_overlap"] == [0, 0]
    assert AuditCondition.parse("view_overlap>0").judge(found)[0] is None


def test_on_the_page_and_in_json(corpus, tmp_path: Path, capfd, monkeypatch):
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(audit(corpus, views=VIEWS))
    text = console.export_text()
    assert "views that break a fold: B.E in test: it has the voice of E, who is not in training" in text
    assert (
        "33.3% of the views of training utterances (1 of 3) used the voice or the words of a speaker" in text
    )
    corpus.write(tmp_path / "corpus.parquet")
    write_views(VIEWS, tmp_path / "views.parquet")
    asked = ["corpus", "audit", tmp_path / "corpus.parquet", "--views", tmp_path / "views.parquet"]
    done = run(capfd, monkeypatch, [*asked, "--out", tmp_path / "audit.json", "--fail-on", "view_overlap>0"])
    assert done.code == 1
    assert "view_overlap>0 holds: 0.3333 in test" in done.err
    assert json.loads((tmp_path / "audit.json").read_text())["folds"]["test"]["counts"]["view_overlap"] == [
        1,
        3,
    ]


def test_of_scripted_and_improvised_the_figure_is_not_told(corpus):
    found = audit(Corpus(corpus.table.assign(improvised=[True, False] * 3)), views=VIEWS)
    Console(quiet=True).print(found)
    assert found.total.scripted is not None
    assert found.total.scripted.view_overlap is None
