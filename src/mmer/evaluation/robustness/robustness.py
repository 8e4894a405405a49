"""Measurement of a model's accuracy under disturbances of recordings and transcripts."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.text import Text

from mmer.audio.load import SAMPLING_RATE, as_waveform
from mmer.corpora.content import corpus_fingerprint
from mmer.corpora.corpus import Corpus, Progress
from mmer.display.picture import additional_picture
from mmer.display.terminal import Table
from mmer.errors import CorpusError, MMERError, Parameter
from mmer.evaluation.intervals import interval
from mmer.evaluation.robustness.disturbances import AXES, Disturbance, disturb, disturbances
from mmer.evaluation.robustness.plot import plot_robustness
from mmer.evaluation.robustness.results import (
    DisturbedFigures,
    DisturbedGroup,
    Robustness,
    RobustnessSettings,
)
from mmer.evaluation.slices import worst_group
from mmer.evaluation.training_overlap import overlap, overlap_note
from mmer.evaluation.transcript_conditions import TranscriptCondition, training_words, with_condition
from mmer.files.damaged import MADE_AGAIN, damaged_file
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder
from mmer.files.writing import check_output_folder, writable, write_parquet
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.backends.models import model_folder, trained_folders
from mmer.inference.inputs import Utterance, corpus_utterances
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.out_of_distribution import count_unlike
from mmer.inference.trust.trained_on import TrainedOn
from mmer.plain_text import counted, name_of
from mmer.runs.resume import differences, refuse_other
from mmer.text.error_rates import WordErrors

SETTINGS = "settings.json"
_CONTENT = {
    "content_sha256": "the rows or recordings of the corpus",
    "words_sha256": "its training transcripts",
}


@writes("robustness")
def measure(
    model: Path,
    corpus: Corpus,
    out: Path,
    *,
    split: str | None = None,
    axes: Sequence[str] | None = None,
    sample: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    device: str | None = None,
    progress: Progress | None = None,
) -> Robustness:
    """Judge a model under every disturbance; the same call resumes after an interruption.

    Args:
        model: a model folder or a bundle.
        corpus: labeled utterances of speakers outside the training data.
        out: a folder for the answers under each disturbance, `robustness.json` and `robustness.png`.
        split: judge only this split.
        axes: some of `AXES`, each with an optional level, as `words:0.2` or `words:none`; default: all that apply to
            the model's modalities.
        sample: number of utterances to judge, drawn at random; default: all.
        seed: seed of the draw.
        batch_size, device: see `EmotionRecognizer`.
        progress: called with the number of answers so far and of all.

    Returns:
        The content of `robustness.json`.

    Raises:
        MMERError: an axis is unknown, or the folder holds results of something else.
        CorpusError: there is no utterance to judge.
        CheckpointError: `model` is neither a model folder nor a bundle.
    """
    check_output_folder(out)
    check_own_folder(out, "a measurement of robustness", SETTINGS)
    folder = model_folder(model)
    recognizer = EmotionRecognizer.from_pretrained(folder, device)
    recognizer.check_answers_emotions()
    judged = _judged(corpus, recognizer, split, sample, seed)
    chosen = disturbances(_axes(axes, recognizer))
    vocabulary = training_words(corpus)
    trained = TrainedOn.read(*trained_folders(folder))
    settings = RobustnessSettings(
        model=model_hash(folder),
        corpus=name_of(corpus.source),
        split=split,
        sample=sample,
        seed=seed,
        utterances=len(judged),
        speakers=int(judged.table["speaker"].nunique()),
        content_sha256=corpus_fingerprint(judged),
        words_sha256=hashlib.sha256(" ".join(vocabulary).encode("utf-8", "surrogatepass")).hexdigest(),
    )
    _open(out, settings)
    total, done = len(chosen) * len(judged), 0
    found = []
    for disturbance in chosen:
        file = out / "answers" / f"{disturbance.name}.parquet"
        if not file.exists():
            answers = _answers(recognizer, judged, disturbance, vocabulary, batch_size, progress, done, total)
            write_parquet(answers, file)
        done += len(judged)
        if progress:
            progress(done, total)
        with damaged_file(file, MADE_AGAIN):
            answers = pd.read_parquet(file)
        figures = _figures(answers, disturbance, recognizer.labels)
        if disturbance.axis == "words":
            errors = _with_other_words(judged, disturbance, vocabulary)[1]
            figures = replace(figures, word_error_rate=errors.rate)
        found.append(figures)
    emotions = judged.table["emotion"].nunique()
    in_training = None if trained is None else overlap(trained.splits_of(judged))
    result = Robustness(**vars(settings), in_training=in_training, chance=1 / emotions, conditions=found)
    result.write(out / "robustness.json")
    with additional_picture("robustness.png"):
        plot_robustness(result, out / "robustness.png")
    return result


def robustness_table(result: Robustness) -> Table:
    """Return a table of the results of `measure`."""
    title = f"{counted(result.utterances, 'utterance')} of {counted(result.speakers, 'speaker')}"
    seen = overlap_note(result.in_training)
    caption = None if seen is None else Text(f"warning: {seen}", style="yellow")
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("disturbed", no_wrap=True)
    table.add_column("balanced accuracy (UA)", justify="right")
    table.add_column("95% interval", justify="right", no_wrap=True)
    table.add_column("worst group")
    warned = any(found.unlike for found in result.conditions)
    if warned:
        table.add_column("unlike the training", justify="right")
    for found in result.conditions:
        between, worst = found.interval, found.worst_group
        shown = "" if between.low is None else f"{100 * between.low:.1f} to {between.high:.1%}"
        group = f"{worst.slice} {worst.group}, {worst.balanced_accuracy:.1%}" if worst else ""
        table.add_row(
            _disturbance_name(found.axis, found.level),
            *(f"{found.balanced_accuracy:.1%}", shown, group),
            *([f"{found.unlike or 0} of {found.utterances}"] if warned else []),
        )
    return table


def _disturbance_name(axis: str | None, level: str | float | None) -> str:
    if axis is None:
        return "as it is"
    if axis == "words":
        return "no words" if level == 1 else f"words {level:.0%} wrong"
    unit = {"noise": " dB", "loudness": " dB", "length": " s", "silence": " s"}.get(axis, "")
    sign = "+" if axis == "loudness" and isinstance(level, float | int) and level > 0 else ""
    return f"{axis} {sign}{level}{unit}"


def _axes(axes: Sequence[str] | None, recognizer: EmotionRecognizer) -> list[str]:
    processor = recognizer.processor
    possible = [axis for axis in AXES if (processor.uses_text if axis == "words" else processor.uses_speech)]
    asked = [axis.partition(":")[0] for axis in axes or []]
    if unknown := [axis for axis in asked if axis not in possible]:
        reason = "this model cannot be disturbed by" if unknown[0] in AXES else "there is no axis"
        raise MMERError(Parameter("axes"), f": {reason} {unknown[0]!r}; choose among {', '.join(possible)}")
    return list(axes or possible)


def _judged(
    corpus: Corpus, recognizer: EmotionRecognizer, split: str | None, sample: int | None, seed: int
) -> Corpus:
    table = corpus.table
    kept = corpus.in_split(split) & table["emotion"].isin(recognizer.labels)
    places = np.flatnonzero(kept)
    if not len(places):
        emotions = ", ".join(sorted(set(table["emotion"].dropna()))) or "none"
        raise CorpusError(
            f"{corpus.source}: no utterance to judge: the corpus has the emotions {emotions}; "
            f"the model knows {', '.join(recognizer.labels)}"
        )
    if sample is not None and sample < len(places):
        places = np.sort(np.random.default_rng(seed).choice(places, sample, replace=False))
    chosen = np.zeros(len(table), bool)
    chosen[places] = True
    return corpus.select(chosen)


def _open(out: Path, settings: RobustnessSettings) -> None:
    file = out / SETTINGS
    if file.exists():
        before = RobustnessSettings.read(file, "use another folder")
        unknown = {name for name in _CONTENT if vars(before)[name] is None}  # in files of early versions
        asked = {name: value for name, value in vars(settings).items() if name not in unknown}
        refuse_other(out, "holds results of something else", differences(vars(before), asked, _CONTENT))
    settings.write(file)  # first, since it marks the folder as one of results
    with writable(out):
        (out / "answers").mkdir(exist_ok=True)


def _answers(
    recognizer: EmotionRecognizer,
    corpus: Corpus,
    disturbance: Disturbance,
    vocabulary: Sequence[str],
    batch_size: int,
    progress: Progress | None,
    before: int,
    total: int,
) -> pd.DataFrame:
    """Return a row for each utterance: the columns of `slices`, and why there is no answer."""
    changed = corpus
    if disturbance.axis == "words":
        changed, _ = _with_other_words(corpus, disturbance, vocabulary)
    predictions = recognizer.predict(
        _disturbed(recognizer, corpus_utterances(changed), disturbance),
        batch_size=batch_size,
        progress=None if progress is None else lambda done: progress(before + done, total),
    )
    answered = [(each.label, each.duration, "; ".join(each.warnings), each.error) for each in predictions]
    made = pd.DataFrame(answered, columns=["predicted", "duration", "warnings", "error"])
    for name in ("utterance_id", "speaker", "gender", "session", "emotion", "transcript"):
        made[name] = corpus.table[name].to_numpy()
    return made


def _with_other_words(
    corpus: Corpus, disturbance: Disturbance, vocabulary: Sequence[str]
) -> tuple[Corpus, WordErrors]:
    rate = disturbance.level
    condition = TranscriptCondition("none") if rate == 1 else TranscriptCondition.parse(f"wer:{rate}")
    return with_condition(corpus, condition, vocabulary)


def _disturbed(
    recognizer: EmotionRecognizer, utterances: Sequence[Utterance], disturbance: Disturbance
) -> Iterator[Utterance]:
    for utterance in utterances:
        if not disturbance.is_heard or utterance.audio is None:
            yield utterance
            continue
        try:
            waveform = as_waveform(
                recognizer.waveform(utterance),
                recognizer.processor.sampling_rate,
                name=utterance.utterance_id or "",
            )
        except (MMERError, OSError):
            yield utterance  # the utterance without an answer, which gives the reason
            continue
        longest = recognizer.processor.max_duration
        changed = disturb(waveform, disturbance, f"{utterance.utterance_id}", longest)
        yield replace(utterance, audio=changed, sampling_rate=SAMPLING_RATE, start=None, end=None)


def _figures(answers: pd.DataFrame, disturbance: Disturbance, labels: Sequence[str]) -> DisturbedFigures:
    found = interval(answers, "balanced_accuracy", labels=labels)
    worst = None
    if (of_all := worst_group(answers, labels)) is not None:
        name, group, utterances, score = of_all
        worst = DisturbedGroup(slice=name, group=group, utterances=utterances, balanced_accuracy=score)
    return DisturbedFigures(
        axis=disturbance.axis,
        level=disturbance.level,
        utterances=int(answers["predicted"].notna().sum()),
        balanced_accuracy=found.estimate,
        interval=found,
        worst_group=worst,
        unlike=count_unlike(answers["warnings"]) if "warnings" in answers else None,
    )
