"""Enroll speakers: keep the statistics of their features in a copy of a model folder.

A model that standardizes features per speaker needs several clips of a speaker, without labels. Once enrolled, the
speaker is known when a single clip comes later.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mmer.corpora.content import corpus_fingerprint
from mmer.corpora.corpus import Corpus
from mmer.display.progress import counting
from mmer.display.terminal import messages, tell
from mmer.errors import CorpusError, MMERError
from mmer.features.statistics import FeatureStatistics
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder, is_vacant
from mmer.files.writing import check_output_folder, writing_folder
from mmer.inference.backends.model_folder import check_trainable, model_hash
from mmer.inference.backends.models import model_folder
from mmer.inference.inputs import corpus_utterances
from mmer.inference.known_speakers import keep_speakers
from mmer.inference.recognizer import EmotionRecognizer
from mmer.plain_text import counted, one_line
from mmer.published.kinds import published_kind
from mmer.runs.result_file import ResultFile
from mmer.runs.resume import differences, refuse_other

ENROLLMENT = "enrollment.json"


@dataclass(frozen=True, kw_only=True)
class Enrollment(ResultFile):
    """Content of `enrollment.json`: hashes of what was asked for, which a repeated call must equal."""

    model_sha256: str
    corpus_sha256: str


@writes("enroll")
def enroll(
    model: str | os.PathLike[str],
    corpus: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    console: Console | None = None,
) -> Path:
    """Copy a model that standardizes per speaker, and keep the statistics of a corpus's speakers in the copy.

    Clips of these speakers are then standardized by these statistics alone, in every call. No label is read. Weights,
    labels and calibration stay the same. The same call on the folder of an earlier one does nothing.

    Args:
        model: a model folder or a bundle.
        corpus: clips with the names of their speakers.
        out: the folder; the copy is its subfolder `model`.
        console: where progress is shown; default: standard error.

    Returns:
        The folder of the copy, which knows the speakers whom the model knew, too.

    Raises:
        MMERError: the model does not standardize per speaker, or `out` holds something else.
        CheckpointError, CorpusError: the model or the corpus cannot be read, or the model can neither standardize nor
            be trained.
        CorpusError: it names no speaker of whom there are two readable clips.
    """
    console, out = console or messages(), Path(out)
    check_output_folder(out)
    check_own_folder(out, "a folder of enrolled speakers", ENROLLMENT)
    folder, copy, file = model_folder(model), out / "model", out / ENROLLMENT
    read = Corpus.read(corpus)
    asked = Enrollment(model_sha256=model_hash(folder), corpus_sha256=corpus_fingerprint(read))
    if file.exists():
        before = Enrollment.read(file, "use another folder")
        different = differences(
            vars(before), vars(asked), {"model_sha256": "the model", "corpus_sha256": "the corpus"}
        )
        refuse_other(out, "holds speakers enrolled otherwise", different)
        if not is_vacant(copy):
            tell(f"{out} is complete; nothing is left to do.", console)
            return copy
    recognizer = EmotionRecognizer.from_pretrained(folder)
    if not recognizer.processor.per_speaker:
        published = published_kind(folder) is not None
        if not published:
            check_trainable(folder)  # otherwise, clips with emotions would not help either
        hears = recognizer.processor.uses_speech and not published
        raise MMERError(
            f"{folder} does not standardize features per speaker, so clips without emotions teach it nothing; fill in "
            f"the emotions of some clips of {corpus}"
            + (", or train with model.speech.normalization=speaker" if hears else "")
        )
    found = speakers_of(recognizer, read, console)
    if not found:
        raise CorpusError(f"{corpus}: names no speaker of whom there are two readable clips; fill in speaker")
    asked.write(file)  # before the copy, so that it marks an unfinished one
    with writing_folder(copy) as part:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                shutil.copyfile(file, part / file.name)
        keep_speakers({**recognizer.speakers, **found}, part)
    return copy


def speakers_of(
    recognizer: EmotionRecognizer, corpus: Corpus, console: Console
) -> dict[str, FeatureStatistics]:
    """Compute the statistics of a corpus's speakers, and say who has too few clips.

    Args:
        recognizer: a model that standardizes per speaker.
        corpus: clips of the speakers.
        console: where it is told.
    """
    with counting(console, "computing statistics of speakers"):
        found = recognizer.speaker_statistics(corpus_utterances(corpus))
    if missing := sorted(set(corpus.table["speaker"].dropna()) - set(found)):
        tell(
            f"note: {counted(len(missing), 'speaker')} cannot be enrolled with fewer than two readable clips; the "
            f"first is {one_line(missing[0])}",
            console,
        )
    tell(f"{counted(len(found), 'speaker')} enrolled", console)
    return found
