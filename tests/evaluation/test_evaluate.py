"""What `evaluate` adds to the figures: intervals, slices, annotators."""

import json
from pathlib import Path

import pandas as pd
import pytest
from inference.conftest import LABELS, save_model
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError
from mmer.evaluation.annotators import judge_by_annotators, soft_labels
from mmer.evaluation.evaluate import evaluate
from mmer.evaluation.intervals import with_intervals
from mmer.evaluation.show import render
from mmer.evaluation.slices import slices, worst_groups


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that reads."""
    return save_model(tmp_path_factory.mktemp("model"), fusion="text")


@pytest.fixture
def corpus() -> Corpus:
    count = 120
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in range(count)],
            "audio_path": None,
            "transcript": [" ".join(["I never said that"] * (n % 5)) for n in range(count)],
            "emotion": [
                ["angry", "excited", "neutral", "sad", "bored"][int(n**1.5) % 5] for n in range(count)
            ],
            "speaker": [f"s{n // 20}" for n in range(count)],
            "gender": ["female" if n % 3 else "male" for n in range(count)],
            "votes": [
                json.dumps({"1": ["Anger"], "2": ["Excited" if n % 2 else "Sad"]}) for n in range(count)
            ],
        }
    )
    return Corpus(table)


def test_intervals_slices_and_annotators(model: Path, corpus: Corpus, tmp_path: Path) -> None:
    figures = evaluate(model, corpus, out=tmp_path, label_map={"excited": "happy"}, device="cpu")
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    known = corpus.table[corpus.table["emotion"] != "bored"].reset_index(drop=True)
    assert predictions["utterance_id"].tolist() == known["utterance_id"].tolist()
    assert figures["intervals"] == with_intervals(predictions, LABELS)
    expected = slices(predictions.join(known[["gender", "transcript"]]), LABELS)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "slices.csv"), expected, check_dtype=False)
    assert set(expected["slice"]) == {"speaker", "gender", "transcript"}
    assert figures["worst_groups"] == worst_groups(expected)
    soft = soft_labels(Corpus(known), LABELS, {"excited": "happy"})
    assert figures["annotators"] == judge_by_annotators(predictions, soft)
    assert figures["annotators"]["votes"] == 2 * len(known)
    assert json.loads((tmp_path / "metrics.json").read_text()) == figures
    with (console := Console(width=160)).capture() as captured:
        console.print(render(figures))
    printed = captured.get()
    low, high = (figures["intervals"]["accuracy"][name] for name in ("low", "high"))
    assert f"{low:.1%} to {high:.1%} (95% interval over 6 speakers)" in printed
    assert "worst gender: " in printed
    assert f"Against {2 * len(known)} votes of annotators" in printed


def test_without_speakers_votes_and_groups(model: Path, corpus: Corpus) -> None:
    columns = ["utterance_id", "audio_path", "emotion"]
    figures = evaluate(
        model, Corpus(corpus.table[columns]).select(corpus.table["emotion"] == "sad"), device="cpu"
    )
    assert "annotators" not in figures
    assert figures["worst_groups"] == {}
    with (console := Console(width=160)).capture() as captured:
        console.print(render(figures))
    count = figures["utterances"]
    assert captured.get().count(f"no interval: {count} of {count} utterances have no speaker") == 1


def test_votes_are_read_before_the_recordings(model: Path, corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="votes of 'u0' are not of the form"):
        evaluate(model, Corpus(corpus.table.assign(votes="angry")), device="cpu")
