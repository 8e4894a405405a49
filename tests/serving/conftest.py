"""Services of small random models: as a process of the command line, and in a thread of the tests."""

import os
import re
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx2
import processes
import pytest
from inference.conftest import save_model

from mmer.inference import EmotionRecognizer, Utterance
from mmer.serving.app import create_app
from mmer.serving.serve import listening, run_app
from mmer.serving.settings import ServiceSettings, ServiceState

START = 120  # seconds that a process may take to load PyTorch and the model


@dataclass
class Process:
    """`mmer serve` in a process of its own."""

    url: str
    process: processes.Process


TOKEN = "correct-horse-battery"


def launch(model: Path, *arguments: str, stdout: Path | None = processes.NOTHING) -> processes.Process:
    """Run `mmer serve` at a free port."""
    environment = {**os.environ, "COLUMNS": "300"}
    command = ["serve", model, "port=0", "--device", "cpu", *arguments]
    return processes.Process(*command, stdout=stdout, env=environment)


def wait_for(process: processes.Process) -> Process:
    """Until it answers; from then on it cannot write a single byte to any file."""
    said = []
    timer = threading.Timer(START, process.kill)
    timer.start()
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"answers at (http://\S+)", line):
            timer.cancel()
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
            return Process(found[1].rstrip("/"), process)
    raise AssertionError("".join(said))


@pytest.fixture(scope="package", autouse=True)
def no_certificates() -> Iterator[None]:
    """Clients of httpx2 read no certificates, which takes each 20 ms of processor time: no service here uses TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)  # comes before the folder
        patch.setenv("SSL_CERT_DIR", os.devnull)
        yield


@pytest.fixture(scope="session")
def versatile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random MMER model with missing-modality embeddings."""
    return save_model(tmp_path_factory.mktemp("run") / "model", missing_modality_embeddings=True)


@pytest.fixture(scope="session")
def recognizer(versatile_folder: Path) -> EmotionRecognizer:
    """Of `versatile_folder`."""
    return EmotionRecognizer.from_pretrained(versatile_folder, device="cpu")


@pytest.fixture(scope="session")
def launched(
    versatile_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[processes.Process]]:
    """The service that most tests ask, and one with a token that a test will stop; they load at the same time."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(f"{TOKEN}\n")
    begun = [
        launch(versatile_folder, "max_per_minute=0"),
        launch(versatile_folder, f"token_file={token}"),
    ]
    yield begun
    for process in begun:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def process(launched: list[processes.Process]) -> Process:
    """The service that most tests ask."""
    return wait_for(launched[0])


@pytest.fixture
def doomed(launched: list[processes.Process]) -> Process:
    """A service with a token, for one test to stop."""
    return wait_for(launched[1])


@pytest.fixture(scope="session")
def url(process: Process) -> str:
    """Of the service that most tests ask."""
    return process.url


@pytest.fixture(scope="session")
def per_speaker(tmp_path_factory: pytest.TempPathFactory, clips: list[Path]) -> EmotionRecognizer:
    """Standardizes per speaker, and knows three clips of anna."""
    folder = save_model(
        tmp_path_factory.mktemp("per-speaker"), speech="wav2vec2-bert", normalization="speaker"
    )
    recognizer = EmotionRecognizer.from_pretrained(folder, device="cpu")
    recognizer.speakers = recognizer.speaker_statistics(
        [Utterance(path, speaker="anna") for path in clips[:3]]
    )
    return recognizer


@pytest.fixture
def service(recognizer: EmotionRecognizer) -> Iterator[Callable[..., str]]:
    """Starts a service with other settings, or of another recognizer, in a thread; gives its address."""
    running: list[tuple[ServiceState, threading.Thread]] = []

    def start(load: Callable[[], EmotionRecognizer] = lambda: recognizer, **settings: object) -> str:
        state, chosen = ServiceState(), ServiceSettings(**settings)  # pyright: ignore[reportArgumentType]
        listener = listening("127.0.0.1", 0)
        app = create_app(load, "tiny", "0" * 64, chosen, state)
        thread = threading.Thread(target=run_app, args=(app, listener, chosen, state), daemon=True)
        thread.start()
        running.append((state, thread))
        host, port = listener.getsockname()
        address = f"http://{host}:{port}"
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with closing(httpx2.Client()) as client:
                try:
                    client.get(f"{address}/health")
                    return address
                except httpx2.TransportError:
                    time.sleep(0.05)
        raise AssertionError("the service did not start")

    yield start
    for state, thread in running:
        state.draining = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def clips(nemo_samples: Path) -> list[Path]:
    """Thirty recordings of several speakers and lengths."""
    return sorted(nemo_samples.glob("*.opus"))[::100][:30]
