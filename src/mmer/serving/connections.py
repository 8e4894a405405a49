"""Connections of a service, with timeouts for slow clients.

uvicorn closes idle connections between two requests, but waits indefinitely for the rest of a header or body and for a
client to read its answer. The protocols here check for such connections twice a second and close them.
"""

import asyncio
import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from mmer.extras import import_extra
from mmer.serving.access_log import REFUSED, write_access
from mmer.serving.settings import ServiceSettings

if TYPE_CHECKING:
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
else:
    h11 = import_extra("h11", "the HTTP service", "serve")
    H11Protocol = import_extra("uvicorn.protocols.http.h11_impl", "the HTTP service", "serve").H11Protocol
    WebSocketsSansIOProtocol = import_extra(
        "uvicorn.protocols.websockets.websockets_sansio_impl", "the HTTP service", "serve"
    ).WebSocketsSansIOProtocol

SLOWEST = 20_000  # lowest rate of a body in bytes per second
PATIENCE = 1.0  # s for which the service waits for a client, however many others have its address
AHEAD = 2_000_000  # most bytes of a stream buffered before the model takes them, at least 30 s of sound
MESSAGE_COST = 500  # memory overhead of a message in bytes
FRAGMENTS = 1000  # most fragments of a message
HEADER = 65_536  # largest header in bytes
PIECES, SMALLEST = 1000, 16  # pieces of a body after which their mean size must reach this many bytes
MOST = 10_000  # connections, if the system allows that many open files
FILES = 256  # open files of the process besides connections


class Connections:
    """Connections of one service.

    Args:
        settings: settings of the service.
        trusted: addresses of proxies, each of which serves many clients.
        most: largest number of simultaneous connections.
    """

    def __init__(self, settings: ServiceSettings, trusted: Any, most: int) -> None:
        self.settings, self._trusted, self._most = settings, trusted, most
        self._all: set[HTTPConnection | StreamConnection] = set()

    def made(self, connection: "HTTPConnection | StreamConnection") -> bool:
        """Register a new connection; if there are too many, drop the one that has waited longest."""
        if len(self._all) >= self._most:
            waiting = self._waiting(self._all)
            if not waiting:
                return False
            self._lost_patience(waiting[0])
        self._all.add(connection)
        return True

    def lost(self, connection: "HTTPConnection | StreamConnection") -> None:
        """Forget a connection."""
        self._all.discard(connection)

    def sweep(self) -> None:
        """Close connections that have kept the service waiting for too long."""
        now = time.monotonic()
        by_address = defaultdict(list)
        for connection in list(self._all):
            connection.end_if_late(now)
            if connection.address not in self._trusted:
                by_address[connection.address].append(connection)
        for connections in by_address.values():
            if len(connections) > self.settings.max_waiting:
                waiting = self._waiting(connections)
                for connection in waiting[: max(len(waiting) - self.settings.max_waiting, 0)]:
                    if now - (connection.waits_since or now) > PATIENCE:
                        self._lost_patience(connection)

    def _waiting(self, connections: Any) -> "list[HTTPConnection]":
        """Return the connections that wait for their client, longest first."""
        http = [each for each in connections if isinstance(each, HTTPConnection)]
        waiting = [(each.waits_since, each) for each in http]
        return [each for since, each in sorted(waiting, key=lambda pair: pair[0] or 0) if since is not None]

    def _lost_patience(self, connection: "HTTPConnection") -> None:
        connection.give_up(503, "too many connections wait for their clients; ask again soon")
        self.lost(connection)


class _Connection(asyncio.Protocol):
    """Base of both kinds of connections, which requires clients to read what they are sent."""

    guard: Connections
    transport: asyncio.Transport
    client: tuple[str, int] | None
    _unsent_since: float | None = None
    _unsent = 0  # largest number of unsent bytes since then

    @property
    def address(self) -> str:
        """Return the address of the client."""
        return self.client[0] if self.client else "unknown"

    def end_if_late(self, now: float) -> None:
        """Close the connection if its client is too slow."""
        unsent = self.transport.get_write_buffer_size()
        self._unsent_since = (self._unsent_since or now) if unsent else None
        self._unsent = max(self._unsent, unsent) if unsent else 0
        allowed = self.guard.settings.body_seconds + self._unsent / SLOWEST
        if now - (self._unsent_since or now) > allowed:
            self.transport.abort()


class _Reader(h11.Connection):
    """Request parser that refuses bodies in very small pieces, because each piece costs as much time as a large one."""

    _pieces = _size = 0  # of the body

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._size = 0
        elif isinstance(event, h11.Data):
            self._pieces, self._size = self._pieces + 1, self._size + len(event.data)
            if self._pieces > PIECES and self._size < SMALLEST * self._pieces:
                raise h11.RemoteProtocolError(f"a body must come in pieces of {SMALLEST} bytes and more")
        return event


class HTTPConnection(_Connection, H11Protocol):
    """Connection for requests."""

    def __init__(self, *args: Any, guard: Connections, **others: Any) -> None:
        super().__init__(*args, **others)
        self.conn = _Reader(h11.SERVER, HEADER)
        self.guard = guard
        self._since = time.monotonic()
        self._came = 0  # bytes since then

    # uvicorn narrows the type of asyncio's base class in the same way.
    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if not self.guard.made(self):
            self.refuse(503, "the service has no connection left; ask again soon")

    def connection_lost(self, exc: Exception | None) -> None:
        self.guard.lost(self)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self.guard.lost(self)
        super().handle_websocket_upgrade(event)

    def data_received(self, data: bytes) -> None:
        request = self.cycle
        self._came += len(data)
        try:
            super().data_received(data)
        except ValueError:  # from h11, for numbers with thousands of digits
            self.logger.warning("Invalid HTTP request received.")
            self.refuse(400, "this is no HTTP request")
        if self.cycle is not request:
            self._since, self._came = time.monotonic(), 0

    def on_response_complete(self) -> None:
        self._since, self._came = time.monotonic(), 0
        super().on_response_complete()

    @property
    def waits_since(self) -> float | None:
        """Return when the service began to wait for this client; None while it answers."""
        state = self.conn.their_state
        between = self.cycle is None or self.cycle.response_complete
        if self.transport.is_closing():
            return None
        return self._since if (state is h11.IDLE and between) or self._uploads else None

    @property
    def _uploads(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused

    def end_if_late(self, now: float) -> None:
        super().end_if_late(now)
        since, limits = self.waits_since, self.guard.settings
        if since is None:
            return
        if not self._uploads:
            if now - since > limits.header_seconds:
                self.give_up(408, f"no request came within {limits.header_seconds:g} s")
        elif now - since > limits.body_seconds + self._came / SLOWEST:
            allowed = f"{limits.body_seconds:g} s, and one more for each {SLOWEST // 1000} kB"
            self.give_up(408, f"the request did not come in time; it may take {allowed}")

    def give_up(self, status: int, detail: str) -> None:
        """Refuse a partial request, or close a connection without one."""
        if self.conn.our_state is h11.IDLE and not self._came:
            self.transport.close()
        else:
            self.refuse(status, detail)

    def refuse(self, status: int, detail: str) -> None:
        """Answer the current request with a refusal, unless its answer has begun, and close."""
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"detail": detail}).encode()
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ]
            wanted = self.conn.our_state is h11.IDLE or self.scope["method"] != "HEAD"
            for event in (
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=body if wanted else b""),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
            if self.cycle is not None and not self.cycle.response_complete:
                self.scope.setdefault("state", {})[REFUSED] = status, len(body)
            elif self.guard.settings.access_log:
                write_access(
                    client=self.address,
                    method=None,
                    path=None,
                    status=status,
                    seconds=time.monotonic() - self._since,
                    size=len(body),
                )
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, msg)

    def shutdown(self) -> None:
        """Close the connection because the service stops."""
        self.give_up(503, "the service is stopping; ask again later")


class StreamConnection(_Connection, WebSocketsSansIOProtocol):
    """Connection for a stream."""

    _ahead = 0  # bytes of messages not taken yet

    def __init__(self, *args: Any, guard: Connections, **others: Any) -> None:
        super().__init__(*args, **others)
        self.guard = guard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.guard.made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.guard.lost(self)
        super().connection_lost(exc)

    def send_receive_event_to_app(self) -> None:
        self._ahead += sum(map(len, self.frames)) + MESSAGE_COST
        try:
            if self.curr_msg_data_type == "text":
                b"".join(self.frames).decode()
        except UnicodeDecodeError:  # uvicorn would log a traceback
            self.frames = []
            self.conn.send_close(1007)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()
        # uvicorn stops reading until the message has been taken, so pings would go unanswered while the model is busy,
        # and clients would consider the service gone.
        if self.read_paused and self._ahead < AHEAD:
            self.read_paused = False
            self.transport.resume_reading()
        self._wait_for_reader()

    def handle_cont(self, event: Any) -> None:
        if len(self.frames) < FRAGMENTS:
            super().handle_cont(event)
        else:
            self.frames = []
            self.conn.send_close(1009, "a message has too many fragments")
            self.handle_parser_exception()

    async def receive(self) -> Any:
        message = await super().receive()
        if self.queue.empty():
            self._ahead = 0
        self._wait_for_reader()
        return message

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    def _wait_for_reader(self) -> None:
        """Pause reading from a client that does not read, as answers to its pings would pile up in memory."""
        if not self.writable.is_set():
            self.transport.pause_reading()


def most_connections() -> int:
    """Return how many simultaneous connections the process may have."""
    try:
        from resource import RLIMIT_NOFILE, getrlimit
    except ImportError:  # Windows has no such limit
        return MOST
    allowed = getrlimit(RLIMIT_NOFILE)[0]
    return MOST if allowed < 0 else min(max(allowed - FILES, allowed // 2), MOST)
