"""Conditions of an audit, and the command."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import run

from mmer.corpora.audit.audit import audit
from mmer.corpora.audit.conditions import AuditCondition
from mmer.corpora.corpus import Corpus
from mmer.corpora.fingerprint import DIFFERENCE
from mmer.errors import MMERError


def corpus(count: int, **columns: Sequence[Any]) -> Corpus:
    ids = [f"u{number}" for number in range(count)]
    return Corpus(pd.DataFrame({"utterance_id": ids, "audio_path": None, **columns}), source="table")


class TestConditions:
    made = corpus(
        4, speaker=list("abac"), duration=[0.0, 1, 1, 1], split=["train", "train", "test", "validation"]
    )

    @pytest.mark.parametrize(
        ("condition", "holds", "line"),
        [
            ("speaker_overlap>0", True, "speaker_overlap>0 holds: 1 in test"),
            ("speaker_overlap>0.5", True, "speaker_overlap>0.5 holds: 1 in test"),
            ("speaker_overlap<0.5", True, "speaker_overlap<0.5 holds: 0 in validation"),
            ("speaker_overlap > 1", False, "speaker_overlap>1 does not hold: 1 in test"),
            ("speaker_overlap>=1.0", True, "speaker_overlap>=1 holds: 1 in test"),
            ("speaker_overlap<-.5", False, "speaker_overlap<-0.5 does not hold: 0 in validation"),
            ("audio_overlap>0", None, "audio_overlap>0 cannot be judged: audio_overlap is not known"),
            ("empty>0", True, "empty>0 holds: 1 in the corpus"),
            ("clipped<=0", True, "clipped<=0 holds: 0 in the corpus"),
        ],
    )
    def test_judge(self, condition: str, holds: bool | None, line: str) -> None:
        assert AuditCondition.parse(condition).judge(audit(self.made)) == (holds, line)

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ("speker_overlap>0", "condition 'speker_overlap>0': no figure 'speker_overlap', the nearest is 'sp"),
            ("speaker_overlap", "condition 'speaker_overlap' is not of the form FIGURE>NUMBER, such as"),
            ("speaker_overlap>5%", "condition 'speaker_overlap>5%' is not of the form"),
            ("speaker_overlap=0", "condition 'speaker_overlap=0' is not of the form"),
        ],
    )  # fmt: skip
    def test_what_is_no_condition(self, condition: str, expected: str) -> None:
        with pytest.raises(MMERError) as caught:
            AuditCondition.parse(condition)
        assert str(caught.value).startswith(expected)


class TestCommand:
    @pytest.fixture
    def table(self, tmp_path: Path) -> Path:
        path = tmp_path / "corpus.csv"
        corpus(
            3, speaker=list("aab"), transcript=["Yes.", "yes", "no"], split=["train", "test", "test"]
        ).write(path)
        return path

    def test_page_and_json(
        self, table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = tmp_path / "new" / "audit.json"
        outcome = run(capfd, monkeypatch, ["corpus", "audit", table, "--out", written])
        assert outcome.code == 0
        assert outcome.err == ""
        assert "50.0% of the transcripts (1 of 2) are in training word for word" in outcome.out
        found = json.loads(written.read_text())
        assert found["folds"]["test"]["transcript_overlap"] == 0.5
        assert found["total"]["audio_overlap"] is None
        assert found["settings"] == {"similarity": 0.8, "min_words": 3, "fingerprint_difference": DIFFERENCE}

    def test_a_condition_that_holds_exits_with_1(
        self, table: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        conditions = ["--fail-on", "speaker_overlap>0", "--fail-on", "transcript_overlap>0.5"]
        outcome = run(capfd, monkeypatch, ["corpus", "audit", table, *conditions])
        assert outcome.code == 1
        assert outcome.err == "mmer: speaker_overlap>0 holds: 0.5 in test\n"
        assert run(capfd, monkeypatch, ["corpus", "audit", table, *conditions[2:]]).code == 0

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--fail-on", "speaker>0"], "mmer: condition 'speaker>0': no figure 'speaker', the nearest is"),
            (["--by", "sesion"], "mmer: cannot audit by 'sesion', the nearest is 'session'"),
            (["--similarity", "0"], "mmer: similarity 0 of near duplicates: allowed is above 0"),
            (["--out", "."], "mmer: .: cannot be written, a folder is there; name a file"),
        ],
    )
    def test_wrong_options(
        self,
        table: Path,
        options: list[str],
        expected: str,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        outcome = run(capfd, monkeypatch, ["corpus", "audit", table, *options])
        assert outcome.code == 2
        assert outcome.err.startswith(expected)
        assert outcome.err.count("\n") == 1
