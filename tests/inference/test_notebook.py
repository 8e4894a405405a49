"""What a notebook shows."""

import base64
import io
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from mmer.audio.load import load_audio
from mmer.audio.speech_segments import Segment
from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.inference.timeline.timeline import timeline


def played(html: str) -> tuple[np.ndarray, int] | None:
    found = re.search(r'<audio controls src="data:audio/flac;base64,([^"]+)"', html)
    return soundfile.read(io.BytesIO(base64.b64decode(found[1]))) if found else None


def test_a_prediction_has_bars_words_and_its_sound(recognizer: EmotionRecognizer, clips: list[str]) -> None:
    prediction = recognizer(clips[0], transcript="I <never> said that & more")
    html = prediction._repr_html_()
    ElementTree.fromstring(html.replace("<audio controls", '<audio controls=""').replace("<br>", "<br/>"))
    assert "I &lt;never&gt; said that &amp; more" in html
    for label, share in prediction.ranking:
        assert f">{label}</td>" in html
        assert f"width:{share:.1%}" in html
    sound = played(html)
    assert sound is not None
    np.testing.assert_allclose(sound[0], load_audio(clips[0]), atol=1e-4)
    assert "IPython" not in sys.modules


def test_the_sound_is_the_part_and_the_channel_that_was_asked_about(
    recognizer: EmotionRecognizer, tmp_path: Path
) -> None:
    samples = np.stack([np.zeros(48_000), np.linspace(0, 0.5, 48_000)], axis=1)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    (part,) = recognizer.predict([Utterance(tmp_path / "a.wav", start=1.0, end=2.0, channel="right")])
    sound = played(part._repr_html_())
    assert sound is not None
    np.testing.assert_allclose(sound[0], samples[16_000:32_000, 1], atol=1e-4)


def test_what_is_long_gone_or_no_file_has_no_player(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(31 * 8000), 8000)
    for path in (str(tmp_path / "long.wav"), str(tmp_path / "gone.wav"), None):
        shown = Prediction(utterance_id="<u>", audio_path=path, error="it is <broken>")._repr_html_()
        assert played(shown) is None
        assert "no answer: it is &lt;broken&gt;" in shown
        assert "<strong>&lt;u&gt;</strong>" in shown


def test_a_timeline_has_its_picture_and_its_first_segments(
    recognizer: EmotionRecognizer, clips: list[str]
) -> None:
    segments = [Segment(number / 100, number / 100 + 0.5, transcript="<x>") for number in range(60)]
    html = timeline(recognizer, clips[0], segments=segments)._repr_html_()
    assert base64.b64decode(re.findall(r"data:image/png;base64,([^\"]+)", html)[0]).startswith(b"\x89PNG")
    assert html.count("<tr>") == 51
    assert "… and 10 more; see to_frame()" in html
    assert "&lt;x&gt;" in html
    assert played(html) is not None


@pytest.mark.parametrize("segments", [[], [Segment(0.0, 0.5)]])
def test_a_timeline_of_anything_is_shown(
    recognizer: EmotionRecognizer, clips: list[str], segments: list[Segment]
) -> None:
    assert "data:image/png" in timeline(recognizer, clips[0], segments=segments)._repr_html_()
