"""The commands and the code of the README do what it says, on small data."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import SMALL, make_recordings, run, train_folds_here

from mmer.training.crossval import crossval

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE, OUTPUT = re.findall(r"```(?:python|text)\n(.*?)```", README, re.DOTALL)
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
    assert len(commands) == 13
    monkeypatch.setattr(crossval, "train_folds", train_folds_here)
    for command in commands:
        arguments = shlex.split(command)[1:]
        if arguments[0] in ("train", "crossval"):
            arguments += SMALL
        outcome = run(capfd, monkeypatch, arguments)
        assert outcome.code == 0, f"{command}: {outcome.err}"
    shutil.copytree("my-run/model", "mmer-demo/mmer/model")
    clips = sorted(Path("my-recordings").glob("*.flac"))
    Path("mmer-demo/recordings").mkdir()
    for clip, name in zip(clips, re.findall(r'"(\w+)", "(\w+)"\):', README)[0], strict=False):
        shutil.copy(clip, f"mmer-demo/recordings/en-gb-x-gbclan_aunty_01_{name}.flac")
    names: dict[str, Any] = {}
    exec(compile(CODE, "README.md", "exec"), names)
    assert names["answer"].label in names["recognizer"].labels
    assert len(capfd.readouterr().out.splitlines()) == len(OUTPUT.splitlines())


def test_what_the_reader_sees_first_is_short() -> None:
    assert len(CODE.splitlines()) <= 7
    prose = [line for line in README.splitlines() if not line.startswith("|")]
    assert len(" ".join(prose).split()) <= 900
    assert (ROOT / "docs" / "timeline.png").stat().st_size < 200_000


def test_the_iemocap_commands_name_a_reader_a_recipe_and_settings_that_exist() -> None:
    from mmer.corpora import READERS
    from mmer.recipe.schema import load_recipe

    prepare, train = (shlex.split(command)[1:] for command in IEMOCAP)
    assert prepare[:2] == ["corpus", "prepare"]
    assert prepare[2] in READERS
    recipe = load_recipe(train[1], [argument for argument in train[2:] if "=" in argument])
    assert recipe.protocol.test == ["Ses05"]
    assert recipe.model.speech.encoder == "facebook/wav2vec2-base"
