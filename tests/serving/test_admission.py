"""Who may ask, by the headers `Host` and `Origin`, and headers and bodies that are nothing."""

import random
import string
from collections.abc import Callable

import httpx2
import pytest
from serving.conftest import TOKEN
from serving.hostile import connect, read, request
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_stream

from mmer.inference import EmotionRecognizer

Service = Callable[..., str]
ROUTES = (
    *("/", "/health", "/ready", "/metrics", "/docs", "/openapi.json", "/page/page.js", "/nothing"),
    *("/v1/model", "/v1/predict", "/v1/predict/batch", "/v1/timeline", "/v1/explain", "/v1/stream"),
)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # that of RFC 6455
CLOSE = b"\x88\x80" + bytes(4)  # the frame that ends a stream


def talk(url: str, handshake: bytes, frame: bytes) -> str:
    """All that is said to a handshake and, if it is accepted, to a frame after it."""
    with connect(url, handshake) as client:
        said = client.recv(65536).decode("latin-1")
        if said.startswith("HTTP/1.1 101 "):
            client.sendall(frame)
        return said + read(client)


def ask(url: str, **headers: str) -> tuple[int, str]:
    """Status and whole answer of a GET request with these headers, as they are."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["GET /v1/model HTTP/1.1", *lines, "Connection: close"])
    with connect(url, head.encode("latin-1") + b"\r\n\r\n") as client:
        said = read(client)
    return int(said.split()[1]), said


class TestNames:
    @pytest.mark.parametrize("token", [None, TOKEN])
    def test_of_this_machine_and_of_others(self, service: Service, token: str | None) -> None:
        """What a browser sends that was led to this address by a foreign name."""
        url = service(token=token, allowed_hosts=frozenset({"emotion.example.org"}))
        port = url.rpartition(":")[2]
        known = {} if token is None else {"Authorization": f"Bearer {token}"}
        ours = (
            "localhost",
            f"LOCALHOST:{port}",
            f"127.0.0.1:{port}",
            "[::1]:8000",
            "a.localhost",
            "localhost.",
        )
        for host in (*ours, "emotion.example.org", "Emotion.Example.org:443"):
            assert ask(url, Host=host, **known)[0] == 200, host
            assert ask(url, Host=host, Origin=f"https://{host}", **known)[0] == 200, host
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "10.1.2.3",
            "localhost.evil.example",
            "[2001:db8::1]",
        ):
            status, said = ask(url, Host=host, Origin=f"http://{host}", **known)
            assert status == 403, host
            assert f"this service is not called {host}" in said
            for path in ("", "/ready", "/docs", "/page/page.js"):
                assert httpx2.get(url + path, headers={"Host": host}).status_code == 403, path
        for origin in ("http://evil.example", "null", f"http://localhost:{int(port) + 1}", "file://x"):
            status, said = ask(url, Host=f"localhost:{port}", Origin=origin, **known)
            assert status == 403
            assert f"pages of {origin} may not ask" in said

    @pytest.mark.parametrize("token", [None, TOKEN])
    def test_streams(self, service: Service, token: str | None) -> None:
        url = service(token=token)
        known = {} if token is None else {"Authorization": f"Bearer {token}"}
        address = f"ws{url[4:]}/v1/stream"
        for headers, status in (
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "http://["}, 400),
            ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ):
            with (
                pytest.raises(InvalidStatus) as refused,
                connect_stream(address, additional_headers=known | headers),
            ):
                pass
            assert refused.value.response.status_code in (status, 400)
        with connect_stream(address, additional_headers=known | {"Origin": url}, open_timeout=60) as stream:
            stream.send("end")
            assert list(stream) == []

    def test_the_address_that_was_connected_to(self, service: Service) -> None:
        url = service()
        host, port = url[7:].split(":")
        assert ask(url, Host=host)[0] == 200
        assert ask(url, Host=f"127.0.0.2:{port}")[0] == 200  # this machine too

    @pytest.mark.parametrize(
        "headers",
        [
            *(
                {"Host": "localhost", "Origin": each}
                for each in ("http://[", "x", "http://", "http://a b", "\xff")
            ),
            *({"Host": each} for each in ("", "[", "a b", "a/b", "user@localhost", "localhost:port", "\xe9")),
            {"Host": "localhost", "Origin": "http://localhost, http://evil.example"},
        ],
    )
    def test_malformed(self, service: Service, headers: dict[str, str]) -> None:
        url = service()
        status, said = ask(url, **headers)
        assert status == 400
        assert "malformed" in said or "Invalid HTTP request" in said


class TestNonsense:
    """Headers and bodies drawn at random, the same ones in each run."""

    def test_is_refused_without_a_trace(
        self, service: Service, recognizer: EmotionRecognizer, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = service(max_per_minute=0, header_seconds=1, body_seconds=1, answer_seconds=20)
        draw = random.Random(15)
        statuses = []
        for _ in range(400):
            with connect(url, _nonsense(url, draw)) as client:
                said = read(client)
            if said:
                statuses.append(int(said.split()[1]))
        assert {status for status in statuses if status >= 500} <= {503, 504}
        assert len(set(statuses)) >= 6
        assert "Traceback" not in caplog.text
        assert not [record for record in caplog.records if record.exc_info]

    def test_of_websockets(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        url = service(max_per_minute=0)
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        handshakes: list[dict[str, str]] = [
            upgrade,
            *(upgrade | {"Sec_WebSocket_Key": key} for key in ("x", "\xff", "AAAA", "=" * 24)),
            upgrade | {"Sec_WebSocket_Key": KEY, "Sec_WebSocket_Version": "\xb2"},
            upgrade | {"Sec_WebSocket_Key": KEY, "Sec_WebSocket_Extensions": "\xff; ==,"},
            upgrade | {"Sec_WebSocket_Key": KEY, "Origin": "http://["},
        ]
        for headers in handshakes:
            for path in ("/v1/stream", "/v1/stream?rate=x", "/v1/stream?rate=" + "9" * 5000, "/nothing"):
                data = request(url, path=path, headers=headers).replace(b"POST", b"GET", 1)
                assert int(talk(url, data, CLOSE).split()[1]) < 500
        headers = upgrade | {"Sec_WebSocket_Key": KEY}
        whole = request(url, path="/v1/stream", headers=headers).replace(b"POST", b"GET", 1)
        mask = bytes(4)
        for frame in (
            b"\x81\x82" + mask + b"\xff\xfe",  # text that is not UTF-8
            b"\x01\x81" + mask + b"\xff" + b"\x80\x81" + mask + b"\xff",  # the same in two parts
            b"\x82\x02ab",  # without a mask
            b"\x83\x80" + mask,  # of no known kind
            b"\x80\x80" + mask,  # a part of nothing
            b"\x82\xff" + b"\x7f" * 8 + mask,  # longer than anything
            b"\x88\x81" + mask + b"x",  # a close code of one byte
            (b"\x89\x80" + mask) * 1000 + CLOSE,
        ):
            assert talk(url, whole, frame).startswith("HTTP/1.1 101 ")
        assert not [record for record in caplog.records if record.exc_info]
        assert httpx2.get(f"{url}/ready").status_code == 200

    @pytest.mark.slow
    def test_much_of_it(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        url = service(max_per_minute=0, header_seconds=1, body_seconds=1, answer_seconds=20)
        draw = random.Random(16)
        for _ in range(5000):
            with connect(url, _nonsense(url, draw)) as client:
                said = read(client)
            assert not said or int(said.split()[1]) < 500 or said.split()[1] in ("503", "504"), said
        assert not [record for record in caplog.records if record.exc_info]


def _nonsense(url: str, draw: random.Random) -> bytes:
    """A request that is valid but for some of its headers and its body."""

    def text(most: int = 30) -> str:
        letters = draw.choice((string.printable[:94], "\xe9\xff\x80 ", "0123456789", "[]{}:;,=\"'%/\\@"))
        return "".join(draw.choices(letters, k=draw.randrange(most)))

    json_values = (
        *(
            b"null",
            b"[]",
            b"5",
            b'"x"',
            b"1e999",
            b"NaN",
            b"9" * 5000,
            b'"\\ud800"',
            b"{",
            b"[" * 5000,
            b'""',
        ),
        *(b'"data:,x"', b'"data:;base64,@"', b'"AAAA"', b"-1", b"true", b'"\xff"', b'"\\u0000"'),
    )
    names = (b"audio", b"name", b"transcript", b"min_confidence", b"channel", b"smoothing", b"speaker")
    kind = draw.choice(("json", "form", "other"))
    if kind == "json":
        body = b"{%s}" % b",".join(
            b'"%s":%s' % (draw.choice(names), draw.choice(json_values)) for _ in range(draw.randrange(4))
        )
        content_type = "application/json"
    elif kind == "form":
        dispositions = (
            *('form-data; name="file"', 'form-data; name="file"; filename="a"', 'form-data; filename="a"'),
            *('form-data; name="transcript"', "form-data", "", "form-data; name=file; filename*=utf-8''%ff"),
            *(
                'form-data; name="file"; filename="\x1b[31m"',
                'form-data; name="channel"',
                f"form-data; {text()}",
            ),
        )
        parts = [
            f"--x\r\nContent-Disposition: {draw.choice(dispositions)}\r\n{text()}\r\n\r\n{text()}\r\n"
            for _ in range(draw.randrange(4))
        ]
        body = "".join(parts).encode("latin-1") + draw.choice((b"--x--\r\n", b"--x", b"", b"\xff"))
        charset = draw.choice(
            ("", "; charset=hex", "; charset=undefined", "; charset=\xff", "; charset=idna")
        )
        content_type = f"multipart/form-data; boundary=x{charset}"
    else:
        body, content_type = text().encode("latin-1"), text()
    headers = {"Content_Type": content_type, "Connection": "close"}
    if draw.random() < 0.3:
        headers["Content_Type"] = draw.choice(
            ("multipart/form-data; boundary=", text(), "application/json; charset=" + text())
        )
    for name in (
        "Host",
        "Origin",
        "Content_Length",
        "Authorization",
        "Transfer_Encoding",
        "Expect",
        "Upgrade",
        text(8),
    ):
        if draw.random() < 0.1:
            odd = ("http://[", "9" * 5000, "-1", "+5", "1, 2", "chunked", "100-continue", "websocket", text())
            headers[name] = draw.choice(odd)
    data = request(url, body, path=draw.choice(ROUTES), headers=headers)
    method = draw.choice((b"POST", b"POST", b"GET", b"HEAD", b"PUT", b"OPTIONS", b"TRACE", b"\xff", b"get"))
    return data.replace(b"POST", method, 1)
