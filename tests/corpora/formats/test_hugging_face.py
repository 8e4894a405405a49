"""Datasets of Hugging Face made in a folder, with the recordings inside their Parquet files."""

import sys
from pathlib import Path
from typing import Any

import pytest

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.corpora.formats.exchange import read_from
from mmer.corpora.formats.hugging_face import read_hugging_face
from mmer.errors import CorpusError, MissingExtraError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def quiet_and_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of the dataset in the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(folder: Path, split: str, sounds: list[dict[str, Any] | None], /, **columns: list[Any]) -> None:
    data = datasets.Dataset.from_dict({"audio": sounds, **columns})
    data = data.cast_column("audio", datasets.Audio())
    if "label" in columns:
        data = data.cast_column("label", datasets.ClassLabel(names=["anger", "joy"]))
    data.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", batch_size=10)


def test_of_the_folder_one_stands_in(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dataset)
    assert set(read_hugging_face(".", audio=tmp_path / "audio").table["corpus"]) == {"voices"}


@pytest.fixture
def clips(nemo_samples: Path) -> list[Path]:
    return sorted(nemo_samples.glob("*.opus"))[:3]


@pytest.fixture
def dataset(tmp_path: Path, clips: list[Path]) -> Path:
    first, second, third = (clip.read_bytes() for clip in clips)
    folder = tmp_path / "voices"
    (folder / "data").mkdir(parents=True)
    write(
        folder,
        "train",
        [{"bytes": first, "path": "x/1.opus"}, {"bytes": second, "path": "y/1.opus"}],
        label=[0, 1],
        raw_text=["Tak.", None],
        speaker_id=["007", "8"],
        age=[20, 30],
    )
    write(
        folder,
        "dev",
        [{"bytes": third, "path": None}],
        label=[None],
        raw_text=["Nie."],
        speaker_id=["9"],
        age=[40],
    )
    return folder


def test_recordings_become_files_as_they_are(dataset: Path, clips: list[Path], tmp_path: Path) -> None:
    counted: list[tuple[int, int]] = []
    corpus = read_from(f"hf:{dataset}", tmp_path / "audio", lambda done, total: counted.append((done, total)))
    table = corpus.table
    assert table["utterance_id"].tolist() == ["train/1.opus", "train/000001-1.opus", "dev/000000.ogg"]
    files = [Path(path) for path in table["audio_path"]]
    assert files[1] == tmp_path / "audio" / "train" / "000001-1.opus"
    for file, clip in zip(files, clips, strict=True):
        assert file.read_bytes() == clip.read_bytes()
        assert (load_audio(file) == load_audio(clip)).all()
    assert table["emotion"].tolist() == ["angry", "happy", None]
    assert table["original_emotion"].tolist() == ["anger", "joy", None]
    assert table["transcript"].tolist() == ["Tak.", None, "Nie."]
    assert table["speaker"].tolist() == ["007", "8", "9"]
    assert table["age"].tolist() == [20, 30, 40]
    assert table["split"].tolist() == ["train", "train", "validation"]
    assert set(table["corpus"]) == {"voices"}
    assert table["duration"].min() > 0.5
    assert corpus.notes == []
    assert counted[2] == (3, 3)
    corpus.write(tmp_path / "voices.parquet")
    assert Corpus.read(tmp_path / "voices.parquet").table["audio_path"].tolist() == [
        str(file) for file in files
    ]


def test_files_stay_and_other_splits_keep_their_names(tmp_path: Path, clips: list[Path]) -> None:
    (tmp_path / "d" / "data").mkdir(parents=True)
    write(tmp_path / "d", "train", [{"bytes": None, "path": str(clips[0])}])
    write(tmp_path / "d", "unseen", [{"bytes": None, "path": str(clips[1])}])
    (tmp_path / "d" / "README.md").write_text(
        "---\nconfigs:\n- config_name: plain\n  data_files:\n"
        "  - {split: train, path: data/train-*}\n  - {split: unseen, path: data/unseen-*}\n---\n"
    )
    table = read_hugging_face(str(tmp_path / "d"), "plain").table
    assert table["audio_path"].tolist() == [str(clips[0]), str(clips[1])]
    assert table["utterance_id"].tolist() == [f"train/{clips[0].name}", f"unseen/{clips[1].name}"]
    assert table["split"].tolist() == ["train", None]
    assert table["original_split"].tolist() == ["train", "unseen"]


def test_a_folder_of_save_to_disk(dataset: Path, tmp_path: Path) -> None:
    loaded = datasets.load_dataset(str(dataset))
    loaded["unseen"] = loaded.pop("dev")
    loaded.save_to_disk(str(tmp_path / "all"))
    loaded["train"].save_to_disk(str(tmp_path / "one"))
    table = read_hugging_face(str(tmp_path / "all"), audio=tmp_path / "audio").table
    assert table["original_split"].tolist() == ["train", "train", "unseen"]
    assert table["split"].tolist() == ["train", "train", None]
    table = read_hugging_face(str(tmp_path / "one"), audio=tmp_path / "audio").table
    assert table["emotion"].tolist() == ["anger", "joy"]
    assert table["split"].isna().all()
    with pytest.raises(CorpusError, match="has no configurations; leave out 'plain'"):
        read_hugging_face(str(tmp_path / "one"), "plain")


def test_a_column_of_splits_counts_where_there_is_one_split(tmp_path: Path, clips: list[Path]) -> None:
    sounds = [{"bytes": None, "path": str(clip)} for clip in clips]
    for name, splits, ours in (
        ("words", ["train", "dev", "test"], ["train", "validation", "test"]),
        ("others", ["train", "unseen", None], ["train", None, None]),
        ("folds", [1, 2, 3], [None, None, None]),
    ):
        (tmp_path / name / "data").mkdir(parents=True)
        write(tmp_path / name, "train", list(sounds), split=splits)
        table = read_hugging_face(str(tmp_path / name)).table
        assert table["split"].tolist() == ours
        given = table["original_split"].tolist() if name != "words" else splits
        assert given == [None if split is None else str(split) for split in splits]


def test_rows_and_columns_of_audio(tmp_path: Path, clips: list[Path]) -> None:
    (tmp_path / "d" / "data").mkdir(parents=True)
    content = clips[0].read_bytes()
    sounds = [{"bytes": content, "path": "A.opus"}, None, {"bytes": content, "path": "a.opus"}]
    faces = [{"bytes": b"\x89PNG", "path": None}] * 3
    data = datasets.Dataset.from_dict(
        {"face": faces, "audio": sounds, "clean": sounds, "utterance_id": [1, 2, 3]}
    ).cast_column("face", datasets.Image())
    file = str(tmp_path / "d" / "data" / "train-00000-of-00001.parquet")
    data.to_parquet(file)
    for audio in (None, datasets.Audio()):
        if audio:
            data.cast_column("audio", audio).cast_column("clean", audio).to_parquet(file)
        corpus = read_hugging_face(str(tmp_path / "d"), audio=tmp_path / "audio")
        assert {"clean", "face"}.isdisjoint(corpus.table.columns)
        assert corpus.table["utterance_id"].tolist() == ["1", "2", "3"]
        folder = tmp_path / "audio" / "train"
        files = [str(folder / "A.opus"), None, str(folder / "000002-a.opus")]
        assert corpus.table["audio_path"].tolist() == files
        assert corpus.notes == [
            "columns of sound or pictures beside audio in split train are left out (2): face, clean",
            "utterances have no recording and are transcripts without sound (1): 2",
        ]


def test_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match="its recordings have to become files; name a folder for them with audio"
    ):
        read_hugging_face(str(dataset))
    with pytest.raises(CorpusError, match=r"hf:some/where: cannot be loaded \(.*some/where.*\)$"):
        read_hugging_face("some/where")
    with pytest.raises(CorpusError, match=r"cannot be loaded \(BuilderConfig 'x' not found"):
        read_from(f"hf:{dataset}:x", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match=r"1\.opus: cannot be written"):
        read_hugging_face(str(dataset), audio=tmp_path / "file")
    (tmp_path / "lost" / "data").mkdir(parents=True)
    write(tmp_path / "lost", "train", [{"bytes": None, "path": "gone.wav"}])
    with pytest.raises(CorpusError, match=r"row 0 has no recording \(path gone\.wav\)"):
        read_hugging_face(str(tmp_path / "lost"), audio=tmp_path)
    (tmp_path / "silent").mkdir()
    (tmp_path / "silent" / "a.csv").write_text("text,label\nYes,sad\n")
    with pytest.raises(CorpusError, match="has no column of audio in split train; found text, label"):
        read_hugging_face(str(tmp_path / "silent"))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"needs datasets; install it: pip install .*\[exchange\]"):
        read_hugging_face("some/where")


def test_without_what_the_package_needs(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    for clip in clips:
        (tmp_path / "folder" / clip.stem).mkdir(parents=True)
        (tmp_path / "folder" / clip.stem / clip.name).write_bytes(clip.read_bytes())
    with pytest.raises(
        MissingExtraError, match=r"datasets cannot load it without torchcodec.*: pip install torchcodec"
    ):
        read_hugging_face(str(tmp_path / "folder"))
