"""The recordings that a run can use: each is decoded once, so that a damaged one is found before training."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd

from mmer.audio.faults import AudioFault
from mmer.audio.load import SAMPLING_RATE, load_with_warnings
from mmer.corpora.corpus import Corpus, Progress
from mmer.errors import AudioError
from mmer.plain_text import counted
from mmer.recipe.schema import Recipe
from mmer.text.transcripts import strip_annotations
from mmer.training.data.skipped import CUT, Row, skip

_NAMED = 3  # files


@dataclass(frozen=True)
class _Heard:
    """Result of decoding a recording.

    Attributes:
        duration: duration in seconds, or the reason why it is unknown; None where there is no recording.
        cancelling: whether its channels would cancel each other in a sum.
    """

    duration: float | AudioError | None
    cancelling: bool = False


def usable_recordings(
    corpus: Corpus, recipe: Recipe, progress: Progress | None
) -> tuple[Corpus, list[Row], list[str]]:
    """Decode every recording; truncate and leave out clips as the recipe says.

    An utterance without sound is kept if the network has missing-modality embeddings.

    Returns:
        The kept utterances, the others, and paths of kept recordings whose channels cancel each other.
    """
    crop, longest = recipe.data.crop_duration, recipe.data.max_duration
    table, skipped, kept, durations, cancelling = corpus.table.copy(), [], [], {}, []
    rows = table.to_dict("records")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        heard = []
        for each in threads.map(_heard, rows):
            heard.append(each)
            if progress:
                progress(len(heard), len(rows))
    for index, row, found in zip(table.index, rows, heard, strict=True):
        duration = found.duration
        if (
            duration is None
            and recipe.missing_modality_embeddings
            and strip_annotations(row["transcript"] or "")
        ):
            kept.append(index)
            continue
        if duration is None:
            nothing = (
                "neither a recording nor a transcript"
                if recipe.missing_modality_embeddings
                else "no recording"
            )
            skipped.append(skip(row, "without recording", f"{nothing} is named"))
            continue
        if isinstance(duration, AudioError):
            skipped.append(skip(row, "unreadable", str(duration)))
            continue
        if crop is not None and duration > crop:
            skipped.append(skip(row, f"to {crop:g} s", f"{duration:.2f} s long", CUT))
            duration = crop
            start = 0.0 if pd.isna(row["start"]) else row["start"]
            table.loc[index, ["start", "end"]] = start, start + crop
        if duration > longest:
            skipped.append(skip(row, f"longer than {longest:g} s", f"{duration:.2f} s long"))
            continue
        durations[index] = duration
        kept.append(index)
        if found.cancelling:
            cancelling.append(str(row["audio_path"]))
    table.loc[list(durations), "duration"] = list(durations.values())
    kept_table = table.loc[kept].reset_index(drop=True)
    return Corpus(kept_table, source=str(recipe.data.corpus), notes=corpus.notes), skipped, cancelling


def _heard(row: Row) -> _Heard:
    if pd.isna(row["audio_path"]):
        return _Heard(None)
    start, end = (None if pd.isna(row[name]) else float(row[name]) for name in ("start", "end"))
    try:
        audio = load_with_warnings(row["audio_path"], start=start, end=end)
    except AudioError as error:
        return _Heard(error)
    cancelling = any(warning.fault is AudioFault.CHANNELS_CANCEL for warning in audio.warnings)
    return _Heard(len(audio.waveform) / SAMPLING_RATE, cancelling)


def told_of_channels(paths: list[str]) -> str:
    """Count the utterances whose channels cancel each other, and name the first recordings."""
    files = list(dict.fromkeys(paths))
    more = f" and {counted(len(files) - _NAMED, 'more file')}" if len(files) > _NAMED else ""
    return (
        f"{counted(len(paths), 'utterance', 'has', 'have')} channels that cancel each other; the quieter of "
        "them is left out of the mix: "
        f"{', '.join(files[:_NAMED])}{more}"
    )
