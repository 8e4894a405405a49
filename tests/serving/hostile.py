"""Clients that do not behave: raw connections of which each sends what it is told, and no more."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType


def connect(url: str, data: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """A connection on which this was sent; `source` is any address of the loopback device."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60, source_address=(source, 0))
    connection.sendall(data)
    return connection


@contextmanager
def crowd(url: str, number: int, data: bytes, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Many such connections."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(url, data, source)) for _ in range(number)]


def request(
    url: str,
    body: bytes = b"",
    length: int | None = None,
    path: str = "/v1/predict",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """A POST request, of whose body there may be less than is stated."""
    stated = {
        "Host": url.removeprefix("http://"),
        "Content-Type": "application/json",
        "Content-Length": str(len(body) if length is None else length),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in stated.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def read(connection: socket.socket) -> str:
    """All that comes until the other side closes."""
    said = b""
    try:
        while data := connection.recv(65536):
            said += data
    except ConnectionResetError:
        pass
    return said.decode("latin-1")


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has neither answered nor closed."""
    connection.setblocking(False)
    try:
        connection.recv(1)
        return False
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        connection.setblocking(True)
