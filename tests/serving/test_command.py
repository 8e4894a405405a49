"""What `mmer serve` serves, and what it says when it cannot begin."""

import socket
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from commands import Outcome
from published_models import save_audio_classifier, save_text_classifier
from serving.conftest import launch, wait_for

from mmer.inference.backends.bundle import SUFFIX, write_bundle
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.backends.models import model_folder
from mmer.serving.serve import display_name


def test_token_files(mmer: Callable[..., Outcome], tmp_path: Path) -> None:
    token = tmp_path / "token"
    for content, said in (
        (None, "cannot be read (No such file or directory)"),
        (b"\xff\xfe", "cannot be read (is not UTF-8)"),
        (b"short\n", "holds 5 characters; it must hold one token of at least 16 visible ASCII characters"),
        (b"two words in one line", "holds 21 characters; it must hold one token"),
    ):
        if content is not None:
            token.write_bytes(content)
        told = mmer("serve", tmp_path, f"token_file={token}")
        assert told.code == 2
        assert told.err.count("\n") == 1
        assert f"token file {token} {said}" in told.err


def test_address_that_is_taken(mmer: Callable[..., Outcome], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = mmer("serve", tmp_path, f"port={port}")
    assert told.code == 2
    assert f"cannot listen at 127.0.0.1 port {port} (Address already in use); give another" in told.err
    assert "give another port" in told.err


def test_no_model(mmer: Callable[..., Outcome], tmp_path: Path) -> None:
    told = mmer("serve", tmp_path / "nothing", "port=0")
    assert told.code == 2
    assert f"no model folder at {tmp_path / 'nothing'}" in told.err


def test_names_of_models() -> None:
    names = {"/srv/my-run/model": "my-run", "/model": "model", "/srv/emotions": "emotions"}
    assert {place: display_name(Path(place)) for place in names} == names


def test_name_of_joined_models(tmp_path: Path) -> None:
    speech = save_audio_classifier(tmp_path / "speech" / "model", "hubert", labels=["angry", "sad"])
    text = save_text_classifier(tmp_path / "words", labels=["angry", "sad"])
    with launch(Path(f"{speech}+{text}")) as begun:
        running = wait_for(begun)
        assert httpx2.get(f"{running.url}/v1/model").json()["name"] == "speech+words"


def test_bundle(versatile_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers say of which files they are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = tmp_path / f"emotions{SUFFIX}"
    write_bundle(versatile_folder, bundle)
    with launch(bundle) as begun:
        url = wait_for(begun).url
        card = httpx2.get(f"{url}/v1/model").json()
        answer = httpx2.post(f"{url}/v1/predict", json={"transcript": "so"}, timeout=60).json()
        begun.terminate()
    assert card["name"] == "emotions"
    assert (
        card["model"] == answer["model"] == model_hash(model_folder(bundle)) == model_hash(versatile_folder)
    )


def test_clips_of_speakers_for_a_model_that_knows_none(
    mmer: Callable[..., Outcome], versatile_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "speakers.csv").write_text("utterance_id,audio_path,speaker\nu1,a.wav,anna\n")
    refused = mmer("serve", versatile_folder, "port=0", "device=cpu", f"speakers={tmp_path / 'speakers.csv'}")
    assert refused.code == 2
    assert "does not standardize per speaker" in refused.err
