"""One hash for one model."""

import hashlib
from pathlib import Path

import pytest

from mmer.inference.backends.model_folder import model_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name, content in (("config.json", b"{}"), ("model.safetensors", b"\x00\x01"), ("sub/vocab", b"a\n")):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_is_what_sha256sum_says_of_what_sha256sum_says(folder: Path) -> None:
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("config.json", "model.safetensors", "sub/vocab")
    ]
    assert model_hash(folder) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_depends_on_contents_and_names_alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = model_hash(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "seen").write_text("today")
    (folder / "README.md").write_text("# The model card, which `mmer report` writes")
    moved = tmp_path_factory.mktemp("else") / "where"
    folder.rename(moved)
    assert model_hash(moved) == before
    (moved / "sub" / "vocab").rename(moved / "sub" / "words")
    renamed = model_hash(moved)
    assert renamed != before
    (moved / "config.json").write_bytes(b"{ }")
    assert model_hash(moved) not in (before, renamed)
