"""What `mmer serve` does: from a model folder to a service that runs until it is told to stop."""

import socket
import time
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from mmer.errors import MMERError
from mmer.extras import import_extra
from mmer.serving.settings import ServiceSettings, ServiceState


def serve(
    model: Path,
    *,
    host: str,
    port: int,
    settings: ServiceSettings,
    transcription: str = "given",
    device: str | None = None,
) -> None:
    """Answer requests until SIGINT or SIGTERM; those in flight are answered then, and new ones get 503.

    Args:
        model: a model folder.
        host, port: to listen at; port 0 takes a free one.
        settings: limits and access.
        transcription, device: see `EmotionRecognizer`.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        MMERError: the address cannot be listened at, or the model cannot be loaded.
    """
    uvicorn = import_extra("uvicorn", "mmer serve", "serve")
    import_extra("fastapi", "mmer serve", "serve")
    with _listening(host, port) as listener:
        from mmer.inference.recognizer import EmotionRecognizer
        from mmer.serving.app import create_app

        recognizer = EmotionRecognizer.from_pretrained(model, device, transcription)
        state = ServiceState()
        name = model.resolve().parent.name if model.resolve().name == "model" else model.resolve().name
        app = create_app(recognizer, name, "", settings, state)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="websockets-sansio",
            proxy_headers=settings.trusted_proxies is not None,
            forwarded_allow_ips=settings.trusted_proxies,
        )
        address, actual_port = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        console = Console(stderr=True)
        console.print(
            f"{name} answers at http://{shown}:{actual_port}/ (API: /docs); stop it with Ctrl+C",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        _server(config, state, settings.grace).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    """Taken before the model is loaded, so that a wrong address is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MMERError(
            f"cannot listen at {host} port {port} ({reason}); give another --port, or 0 for a free one"
        ) from error


def _server(config: Any, state: ServiceState, grace: float) -> Any:
    """A uvicorn server that answers what is in flight before it stops listening."""
    uvicorn = import_extra("uvicorn", "mmer serve", "serve")

    class DrainingServer(uvicorn.Server):
        deadline = float("inf")

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if state.draining:  # asked twice
                self.should_exit = self.force_exit = True
            state.draining = True
            self.deadline = time.monotonic() + grace

        async def on_tick(self, counter: int) -> bool:
            over = time.monotonic() > self.deadline
            if state.draining and (over or not state.in_flight):
                self.should_exit = True
            return await super().on_tick(counter)

    return DrainingServer(config)
