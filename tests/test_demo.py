"""`mmer demo` itself, small: its files and its claim that text and sound alone are not enough."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from mmer import demo
from mmer.inference.recognizer import EmotionRecognizer


@pytest.mark.slow
def test_fusing_beats_each_side_alone_on_unheard_voices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = StringIO()
    scores = demo.run_demo(tmp_path, console=Console(file=text, width=120))
    assert demo.DemoFigures.read(tmp_path / "demo.json") == scores
    assert abs(scores.text_only.balanced_accuracy - 0.5) <= 0.05
    assert scores.mmer.balanced_accuracy >= 0.95
    assert scores.speech_only.balanced_accuracy < scores.mmer.balanced_accuracy
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
    assert EmotionRecognizer.from_pretrained(tmp_path / "mmer" / "model").labels == [
        "angry",
        "calm",
        "happy",
        "sad",
    ]
    assert "mmer train compact data.corpus=FOLDER protocol.test" in text.getvalue()

    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code, output = re.findall(r"```(?:python|text)\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("mmer-demo").symlink_to(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[0] for line in printed] == [
        line.rpartition(" ")[0] for line in output.splitlines()
    ]
