"""Start and graceful stop of the service of `mmer serve`."""

import os
import socket
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from mmer.display.terminal import tell
from mmer.errors import MMERError, Parameter
from mmer.extras import import_extra
from mmer.memory import return_freed_memory
from mmer.plain_text import counted
from mmer.serving.log import limit_log
from mmer.serving.settings import ServiceSettings, ServiceState

if TYPE_CHECKING:
    from mmer.features.statistics import FeatureStatistics
    from mmer.inference.recognizer import EmotionRecognizer
    from mmer.serving.connections import Connections

MESSAGE = 1_000_000  # largest message of a stream in bytes
BACKLOG = 128  # length of the accept queue
CLOSING = 3.0  # s at the end of the grace period, for refusing the requests left


def serve(
    model: Path,
    *,
    host: str,
    port: int,
    settings: ServiceSettings,
    label_map: str | None = None,
    transcription: str = "given",
    speakers: Path | None = None,
    device: str | None = None,
) -> None:
    """Answer requests until SIGINT or SIGTERM; then finish those in flight and refuse new ones with 503.

    The process ends when none is in flight, and at the latest after the grace period.

    Args:
        model, label_map: see `mmer.model_folder`.
        host, port: address to listen at; port 0 picks a free one.
        settings: limits and access.
        speakers: a corpus with clips of known speakers, for a model that standardizes per speaker.
        transcription, device: see `EmotionRecognizer`.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        MMERError: the address is not available, the model or the clips of the speakers cannot be loaded, or `speakers`
            is given and the model does not standardize per speaker.
    """
    return_freed_memory()
    import_extra("uvicorn", "the HTTP service", "serve")
    import_extra("fastapi", "the HTTP service", "serve")
    from mmer.inference.backends.bundle import SUFFIX
    from mmer.inference.backends.models import model_folder, names_of

    folder = model_folder(model, label_map=label_map, note=lambda line: tell(f"note: {line}"))
    with listening(host, port) as listener:
        from mmer.inference.backends.model_folder import model_hash
        from mmer.inference.recognizer import EmotionRecognizer
        from mmer.serving.app import create_app

        known: dict[str, FeatureStatistics] = {}
        if speakers is not None:
            known = _known(EmotionRecognizer.from_pretrained(folder, device), speakers)

        def load() -> EmotionRecognizer:
            recognizer = EmotionRecognizer.from_pretrained(folder, device, transcription)
            recognizer.speakers = {**recognizer.speakers, **known}
            return recognizer

        name = "+".join(display_name(Path(each).resolve()).removesuffix(SUFFIX) for each in names_of(model))
        state = ServiceState()
        settings = replace(settings, allowed_hosts=settings.allowed_hosts | {host.lower()})
        app = create_app(load, name, model_hash(folder), settings, state)
        tell(f"{name} answers at {_address(listener)} (API: {_address(listener)}docs); stop it with Ctrl+C")
        limit_log()
        run_app(app, listener, settings, state)
    _leave()


def display_name(place: Path) -> str:
    """Name a model by its run folder if it has the name that training gives it, and by its own otherwise."""
    return (place.name == "model" and place.parent.name) or place.name  # a container may mount it as /model


def _known(recognizer: "EmotionRecognizer", corpus: Path) -> "dict[str, FeatureStatistics]":
    """Compute statistics of the speakers of a corpus with at least two usable clips."""
    from mmer.corpora.corpus import Corpus
    from mmer.inference.inputs import corpus_utterances

    if not recognizer.processor.per_speaker:
        raise MMERError(
            f"clips of known speakers ({corpus}) are of no use to this model: it does not standardize per speaker"
        )
    known = recognizer.speaker_statistics(corpus_utterances(Corpus.read(corpus)))
    if not known:
        raise MMERError(
            f"{corpus}: names no speaker of whom there are two readable recordings; fill in speaker"
        )
    tell(f"{counted(len(known), 'speaker', 'is', 'are')} known")
    return known


def run_app(app: Any, listener: socket.socket, settings: ServiceSettings, state: ServiceState) -> None:
    """Answer requests until SIGINT or SIGTERM sets `state.draining`.

    Args:
        app: application from `create_app`, with these settings and this state.
        listener: a listening socket.
        settings: limits and access.
        state: of the service.
    """
    uvicorn = import_extra("uvicorn", "the HTTP service", "serve")
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    from mmer.serving.connections import Connections, HTTPConnection, StreamConnection, most_connections

    proxies = settings.trusted_proxies or ""
    trusted = ProxyHeadersMiddleware(app, proxies).trusted_hosts
    connections = Connections(settings, trusted, most_connections())
    config = uvicorn.Config(
        app,
        # uvicorn accepts any callable here, but its types require classes.
        http=partial(HTTPConnection, guard=connections),  # pyright: ignore[reportArgumentType]
        ws=partial(StreamConnection, guard=connections),  # pyright: ignore[reportArgumentType]
        log_config=None,
        log_level="warning",
        ws_max_size=MESSAGE,
        ws_per_message_deflate=False,
        ws_ping_interval=None,  # an idle stream is closed in any case
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=1,
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies,
    )
    _server(config, connections, state, settings.grace).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """Open a listening socket, before the model is loaded, so that a wrong address fails at once.

    Raises:
        MMERError: the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        # Python names the address again.
        reason = (error.strerror or str(error)).split(" (while attempting")[0]
        raise MMERError(
            f"cannot listen at {host} port {port} ({reason}); give another ",
            Parameter("port"),
            ", or 0 for a free one, or another ",
            Parameter("host"),
        ) from error


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _server(config: Any, connections: "Connections", state: ServiceState, grace: float) -> Any:
    """Create a uvicorn server that finishes requests in flight before it stops listening, and ends in time."""
    uvicorn = import_extra("uvicorn", "the HTTP service", "serve")

    class DrainingServer(uvicorn.Server):
        cut_off_at: float | None = None

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if state.draining:  # second signal
                self.should_exit = self.force_exit = state.cut_off = True
            else:
                # This also ends threads and event loops that hang.
                last = threading.Timer(grace, os._exit, (0,))
                last.daemon = True
                last.start()
            state.draining = True

        async def on_tick(self, counter: int) -> bool:
            if counter % 5 == 0:
                connections.sweep()
            if state.draining:
                now = time.monotonic()
                self.cut_off_at = self.cut_off_at or now + grace - min(CLOSING, grace / 2)
                state.cut_off = state.cut_off or now > self.cut_off_at
                self.should_exit = state.cut_off or not state.in_flight
            return await super().on_tick(counter)

    return DrainingServer(config)


def _leave() -> None:
    """End the process immediately: Python would wait for hanging threads, and its shutdown takes seconds."""
    sys.stderr.flush()
    os._exit(0)
