"""Which utterances a model was trained on: hashes in its folder, against which others are held.

An utterance is known by its sound, the samples as they are decoded: a copy with another name or in another lossless
format is the same. It is known as well by its id, speaker and words together, which finds lossy copies and utterances
without sound. Its emotion is in neither. Eight bytes of a hash tell nothing of what was hashed, and 100 000 utterances
take 2 MB.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.corpora.tables import read_table
from mmer.errors import AudioError, CheckpointError, MMERError
from mmer.files.damaged import message_of
from mmer.files.writing import write_parquet
from mmer.text.transcripts import normalize_transcript

FILE = "trained_on.parquet"
SPLITS = ("train", "validation")
"""Of the utterances that are written down: those that made the weights, and those that chose among them."""

_READERS = 8
Progress = Callable[[int], None]


@dataclass(frozen=True)
class TrainedOn:
    """Record of a model's training data.

    Attributes:
        table: `split`, `sound` and `words`, hashes that are null where an utterance has no readable sound or no words;
            sorted, so that its order tells nothing.
    """

    table: pd.DataFrame

    @classmethod
    def of(cls, corpus: Corpus, progress: Progress | None = None) -> Self:
        """Collect the utterances of the splits train and validation."""
        used = corpus.select(corpus.table["split"].isin(SPLITS).to_numpy())
        table = _hashes(used, progress).assign(split=used.table["split"])
        return cls(
            table.sort_values(["split", "sound", "words"], ignore_index=True)[["split", "sound", "words"]]
        )

    @property
    def refitted(self) -> Self:
        """Return the record of a model that was also trained on the split validation."""
        table = self.table.assign(split="train").sort_values(["sound", "words"], ignore_index=True)
        return type(self)(table)

    def after(self, before: Self) -> Self:
        """Return the record of a model whose training went on from that of another one."""
        table = pd.concat([self.table, before.refitted.table], ignore_index=True)
        return type(self)(table.sort_values(["split", "sound", "words"], ignore_index=True))

    def write(self, model_folder: Path) -> None:
        """Write it into a model folder."""
        write_parquet(self.table, model_folder / FILE)

    @classmethod
    def read(cls, *model_folders: Path) -> Self | None:
        """Read those of model folders, together; None where there is none, as of models of earlier versions.

        Raises:
            CheckpointError: a file is damaged.
        """
        tables = []
        for file in (folder / FILE for folder in model_folders):
            if not file.is_file():
                continue
            try:
                tables.append(read_table(file)[["split", "sound", "words"]])
            except (MMERError, KeyError) as error:
                reason = message_of(error)
                raise CheckpointError(f"{file} is damaged ({reason}); copy the model folder again") from None
        return cls(pd.concat(tables, ignore_index=True)) if tables else None

    def splits_of(self, corpus: Corpus, progress: Progress | None = None) -> pd.Series:
        """Find the split in which the model met each utterance of a corpus; null if it did not.

        Args:
            corpus: its recordings are decoded; the index of its table is that of the answer.
            progress: called with the number of utterances done so far.
        """
        asked = _hashes(corpus, progress)
        found = pd.Series(None, index=asked.index, dtype=object)
        for split in reversed(SPLITS):
            of_split = self.table[self.table["split"] == split]
            for name in ("sound", "words"):
                found[asked[name].isin(of_split[name].dropna())] = split
        return found


def _hashes(corpus: Corpus, progress: Progress | None) -> pd.DataFrame:
    """Hash each utterance, (utterances,): columns `sound` and `words`."""
    columns = ["audio_path", "start", "end", "utterance_id", "speaker", "transcript"]
    table = corpus.table[columns].astype(object)
    rows = list(table.where(table.notna(), None).itertuples(index=False, name=None))
    hashes: list[tuple[str | None, str | None]] = []
    with ThreadPoolExecutor(_READERS) as readers:
        for (*_, name, speaker, transcript), sound in zip(rows, readers.map(_sound, rows), strict=True):
            words = normalize_transcript(transcript) if transcript else ""
            named = f"{name}\0{speaker or ''}\0{words}".encode("utf-8", "surrogatepass")
            hashes.append((sound, _hash(named) if words else None))
            if progress:
                progress(len(hashes))
    return pd.DataFrame(hashes, columns=["sound", "words"], index=corpus.table.index, dtype=object)


def _sound(row: tuple[Any, ...]) -> str | None:
    path, start, end, *_ = row
    if path is None:
        return None
    try:
        waveform = load_audio(path, start=start, end=end)
    except (AudioError, OSError):
        return None
    # As 16-bit integers: what decoders and resamplers differ in is below them.
    return _hash(np.round(np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
