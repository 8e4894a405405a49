"""Datasets of Hugging Face, from its hub or a folder: recordings become files as they are, to be decoded by mmer."""

import os
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, TypedDict

import pandas as pd

from mmer.corpora.audio_folders import own_names, split_of, splits_of
from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.tables import is_null, united
from mmer.errors import CorpusError, MissingExtraError, Parameter
from mmer.extras import import_extra
from mmer.files.writing import write_bytes
from mmer.plain_text import name_of

_SUFFIXES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3\x03": ".mp3", b"ID3\x04": ".mp3"}


def read_hugging_face(
    name: str, config: str | None = None, audio: Path | None = None, progress: Progress | None = None
) -> Corpus:
    """Read a dataset that has a column of audio.

    Recordings inside the dataset's own files are written to `audio/<split>/` byte for byte; those that are files stay
    where they are. A row without a recording is a transcript without sound. Of several columns of audio, the first is
    read; pictures are not. Without a column `utterance_id`, an id is the split and the name of the file. Splits are
    those of the dataset, or its column `split` where there is one split alone; those that are not for training,
    validation or test are null, with their names in the column `original_split`.

    Args:
        name: on the hub, as `owner/name`, or a folder, also one of `Dataset.save_to_disk`.
        config: configuration, for a dataset with several.
        audio: folder to write recordings to.
        progress: called with the number of recordings done so far and of all.

    Raises:
        MissingExtraError: the package datasets, or one that it needs for this, is not installed.
        CorpusError: the dataset cannot be loaded (unknown, no network, another config) or lacks audio, or recordings
            must be written and `audio` is None or not writable.
    """
    datasets = import_extra("datasets", f"hf:{name}: reading datasets of Hugging Face", "exchange")
    try:
        splits = _splits(datasets, name, config)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, ImportError) and cause.name:
            install = f"pip install {cause.name}; a folder of audio files is also read without hf:"
            raise MissingExtraError(
                f"hf:{name}: datasets cannot load it without {cause.name}: {install}"
            ) from error
        reason = str(cause).partition("\n")[0].rstrip(".")
        raise CorpusError(f"hf:{name}: cannot be loaded ({reason})") from error
    total, done, tables, notes = sum(map(len, splits.values())), 0, [], list[str]()
    for split, dataset in splits.items():
        column, others = _media(datasets, dataset)
        if column is None:
            found = ", ".join(dataset.features)
            raise CorpusError(f"hf:{name}: has no column of audio in split {split}; found {found}")
        if others:
            what = f"columns of sound or pictures beside {column} in split {split} are left out"
            notes.append(listing(what, others))
        table = _described(datasets, dataset.remove_columns([column, *others]))
        sounds = dataset.select_columns(column).cast_column(column, datasets.Audio(decode=False))
        recordings, files = _Files(f"hf:{name}", audio and audio / split), []
        for row, sound in enumerate(sounds):
            files.append(recordings.path(sound[column], row))
            done += 1
            if progress:
                progress(done, total)
        table["audio_path"] = files
        if "utterance_id" not in table:
            names = [f"{row:06d}" if file is None else Path(file).name for row, file in enumerate(files)]
            table["utterance_id"] = [f"{split}/{name}" for name in names]
        elif pd.api.types.is_integer_dtype(table["utterance_id"]):
            table["utterance_id"] = table["utterance_id"].astype(str)
        if silent := table["utterance_id"][pd.isna(table["audio_path"])].tolist():
            notes.append(listing("utterances have no recording and are transcripts without sound", silent))
        if "corpus" not in table:
            table["corpus"] = name_of(name)
        tables.append(table.assign(original_split=split))
    table = united(tables)
    if len(splits) == 1 and "split" in table:
        values = [None if is_null(value) else str(value) for value in table["split"]]
        table["original_split"] = pd.Series(values, dtype=object)
    names = table["original_split"].fillna("")
    table["split"] = splits_of(names)
    if all(map(split_of, names.unique())):
        table = table.drop(columns="original_split")
    return Corpus(table, source=f"hf:{name}", notes=notes)


def _splits(datasets: Any, name: str, config: str | None) -> Mapping[str, Any]:
    """Load the splits of a dataset, by name."""
    if os.path.isdir(name):
        name = os.path.abspath(name)  # datasets names the data by the folder, and cannot by `.`
    if not any(os.path.isfile(os.path.join(name, file)) for file in ("dataset_dict.json", "state.json")):
        return datasets.load_dataset(name, config)
    if config is not None:
        raise CorpusError(f"a folder of save_to_disk has no configurations; leave out {config!r}")
    loaded = datasets.load_from_disk(name)
    return loaded if isinstance(loaded, Mapping) else {str(loaded.split or "train"): loaded}


def _media(datasets: Any, dataset: Any) -> tuple[str | None, list[str]]:
    """Find the column of audio, and other columns of sound or pictures.

    Where no column is marked as audio, it is one of bytes with the path that they came from.
    """
    kinds = dataset.features.items()
    marked = [name for name, kind in kinds if isinstance(kind, datasets.Audio)]
    plain = [name for name, kind in kinds if isinstance(kind, dict) and kind.keys() == {"bytes", "path"}]
    pictures = [name for name, kind in kinds if isinstance(kind, datasets.Image | datasets.Video)]
    column = next(iter([*marked, *plain]), None)
    return column, [name for name in dataset.features if name in {*marked, *plain, *pictures} - {column}]


def _described(datasets: Any, dataset: Any) -> pd.DataFrame:
    """Return the metadata of recordings under the column names of a corpus, with class names."""
    table = dataset.to_pandas() if dataset.column_names else pd.DataFrame(index=range(len(dataset)))
    for name, kind in dataset.features.items():
        if isinstance(kind, datasets.ClassLabel):
            names = dict(enumerate(kind.names))
            table[name] = table[name].map(names).astype(object)
    return own_names(table)


class _Sound(TypedDict):
    """Recording as datasets holds it undecoded: its bytes, its path, or both."""

    bytes: bytes | None
    path: str | None


class _Files:
    """Recordings of a split as files, written where needed."""

    def __init__(self, source: str, folder: Path | None) -> None:
        self._source, self._folder = source, folder
        self._names: set[str] = set()

    def path(self, sound: _Sound | None, row: int) -> str | None:
        """Return the file of the recording in a row; None where there is none.

        Raises:
            CorpusError: the file is not there, no folder is given to write it to, or it cannot be written.
        """
        content, path = (sound["bytes"], sound["path"]) if sound else (None, None)
        if content is None:
            if path is None:
                return None
            if not os.path.isfile(path):
                advice = "load the dataset where its files are"
                raise CorpusError(f"{self._source}: row {row} has no recording (path {path}); {advice}")
            return path
        if self._folder is None:
            raise CorpusError(
                f"{self._source}: its recordings have to become files; name a folder for them with ",
                Parameter("audio"),
            )
        name = PureWindowsPath(path or "").name or f"{row:06d}{_SUFFIXES.get(content[:4], '')}"
        if name.lower() in self._names:  # in any case, since some file systems do not tell a.wav from A.wav
            name = f"{row:06d}-{name}"
        self._names.add(name.lower())
        file = self._folder / name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_bytes(file, content)
        except OSError as error:
            raise CorpusError(f"{file}: cannot be written ({error.strerror})") from None
        return str(file)
