"""A model of the Hub is fetched once; without a network there is one line soon."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from mmer.files.hub import is_hub_name

WAIT = 100
"""Seconds after which a process that hangs is given up."""


class HubRequests(SimpleHTTPRequestHandler):
    """The part of the Hub that fetching one model asks for."""

    def do_GET(self) -> None:
        name, files = "owner/name", sorted(os.listdir(self.directory))
        if self.path.startswith(f"/api/models/{name}/tree/"):
            tree = ",".join(f'{{"type": "file", "path": "{file}", "size": 9, "oid": "1"}}' for file in files)
            self._send(f"[{tree}]".encode())
        elif self.path.startswith(f"/api/models/{name}"):
            siblings = ",".join(f'{{"rfilename": "{file}"}}' for file in files)
            self._send(f'{{"id": "{name}", "sha": "{"0" * 40}", "siblings": [{siblings}]}}'.encode())
        elif (file := self.path.removeprefix(f"/{name}/resolve/{'0' * 40}/")) in files:
            self._send((Path(self.directory) / file).read_bytes())
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{len(content)}-{hash(content)}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(HubRequests, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def run(arguments: list[str], endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )


def test_names_of_the_hub() -> None:
    assert is_hub_name("superb/wav2vec2-base-superb-er")
    assert not any(map(is_hub_name, ["model", "./model", "/a/b", "a/b/c", "../b", "a/..", "~/b", "C:\\a/b"]))


def test_a_hub_that_never_answers_is_one_line(tmp_path: Path) -> None:
    impatient = "from mmer.files import hub; hub.PATIENCE = 1.0\n"
    command = f"{impatient}from mmer.cli.main import main; main()"
    speech_recognizer = (
        f"{impatient}from mmer.errors import EncoderError\n"
        "from mmer.inference.transcription import SpeechRecognizer\n"
        "try:\n    SpeechRecognizer('owner/name')\n"
        "except EncoderError as error:\n    print(error)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        commands = ["-c", command, "predict", "owner/name", "clip.wav"], ["-c", speech_recognizer]
        with ThreadPoolExecutor() as both:  # which wait for the same seconds
            predicted, heard = both.map(partial(run, endpoint=endpoint, home=tmp_path), commands)
    assert predicted.returncode == 2
    (line,) = predicted.stderr.splitlines()
    assert "there is no folder owner/name" in line
    assert "hf download owner/name --local-dir FOLDER" in line
    assert "cannot be reached" in heard.stdout
    assert "Retrying" not in heard.stderr


def test_a_model_is_fetched_once(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    contents = {
        name: name.encode()
        for name in (
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "README.md",
            "tf_model.h5",
        )
    }
    for name, content in contents.items():
        (repository / name).write_bytes(content)
    (repository / "pytorch_model.bin").write_bytes(b"the same weights")
    fetch = "import sys, mmer\nprint(mmer.model_folder(sys.argv[1]))"
    with hub(repository) as endpoint:
        fetched = run(["-c", fetch, "owner/name"], endpoint, tmp_path / "home")
        unknown = run(["-m", "mmer", "predict", "owner/other", "clip.wav"], endpoint, tmp_path / "home")
    assert fetched.returncode == 0, fetched.stderr
    folder = Path(fetched.stdout.strip())
    found = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert found == {name: contents[name] for name in contents if name not in ("README.md", "tf_model.h5")}
    assert unknown.returncode == 2
    assert unknown.stderr.count("\n") == 1
    assert "cannot be fetched" in unknown.stderr
    again = run(["-c", fetch, "owner/name"], "http://127.0.0.1:9", tmp_path / "home")  # the Hub is gone
    assert again.stdout == fetched.stdout
