"""Carry out a Dockerfile without a container engine: `unshare --mount python image_steps.py ...` for a fresh root.

Each stage gets a root of its own with the programs of this machine read-only in place of the base image. RUN and COPY
change it; then the root becomes read-only, and the entry point runs there as the user of the image.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

FROM_HOST = ("usr", "bin", "sbin", "lib", "lib64", "opt/wheels", "opt/pypi-more")
"""What a base image would hold, and folders where this machine's pip may find packages."""


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments; comments and blank lines are left out."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE))
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name, arguments) for name, arguments in lines]


@dataclass
class Stage:
    """One stage of an image: its root, and what its instructions have set so far."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entry: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("tmp", "dev", "proc", "etc", "opt", "root"):
            (self.root / name).mkdir(parents=True)
        mount("--bind", str(self.root), str(self.root))
        for source in [*(f"/{name}" for name in FROM_HOST), sys.base_prefix]:
            if Path(source).is_dir():
                self.bind(source, source)
        shutil.copytree("/etc", self.root / "etc", symlinks=True, dirs_exist_ok=True)
        for name in ("/dev", "/proc"):
            mount("--rbind", name, f"{self.root}{name}")
        (self.root / "tmp").chmod(0o1777)

    def bind(self, source: str, target: str) -> None:
        """Show a folder of this machine in the root, read-only."""
        place = self.root / target.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        mount("--bind", source, str(place))
        mount("-o", "remount,ro,bind", str(place))

    def command(self, words: list[str]) -> list[str]:
        inside = f"cd {shlex.quote(self.folder)} && exec {shlex.join(words)}"
        return ["chroot", f"--userspec={self.user}", str(self.root), "/bin/sh", "-c", inside]

    def environment(self) -> dict[str, str]:
        pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        return {
            "HOME": "/root",
            **pip,
            "PATH": f"{sys.base_prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **self.variables,
        }

    def run(self, words: list[str]) -> None:
        subprocess.run(self.command(words), env=self.environment(), check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def expanded(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda found: variables.get(found[1], ""), text)


def build(dockerfile: Path, context: Path, place: Path, given: dict[str, str]) -> Stage:
    """Carry out all instructions and return the last stage."""
    stages: dict[str, Stage] = {}
    stage = None
    for name, arguments in instructions(dockerfile.read_text()):
        words = shlex.split(arguments)
        if name == "FROM":
            stage = Stage(place / str(len(stages)))
            stages[words[-1] if "AS" in words else ""] = stage
            continue
        assert stage is not None
        if name == "ARG":
            key, _, value = arguments.partition("=")
            stage.variables[key] = given.get(key, value)
        elif name == "ENV":
            path = stage.environment() | stage.variables
            stage.variables |= {
                key: expanded(value, path) for key, value in (word.split("=", 1) for word in words)
            }
        elif name == "WORKDIR":
            stage.folder = words[0]
            (stage.root / words[0].lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            source = context
            if words[0].startswith("--from="):
                source = stages[words.pop(0).partition("=")[2]].root
            *names, target = words
            for each in names:
                copy(
                    source / each.lstrip("/"),
                    stage.root / f"{stage.folder}/{target}".lstrip("/")
                    if target[0] != "/"
                    else stage.root / target[1:],
                )
        elif name == "RUN":
            stage.run(["/bin/sh", "-c", arguments])
        elif name == "USER":
            stage.user = words[0]
        elif name == "VOLUME":
            (stage.root / words[0].lstrip("/")).mkdir(exist_ok=True)
        elif name == "ENTRYPOINT":
            stage.entry = json.loads(arguments)
        elif name == "HEALTHCHECK":
            stage.health = json.loads(arguments.partition("CMD ")[2])
        else:
            assert name == "EXPOSE", name
    assert stage is not None
    return stage


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def try_out(stage: Stage, model: str) -> dict[str, object]:
    """Run the entry point on a read-only root with the model as a volume; what it did."""
    stage.bind(model, "/model")
    mount("-o", "remount,ro,bind", str(stage.root))
    mount("-t", "tmpfs", "none", str(stage.root / "tmp"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        stage.variables["MMER_PORT"] = str(free.getsockname()[1])
    environment = stage.environment()
    user = subprocess.run(stage.command(["id", "-u"]), env=environment, capture_output=True, text=True)
    write = subprocess.run(stage.command(["touch", "/x"]), env=environment, capture_output=True, text=True)
    process = subprocess.Popen(stage.command(stage.entry), env=environment)
    try:
        until = time.monotonic() + 120
        healthy = subprocess.CompletedProcess[str]([], 1, "", "")
        while healthy.returncode and time.monotonic() < until and process.poll() is None:
            time.sleep(1)
            healthy = subprocess.run(
                stage.command(stage.health), env=environment, capture_output=True, text=True
            )
        question = urllib.request.Request(
            f"http://127.0.0.1:{stage.variables['MMER_PORT']}/v1/predict",
            json.dumps({"transcript": "I never said that!"}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(question, timeout=60) as response:
            answer = json.load(response)
        process.terminate()
        code = process.wait(60)
    finally:
        process.kill()
    unhealthy = subprocess.run(stage.command(stage.health), env=environment, capture_output=True, text=True)
    return {
        "user": user.stdout.strip(),
        "write": write.stderr.strip(),
        "label": answer["label"],
        "code": code,
        "health": [healthy.returncode, unhealthy.returncode],
    }


if __name__ == "__main__":
    context, place, model = sys.argv[1:]
    made = build(Path(context, "deploy", "Dockerfile"), Path(context), Path(place), {"DEVICE": "cpu"})
    print(json.dumps(try_out(made, model)))
