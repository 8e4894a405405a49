"""The page in a real browser: Debian's Chromium without a window."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from browser import colors_of, watched_pages
from inference.conftest import save_model
from published_models import save_audio_classifier, save_speech_head

from mmer.corpora.emotion_colors import emotion_colors
from mmer.inference import EmotionRecognizer
from mmer.inference.explain import attribution

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WORDS = "I never said that!"
Open = Callable[..., "Page"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the page is not tried in a browser")


@pytest.fixture(scope="module")
def spoken(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the microphone hears, again and again: a clip as a WAV file of 48 kHz."""
    samples, rate = soundfile.read(clips[0], dtype="float32")
    path = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    soundfile.write(path, soxr.resample(samples, rate, 48_000), 48_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def call(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speakers on two channels, for longer than the model takes at once; the left one is clipped."""
    sides = []
    for chosen in (clips[:4], clips[4:8]):
        parts = [soundfile.read(clip, dtype="float32")[0] for clip in chosen]
        sides.append(np.concatenate([np.append(part, np.zeros(16_000, np.float32)) for part in parts]))
    length = min(map(len, sides))
    path = tmp_path_factory.mktemp("call") / "call.wav"
    soundfile.write(path, np.stack([np.clip(30 * sides[0][:length], -1, 1), sides[1][:length]], 1), 16_000)
    return path


@pytest.fixture(scope="module")
def browser(spoken: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    microphone = [
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={spoken}",
        "--use-fake-ui-for-media-stream",
    ]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *microphone])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens the page of a service; it must ask nobody else, and its console must stay empty of errors."""

    def may_ask(address: str, asked: str) -> bool:
        return asked.startswith((address, "blob:"))

    with watched_pages(browser, may_ask, _is_wrong, permissions=["microphone"]) as open_at:
        yield lambda url, **settings: open_at(f"{url}/", **settings)


def _is_wrong(said: Any) -> bool:
    """Chromium reports each refused request in the console too, which the page shows itself."""
    return said.type in ("error", "warning") and not said.text.startswith("Failed to load resource")


def numbers(page: "Page") -> dict[str, float]:
    """Probabilities as the page shows them."""
    rows = page.get_by_role("table").get_by_role("row").all_inner_texts()[1:]
    cells = [re.split(r"\s+", row.strip()) for row in rows]
    return {cell[0]: float(cell[-2]) / 100 for cell in cells}


def ask(page: "Page") -> None:
    page.get_by_role("button", name="Ask the model").click()


def test_file_and_words(open_page: Open, url: str, clips: list[Path], recognizer: EmotionRecognizer) -> None:
    expected = recognizer(clips[3], WORDS)
    page = open_page(url)
    page.get_by_label("Choose a recording").set_input_files(clips[3])
    page.get_by_label("What is said").fill(WORDS)
    page.get_by_label("Minimum confidence").fill("0")
    ask(page)
    page.get_by_role("table").wait_for()
    assert expected.probabilities is not None
    assert numbers(page) == pytest.approx(expected.probabilities, abs=6e-4)
    assert list(numbers(page)) == [label for label, _ in expected.ranking]
    assert f"Answered: {expected.label}" in page.get_by_role("status").inner_text()
    assert page.get_by_text(f"“{WORDS}” (as given)").is_visible()
    assert page.get_by_text("Contribution of the words").is_visible()
    widths = page.locator(".fill").evaluate_all("all => all.map(one => one.offsetWidth)")
    assert widths == sorted(widths, reverse=True)

    page.get_by_label("What is said").fill("nie wiem")
    ask(page)
    page.get_by_text("“nie wiem” (as given)").wait_for()
    other = recognizer(clips[3], "nie wiem").probabilities
    assert numbers(page) == pytest.approx(other, abs=6e-4)


def test_dimensions_are_numbers_and_not_percent(
    open_page: Open, service: Callable[..., str], clips: list[Path], tmp_path: Path
) -> None:
    folder = save_speech_head(
        tmp_path / "dims", ["arousal", "dominance", "valence"], problem_type="regression"
    )
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    values = recognizer(clips[0]).dimensions or {}
    page = open_page(service(lambda: recognizer))
    page.get_by_text("Model tiny answers arousal, dominance, valence: numbers, and no emotion.").wait_for()
    page.get_by_label("Choose a recording").set_input_files(clips[0])
    ask(page)
    page.get_by_role("table", name="Value of each dimension").wait_for()
    rows = [row.split() for row in page.locator("#bars tbody tr").all_inner_texts()]
    assert rows == [[name, f"{value:.2f}"] for name, value in values.items()]
    assert "%" not in page.locator("#answer").inner_text()
    told = page.locator("header, aside").all_inner_texts()
    assert "How would listeners rate this voice?" in told[0]
    assert "A score is the number that" in told[1]
    assert not re.search("which emotion|probability|emotions in its list", " ".join(told), re.IGNORECASE)
    assert not page.get_by_label("Minimum confidence").is_visible()
    assert not page.get_by_role("button", name="Explain this answer").is_visible()
    page.get_by_role("button", name="Timeline of the recording").click()
    page.locator("#segments tbody tr").first.wait_for()
    assert not page.locator("#strips").is_visible()
    assert not page.get_by_role("columnheader", name="Probability").is_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("CSV")).click()
    table = pd.read_csv(download.value.path())
    assert table["dimension_valence"][0] == pytest.approx(values["valence"], abs=0.5)


def test_an_explanation_is_offered_only_where_the_model_has_one(
    open_page: Open, service: Callable[..., str], clips: list[Path], tmp_path: Path
) -> None:
    published = EmotionRecognizer.from_pretrained(save_audio_classifier(tmp_path, "hubert"), "cpu")
    page = open_page(service(lambda: published))
    page.get_by_label("Choose a recording").set_input_files(clips[0])
    ask(page)
    page.locator("#answer").wait_for()
    assert not page.get_by_role("button", name="Explain this answer").is_visible()


LINES_OF_FIRST_WORD = """cells => cells.map((cell) => {
    const range = document.createRange();
    range.setStart(cell.lastChild, 0);
    range.setEnd(cell.lastChild, cell.textContent.indexOf(" "));
    return new Set([...range.getClientRects()].map(({ top }) => top)).size;
})"""


def test_long_names_and_names_from_right_to_left_stay_on_a_phone(
    open_page: Open, service: Callable[..., str], clips: list[Path], call: Path, tmp_path: Path
) -> None:
    labels = [
        "exuberanthappinessbeyondallmeasuresofjoy",
        "unhappinessbeyondallmeasuresofsorrowandtears",
        "غضب",
    ]
    model = EmotionRecognizer.from_pretrained(save_audio_classifier(tmp_path, "hubert", labels=labels), "cpu")
    page = open_page(service(lambda: model), phone=True)
    hebrew = Path(shutil.copy(clips[0], tmp_path / "שלום 7"))
    page.get_by_label("Choose a recording").set_input_files(hebrew)
    isolated = "\N{FIRST STRONG ISOLATE}שלום 7\N{POP DIRECTIONAL ISOLATE}"
    assert f"{isolated}, 0.0" in page.locator("#chosen-name").inner_text()
    assert f"{isolated} is chosen." in page.locator("#status").inner_text()
    page.get_by_label("Minimum confidence").fill("0")
    ask(page)
    page.locator("#answer").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert all(
        width > 50
        for width in page.locator(".track").evaluate_all("all => all.map((each) => each.offsetWidth)")
    )
    page.get_by_label("Choose a recording").set_input_files(call)
    page.get_by_role("button", name="Timeline of the recording").click()
    page.locator("#timeline").wait_for(timeout=120_000)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert "\N{FIRST STRONG ISOLATE}غضب\N{POP DIRECTIONAL ISOLATE}: " in page.locator("#legend").inner_text()


def test_no_answer_is_that_of_another_recording(open_page: Open, url: str, clips: list[Path]) -> None:
    page = open_page(url)
    page.get_by_label("Choose a recording").set_input_files(clips[3])
    ask(page)
    page.locator("#answer").wait_for()
    page.get_by_label("Choose a recording").set_input_files(clips[4])
    assert not page.locator("#answer").is_visible()
    page.get_by_label("Minimum confidence").fill("0")
    assert not page.locator("#answer").is_visible()

    asked = page.locator("#status").inner_text()
    assert clips[4].name in asked
    page.route("**/v1/predict", lambda route: (page.wait_for_timeout(500), route.continue_()))
    ask(page)
    page.get_by_label("Choose a recording").set_input_files(clips[5])
    page.locator("#send:enabled").wait_for()
    assert not page.locator("#answer").is_visible()


def test_abstains(open_page: Open, url: str) -> None:
    page = open_page(url)
    page.get_by_label("What is said").fill(WORDS)
    page.get_by_label("Minimum confidence").fill("95")
    ask(page)
    page.get_by_role("table").wait_for()
    assert "The model abstains" in page.locator("#verdict").inner_text()
    assert "less than the 95.0\N{NO-BREAK SPACE}%" in page.locator("#verdict").inner_text()
    page.get_by_label("Minimum confidence").fill("0")
    assert "abstains" not in page.locator("#verdict").inner_text()


def test_microphone(open_page: Open, url: str) -> None:
    """Chromium's microphone plays a clip; what it records as WebM is answered."""
    page = open_page(url)
    page.get_by_role("button", name="Record", exact=True).click()
    page.get_by_role("button", name="Stop recording").wait_for()
    assert page.get_by_role("button", name="Ask the model").is_disabled()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop recording").click()
    page.get_by_text("microphone.webm").first.wait_for()
    with page.expect_response("**/v1/predict") as answered:
        ask(page)
    answer = answered.value.json()
    assert 0.8 < answer["duration"] < 6
    assert not any("silent" in warning for warning in answer["warnings"]), answer
    page.get_by_role("table").wait_for()
    assert numbers(page) == pytest.approx(answer["probabilities"], abs=6e-4)


def test_numbers_are_rounded_as_a_whole(open_page: Open, url: str) -> None:
    called = (
        "[59.97, 60, 119.94].map(m.clock), [-0.001, 0, -1.2, 1.2].map((n) => m.signed(n)), m.fixed(-0.004)"
    )
    shown = open_page(url).evaluate(f"import('./page/service.js').then((m) => [{called}])")
    assert shown == [
        ["1:00.0", "1:00.0", "1:59.9"],
        ["+0.00", "+0.00", "\N{MINUS SIGN}1.20", "+1.20"],
        "0.00",
    ]


def test_keyboard_alone(open_page: Open, url: str, clips: list[Path]) -> None:
    page = open_page(url)
    # Chromium reports choosers once it was asked to, which on a busy machine comes after the key if asked just before.
    page.on("filechooser", lambda _: None)
    page.get_by_text("knows 4 emotions").wait_for()

    def tab_to(wanted: str) -> list[str]:
        """What is passed on the way, each with an outline that one sees."""
        passed = []
        while wanted not in passed:
            page.keyboard.press("Tab")
            passed.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
            if passed[-1] != "player":  # Chromium's player shows on its own buttons which of them is meant
                focused = "document.activeElement.closest('.drop') ?? document.activeElement"
                assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid", passed
            assert len(passed) < 15, passed
        return passed

    assert tab_to("file") == ["skip", "file"]
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(clips[4])
    page.get_by_text(f"{clips[4].name} is chosen").wait_for()
    passed = tab_to("transcript")
    assert passed[:3] == ["record", "remove", "player"]
    page.keyboard.type(WORDS)
    assert tab_to("minimum") == ["minimum"]
    page.keyboard.press("ArrowLeft")
    assert page.locator("#minimum-shown").inner_text() == "45\N{NO-BREAK SPACE}%"
    assert tab_to("send") == ["send"]
    page.keyboard.press("Enter")
    page.get_by_role("table").wait_for()
    page.wait_for_function("document.activeElement.id === 'send'")


def _accessible(page: "Page", what: str) -> None:
    """The rules of axe: contrast, names, roles, landmarks, ...; and nothing wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    assert [(what, rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what


@pytest.mark.parametrize(("phone", "dark"), [(False, False), (True, True)])
def test_accessible(open_page: Open, url: str, clips: list[Path], phone: bool, dark: bool) -> None:
    """Before and after an answer, and with an error."""
    from playwright.sync_api import FilePayload

    page = open_page(url, phone=phone, dark=dark)
    page.get_by_text("knows 4 emotions").wait_for()

    _accessible(page, "before")
    page.get_by_label("What is said").fill(WORDS)
    page.get_by_label("Choose a recording").set_input_files(clips[5])
    ask(page)
    page.get_by_role("table").wait_for()
    _accessible(page, "answered")
    nothing = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"nothing" * 40)
    page.get_by_label("Choose a recording").set_input_files(nothing)
    ask(page)
    page.get_by_role("alert").wait_for()
    _accessible(page, "refused")


def test_what_a_screen_reader_finds(open_page: Open, url: str) -> None:
    page = open_page(url)
    page.get_by_label("What is said").fill(WORDS)
    page.get_by_label("Minimum confidence").fill("0")
    ask(page)
    page.get_by_role("table").wait_for()
    tree = page.locator("body").aria_snapshot()
    for found in (
        r'- heading "Which emotion would listeners name\?" \[level=1\]',
        r'- form "Question"',
        r'- group "Recording"',
        r'- textbox "What is said"',
        r'- slider "Minimum confidence": "0"',
        r'- button "Ask the model"',
        r'- region "Answer"',
        r"- status: .?Answered: ",
        r'- table "Probability of each emotion"',
        r'- rowheader "angry"',
        r'- cell "\d+\.\d %"',
        r'- complementary "What these scores are not"',
    ):
        assert re.search(found, tree), f"{found} is not in\n{tree}"


def test_errors_are_for_people_and_their_source_for_developers(open_page: Open, url: str) -> None:
    from playwright.sync_api import FilePayload

    page = open_page(url)
    page.get_by_text("knows 4 emotions").wait_for()
    ask(page)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text() == "Choose a recording, or type what is said."
    nothing = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"nothing" * 40)
    page.get_by_label("Choose a recording").set_input_files(nothing)
    with page.expect_response("**/v1/predict") as refused:
        ask(page)
    said = refused.value.json()["detail"]
    alert.wait_for()
    assert alert.locator("p").inner_text() == re.sub(r" \(.*\);", ";", said) != said
    assert not page.locator("#problem-source").is_visible()
    alert.get_by_text("For developers").click()
    assert page.locator("#problem-source").inner_text() == f"POST v1/predict: 422 {said}"
    assert page.get_by_role("table").count() == 0
    _accessible(page, "for developers")


def test_a_model_that_needs_sound(open_page: Open, service: Callable[..., str], tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    page = open_page(service(load=lambda: EmotionRecognizer.from_pretrained(folder, device="cpu")))
    page.get_by_text("knows 4 emotions").wait_for()
    page.get_by_label("What is said").fill(WORDS)
    ask(page)
    page.get_by_role("alert").wait_for()
    needs = "This model needs sound. Choose a recording, or record one."
    assert page.get_by_role("alert").inner_text() == needs


def test_too_many_questions_and_too_large_a_file(open_page: Open, service: Callable[..., str]) -> None:
    from playwright.sync_api import FilePayload

    page = open_page(service(max_per_minute=1, max_upload=100_000))
    page.get_by_text("knows 4 emotions").wait_for()
    page.get_by_label("What is said").fill(WORDS)
    ask(page)
    page.get_by_role("alert").wait_for()
    said = page.get_by_role("alert").locator("p").inner_text()
    assert re.fullmatch(r"Too many questions came from your address\. Try again in \d+ seconds?\.", said)
    large = FilePayload(name="large.wav", mimeType="audio/wav", buffer=bytes(200_000))
    page.get_by_label("Choose a recording").set_input_files(large)
    page.get_by_text(
        "This file is too large. At most 0.1 MB are allowed: 1 s of 16-bit WAV at 44.1 kHz"
    ).wait_for()


@pytest.mark.parametrize("is_known", [True, False])
def test_a_long_file_is_offered_as_a_timeline(open_page: Open, url: str, call: Path, is_known: bool) -> None:
    """Its length is known to the browser, or only to the service, as of a format that the browser does not play."""
    page = open_page(url, phone=True, dark=True)
    page.get_by_text("knows 4 emotions").wait_for()
    if not is_known:
        page.evaluate("Object.defineProperty(HTMLMediaElement.prototype, 'duration', { get: () => NaN })")
    page.get_by_label("Choose a recording").set_input_files(call)
    if not is_known:
        ask(page)
    page.get_by_text("This recording is longer than the 10 s that one answer covers.").wait_for()
    assert not page.get_by_role("alert").is_visible()
    assert not page.get_by_role("button", name="Ask the model").is_visible()
    if not is_known:  # the button that asked is gone
        page.wait_for_function("document.activeElement.id === 'follow'")
    _accessible(page, "long")
    page.get_by_role("button", name="Timeline of the recording").click()
    page.get_by_role("region", name="Timeline").wait_for(timeout=120_000)
    page.get_by_role("button", name="Remove the recording").click()
    assert page.get_by_role("button", name="Ask the model").is_visible()


def test_channels_legend_warnings_and_download(open_page: Open, url: str, call: Path) -> None:
    page = open_page(url, phone=True)
    page.get_by_label("Choose a recording").set_input_files(call)
    page.get_by_label("Channels").select_option("Each is one speaker")
    with page.expect_response("**/v1/timeline", timeout=120_000) as answered:
        page.get_by_role("button", name="Timeline of the recording").click()
    found = answered.value.json()
    segments = found["segments"]
    assert {segment["channel"] for segment in segments} == {"left", "right"}
    region = page.get_by_role("region", name="Timeline")
    region.wait_for()
    assert region.locator(".strip").count() == 2
    legend = region.get_by_role("list", name="Emotions").get_by_role("listitem").all_inner_texts()
    assert [line.split(":")[0] for line in legend] == found["labels"]
    colors = emotion_colors(found["labels"]).values()
    assert colors_of(page, "#legend .dot") == [color.light for color in colors]
    shares = [float(line.split(":")[1].split()[0]) for line in legend]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    said = region.get_by_role("list", name="Warnings").inner_text()
    (first, *others) = [warning for segment in segments for warning in segment["warnings"]]
    assert said == f"{1 + len(others)} of {len(segments)} segments: for example {first}"
    with page.expect_download() as downloaded:
        region.get_by_role("link", name="Download all segments").click()
    assert downloaded.value.suggested_filename == "call.csv"
    table = pd.read_csv(downloaded.value.path())
    assert len(table) == len(segments)
    for row, segment in zip(table.to_dict("records"), segments, strict=True):
        assert (row["start"], row["end"], row["channel"]) == (
            segment["start"],
            segment["end"],
            segment["channel"],
        )
        assert row["label"] == segment["label"]
        for label, probability in segment["probabilities"].items():
            assert row[f"probability_{label}"] == pytest.approx(probability)
    _accessible(page, "channels")


def test_channels_are_offered_where_there_are_several(
    open_page: Open, url: str, clips: list[Path], call: Path, spoken: Path
) -> None:
    page = open_page(url)
    chooser, channels = page.get_by_label("Choose a recording"), page.get_by_label("Channels")
    for mono in (clips[0], spoken):
        chooser.set_input_files(call)
        channels.select_option("Right alone")
        chooser.set_input_files(mono)
        channels.wait_for(state="hidden")
        assert page.locator("#channel").input_value() == "mix"
    chooser.set_input_files({"name": "a.amr", "mimeType": "audio/amr", "buffer": b"#!AMR"})
    page.get_by_text("a.amr is chosen").wait_for()
    assert channels.is_visible()


def test_a_recording_without_speech_has_no_empty_table(open_page: Open, url: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000, np.float32), 16_000)
    page = open_page(url)
    page.get_by_label("Choose a recording").set_input_files(tmp_path / "silence.wav")
    page.get_by_role("button", name="Timeline of the recording").click()
    region = page.get_by_role("region", name="Timeline")
    region.wait_for()
    assert page.get_by_role("status").inner_text() == "No speech was found."
    assert region.inner_text() == "Timeline\n\nNo speech was found in 0:02.0."


def test_printed_all_segments_are_there_and_nothing_to_click(open_page: Open, url: str, call: Path) -> None:
    page = open_page(url)
    page.get_by_label("Choose a recording").set_input_files(call)
    page.get_by_role("button", name="Timeline of the recording").click()
    page.get_by_role("region", name="Timeline").wait_for(timeout=120_000)
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).maxHeight") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('.strip div')).printColorAdjust") == "exact"
    assert page.locator("h2:visible").all_inner_texts() == ["Timeline", "What these scores are not"]
    assert not page.locator("#ask").is_visible()


def test_token(open_page: Open, service: Callable[..., str]) -> None:
    page = open_page(service(token="correct-horse-battery"))
    page.get_by_text("This service asks for a token.").wait_for()
    page.get_by_label("What is said").fill(WORDS)
    page.get_by_label("Token").fill("wrong-horse-battery")
    ask(page)
    page.get_by_role("alert").wait_for()
    assert "token" in page.get_by_role("alert").inner_text()
    page.get_by_label("Token").fill("correct-horse-battery")
    ask(page)
    page.get_by_role("table").wait_for()
    assert not page.get_by_role("alert").is_visible()


def test_a_service_that_is_gone(open_page: Open, url: str) -> None:
    page = open_page(url)
    page.get_by_text("knows 4 emotions").wait_for()
    page.context.set_offline(True)
    page.get_by_label("What is said").fill(WORDS)
    ask(page)
    page.get_by_role("alert").wait_for()
    assert "cannot be reached" in page.get_by_role("alert").inner_text()


def test_a_service_that_is_gone_before_the_token(open_page: Open, service: Callable[..., str]) -> None:
    page = open_page(service(token="correct-horse-battery"))
    page.get_by_label("Token").fill("correct-horse-battery")
    page.context.set_offline(True)
    page.get_by_label("What is said").fill(WORDS)
    ask(page)
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text().startswith("The service cannot be reached")


def test_a_service_that_was_restarted_with_another_model(
    open_page: Open, service: Callable[..., str], recognizer: EmotionRecognizer, clips: list[Path]
) -> None:
    def is_older(route: Any) -> None:
        card = {**route.fetch().json(), "model": "1" * 64, "name": "older", "labels": ["calm"], "colors": {}}
        route.fulfill(json=card)

    page = open_page(service())
    page.route("**/v1/model", is_older, times=1)
    page.reload()
    page.get_by_text("Model older knows 1 emotion: calm.").wait_for()
    page.get_by_label("Choose a recording").set_input_files(clips[0])
    page.get_by_role("button", name="Timeline of the recording").click()
    page.locator("#segments tbody tr").first.wait_for()
    assert page.locator("#model").inner_text().startswith("Model tiny knows 4 emotions")
    colors = emotion_colors(recognizer.labels).values()
    assert colors_of(page, "#legend .dot") == [color.light for color in colors]


def test_a_model_whose_folder_says_no_more_is_this_model(open_page: Open, url: str) -> None:
    page = open_page(url)
    page.route("**/v1/model", lambda route: route.fulfill(json={**route.fetch().json(), "name": "model"}))
    page.reload()
    page.get_by_text("This model knows 4 emotions").wait_for()


def test_a_page_that_one_comes_back_to_is_new(open_page: Open, url: str, clips: list[Path]) -> None:
    page = open_page(url)
    page.get_by_label("Choose a recording").set_input_files(clips[0])
    page.get_by_label("Minimum confidence").press("ArrowRight")
    assert page.locator("#minimum-shown").inner_text() == "55\u00a0%"
    page.goto(f"{url}/health")
    page.go_back()
    page.get_by_text("knows 4 emotions").wait_for()
    assert page.get_by_label("Minimum confidence").input_value() == "50"
    assert page.locator("#file").evaluate("one => one.files.length") == 0


def test_a_recording_that_is_gone(open_page: Open, url: str, clips: list[Path], tmp_path: Path) -> None:
    page = open_page(url)
    chosen = Path(shutil.copy(clips[0], tmp_path / "chosen.opus"))
    page.get_by_label("Choose a recording").set_input_files(chosen)
    page.get_by_text("chosen.opus is chosen.").wait_for()
    chosen.unlink()
    ask(page)
    page.get_by_role("alert").wait_for()
    told = "The recording was changed or moved after it was chosen. Choose it again."
    assert page.get_by_role("alert").inner_text() == told


def test_an_explanation_is_of_the_words_that_were_asked(open_page: Open, url: str, clips: list[Path]) -> None:
    page = open_page(url)
    page.get_by_label("Choose a recording").set_input_files(clips[0])
    page.get_by_label("What is said").fill(WORDS)
    page.route("**/v1/predict", lambda route: (page.wait_for_timeout(500), route.continue_()))
    ask(page)
    page.get_by_label("What is said").fill("something else")
    page.locator("#answer").wait_for()
    asked: list[str] = []
    page.route(
        "**/v1/explain", lambda route: (asked.append(str(route.request.post_data_buffer)), route.abort())
    )
    page.get_by_role("button", name="Explain this answer").click()
    page.get_by_role("alert").wait_for()
    assert WORDS in asked[0]
    assert "something else" not in asked[0]


def test_dropped_file(open_page: Open, url: str) -> None:
    page = open_page(url)
    drop = """() => {
        const data = new DataTransfer();
        data.items.add(new File(["nothing"], "dropped.wav"));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }"""
    page.evaluate(drop)
    page.get_by_text("dropped.wav is chosen").wait_for()
    ask(page)
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text().startswith("dropped.wav: ")


def test_timeline(open_page: Open, url: str, clips: list[Path], tmp_path: Path) -> None:
    parts = [soundfile.read(clip, dtype="float32") for clip in clips[:3]]
    pause = np.zeros(parts[0][1], np.float32)
    soundfile.write(
        tmp_path / "talk.wav", np.concatenate([np.append(x, pause) for x, _ in parts]), parts[0][1]
    )
    page = open_page(url, phone=True)
    page.get_by_label("Choose a recording").set_input_files(tmp_path / "talk.wav")
    with page.expect_response("**/v1/timeline", timeout=120_000) as answered:
        page.get_by_role("button", name="Timeline of the recording").click()
    segments = answered.value.json()["segments"]
    region = page.get_by_role("region", name="Timeline")
    region.wait_for()
    assert page.evaluate("document.activeElement.id") == "timeline"
    rows = region.get_by_role("row").all_inner_texts()[1:]
    assert len(rows) == len(segments) >= 2
    for row, segment in zip(rows, segments, strict=True):
        assert segment["label"] in row
        assert f"{100 * segment['confidence']:.1f}\N{NO-BREAK SPACE}%" in row
    assert region.locator(".strip div").count() == len(segments)
    page.get_by_label("Minimum confidence").fill("95")
    assert set(page.locator("#segments td:nth-child(2)").evaluate_all(LINES_OF_FIRST_WORD)) == {1}
    region.get_by_role("button", name="Play from").nth(1).press("Enter")
    playing = page.evaluate("document.getElementById('player').currentTime")
    assert playing == pytest.approx(segments[1]["start"], abs=0.5)
    _accessible(page, "timeline")


def test_explanation(
    open_page: Open, service: Callable[..., str], clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "STEPS", (1,))  # how large the shares are is no matter here
    page = open_page(service())
    page.get_by_label("Choose a recording").set_input_files(clips[7])
    page.get_by_label("What is said").fill(WORDS)
    ask(page)
    page.get_by_role("button", name="Explain this answer").click(timeout=60_000)
    region = page.get_by_role("region", name="Why this answer")
    region.wait_for(timeout=300_000)
    assert page.evaluate("document.activeElement.id") == "explanation"
    assert region.get_by_text("Word that counts most").is_visible()
    assert region.get_by_text("Same words, flat voice").is_visible()
    rows = region.get_by_role("table").first.get_by_role("rowheader").all_inner_texts()
    assert rows == [f"“{word}”" for word in WORDS.split()]
    region.get_by_text("The whole explanation as a picture").click()
    picture = page.locator("#explanation-picture")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
    _accessible(page, "explanation")
