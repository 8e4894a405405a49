"""Access log: one JSON object a line on standard output for each request and each stream."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REFUSED = "refused"
"""Key of the state in an ASGI scope with status and size of the answer by which a connection refused a request."""

_LONGEST_PATH = 200  # characters of a path, which a client chooses freely
_LEFT = 499  # status of a request whose client left before its answer began, as nginx writes it


def write_access(
    *, client: str, method: str | None, path: str | None, status: int, seconds: float, size: int
) -> None:
    """Write a line.

    Args:
        client: address of the client.
        method: of the request, `WEBSOCKET` for a stream; None if there was no readable request.
        path: of the request, without its query; None if there was no readable request.
        status: HTTP status, or the close code of a stream.
        seconds: from the header of the request to the end of its answer.
        size: bytes of the answer, without its header.
    """
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "method": method,
        "path": path if path is None else path[:_LONGEST_PATH],
        "status": status,
        "ms": round(1000 * seconds, 1),
        "bytes": size,
        "client": client,
    }
    with suppress(OSError):  # a log that cannot be written must not stop the service
        print(json.dumps(line), flush=True)


class AccessLog:
    """ASGI middleware that writes a line when a request is answered or a stream ends.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        begun, status, size, accepted = time.perf_counter(), _LEFT, 0, False

        async def hear() -> "Message":
            nonlocal status
            message = await receive()
            if message["type"] == "websocket.disconnect" and status == _LEFT:
                status = message.get("code", _LEFT)
            return message

        async def say(message: "Message") -> None:
            nonlocal status, size, accepted
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif kind == "websocket.accept":
                accepted = True
            elif kind == "websocket.close":
                status = message.get("code", 1000) if accepted else 403
            size += sum(len(message.get(part) or b"") for part in ("body", "bytes"))
            size += len((message.get("text") or "").encode())
            await send(message)

        try:
            await self._app(scope, hear, say)
        finally:
            status, size = scope.get("state", {}).get(REFUSED, (status, size))
            write_access(
                client=(scope.get("client") or ("unknown",))[0],
                method=scope.get("method", "WEBSOCKET"),
                path=scope["path"],
                status=status,
                seconds=time.perf_counter() - begun,
                size=size,
            )
