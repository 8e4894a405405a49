"""Several files in one request: one line for each, as it is answered."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving.conftest import TOKEN
from serving.hostile import connect
from serving.test_api import detail, wav

from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.inference.reading import Clip

ROUTE = "/v1/predict/batch"
Files = list[tuple[str, tuple[str, bytes]]]


def files_of(clips: Sequence[Path]) -> Files:
    return [("file", (clip.name, clip.read_bytes())) for clip in clips]


def lines(response: httpx2.Response) -> list[dict[str, Any]]:
    """The lines of an answer, in the order of the files."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("application/x-ndjson")
    return sorted((json.loads(line) for line in response.text.splitlines()), key=lambda line: line["index"])


def test_every_line_is_the_answer_of_its_file(
    url: str, clips: list[Path], recognizer: EmotionRecognizer
) -> None:
    """A file that is no recording takes the place of one, and costs no other."""
    files = files_of(clips[:20])
    files[7] = ("file", ("notes.txt", b"nothing" * 40))
    words = ["nie wiem" if index % 2 else "" for index in range(20)]
    form = {"transcript": words, "min_confidence": "0.3"}
    found = lines(httpx2.post(url + ROUTE, files=files, data=form, timeout=120))
    assert [line["index"] for line in found] == list(range(20))
    assert [line["name"] for line in found] == [name for _, (name, _) in files]
    assert found[7]["answer"] is None
    assert found[7]["error"].startswith("notes.txt: ")
    for line in found[:7] + found[8:]:
        clip, text = clips[line["index"]], words[line["index"]]
        expected = recognizer(clip, text)
        assert line["error"] is None
        answer = line["answer"]
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)
        assert answer["transcript_source"] == ("given" if text else "none")
        assert answer["abstained"] == (answer["confidence"] < 0.3)


def test_named_speakers(
    service: Callable[..., str], per_speaker: EmotionRecognizer, clips: list[Path]
) -> None:
    url = service(lambda: per_speaker)
    form = {"speaker": ["anna", "ben"]}
    found = lines(httpx2.post(url + ROUTE, files=files_of(clips[4:6]), data=form, timeout=120))
    for line, clip, speaker in zip(found, clips[4:6], form["speaker"], strict=True):
        known = per_speaker.speakers if speaker == "anna" else {}
        (expected,) = per_speaker.predict([Utterance(clip, speaker=speaker)], speakers=known)
        assert line["answer"]["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)


@pytest.mark.parametrize(
    ("number", "form", "said"),
    [
        (0, {"transcript": "x"}, "the form has no file"),
        (
            2,
            {"transcript": ["a"]},
            "2 files and 1 value of transcript; send it once for each file, or not at all",
        ),
        (2, {"speaker": ["a", "b", "c"]}, "2 files and 3 values of speaker"),
        (3, {"min_confidence": ["0.1", "0.2"]}, "3 files and 2 values of min_confidence"),
        (1, {"min_confidence": "2"}, "min_confidence: Input should be less than 1"),
        (1, {"words": "a"}, "no field 'words'; allowed are file, transcript, speaker, min_confidence"),
        (1, {"audio": "a"}, "the form has a field 'audio'"),
        (257, {}, "Maximum number of files is 256"),
    ],
)
def test_forms_that_are_refused(url: str, number: int, form: dict[str, Any], said: str) -> None:
    files: Any = [("file", (f"{n}.wav", b"x")) for n in range(number)] or {"file": (None, "")}
    if not number:
        body = b'--x\r\nContent-Disposition: form-data; name="transcript"\r\n\r\na\r\n--x--\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        assert said in detail(httpx2.post(url + ROUTE, content=body, headers=kind), 422)
        return
    assert said in detail(httpx2.post(url + ROUTE, files=files, data=form, timeout=60), 422)


def test_same_protection_as_a_single_utterance(service: Callable[..., str], clips: list[Path]) -> None:
    files = files_of(clips[:2])
    url = service(token=TOKEN, max_upload=100_000)
    known = {"Authorization": f"Bearer {TOKEN}"}
    detail(httpx2.post(url + ROUTE, files=files), 401)
    detail(httpx2.post(url + ROUTE, files=files, headers=known | {"Host": "evil.example"}), 403)
    detail(httpx2.post(url + ROUTE, files=files, headers=known | {"Origin": "http://evil.example"}), 403)
    assert "send multipart/form-data" in detail(httpx2.post(url + ROUTE, json={}, headers=known), 415)
    large: Files = [("file", (f"{n}.wav", wav(1))) for n in range(4)]
    assert "at most 0.1 MB are allowed" in detail(httpx2.post(url + ROUTE, files=large, headers=known), 413)
    assert len(lines(httpx2.post(url + ROUTE, files=files, headers=known, timeout=60))) == 2


def test_files_count_for_the_rate_limit(service: Callable[..., str]) -> None:
    url = service(max_per_minute=5)
    files: Files = [("file", (f"{n}.wav", wav(0.5))) for n in range(3)]
    assert httpx2.get(f"{url}/v1/model").json()["limits"]["batch_files"] == 5
    assert "Maximum number of files is 5" in detail(httpx2.post(url + ROUTE, files=[*files, *files]), 422)
    assert len(lines(httpx2.post(url + ROUTE, files=files, timeout=60))) == 3
    refused = httpx2.post(url + ROUTE, files=files, timeout=60)
    assert "at most 5 requests a minute" in detail(refused, 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


class Slow(EmotionRecognizer):
    """A recognizer that takes its time over each utterance."""

    given = 0

    def answer(self, clips: Sequence[Clip], **settings: Any) -> list[Prediction]:
        found = list[Prediction]()
        for clip in clips:
            time.sleep(0.1)
            if clip.utterance.utterance_id == "broken.wav":
                raise RuntimeError("a bug of the recognizer")
            self.given += 1
            found += super().answer([clip], **settings)
        return found


def batch_of(number: int) -> Files:
    return [("file", (f"{n}.wav", wav(0.5))) for n in range(number)]


@pytest.fixture
def slow(versatile_folder: Path) -> Slow:
    return Slow.from_pretrained(versatile_folder, device="cpu")


def test_lines_come_before_the_last_is_ready(service: Callable[..., str], slow: Slow) -> None:
    url = service(load=lambda: slow, batch_size=2)
    with httpx2.stream("POST", url + ROUTE, files=batch_of(20), timeout=60) as response:
        next(response.iter_lines())
        assert slow.given < 20


def test_work_ends_when_the_client_leaves(service: Callable[..., str], slow: Slow) -> None:
    url = service(load=lambda: slow, batch_size=2)
    with httpx2.stream("POST", url + ROUTE, files=batch_of(100), timeout=60) as response:
        next(response.iter_lines())
    before = -1
    while before != slow.given:
        before = slow.given
        time.sleep(1)
    assert before < 30


def test_others_are_answered_between_the_files(service: Callable[..., str], slow: Slow) -> None:
    """A single request waits for some files of a batch, not for all of them."""
    url = service(load=lambda: slow, batch_size=2)
    with httpx2.stream("POST", url + ROUTE, files=batch_of(60), timeout=60) as response:
        next(response.iter_lines())
        before = slow.given
        assert httpx2.post(f"{url}/v1/predict", json={"transcript": "so"}, timeout=60).status_code == 200
        assert slow.given - before < 20


def test_a_batch_that_takes_too_long(service: Callable[..., str], slow: Slow) -> None:
    url = service(load=lambda: slow, batch_size=1, answer_seconds=1.5)
    found = lines(httpx2.post(url + ROUTE, files=batch_of(40), timeout=60))
    assert len(found) == 40
    assert found[0]["answer"]["label"]
    assert found[-1]["error"] == "no answer within 1.5 s; send less at a time, or ask again later"
    assert slow.given < 30


def test_a_bug_costs_its_file_alone(
    service: Callable[..., str], slow: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    url = service(load=lambda: slow)
    files = [*batch_of(3), ("file", ("broken.wav", wav(0.5)))]
    found = lines(httpx2.post(url + ROUTE, files=files, timeout=60))
    assert [line["error"] for line in found] == [None] * 3 + ["the service failed; its log says why"]
    assert "a bug of the recognizer" in caplog.text


def test_a_client_that_leaves_in_the_middle_of_its_files(service: Callable[..., str], slow: Slow) -> None:
    url = service(load=lambda: slow, body_seconds=1)
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: {url[7:]}\r\nContent-Length: 90000\r\n"
    with connect(
        url, f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode()
    ) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")
    assert slow.given == 0
