"""What commands import before they do anything: a user waits for it each time."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

HEAVY = (
    "torch",
    "transformers",
    "pandas",
    "matplotlib",
    "sklearn",
    "silero_vad",
    "accelerate",
    "tensorboard",
    "mmer.recipe.schema",
    "transformers.pipelines",
    "transformers.trainer",
)
LISTED = f"print(sorted(set(sys.modules) & {set(HEAVY)}), file=sys.stderr)"
PROGRAM = f"import sys; from mmer.cli.main import main\ntry: main()\nfinally: {LISTED}"


SEVERAL = f"""
import json, sys
from mmer.cli.main import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["mmer", *arguments]
    try:
        main()
    except SystemExit:
        pass
    {LISTED}
"""


def _told(*commands: list[str]) -> list[tuple[str, str]]:
    """The last line that each command of a process says, and what is imported after it."""
    program = [sys.executable, "-c", SEVERAL, json.dumps(commands)]
    lines = subprocess.run(program, capture_output=True, text=True).stderr.splitlines()
    return [(lines[at - 1], line) for at, line in enumerate(lines) if line.startswith("[")]


def _imported(*arguments: str, program: str = PROGRAM) -> str:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1]


def test_help_imports_nothing_heavy() -> None:
    asked = ["--help", "--version", "predict --help", "model --help", "corpus --help", "train --help"]
    program = f"""
import sys
from mmer.cli.main import main
for line in {asked}:
    sys.argv = ["mmer", *line.split()]
    try:
        main()
    except SystemExit as end:
        print(line, end.code)
    {LISTED}"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, 5 * "[]\n" + "['mmer.recipe.schema']\n")
    assert done.stdout.count("Usage: mmer ") == 5
    assert [f"{line} 0\n" in done.stdout for line in asked] == [True] * 6


@pytest.mark.parametrize(
    ("command", "given", "policy"),
    [("predict", None, "PASSIVE"), ("serve", "ACTIVE", "ACTIVE"), ("train", None, "None")],
)
def test_threads_that_wait_leave_the_cores_to_decoding(
    command: str, given: str | None, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    told = "print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules, file=sys.stderr)"
    program = f"import os, sys; from mmer.cli.main import main\ntry: main()\nfinally: {told}"
    assert _imported(command, "--help", program=program) == f"{policy} False"


def test_a_wrong_setting_is_told_before_anything_heavy_is_imported() -> None:
    reasons = {
        "train compact training.epoch=3": "did you mean training.epochs?",
        "crossval compakt": "did you mean compact?",
        "ablate compact training.epochs=many": "training.epochs",
    }
    told = _told(*(command.split() for command in reasons))
    for (message, imported), reason in zip(told, reasons.values(), strict=True):
        assert reason in message
        assert imported == "['mmer.recipe.schema']"


def test_a_wrong_row_of_the_ablation_is_told_before_torch_is_imported() -> None:
    arguments = ["ablate", "compact", "--rows", "nonsense"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True)
    *_, message, imported = done.stderr.splitlines()
    assert "no row 'nonsense'" in message
    assert imported == "['mmer.recipe.schema', 'pandas']"


def test_what_cannot_be_adapted_is_told_before_torch_is_imported(
    exported: Path, model_folder: Path, clip: Path
) -> None:
    (empty := clip.parent / "empty").mkdir()
    corpus = clip.parent / "corpus.csv"
    corpus.write_text("utterance_id,audio_path,emotion\n1,clip.wav,sad\n2,clip.wav,calm\n")
    reasons: dict[str, list[str]] = {
        "is an exported model, which cannot be trained": [str(exported), str(corpus)],
        "no config.json": [str(empty), str(corpus)],
        "did you mean training.epochs?": [str(model_folder), str(corpus), "training.epoch=3"],
    }
    told = _told(*(["adapt", *arguments] for arguments in reasons.values()))
    for (message, imported), reason in zip(told, reasons, strict=True):
        assert reason in message
        assert "torch" not in imported


def test_training_does_not_look_through_what_it_imported_again_and_again(tmp_path: Path) -> None:
    program = (
        "import gc, sys; from mmer.cli.main import main\n"
        "try: main()\nfinally: print(gc.get_freeze_count() > 10 * len(gc.get_objects()), file=sys.stderr)"
    )
    arguments = ["train", "compact", f"data.corpus={tmp_path / 'none.csv'}", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    *_, message, left_alone = done.stderr.splitlines()
    assert "none.csv" in message
    assert left_alone == "True"


def test_the_package_imports_nothing_heavy() -> None:
    program = f"import sys, mmer; {LISTED}; assert 'numpy' not in sys.modules"
    assert _imported(program=program) == "[]"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "clip.wav", 0.1 * np.sin(np.arange(16_000) / 20), 16_000)
    return tmp_path / "clip.wav"


def test_an_exported_model_answers_without_what_it_does_not_need(
    exported: Path, clip: Path, tmp_path: Path
) -> None:
    outs = [tmp_path / "answers.jsonl", tmp_path / "answers.csv"]
    answering = ["predict", str(exported), str(clip)]
    told = _told(answering, *([*answering, "-o", str(out)] for out in outs))
    assert [imported for _, imported in told] == 3 * ["[]"]
    assert all(out.exists() for out in outs)


def test_processes_of_an_exported_model_do_without_torch(exported: Path, clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "another.wav")
    options = ["--out", str(tmp_path / "out"), "--shard-rows", "1", "--workers", "2"]
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        PROGRAM,
        "score",
        str(exported),
        str(tmp_path),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = [line.split("|")[-1].strip() for line in done.stderr.splitlines() if "import time:" in line]
    assert imported.count("mmer.inference.archive.workers") > 1  # by this process and those that it starts
    assert "torch" not in imported


GIVEN_BACK = f"""
import gc, sys, weakref
from mmer.cli.main import main
from mmer.inference.recognizer import EmotionRecognizer

models, load = [], EmotionRecognizer.from_pretrained


def from_pretrained(*arguments, **named):
    recognizer = load(*arguments, **named)
    models.append(weakref.ref(recognizer.network.model))
    return recognizer


EmotionRecognizer.from_pretrained = from_pretrained
try:
    main()
except SystemExit:
    pass
gc.collect()
assert gc.get_freeze_count() and [model() for model in models] == [None]
{LISTED}
"""


def test_a_network_of_torch_answers_without_what_it_does_not_need_and_is_given_back(
    model_folder: Path, clip: Path
) -> None:
    imported = _imported("predict", str(model_folder), str(clip), program=GIVEN_BACK)
    assert "'torch'" in imported
    for name in (
        "matplotlib",
        "pandas",
        "sklearn",
        "silero_vad",
        "mmer.recipe.schema",
        "pipelines",
        "trainer",
    ):
        assert name not in imported
