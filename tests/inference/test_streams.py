"""What commands print, where standard output and standard error are terminals, files and pipes."""

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import Process

from mmer.inference.prediction import Prediction

# Runs commands one after the other in one process, each with its own kind of standard output.
PROGRAM = """
import json, os, subprocess, sys
from mmer.cli.main import main
from mmer.inference.explain import attribution
attribution.STEPS = (1,)  # shares are no matter here
for kind, path, arguments in json.loads(sys.argv[1]):
    reader = None
    if kind == "terminal":
        os.dup2(2, 1)
    elif kind == "file":
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 1)
    else:
        reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=open(path, "wb"))
        os.dup2(reader.stdin.fileno(), 1)
    sys.argv = ["mmer", *arguments]
    try:
        main()
    except SystemExit as end:
        print(f"code {end.code}", file=sys.stderr)
    os.dup2(2, 1)
    if reader:
        reader.stdin.close()
        reader.wait()
"""


def on_a_terminal(program: str, argument: str, cwd: Path) -> str:
    """What a program shows where standard error is a terminal."""
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 1 << 16):
                shown.extend(data)
        except OSError:  # the other side is closed
            pass

    reader = threading.Thread(target=read)
    terminal = Path(os.ttyname(theirs))
    process = Process(argument, program=program, stdin=terminal, stdout=terminal, stderr=terminal, cwd=cwd)
    reader.start()
    process.wait()
    os.close(theirs)
    reader.join()
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize("kind", [pytest.param("file", marks=pytest.mark.slow), "pipe"])
def test_a_bar_never_takes_standard_output(
    kind: str, model_folder: Path, clips: list[str], tmp_path: Path
) -> None:
    model, rows = str(model_folder), "utterance_id,audio_path,emotion,speaker,split,predicted\n"
    rows += "".join(
        f"u{n},{clip},{'sad' if n % 2 else 'angry'},s{n % 3},test,sad\n" for n, clip in enumerate(clips[:6])
    )
    (tmp_path / "corpus.csv").write_text(rows)
    commands = {
        "predict": ["predict", model, *clips[:3]],
        "timeline": ["timeline", model, clips[0]],
        "explain": ["explain", model, clips[0]],
        "evaluate": ["evaluate", model, "corpus.csv", "--out", "judged"],
        "compare": ["compare", "corpus.csv", "same.csv"],
        "doctor": ["doctor", model],
        "show": ["corpus", "show", "corpus.csv"],
        "audit": ["corpus", "audit", "corpus.csv", "--by", "speaker"],
        "list": ["corpus", "list"],
    }
    (tmp_path / "same.csv").write_text(rows)
    jobs = [(kind, f"{name}.{kind}", each) for name, each in commands.items()]
    jobs += [(other, f"predict.{other}", commands["predict"]) for other in ("file", "pipe") if other != kind]
    jobs += [("terminal", "", commands["predict"]), ("terminal", "", commands["show"])]
    shown = on_a_terminal(PROGRAM, json.dumps(jobs), tmp_path)
    assert "Traceback" not in shown
    assert "code 2" not in shown
    expected = {
        "timeline": '"segments"',
        "explain": "log-odds",
        "evaluate": "recall",
        "compare": "corpus.csv",
    }
    expected |= {"doctor": "check", "show": "utterances", "audit": "Verdict", "list": "nemo"}
    for each in ("file", "pipe"):
        lines = (tmp_path / f"predict.{each}").read_text("utf-8").splitlines()
        assert [json.loads(line)["audio_path"] for line in lines] == clips[:3]
    for name, word in expected.items():
        assert word in (tmp_path / f"{name}.{kind}").read_text("utf-8"), name
    assert "predicting" in shown  # the bar was there
    # On a terminal each answer is a row of a table, into which no bar is drawn.
    answers = [line for line in shown.split("\r\n") if "%  " in line or line.endswith("%")]
    assert [clip for clip in clips[:3] if not any(Path(clip).name in line for line in answers)] == []


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        *(("corpus prepare", each) for each in ("closed", "full", "none")),
        ("--help", "full"),
        ("--version", "full"),
    ],
)
def test_readers_that_leave(arguments: str, target: str) -> None:
    command = f"{sys.executable} -m mmer {arguments}"
    command += {"closed": " | true; exit ${PIPESTATUS[0]}", "full": " > /dev/full", "none": " >&-"}[target]
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == {
        "closed": (141, ""),
        "full": (2, "mmer: an output cannot be written: No space left on device\n"),
        "none": (0, ""),
    }[target]


def test_a_closed_standard_input_is_empty() -> None:
    program = (
        "import sys; from mmer.display.terminal import use_utf8; use_utf8(); print(sys.stdin.buffer.read())"
    )
    command = f"{sys.executable} -c '{program}' <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("b''\n", "")


def test_rows_hold_names_that_are_not_utf8_as_text() -> None:
    prediction = Prediction(utterance_id="\udce9", transcript="cut \ud83d", warnings=["\udcff"])
    json.dumps(prediction.to_row([]), ensure_ascii=False).encode()
    assert prediction.to_dict()["utterance_id"] == "\\xe9"
