"""Judging a trained model on a corpus."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.plots import plot_confusion_matrix
from mmer.inference.recognizer import EmotionRecognizer


def predict_labeled(
    recognizer: EmotionRecognizer,
    corpus: Corpus,
    *,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """What the model says about each utterance, beside what is true.

    Args:
        recognizer: the model.
        corpus: its utterances; emotions may be missing.
        batch_size, progress: see `EmotionRecognizer.predict_corpus`.

    Returns:
        A row for each utterance: `utterance_id`, `speaker`, `split`, `emotion`, `predicted`, `probability_<emotion>`
        for each emotion of the model, and the other columns of `EmotionRecognizer.predict_corpus`.
    """
    predictions = recognizer.predict_corpus(corpus, batch_size=batch_size, progress=progress)
    for place, name in enumerate(("speaker", "split", "emotion"), start=1):
        predictions.insert(place, name, corpus.table[name].to_numpy())
    return predictions


def judge(predictions: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any] | None:
    """`compute_metrics` of the answered utterances of a table of `predict_labeled`; null where there are none."""
    answered = predictions.dropna(subset=["predicted"])
    if answered.empty:
        return None
    return compute_metrics(answered["emotion"].tolist(), answered["predicted"].tolist(), labels)


def evaluate(
    model_folder: str | Path,
    corpus: Corpus,
    split: str | None = None,
    out: str | Path | None = None,
    *,
    label_map: Mapping[str, str] | None = None,
    batch_size: int = 16,
    device: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Judge a model on the utterances of a corpus whose emotion it knows.

    Args:
        model_folder: what training or `save_pretrained` wrote.
        corpus: labeled utterances.
        split: judge this split alone; a model that standardizes per speaker still hears all clips of the corpus.
        out: a folder for `metrics.json`, `predictions.parquet` and `confusion_matrix.png`; null for none.
        label_map: emotions of the corpus to rename first, as `{"excited": "happy"}`.
        batch_size: utterances answered at a time.
        device: see `EmotionRecognizer`.
        progress: called with the number of utterances done so far.

    Returns:
        `compute_metrics`, and `left_out`: how many utterances of the split have no emotion the model knows
        (`other_emotion`) or no answer (`no_answer`).

    Raises:
        CheckpointError: the folder holds no model.
        CorpusError: there is no such split, none of its emotions is known to the model, an emotion to rename does
            not occur, or no recording can be read.
    """
    recognizer = EmotionRecognizer.from_pretrained(model_folder, device)
    label_map = label_map or {}
    corpus.with_labels(None, label_map)  # refuses to rename an emotion that does not occur
    emotions = pd.Series(
        [label_map.get(emotion, emotion) for emotion in corpus.table["emotion"]], dtype=object
    )
    splits = corpus.table["split"]
    wanted = np.ones(len(corpus), bool) if split is None else (splits == split).to_numpy()
    if not wanted.any():
        found = ", ".join(sorted(set(splits.dropna()))) or "none"
        raise CorpusError(f"no utterance is in the split {split}; the splits of the corpus are: {found}")
    known = wanted & emotions.isin(recognizer.labels).to_numpy()
    if not known.any():
        found, labels = ", ".join(sorted(set(emotions.loc[wanted].dropna()))), ", ".join(recognizer.labels)
        raise CorpusError(f"no emotion to judge: the corpus has {found or 'none'}, the model knows {labels}")
    per_speaker = recognizer.processor.normalization == "speaker"
    heard = corpus if per_speaker else corpus.select(known)
    predictions = predict_labeled(recognizer, heard, batch_size=batch_size, progress=progress)
    if per_speaker:
        predictions = predictions.loc[known]
    predictions = predictions.assign(emotion=emotions.loc[known].to_numpy())
    figures = judge(predictions, recognizer.labels)
    if figures is None:
        raise CorpusError(f"no utterance could be answered; the first: {predictions['error'].iloc[0]}")
    unanswered = len(predictions) - figures["utterances"]
    figures["left_out"] = {"other_emotion": int(wanted.sum() - known.sum()), "no_answer": unanswered}
    if out is not None:
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False), encoding="utf-8")
        predictions.to_parquet(out / "predictions.parquet", index=False)
        plot_confusion_matrix(figures, out / "confusion_matrix.png", title=split or "all utterances")
    return figures
