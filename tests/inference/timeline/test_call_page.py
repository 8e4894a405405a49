"""The page of a call in a real browser, Debian's Chromium without a window, opened as a file."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from browser import colors_of, watched_pages
from commands import run

from mmer.audio.load import load_audio
from mmer.corpora.emotion_colors import emotion_colors
from mmer.errors import AudioError
from mmer.inference import EmotionRecognizer, Prediction
from mmer.inference.timeline.timeline import Timeline, timeline

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "</script><img src=x onerror=alert(1)>&amp;$x$"
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the page is not tried in a browser")
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens a file; it must ask for nothing else, and its console must stay empty."""

    def may_ask(address: str, asked: str) -> bool:
        return asked.startswith((address, "blob:", "data:"))

    with watched_pages(browser, may_ask) as open_at:
        yield lambda path, **settings: open_at(path.as_uri(), **settings)


@pytest.fixture(scope="module")
def call(clips: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stereo call of four utterances, in turn."""
    sides = [[np.zeros(8000, np.float32)], [np.zeros(8000, np.float32)]]
    for number, clip in enumerate(clips[:4]):
        said = np.concatenate([load_audio(clip), np.zeros(16_000, np.float32)])
        sides[number % 2].append(said)
        sides[1 - number % 2].append(np.zeros_like(said))
    path = tmp_path_factory.mktemp("call") / "call.flac"
    soundfile.write(path, np.stack([np.concatenate(side) for side in sides], axis=1), 16_000)
    return path


@pytest.fixture(scope="module")
def found(recognizer: EmotionRecognizer, call: Path) -> Timeline:
    return timeline(recognizer, call, channel="each")


def chosen(page: "Page") -> list[str]:
    return page.locator("#segments tr.chosen td:first-child").all_inner_texts()


def until(page: "Page", condition: str) -> None:
    """Wait for a condition; the page's policy forbids what `wait_for_function` does."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(condition)


@in_a_browser
def test_it_plays_follows_and_jumps(open_page: Open, found: Timeline, tmp_path: Path) -> None:
    found.write(tmp_path / "call.html", embed_audio=True)
    page = open_page(tmp_path / "call.html")
    assert page.locator("#choose").count() == 0
    until(page, "document.querySelector('audio').readyState > 0")
    length = page.evaluate("document.querySelector('audio').duration")
    assert length == pytest.approx(found.duration, abs=0.1)
    rows = page.locator("#segments tbody tr")
    assert rows.count() == len(found.segments) == 4
    third = found.segments[2]
    rows.nth(2).get_by_role("button").click()
    until(page, f"document.querySelector('audio').currentTime > {(third.start or 0) + 0.2}")
    assert chosen(page) == [rows.nth(2).locator("td").first.inner_text()]
    assert f"{third.channel} {third.label}" in page.locator("#now").inner_text()
    page.evaluate(f"document.querySelector('audio').currentTime = {found.segments[3].start} + 0.1")
    until(page, "document.querySelectorAll('#segments tr')[4].className === 'chosen'")
    page.get_by_role("button", name="Previous segment").click()
    until(page, "document.querySelectorAll('#segments tr')[3].className === 'chosen'")


@in_a_browser
def test_keyboard_zoom_voices_and_a_file_of_ones_own(
    open_page: Open, found: Timeline, call: Path, tmp_path: Path
) -> None:
    found.write(tmp_path / "call.html")
    page = open_page(tmp_path / "call.html")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "chart":
            break
    assert page.evaluate("document.activeElement.id") == "chart"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    segments = page.locator("#segments tbody tr")
    assert chosen(page) == [segments.nth(1).locator("td").first.inner_text()]
    page.keyboard.press("+")
    assert page.locator("#zoom").inner_text() == "2×"
    widths = page.evaluate("[track.clientWidth, chart.clientWidth]")
    assert widths[0] == pytest.approx(2 * widths[1], abs=2)
    page.keyboard.press("-")
    page.get_by_label("right", exact=True).uncheck()
    assert page.locator(".strip:visible").count() == 1
    assert segments.locator("visible=true").count() == 2
    page.get_by_label("right", exact=True).check()
    page.get_by_label("Choose the recording").set_input_files(call)
    until(page, "document.querySelector('audio').readyState > 0")
    page.get_by_role("button", name=re.compile("Peak of")).first.click()
    until(page, "!document.querySelector('audio').paused")


@in_a_browser
def test_a_page_that_one_comes_back_to_is_new(
    open_page: Open, found: Timeline, call: Path, tmp_path: Path
) -> None:
    found.write(tmp_path / "call.html")
    page = open_page(tmp_path / "call.html")
    page.locator("#file").set_input_files(call)
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    page.goto("about:blank")
    page.go_back()
    page.wait_for_function("document.readyState === 'complete'")
    assert page.locator("#file").evaluate("one => one.files.length") == 0
    assert page.locator(":checked").count() == page.get_by_role("checkbox").count() == 3


@in_a_browser
def test_a_file_that_is_another_recording_or_cannot_be_played_is_told(
    open_page: Open, found: Timeline, call: Path, tmp_path: Path
) -> None:
    found.write(tmp_path / "call.html")
    page = open_page(tmp_path / "call.html")
    doubt = page.locator("#doubt")
    samples, rate = soundfile.read(call)
    soundfile.write(tmp_path / "other.wav", samples[: len(samples) // 3], rate)
    (tmp_path / "notes.txt").write_text("no sound")
    page.get_by_label("Choose the recording").set_input_files(tmp_path / "other.wav")
    doubt.get_by_text("it may be another one").wait_for()
    page.get_by_label("Choose the recording").set_input_files(tmp_path / "notes.txt")
    doubt.get_by_text("This browser cannot play the file.").wait_for()
    page.get_by_label("Choose the recording").set_input_files(call)
    until(page, "document.querySelector('audio').readyState > 0")
    assert page.locator("#doubt").inner_text() == ""


@in_a_browser
def test_the_download_is_the_csv_file(open_page: Open, found: Timeline, tmp_path: Path) -> None:
    found.write(tmp_path / "call.html")
    found.write(tmp_path / "call.csv")
    page = open_page(tmp_path / "call.html")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all columns as CSV").click()
    assert download.value.suggested_filename == "call.csv"
    assert download.value.path().read_bytes() == (tmp_path / "call.csv").read_bytes()


def hostile() -> Timeline:
    labels = [HOSTILE, "__proto__", "constructor"]
    answers = [
        Prediction(
            utterance_id="u",
            start=4.0 * n,
            end=4.0 * n + 3,
            speaker=(HOSTILE, "'; alert(1)//")[n % 2],
            label=labels[n % 3],
            probabilities={label: 0.8 if label == labels[n % 3] else 0.1 for label in labels},
            transcript=f"{n} {HOSTILE}",
        )
        for n in range(6)
    ]
    error = Prediction(utterance_id="u", start=25.0, end=26.0, error=HOSTILE)
    return Timeline(
        recording=f"/tmp/{HOSTILE.replace('/', '')}.wav",
        duration=30.0,
        labels=labels,
        segments=[*answers, error],
    )


@in_a_browser
def test_labels_words_and_names_are_data(open_page: Open, tmp_path: Path) -> None:
    hostile().write(tmp_path / "call.html")
    page = open_page(tmp_path / "call.html")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert page.get_by_role("heading", level=1).inner_text() == f"{HOSTILE.replace('/', '')}.wav"
    first = page.locator("#segments tbody tr").first.locator("td").all_inner_texts()
    assert first[1:] == [HOSTILE, HOSTILE, "80\N{NO-BREAK SPACE}%", f"0 {HOSTILE}"]
    assert page.locator("#segments tbody tr").last.locator("td").nth(2).inner_text() == HOSTILE
    assert page.locator(".lines path").count() == 3 + 3
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all columns as CSV").click()
    table = pd.read_csv(io.BytesIO(download.value.path().read_bytes()))
    assert table["transcript"][0] == f"0 {HOSTILE}"


@in_a_browser
def test_long_names_and_names_from_right_to_left_stay_on_a_phone(open_page: Open, tmp_path: Path) -> None:
    shares = {"exuberanthappinessbeyondallmeasuresofjoy": 0.25, "غضب": 0.75}
    said = Prediction(utterance_id="u", start=0, end=2, speaker="דוד", label="غضب", probabilities=shares)
    Timeline(recording="a.wav", duration=4.0, labels=list(shares), segments=[said]).write(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", phone=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    isolated = "\N{FIRST STRONG ISOLATE}%s\N{POP DIRECTIONAL ISOLATE}"
    told = f"{isolated % 'דוד'} {isolated % 'غضب'} 75\N{NO-BREAK SPACE}%"
    assert page.locator("#now").inner_text() == f"0:00 {told}"


@in_a_browser
@pytest.mark.parametrize("voices", [1, 2])
def test_the_zoom_is_one_row_that_begins_where_the_colors_do(
    voices: int, open_page: Open, tmp_path: Path
) -> None:
    said = [
        Prediction(
            utterance_id="u",
            start=0,
            end=2,
            channel=side,
            label="calm",
            probabilities={"calm": 0.75, "sad": 0.25},
        )
        for side in ("left", "right")[:voices]
    ]
    Timeline(recording="a.wav", duration=4.0, labels=["calm", "sad"], segments=said).write(
        tmp_path / "a.html"
    )
    page = open_page(tmp_path / "a.html", phone=True)
    places = [page.locator(name).bounding_box() for name in ("#out", "#in", "#legend")]
    out, inside, colors = (place for place in places if place is not None)
    assert out["y"] == inside["y"]
    assert out["x"] == colors["x"]


def dimensional() -> Timeline:
    values = [{HOSTILE: 0.1 * n, "valence": -0.25} for n in range(6)]
    answers = [
        Prediction(utterance_id="u", start=4.0 * n, end=4.0 * n + 3, dimensions=value, transcript=f"{n}")
        for n, value in enumerate(values)
    ]
    error = Prediction(utterance_id="u", start=25.0, end=26.0, error="too short")
    return Timeline(
        recording="call.wav",
        duration=30.0,
        labels=[],
        dimensions=[HOSTILE, "valence"],
        segments=[*answers, error],
    )


@in_a_browser
def test_dimensions_are_lines_and_numbers(open_page: Open, tmp_path: Path) -> None:
    dimensional().write(tmp_path / "call.html")
    page = open_page(tmp_path / "call.html")
    assert page.locator("#legend li").all_inner_texts() == [HOSTILE, "valence"]
    assert page.locator(".lines path").count() == 2
    drawn = [path.get_attribute("d") or "" for path in page.locator(".lines path").all()]
    heights = [float(place) for path in drawn for place in re.findall(r"[ML][\d.]+ ([-\d.]+)", path)]
    assert min(heights) == 0.4
    assert max(heights) == 1  # -0.25 is at the bottom, not below it
    assert page.locator(".strip .none").count() == 1
    rows = page.locator("#segments tbody tr")
    assert rows.nth(2).locator("td:visible").all_inner_texts()[1:] == [f"{HOSTILE} 0.20, valence -0.25", "2"]
    assert rows.last.locator("td:visible").nth(1).inner_text() == "too short"
    rows.nth(2).get_by_role("button").click()
    assert page.locator("#now").inner_text() == f"0:08 {HOSTILE} 0.20, valence -0.25: “2”"
    assert page.locator("#summaries").count() == 0


@in_a_browser
@pytest.mark.parametrize(("phone", "dark"), [(False, False), (True, True), (False, True)])
def test_accessible(open_page: Open, tmp_path: Path, phone: bool, dark: bool) -> None:
    """The rules of axe: contrast of 4.5, names, roles, landmarks; and nothing wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    hostile().write(tmp_path / "call.html")
    page = open_page(tmp_path / "call.html", phone=phone, dark=dark)
    colors = emotion_colors(hostile().labels).values()
    assert colors_of(page, "#legend .dot") == [color.dark if dark else color.light for color in colors]
    page.get_by_role("button", name="Next segment").click()
    violations = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_lines_of_a_voice_are_its_own(tmp_path: Path) -> None:
    segments = [
        Prediction(
            utterance_id="u",
            start=0.0,
            end=5.0,
            channel=channel,
            label=label,
            probabilities={"calm": calm, "sad": 1 - calm},
        )
        for channel, label, calm in (("left", "calm", 0.9), ("right", "sad", 0.2))
    ]
    made = Timeline(recording="a.wav", duration=5.0, labels=["calm", "sad"], segments=segments)
    made.write(tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    (data,) = re.findall(r"<script[^>]*application/json[^>]*>(.*?)</script>", page, re.DOTALL)
    left, right = json.loads(data)["voices"]
    assert (set(left["lines"]["calm"]), set(right["lines"]["sad"])) == ({0.9}, {0.8})


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_embedded_sound_is_that_of_the_recording(tmp_path: Path, channels: int) -> None:
    tones = [np.sin(np.arange(16_000) * pitch) * 0.2 for pitch in (0.1, 0.2, 0.3)[:channels]]
    soundfile.write(tmp_path / "a.wav", np.stack(tones, axis=1), 16_000)
    made = Timeline(recording=str(tmp_path / "a.wav"), duration=1.0, labels=["sad"], segments=[])
    made.write(tmp_path / "a.html", embed_audio=True)
    (coded,) = re.findall(r"data:audio/ogg;base64,([\w+/=]+)", (tmp_path / "a.html").read_text("utf-8"))
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(coded)), always_2d=True)
    expected = np.stack(tones, axis=1) if channels == 2 else load_audio(tmp_path / "a.wav")[:, None]
    assert rate == 16_000
    assert samples.shape == expected.shape
    assert np.abs(samples - expected).mean() < 0.02


def test_what_cannot_be_embedded_is_told(
    found: Timeline,
    model_folder: Path,
    call: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = Timeline(recording="sent", duration=1.0, labels=found.labels, segments=[])
    with pytest.raises(AudioError, match="sent: its sound cannot be put into a page, it is no file"):
        sent.write(tmp_path / "sent.html", embed_audio=True)
    assert list(tmp_path.iterdir()) == []
    done = run(capfd, monkeypatch, ["timeline", model_folder, call, "--embed-audio", "-o", "a.json"])
    assert (done.code, done.err) == (2, "mmer: --embed-audio is for a page; ask for a .html file\n")
    sent.write(tmp_path / "empty.html")
    assert "media-src data: blob:" in (tmp_path / "empty.html").read_text()


@in_a_browser
def test_a_page_without_speech_shows_no_empty_tables(open_page: Open, tmp_path: Path) -> None:
    Timeline(recording="silence.wav", duration=20.0, labels=["angry", "sad"], segments=[]).write(
        tmp_path / "silence.html"
    )
    page = open_page(tmp_path / "silence.html")
    assert page.locator("#about").inner_text() == "No segments of speech in 0:20"
    assert page.locator("h2:visible").all_inner_texts() == ["Listen"]
    assert page.locator("table:visible").count() == 0


@in_a_browser
def test_a_channel_without_speech_has_an_empty_strip(open_page: Open, tmp_path: Path) -> None:
    said = Prediction(
        utterance_id="u", start=1.0, end=2.0, channel="left", label="sad", probabilities={"sad": 1}
    )
    quiet = np.zeros(2000, np.float32)
    call = Timeline(
        recording="call.wav",
        duration=20.0,
        labels=["sad"],
        segments=[said],
        peaks={"left": quiet, "right": quiet},
    )
    call.write(tmp_path / "call.html")
    page = open_page(tmp_path / "call.html")
    assert page.locator(".voice b").all_inner_texts() == ["left", "right: no segments of speech"]
    assert page.locator(".strip:visible").count() == 2


@in_a_browser
def test_printed_every_row_and_column_is_there_and_nothing_to_click(
    open_page: Open, found: Timeline, tmp_path: Path
) -> None:
    found.write(tmp_path / "call.html")
    page = open_page(tmp_path / "call.html")
    page.get_by_role("button", name="Zoom in").click()
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 without its margins
    page.emulate_media(media="print")
    cut = "[...document.querySelectorAll('.scroll, #chart')].filter((each) => each.scrollWidth > each.clientWidth)"
    assert page.evaluate(f"{cut}.map((each) => each.id)") == []
    assert page.evaluate("getComputedStyle(document.getElementById('list')).maxHeight") == "none"
    assert page.locator("#zoom, #previous, audio, #download").filter(visible=True).count() == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.strip i')).printColorAdjust") == "exact"
