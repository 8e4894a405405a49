"""The access log of a real process: one JSON object a line, and nothing that a client sent."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from processes import Process
from serving.conftest import launch, wait_for
from serving.hostile import connect, read, request
from websockets.sync.client import connect as connect_stream

SECRET = "my-secret-words"


def logged(process: Process) -> list[dict[str, Any]]:
    """Stop a service and give the lines that it wrote to standard output."""
    process.terminate()
    out, _ = process.communicate(timeout=60)
    return [json.loads(line) for line in out.splitlines()]


def test_lines(versatile_folder: Path, clips: list[Path]) -> None:
    begun = launch(versatile_folder, "access_log=true", "max_per_minute=0", stdout=None)
    try:
        url = wait_for(begun).url
        files = {"file": (f"{SECRET}.opus", clips[0].read_bytes())}
        answer = httpx2.post(f"{url}/v1/predict", files=files, data={"transcript": SECRET}, timeout=60)
        assert answer.status_code == 200
        batch = httpx2.post(f"{url}/v1/predict/batch", files=[("file", files["file"])] * 2, timeout=60)
        httpx2.get(f"{url}/health", params={"token": SECRET})
        httpx2.get(f"{url}/{'x' * 5000}")
        httpx2.get(f"{url}/a%0Ab%22", headers={"Host": "evil.example"})
        with connect(url, request(url, b"{", length=100)):
            pass  # leaves in the middle of its request
        with connect(url, b"nonsense\r\n\r\n") as client:
            assert read(client).startswith("HTTP/1.1 400 ")
        with connect_stream(f"ws{url[4:]}/v1/stream", open_timeout=60) as stream:
            stream.send("end")
            assert list(stream) == []
        found = logged(begun)
    finally:
        begun.kill()
    assert [set(line) for line in found] == [
        {"time", "method", "path", "status", "ms", "bytes", "client"} for _ in found
    ]
    told = sorted((line["method"] or "", (line["path"] or "")[:20], line["status"]) for line in found)
    assert told == [
        ("", "", 400),
        ("GET", '/a\nb"', 403),
        ("GET", "/health", 200),
        ("GET", "/xxxxxxxxxxxxxxxxxxx", 404),
        ("POST", "/v1/predict", 200),
        ("POST", "/v1/predict", 499),
        ("POST", "/v1/predict/batch", 200),
        ("WEBSOCKET", "/v1/stream", 1000),
    ]
    assert SECRET not in json.dumps(found)
    assert max(len(line["path"] or "") for line in found) == 200
    assert {line["client"] for line in found} == {"127.0.0.1"}
    by_path = {line["path"]: line for line in found if line["status"] == 200}
    assert by_path["/v1/predict"]["bytes"] == len(answer.content)
    assert by_path["/v1/predict/batch"]["bytes"] == len(batch.content)
    assert by_path["/v1/predict"]["ms"] > 0
    for line in found:
        assert (
            timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(line["time"]) < timedelta(minutes=10)
        )


def test_a_request_that_its_connection_refuses(service: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """The client gets 408, and the line says so."""
    url = service(access_log=True, body_seconds=0.5, header_seconds=0.5)
    with connect(url, request(url, b"{", length=100)) as client:
        said = read(client)
    assert said.startswith("HTTP/1.1 408 ")
    with connect(url, b"GET / HTTP/1.1\r\n") as client:
        assert read(client).startswith("HTTP/1.1 408 ")
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    lines = {(line["method"], line["path"], line["status"]): line for line in found}
    assert lines["POST", "/v1/predict", 408]["bytes"] == len(said.partition("\r\n\r\n")[2])
    assert (None, None, 408) in lines


def test_is_off_by_default(service: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert httpx2.get(f"{service()}/health").status_code == 200
    assert capfd.readouterr().out == ""
