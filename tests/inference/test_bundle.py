"""One file in place of a model folder: the same bytes, the same answers, and nothing that it should not hold."""

import io
import json
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import run

from mmer.errors import CheckpointError
from mmer.inference import EmotionRecognizer
from mmer.inference import bundle as bundles
from mmer.inference.bundle import model_folder as unpacked
from mmer.inference.bundle import write_bundle

Change = Callable[[dict[str, bytes]], None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of this test alone."""
    monkeypatch.setattr(bundles, "user_cache_path", lambda name: tmp_path / "cache" / name)
    yield tmp_path / "cache" / "mmer" / "models"
    assert list((tmp_path / "cache").rglob("*.part")) == []


def visible(cache: Path) -> list[Path]:
    """What is in the cache beside locks."""
    return [path for path in cache.iterdir() if not path.name.startswith(".")]


@pytest.fixture
def packed(model_folder: Path, tmp_path: Path) -> Path:
    write_bundle(model_folder, tmp_path / "model.mmer")
    return tmp_path / "model.mmer"


def changed(packed: Path, change: Change, *, compression: int = zipfile.ZIP_STORED) -> Path:
    """The bundle with other contents."""
    with zipfile.ZipFile(packed) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    out = packed.with_name("changed.mmer")
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out


def added(name: str) -> Change:
    """A file of that name, which the manifest knows."""

    def change(files: dict[str, bytes]) -> None:
        manifest = json.loads(files["manifest.json"])
        manifest["files"][name] = {"size": 1, "sha256": "0" * 64}
        files["manifest.json"] = json.dumps(manifest).encode()
        files[name] = b"x"

    return change


def test_same_folder_same_bytes(model_folder: Path, packed: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    for file in copy.iterdir():
        file.touch()
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    (copy / ".hidden").write_text("left out")
    digest = write_bundle(copy, tmp_path / "again.mmer")
    assert (tmp_path / "again.mmer").read_bytes() == packed.read_bytes()
    assert digest == write_bundle(copy, tmp_path / "third.mmer")
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", *sorted(file.name for file in model_folder.iterdir())]
    assert list(tmp_path.glob("*.part")) == []


def test_same_answers(recognizer: EmotionRecognizer, packed: Path, clips: list[str], cache: Path) -> None:
    loaded = EmotionRecognizer.from_pretrained(packed, "cpu")
    assert loaded(clips[0], "la").probabilities == recognizer(clips[0], "la").probabilities
    (folder,) = visible(cache)
    assert unpacked(packed) == folder
    assert folder.name.startswith("model-")


def test_commands(
    packed: Path,
    model_folder: Path,
    clips: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "by-command.mmer"
    done = run(capfd, monkeypatch, ["bundle", model_folder, "-o", out])
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"bundle written: {out} (0.")
    asked = ["predict", out, clips[0], "--transcript", "la", "--device", "cpu"]
    ours = run(capfd, monkeypatch, asked)
    theirs = run(capfd, monkeypatch, ["predict", model_folder, *asked[2:]])
    assert (ours.code, ours.out) == (0, theirs.out)
    packed.write_bytes(packed.read_bytes()[:-30])
    broken = run(capfd, monkeypatch, ["predict", packed, clips[0]])
    assert broken.code == 2
    assert broken.err.startswith(f"mmer: {packed} is no bundle of a model, or is damaged: ")
    assert broken.err.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["../outside.json", "/tmp/outside.json", "a/../../outside", "C:\\outside", "a\\b", "a//b", "./a"]
)
def test_nothing_is_written_elsewhere(packed: Path, name: str, cache: Path) -> None:
    with pytest.raises(CheckpointError, match="is not safe: it holds a file named"):
        unpacked(changed(packed, added(name)))
    assert visible(cache) == []


def test_no_pickle(packed: Path, model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"is not safe: pytorch_model\.bin may hold pickled Python objects"
    ):
        unpacked(changed(packed, added("pytorch_model.bin")))
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    (copy / "old.pt").touch()
    with pytest.raises(CheckpointError, match=r"old\.pt may hold pickled Python objects"):
        write_bundle(copy, tmp_path / "out.mmer")
    assert not (tmp_path / "out.mmer").exists()


def _other_bytes(files: dict[str, bytes]) -> None:
    files["config.json"] = files["config.json"].replace(b"1", b"2", 1)


def _more(files: dict[str, bytes]) -> None:
    files["unknown.json"] = b"{}"


def _less(files: dict[str, bytes]) -> None:
    del files["tokenizer.json"]


def _longer(files: dict[str, bytes]) -> None:
    files["config.json"] += b" "


def _no_manifest(files: dict[str, bytes]) -> None:
    files["manifest.json"] = b"[]"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_bytes, "config.json is not what its checksum says"),
        (_more, "its files are not those of its manifest.json"),
        (_less, "its files are not those of its manifest.json"),
        (_longer, "config.json is not as large as its manifest.json says"),
        (_no_manifest, "it holds no readable manifest.json"),
    ],
)
def test_damage_is_found(packed: Path, change: Change, reason: str, cache: Path) -> None:
    file = changed(packed, change)
    with pytest.raises(CheckpointError) as error:
        unpacked(file)
    assert str(error.value) == (
        f"{file} is no bundle of a model, or is damaged: {reason}; ask for another copy"
    )
    assert visible(cache) == []


def test_what_grows_is_refused(packed: Path) -> None:
    file = changed(packed, lambda files: None, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"is not as large as its manifest\.json says"):
        unpacked(file)


def test_what_is_no_bundle(packed: Path, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mmer").write_text("these are only words")
    with pytest.raises(
        CheckpointError, match="is no bundle of a model, or is damaged: File is not a zip file"
    ):
        unpacked(tmp_path / "text.mmer")
    with pytest.raises(CheckpointError, match=r"its name must end in \.mmer"):
        write_bundle(model_folder, tmp_path / "model.zip")
    with pytest.raises(CheckpointError, match="no model folder at"):
        write_bundle(tmp_path / "nowhere", tmp_path / "out.mmer")
    with pytest.raises(CheckpointError, match="cannot write the bundle"):
        write_bundle(model_folder, tmp_path / "nowhere" / "out.mmer")

    def newer(files: dict[str, bytes]) -> None:
        files["manifest.json"] = files["manifest.json"].replace(b'"version": 1', b'"version": 2')

    with pytest.raises(CheckpointError, match="is of version 2, this mmer reads 1; update mmer"):
        unpacked(changed(packed, newer))
    assert zipfile.is_zipfile(io.BytesIO(packed.read_bytes()))
