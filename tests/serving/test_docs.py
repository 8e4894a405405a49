"""docs/serve.md: what it tells to run is run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"
COMMANDS = re.findall(
    r"^```(bash|python)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize(("kind", "code"), COMMANDS)
def test_block(kind: str, code: str, url: str, clips: list[Path], tmp_path: Path) -> None:
    shutil.copy(clips[0], tmp_path / "clip.wav")
    code = code.replace("127.0.0.1:8000", url.removeprefix("http://"))
    program = ["bash", "-c"] if kind == "bash" else [sys.executable, "-c"]
    if kind == "bash" and not shutil.which(code.split()[0]):
        pytest.skip(f"no {code.split()[0]} on this machine")
    done = subprocess.run([*program, code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if "predict" in code:
        assert '"label":' in done.stdout or "angry" in done.stdout, done.stdout
    if "stream" in code:
        assert " True " in done.stdout
