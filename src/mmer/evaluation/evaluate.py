"""Evaluation of a trained model on a corpus."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmer.corpora.content import corpus_fingerprint
from mmer.corpora.corpus import Corpus
from mmer.display.picture import additional_picture
from mmer.errors import CorpusError, MMERError
from mmer.evaluation.annotators import judge_by_annotators, soft_labels
from mmer.evaluation.calibration.confidence import Confidence
from mmer.evaluation.intervals import with_intervals
from mmer.evaluation.kept_answers import PART, answer_all, answer_journal
from mmer.evaluation.metrics import Metrics, compute_metrics
from mmer.evaluation.modalities import by_modality
from mmer.evaluation.plots import plot_accuracy_by_word_errors, plot_confusion_matrix
from mmer.evaluation.results import METRICS, Evaluation, TranscriptErrors
from mmer.evaluation.slices import slices, worst_groups
from mmer.evaluation.training_overlap import overlap
from mmer.evaluation.transcript_conditions import TranscriptCondition, training_words, with_condition
from mmer.features.statistics import FeatureStatistics
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder
from mmer.files.writing import check_output_folder, write_csv, write_parquet
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.backends.models import model_folder as find_model_folder
from mmer.inference.backends.models import trained_folders
from mmer.inference.inputs import corpus_utterances
from mmer.inference.kept_sound import KeptSound
from mmer.inference.prediction import corpus_frame
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.out_of_distribution import count_unlike
from mmer.inference.trust.trained_on import TrainedOn
from mmer.runs.journal import Journal
from mmer.text.error_rates import accuracy_by_word_errors, with_word_errors

WRITTEN = (
    *("metrics.json", "predictions.parquet", "slices.csv", "confusion_matrix.png", "risk_coverage.csv"),
    *("risk_coverage.png", "reliability.png", "accuracy_by_word_error_rate.png"),
)
"""Files that `evaluate` may write."""


def predict_labeled(
    recognizer: EmotionRecognizer,
    corpus: Corpus,
    *,
    speakers: Mapping[str, FeatureStatistics] | None = None,
    kept: KeptSound | None = None,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
    journal: Journal | None = None,
) -> pd.DataFrame:
    """Predict the emotion of each utterance, beside the true one.

    Args:
        recognizer: the model.
        corpus: the utterances; emotions may be missing.
        speakers, kept, batch_size, progress: see `EmotionRecognizer.predict_corpus`.
        journal: a journal of `answer_journal`, which gets each answer at once; those in it are not computed again.

    Returns:
        A row for each utterance: `utterance_id`, `speaker`, `split`, `emotion`, `predicted`, `probability_<emotion>`
        for each emotion of the model, and the other columns of `EmotionRecognizer.predict_corpus`.

    Raises:
        KeyboardInterrupt: the user interrupts; with `journal`, its message says how many answers are kept.
    """
    labels, dimensions = recognizer.labels, recognizer.dimensions
    rows = answer_all(
        recognizer,
        corpus_utterances(corpus),
        lambda prediction: prediction.to_row(labels, dimensions),
        journal=journal,
        progress=progress,
        batch_size=batch_size,
        speakers=speakers,
        kept=kept,
    )
    predictions = corpus_frame(rows, labels, dimensions)
    for place, name in enumerate(("speaker", "split", "emotion"), start=1):
        predictions.insert(place, name, corpus.table[name].to_numpy())
    return predictions


def judge(predictions: pd.DataFrame, labels: Sequence[str]) -> Metrics | None:
    """Compute metrics over the answered utterances of a table of `predict_labeled`; None where there are none."""
    answered = predictions.dropna(subset=["predicted"])
    if answered.empty:
        return None
    return compute_metrics(answered["emotion"].tolist(), answered["predicted"].tolist(), labels)


@writes("evaluate")
def evaluate(
    model_folder: str | Path,
    corpus: Corpus,
    split: str | None = None,
    out: str | Path | None = None,
    *,
    label_map: Mapping[str, str] | None = None,
    transcripts: str = "gold",
    transcription: str = "given",
    batch_size: int = 16,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a model on the utterances of a corpus whose emotion is among the model's.

    With `out`, the same call after an interruption goes on from the answers that were there.

    Args:
        model_folder: what training or `save_pretrained` wrote.
        corpus: labeled utterances.
        split: judge only this split; a model that standardizes per speaker still uses all clips of its speakers.
        out: a folder for `metrics.json`, `predictions.parquet`, `slices.csv`, `confusion_matrix.png`, what
            `Confidence.write` writes and, where words are compared, `accuracy_by_word_error_rate.png`; None for none.
        label_map: emotions of the corpus to rename first, as `{"excited": "happy"}`.
        transcripts: the model's text input: `gold`, `none`, or `wer:RATE` for word errors drawn from the words of the
            corpus's training transcripts; see `with_condition`.
        transcription: source of the transcripts, see `EmotionRecognizer`; recognized transcripts are compared with
            those of the corpus.
        batch_size: utterances answered at a time.
        device: see `EmotionRecognizer`.
        progress: called with the number of utterances done so far, and of all.

    Returns:
        The content of `metrics.json`.

    Raises:
        MMERError: the folder cannot be written to, is a run, or holds an input; there is no such transcript condition
            or transcription, both are given, or there are no words to draw errors from.
        CheckpointError: the folder holds no model.
        CorpusError: there is no such split, none of its emotions is known to the model, an emotion to rename does
            not occur, votes are not readable, or no recording can be read.
        KeyboardInterrupt: as for `predict_labeled`.
    """
    if out is not None:
        _check_out(Path(out), [model_folder, *([corpus.source] if corpus.source else [])])
    condition = TranscriptCondition.parse(transcripts)
    if condition.name != "gold" and transcription != "given":
        raise MMERError(
            f"transcripts {condition.name} and transcription {transcription} "
            "exclude each other; choose one of them"
        )
    recognizer = EmotionRecognizer.from_pretrained(model_folder, device, transcription)
    recognizer.check_answers_emotions()
    label_map = corpus.renames(label_map or {})
    judged, emotions, left_out = _judged_utterances(corpus, split, label_map, recognizer.labels)
    has_votes = "votes" in judged.table and judged.table["votes"].notna().any()
    soft = soft_labels(judged, recognizer.labels, label_map) if has_votes else None
    heard = judged
    if condition.name != "gold":
        heard, _ = with_condition(judged, condition, training_words(corpus))
    journal = None
    if out is not None:
        journal = answer_journal(
            Path(out) / PART,
            model=model_hash(find_model_folder(model_folder)),
            corpus=corpus_fingerprint(corpus),
            split=split,
            label_map=label_map,
            transcripts=transcripts,
            transcription=transcription,
            recognizer_sha256=recognizer.transcription.recognizer_sha256,
        )
    with KeptSound() as kept:
        speakers = recognizer.speakers_among(heard, corpus, kept)
        predictions = predict_labeled(
            recognizer,
            heard,
            speakers=speakers,
            kept=kept,
            batch_size=batch_size,
            progress=None if progress is None else lambda done: progress(done, len(heard)),
            journal=journal,
        )
    predictions = predictions.assign(emotion=emotions)
    figures = judge(predictions, recognizer.labels)
    if figures is None:
        raise CorpusError(f"no utterance could be answered; the first: {predictions['error'].iloc[0]}")
    in_training = unseen = None
    if (trained := TrainedOn.read(*trained_folders(find_model_folder(model_folder)))) is not None:
        splits = trained.splits_of(judged)
        predictions = predictions.assign(in_training=splits.to_numpy())
        in_training = overlap(splits)
        if splits.notna().any():
            unseen = judge(predictions[predictions["in_training"].isna()], recognizer.labels)
    unknown = 0
    if speakers is not None:
        unknown = _of_unknown_speakers(predictions, judged, {*speakers, *recognizer.speakers})
    read = bins = None
    if condition.name != "gold" or transcription != "given":
        recognized = transcription != "given"
        source = transcription if recognized else condition.name
        predictions, read = _with_word_errors(predictions, judged, source, recognized=recognized)
        bins = accuracy_by_word_errors(predictions)
    properties = {name: judged.table[name].to_numpy() for name in ("gender", "session", "transcript")}
    sliced = slices(predictions.assign(**properties), recognizer.labels)
    confidence = Confidence(predictions, recognizer.labels, fitted=recognizer.calibration is not None)
    evaluation = Evaluation(
        **vars(figures),
        in_training=in_training,
        unseen=unseen,
        unknown_speakers=unknown,
        left_out={**left_out, "no_answer": len(predictions) - figures.utterances},
        unlike=count_unlike(predictions["warnings"]),
        intervals=with_intervals(predictions, recognizer.labels),
        worst_groups=worst_groups(sliced),
        confidence=confidence.figures(),
        transcripts=read,
        accuracy_by_word_error_rate=bins,
        modalities=by_modality(predictions, recognizer.labels),
        annotators=None if soft is None else judge_by_annotators(predictions, soft),
    )
    if out is not None:
        _write(Path(out), evaluation, predictions, sliced, confidence, title=split or "all utterances")
    if journal is not None:
        journal.path.unlink()
    return evaluation


def _judged_utterances(
    corpus: Corpus, split: str | None, label_map: Mapping[str, str], labels: Sequence[str]
) -> tuple[Corpus, NDArray[np.object_], dict[str, int]]:
    """Select the utterances whose emotion is among the model's.

    Returns:
        These, their emotions after renaming, and how many others are left out for which reason.

    Raises:
        CorpusError: there is no such split, or no utterance to judge.
    """
    emotions = pd.Series(
        [label_map.get(emotion, emotion) for emotion in corpus.table["emotion"]], dtype=object
    )
    wanted = corpus.in_split(split)
    known = wanted & emotions.isin(labels).to_numpy()
    if not known.any():
        found = ", ".join(sorted(set(emotions.loc[wanted].dropna()))) or "none"
        raise CorpusError(
            f"{corpus.source}: no emotion to judge: the corpus has {found}, the model knows {', '.join(labels)}"
        )
    left_out = {
        "no_emotion": int((wanted & emotions.isna()).sum()),
        "other_emotion": int((wanted & ~known & emotions.notna()).sum()),
    }
    return corpus.select(known), emotions.loc[known].to_numpy(), left_out


def _of_unknown_speakers(predictions: pd.DataFrame, judged: Corpus, known: set[str]) -> int:
    """Count the answers to sound of speakers whose voice is not known."""
    answered = (predictions["duration"].notna() & predictions["error"].isna()).to_numpy()
    return int((answered & ~judged.table["speaker"].isin(known).to_numpy()).sum())


def _with_word_errors(
    predictions: pd.DataFrame, judged: Corpus, source: str, *, recognized: bool
) -> tuple[pd.DataFrame, TranscriptErrors]:
    """Compare the words that the model read with those of the corpus.

    Args:
        predictions: rows of `predict_labeled`.
        judged: the same utterances, with the words of the corpus.
        source: where the words that the model read come from: a transcript condition, or a transcription.
        recognized: whether that is a transcription.
    """
    compared = predictions["predicted"].notna()
    if recognized:  # an utterance without sound keeps its transcript
        compared &= predictions["transcript_source"] != "given"
    references = judged.table["transcript"].where(compared.to_numpy(), None)
    predictions, errors = with_word_errors(predictions, references.tolist())
    read = TranscriptErrors(
        **vars(errors),
        condition=source,
        word_error_rate=errors.rate,
        character_error_rate=errors.character_rate,
    )
    return predictions, read


def _write(
    out: Path,
    evaluation: Evaluation,
    predictions: pd.DataFrame,
    sliced: pd.DataFrame,
    confidence: Confidence,
    *,
    title: str,
) -> None:
    evaluation.write(out / METRICS)
    write_parquet(predictions, out / "predictions.parquet")
    write_csv(sliced, out / "slices.csv")
    with additional_picture("confusion_matrix.png"):
        plot_confusion_matrix(evaluation, out / "confusion_matrix.png", title=title)
    confidence.write(out, title=title)
    if bins := evaluation.accuracy_by_word_error_rate:
        with additional_picture("accuracy_by_word_error_rate.png"):
            plot_accuracy_by_word_errors(bins, out / "accuracy_by_word_error_rate.png", title=title)


def _check_out(out: Path, inputs: list[str | Path]) -> None:
    check_output_folder(out, inputs, files=WRITTEN)
    if (out / "recipe.yaml").exists():
        raise MMERError(f"{out} is the folder of a run, whose figures would be lost; use another folder")
    check_own_folder(out, "an evaluation", METRICS, before=[PART])
