"""The commands and the code of the README do what it says, on small data."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import SMALL, make_recordings, run

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    mmer ")]
IEMOCAP = [command for command in COMMANDS if "iemocap" in command]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    make_recordings(tmp_path / "my-recordings")
    (tmp_path / "more-recordings").symlink_to(tmp_path / "my-recordings")
    clips = sorted((tmp_path / "my-recordings").glob("*.flac"))
    (tmp_path / "folder").mkdir()
    for clip in clips[:3]:
        (tmp_path / "folder" / clip.name).symlink_to(clip)
    voice, rate = soundfile.read(clips[0])
    soundfile.write(tmp_path / "clip.mp3", voice, rate)
    soundfile.write(tmp_path / "call.wav", np.stack([voice, voice[::-1]], axis=1), rate)
    return tmp_path


def test_commands_and_code(
    workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [command for command in COMMANDS if command not in IEMOCAP and "OFFICIAL.pt" not in command]
    assert len(commands) == 12
    for command in commands:
        arguments = shlex.split(command)[1:]
        if arguments[0] in ("train", "crossval"):
            arguments += SMALL
        outcome = run(capfd, monkeypatch, arguments)
        assert outcome.code == 0, f"{command}: {outcome.err}"
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["prediction"].label in names["recognizer"].labels


def test_the_iemocap_commands_name_a_reader_a_recipe_and_settings_that_exist() -> None:
    from mmer.corpora import READERS
    from mmer.recipe.schema import load_recipe

    prepare, train = (shlex.split(command)[1:] for command in IEMOCAP)
    assert prepare[:2] == ["corpus", "prepare"]
    assert prepare[2] in READERS
    recipe = load_recipe(train[1], [argument for argument in train[2:] if "=" in argument])
    assert recipe.protocol.test == ["Ses05"]
    assert recipe.model.speech.encoder == "facebook/wav2vec2-base"
