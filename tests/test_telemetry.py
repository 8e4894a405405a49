"""Nothing is sent anywhere: telemetry is off before its packages are imported, and commands use no socket."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inference.conftest import MadeOnce, make_exportable, make_exported
from no_network import COMMANDS, EXPORTABLE, EXPORTED, SLOW
from typer.main import get_command

from mmer.cli.main import app
from mmer.telemetry import VARIABLES

TESTS = Path(__file__).parent
ELSEWHERE = {"serve"}
"""Serves; what it opens is what it is asked to."""


def environment(home: Path) -> dict[str, str]:
    """Of a process whose home is empty, that may look up names and was told nothing about telemetry."""
    told = {*VARIABLES, "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "CI"}
    return {
        **{name: value for name, value in os.environ.items() if name not in told},
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
        "HOME": str(home),
    }


def test_onnxruntime_leaves_nothing_in_the_home(tmp_path: Path) -> None:
    """Its telemetry keeps an id of the device and a queue of events in the user's cache until they can be sent."""
    pytest.importorskip("onnxruntime")
    onnx: Any = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["a", "a"], ["b"])],
        "twice",
        [value("a", onnx.TensorProto.FLOAT, [1])],
        [value("b", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "home").mkdir()
    code = (
        "import sys; from pathlib import Path; from mmer.inference.backends.onnx_network import OnnxNetwork; "
        "OnnxNetwork(Path(sys.argv[1]), 1)"
    )
    given = {**environment(tmp_path / "home"), "ORT_DISABLE_TELEMETRY": "0"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.onnx")], check=True, env=given)
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert [path for path in left if "onnxruntime" in str(path) or "Microsoft" in str(path)] == []


def test_telemetry_is_off_in_every_package(tmp_path: Path) -> None:
    code = """
import mmer
from huggingface_hub import constants
assert constants.HF_HUB_DISABLE_TELEMETRY
from transformers.utils.hub import http_user_agent
assert "telemetry/off" in http_user_agent()
import importlib.util
if importlib.util.find_spec("datasets"):
    from datasets import config
    assert not config.HF_UPDATE_DOWNLOAD_COUNTS
if importlib.util.find_spec("ray"):
    from ray._common.usage import usage_lib
    assert not usage_lib.usage_stats_enabled()
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(tmp_path))


def names(command: Any, before: str = "") -> set[str]:
    """Of all commands."""
    found: set[str] = set()
    for name, each in command.commands.items():
        found |= names(each, f"{name} ") if hasattr(each, "commands") else {before + name}
    return found


def test_every_command_is_watched() -> None:
    watched = {
        name for name in names(get_command(app)) for line in (*COMMANDS, *SLOW) if line.startswith(name)
    }
    assert watched | ELSEWHERE == names(get_command(app))


@pytest.fixture
def place(made_once: MadeOnce, tmp_path: Path) -> Path:
    """A folder with the models that the commands are asked for."""
    shutil.copytree(make_exportable(made_once), tmp_path / "data" / EXPORTABLE)
    shutil.copytree(make_exported(made_once), tmp_path / "data" / EXPORTED)
    return tmp_path


def watch(folder: Path, commands: str) -> None:
    home, data, trace = folder / "home", folder / "data", folder / "trace"
    home.mkdir()
    strace = shutil.which("strace")
    outside = [strace, "--seccomp-bpf", "-f", "-e", "trace=network", "-o", str(trace)] if strace else []
    # No script, which processes that it starts would import again.
    code = (
        f"import sys; from pathlib import Path; from no_network import *; main(Path(sys.argv[1]), {commands})"
    )
    done = subprocess.run(
        [*outside, sys.executable, "-c", code, str(data)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(home),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    # A command that is refused has read its inputs too; those that read a model are answered.
    refused = {line.split()[0] for line, code in result["ran"].items() if code not in (0, 1)}
    assert refused <= {"corpus", "compare", "crossval", "model"}, (refused, done.stderr[-3000:])
    assert result["used"] == []
    if strace:
        assert [line for line in trace.read_text().splitlines() if "AF_INET" in line] == []
    assert [path for path in home.rglob("*") if "Microsoft" in path.name] == []


def test_commands_use_no_socket(place: Path) -> None:
    watch(place, "COMMANDS")


@pytest.mark.slow
def test_all_commands_use_no_socket(place: Path) -> None:
    watch(place, "COMMANDS + SLOW")
