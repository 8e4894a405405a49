"""One file in place of a model folder: the same bytes, the same answers, and nothing that it should not hold."""

import io
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from copy import copy as copy_of
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
from command_line import commands
from commands import make_recordings, run
from inference.conftest import save_model
from transformers import pipeline

from mmer.augment.measures import load_speech_to_text
from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, MMERError
from mmer.evaluation.calibration.calibrate import calibrate
from mmer.inference import EmotionRecognizer
from mmer.inference.archive.score import score
from mmer.inference.backends import bundle as bundles
from mmer.inference.backends.bundle import one_model_folder as unpacked
from mmer.inference.backends.bundle import write_bundle
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.explain import attribution
from mmer.inference.pipeline import TASK
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET

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
    done = run(capfd, monkeypatch, ["model", "export", model_folder, "-o", out])
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
    with pytest.raises(
        CheckpointError, match=r"old\.pt may hold pickled Python objects.*; use the folder as it is"
    ):
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
    with pytest.raises(MMERError, match="cannot be written, there is no folder"):
        write_bundle(model_folder, tmp_path / "nowhere" / "out.mmer")

    def newer(files: dict[str, bytes]) -> None:
        files["manifest.json"] = files["manifest.json"].replace(b'"version": 1', b'"version": 2')

    with pytest.raises(CheckpointError, match="is of version 2, this mmer reads 1; update mmer"):
        unpacked(changed(packed, newer))
    assert zipfile.is_zipfile(io.BytesIO(packed.read_bytes()))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("modeling.py", "may hold code"),
        ("sub/Modeling.PY", "may hold code"),
        ("run.sh", "may hold code"),
        ("kernel.so", "may hold code"),
        ("weights.PT", "may hold pickled Python objects"),
        ("weights.pkl.json", "may hold pickled Python objects"),
        ("features.npy", "may hold pickled Python objects"),
    ],
)
def test_no_code(packed: Path, model_folder: Path, tmp_path: Path, name: str, told: str, cache: Path) -> None:
    with pytest.raises(CheckpointError, match=f"is not safe: {name} {told}"):
        unpacked(changed(packed, added(name)))
    assert visible(cache) == []
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).touch()
    with pytest.raises(CheckpointError, match=f"{name} {told}"):
        write_bundle(copy, tmp_path / "out.mmer")


def test_no_links(packed: Path, model_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    (copy / "notes").symlink_to(tmp_path)
    (tmp_path / "secret.txt").write_text("not to be handed over")
    (copy / "notes.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(CheckpointError, match=r"notes.* is a link, and bundles hold none"):
        write_bundle(copy, tmp_path / "out.mmer")
    with zipfile.ZipFile(packed) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    out = packed.with_name("linked.mmer")
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16 if name == "config.json" else 0
            archive.writestr(entry, data)
    with pytest.raises(CheckpointError, match=r"is not safe: it holds a file named 'config\.json'"):
        unpacked(out)


def test_entries_that_share_their_bytes(packed: Path) -> None:
    """Two names for the same bytes: small as a file, as large as one likes when unpacked."""
    data = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        manifest, largest = json.loads(archive.read("manifest.json")), "model.safetensors"
        infos = {info.filename: info for info in archive.infolist()}
    names = [f"copy{number}.safetensors" for number in range(3)]
    for name in names:
        manifest["files"][name] = manifest["files"][largest]
    out = packed.with_name("overlapping.mmer")
    with zipfile.ZipFile(out, "w") as archive:
        for name, info in infos.items():
            content = data[_start(data, info) :][: info.file_size]
            archive.writestr(name, json.dumps(manifest) if name == "manifest.json" else content)
        original = archive.getinfo(largest)
        for name in names:
            twin = copy_of(original)
            twin.filename = name
            archive.filelist.append(twin)
            archive.NameToInfo[name] = twin
    with pytest.raises(CheckpointError, match="its files together are larger than it"):
        unpacked(out)


def _start(data: bytes, info: zipfile.ZipInfo) -> int:
    return info.header_offset + 30 + sum(data[info.header_offset + 26 + i] << (8 * (i % 2)) for i in range(4))


def test_a_killed_unpacking_is_done_again(packed: Path, cache: Path) -> None:
    folder = unpacked(packed)
    shutil.rmtree(folder)
    left = folder.with_name(f"{folder.name}.part")
    left.mkdir()
    (left / "half").touch()
    assert unpacked(packed) == folder
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        json.loads(zipfile.ZipFile(packed).read("manifest.json"))["files"]
    )


def test_a_cache_that_cannot_be_written(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    try:
        with pytest.raises(MMERError, match=r"mmer/models: cannot be written \(Not a directory\)"):
            unpacked(packed)
    finally:
        (tmp_path / "cache").unlink()


def test_a_bundle_and_its_folder_have_one_hash(packed: Path, model_folder: Path, tmp_path: Path) -> None:
    assert model_hash(unpacked(packed)) == model_hash(model_folder)
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "unzipped")
    assert model_hash(tmp_path / "unzipped") == model_hash(model_folder)
    write_bundle(tmp_path / "unzipped", tmp_path / "again.mmer")
    assert (tmp_path / "again.mmer").read_bytes() == packed.read_bytes()
    with pytest.raises(CheckpointError, match="there is no file to hash"):
        model_hash(packed)


@pytest.fixture(scope="module")
def of_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a model of words alone, whose graph is small."""
    folder = tmp_path_factory.mktemp("words")
    write_bundle(save_model(folder / "model", fusion="text"), folder / "words.mmer")
    return folder / "words.mmer"


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    make_recordings(tmp_path / "data")
    return tmp_path / "data"


ASKED = {
    "predict": "PACKED CLIP",
    "timeline": "PACKED CLIP -o t.json",
    "score": "PACKED data --out scored",
    "evaluate": "PACKED data",
    "explain": "PACKED CLIP --transcript yes -o why.json",
    "model check": "PACKED PACKED",
    "robustness": "PACKED data --out robust --axes loudness --sample 2",
    "model export": "WORDS -o onnx",
    "embed": "PACKED data -o embeddings.parquet",
    "adapt": "PACKED data -o adapted training.epochs=1",
}


@pytest.mark.parametrize("name", ASKED)
def test_a_command_takes_a_bundle(
    name: str,
    versatile_folder: Path,
    of_words: Path,
    recordings: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(attribution, "STEPS", (1,))  # shares are no matter here
    packed = tmp_path / "versatile.mmer"
    write_bundle(versatile_folder, packed)
    meant = {"PACKED": packed, "WORDS": of_words, "CLIP": min(recordings.glob("*.flac"))}
    done = run(capfd, monkeypatch, [*name.split(), *(meant.get(word, word) for word in ASKED[name].split())])
    # Made recordings are all answered, and where a random model differs from itself is no matter here.
    assert done.code in ((0, 1) if name == "model check" else (0,)), done.err


def test_every_command_that_takes_a_model_takes_a_bundle(
    packed: Path,
    recordings: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = {"calibrate": [packed, recordings, "--split", "all"]}
    elsewhere = {"listen", "serve"}  # below, and in tests/serving/test_command.py
    takes = {
        name for name, command in commands() if any(parameter.name == "model" for parameter in command.params)
    }
    assert takes == {*ASKED, *refused, *elsewhere}
    assert run(capfd, monkeypatch, ["model", "export", packed, "-o", "again.mmer"]).code == 0
    assert (tmp_path / "again.mmer").read_bytes() == packed.read_bytes()
    for name, arguments in refused.items():
        done = run(capfd, monkeypatch, [*name.split(), *arguments])
        assert done.code == 2
        assert f"{packed} is a bundle, which cannot be changed; calibrate the model folder" in done.err
    assert not list((tmp_path / "cache").rglob("calibration.json"))


def test_listen_takes_a_bundle(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "sound").write_bytes(bytes(32_000))
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = processes.run("listen", packed, "-", "--device", "cpu", stdin=tmp_path / "sound", env=environment)
    assert done.returncode == 0, done.stderr


def test_every_function_that_takes_a_model_takes_a_bundle(
    recordings: Path, clips: list[str], tmp_path: Path
) -> None:
    """But `export_onnx`, which the command calls."""
    model_folder, packed = tmp_path / "model", tmp_path / "model.mmer"
    write_bundle(save_model(model_folder, ctc_symbols=WAV2VEC2_ALPHABET), packed)
    expected = EmotionRecognizer.from_pretrained(model_folder, "cpu")(clips[0], "la").ranking
    recognize = pipeline(TASK, model=str(unpacked(packed)), device="cpu")  # pyright: ignore[reportCallIssue, reportArgumentType]
    found: Any = recognize({"audio": clips[0], "transcript": "la"})
    assert [(row["label"], row["score"]) for row in found] == expected
    score(packed, str(recordings), tmp_path / "scored")
    assert load_speech_to_text(str(packed), "cpu")(0.1 * np.ones(16_000, np.float32)) is not None
    with pytest.raises(CheckpointError, match="is a bundle, which cannot be changed"):
        calibrate(packed, Corpus.read(recordings), None)


def test_what_a_killed_unpacking_left_is_removed(packed: Path, cache: Path) -> None:
    """Its folder has another name, so that the bundle is unpacked again, and goes."""
    left = cache / "model-0123456789abcdef.part"
    left.mkdir(parents=True)
    (left / "config.json").write_text("half")
    folder = unpacked(packed)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [folder.name]


def test_a_cache_that_cannot_be_written_to(packed: Path, cache: Path) -> None:
    cache.parent.parent.mkdir(parents=True)
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(MMERError, match=r"models: cannot be written \((Not a directory|File exists)\)"):
        unpacked(packed)
