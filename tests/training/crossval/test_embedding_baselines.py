"""Embeddings that hold the emotion are answered right by every fold, and those that hold nothing by chance."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError, MMERError
from mmer.evaluation.comparison import compare
from mmer.evaluation.prediction_files import read_runs
from mmer.evaluation.report.page import write_report
from mmer.inference.embedding.embed import embed
from mmer.recipe.schema import Recipe
from mmer.text.transcripts import normalize_transcript
from mmer.training.crossval.baseline_runs import LINEAR, Baseline, cross_validate_baseline, embeddings_of

Tiny = Callable[..., Recipe]
QUIET = Console(quiet=True)


def made(corpus: Corpus, path: Path, hold: float) -> Path:
    """Embeddings in which the emotion is `hold` times as strong as the noise, in another order than the corpus."""
    random = np.random.default_rng(0)
    emotions = np.unique(corpus.table["emotion"], return_inverse=True)[1]
    directions = random.standard_normal((3, 12))
    vectors = hold * directions[emotions] + random.standard_normal((len(corpus), 12))
    table = pd.DataFrame(
        {"utterance_id": corpus.table["utterance_id"], "vector": [*vectors.astype(np.float32)]}
    )
    table.sample(frac=1, random_state=1).to_parquet(path)
    return path


@pytest.mark.parametrize("baseline", LINEAR)
def test_embeddings_that_hold_the_emotion_are_all_answered_and_others_by_chance(
    baseline: Baseline, tiny: Tiny, corpus: Corpus, tmp_path: Path
) -> None:
    recipe = tiny("protocol.folds=leave-one-out", "protocol.validation=1")
    known, nothing = (made(corpus, tmp_path / f"{hold}.parquet", hold) for hold in (20, 0))
    right = cross_validate_baseline(baseline, recipe, tmp_path / "known", embeddings=known, console=QUIET)
    chance = cross_validate_baseline(
        baseline, recipe, tmp_path / "nothing", embeddings=nothing, console=QUIET
    )
    assert right.metrics.pooled.balanced_accuracy == 1
    assert right.metrics.system == f"20.parquet + {LINEAR[baseline]}"
    assert set(right.metrics.folds) == {"A", "B", "C", "D"}
    said = corpus.table["transcript"].map(normalize_transcript)
    who_says = corpus.table.groupby(said)["speaker"].nunique()
    assert right.metrics.shared_transcripts == (said.map(who_says) > 1).mean() > 0
    assert 0.1 < chance.metrics.pooled.balanced_accuracy < 0.57  # 1/3, within three deviations of 36 guesses
    found = compare(read_runs([chance.folder, right.folder]), "balanced_accuracy")
    assert (found.baseline, list(found.runs)) == ("nothing", ["nothing", "known"])
    page = write_report(right.folder).read_text(encoding="utf-8")
    assert f"A baseline, 20.parquet + {LINEAR[baseline]}, tells 3 emotions apart" in page
    probabilities = pd.read_parquet(right.folder / "predictions.parquet").filter(like="probability_")
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1)


def test_embeddings_of_an_encoder_go_through_the_folds_and_those_of_other_recordings_do_not(
    tiny: Tiny, corpus: Corpus, listener: Path, tmp_path: Path
) -> None:
    recipe = tiny("protocol.folds=2", "protocol.validation=1")
    path = embed(listener, corpus, tmp_path / "e.parquet", device="cpu").path
    found = cross_validate_baseline("embeddings", recipe, tmp_path / "out", embeddings=path, console=QUIET)
    assert found.metrics.pooled.utterances == len(corpus)
    assert len(found.metrics.folds) == 2
    table = pd.read_parquet(path)
    table.assign(audio_sha256="0" * 64).to_parquet(path)
    with pytest.raises(CorpusError, match="was made of other recordings than those of 36 of 36 utterances"):
        cross_validate_baseline("embeddings", recipe, tmp_path / "out", embeddings=path, console=QUIET)
    table.iloc[1:].to_parquet(path)
    with pytest.raises(
        CorpusError, match=r"e\.parquet: has no embedding of 1 of 36 utterances \(A_angry_0\)"
    ):
        cross_validate_baseline("embeddings", recipe, tmp_path / "out", embeddings=path, console=QUIET)


def test_what_is_refused(tiny: Tiny, corpus: Corpus, tmp_path: Path) -> None:
    recipe, path = tiny("protocol.folds=2"), made(corpus, tmp_path / "e.parquet", 1)
    refused: list[tuple[dict[str, Any], type[MMERError], str]] = [
        ({"embeddings": tmp_path / "no.parquet"}, CorpusError, r"no\.parquet: no such file of embeddings"),
        ({}, MMERError, "the baseline embeddings needs a file of embeddings"),
        ({"embeddings": path, "per_speaker": True}, MMERError, "per_speaker does not belong to the baseline"),
    ]
    for arguments, error, said in refused:
        with pytest.raises(error, match=said):
            cross_validate_baseline("embeddings", recipe, tmp_path / "out", **arguments, console=QUIET)
    with pytest.raises(MMERError, match="embeddings does not belong to the baseline majority"):
        cross_validate_baseline("majority", recipe, tmp_path / "out", embeddings=path, console=QUIET)
    assert not (tmp_path / "out").exists()


def test_the_name_of_a_system_says_file_and_column(tmp_path: Path) -> None:
    assert embeddings_of("majority") is None
    assert embeddings_of("embeddings") is None
    assert embeddings_of("embeddings:e.parquet") == ("embeddings", Path("e.parquet"), None)
    assert embeddings_of("embeddings-svm:e.parquet:text") == ("embeddings-svm", Path("e.parquet"), "text")
    (tmp_path / "a:b.parquet").touch()
    file = tmp_path / "a:b.parquet"
    assert embeddings_of(f"embeddings:{file}") == ("embeddings", file, None)
    assert embeddings_of(f"embeddings:{file}:speech") == ("embeddings", file, "speech")
