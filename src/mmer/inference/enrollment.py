"""Enroll speakers: keep the statistics of their features in a copy of a model folder.

A model that standardizes features per speaker needs several clips of a speaker, without labels. Once enrolled, the
speaker is known when a single clip comes later.
"""

import os
import shutil
from pathlib import Path

from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.display.progress import counting
from mmer.display.terminal import messages, tell
from mmer.errors import CorpusError, MMERError
from mmer.features.statistics import FeatureStatistics
from mmer.files.lock import is_vacant, writes
from mmer.files.writing import check_output_folder, writing_folder
from mmer.inference.backends.models import model_folder
from mmer.inference.inputs import corpus_utterances
from mmer.inference.known_speakers import keep_speakers
from mmer.inference.recognizer import EmotionRecognizer
from mmer.plain_text import counted, one_line


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
    labels and calibration stay the same.

    Args:
        model: a model folder or a bundle.
        corpus: clips with the names of their speakers.
        out: an empty folder, or one that does not exist; the copy is its subfolder `model`.
        console: where progress is shown; default: standard error.

    Returns:
        The folder of the copy, which knows the speakers whom the model knew, too.

    Raises:
        MMERError: the model does not standardize per speaker, or `out` is not empty.
        CheckpointError, CorpusError: the model or the corpus cannot be read.
        CorpusError: it names no speaker of whom there are two readable clips.
    """
    console, out = console or messages(), Path(out)
    check_output_folder(out)
    folder = model_folder(model)
    if not is_vacant(out):
        raise MMERError(f"{out} is not empty; use another folder")
    recognizer, read = EmotionRecognizer.from_pretrained(folder), Corpus.read(corpus)
    if not recognizer.processor.per_speaker:
        raise MMERError(
            f"{folder} does not standardize features per speaker, so clips without emotions teach it nothing; fill in "
            f"the emotions of some clips of {corpus}, or train with model.speech.normalization=speaker"
        )
    found = speakers_of(recognizer, read, console)
    if not found:
        raise CorpusError(f"{corpus}: names no speaker of whom there are two readable clips; fill in speaker")
    copy = out / "model"
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
