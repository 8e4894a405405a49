"""Runs the commands that neither serve nor download, and writes down who uses a socket.

What Python uses is seen here; whoever starts this under `strace -e trace=network` sees native code too. Prints one JSON
object: `ran`, the exit code of each command, and `used`, the command, the event and the address.
"""

import json
import os
import shlex
import socket
import sys
from pathlib import Path

from commands import SMALL, make_recordings

from mmer.recipe.schema import load_recipe

MODEL = "run/model"
EXPORTABLE, EXPORTED = "exportable", "onnx"
"""A model, and the same exported; whoever starts this puts them into the folder."""
SPLIT = "data.corpus=data protocol.test=[cleo] protocol.validation=[ben]"
COMMANDS = (
    "models",
    "recipes compact",
    "corpus init bare",
    "corpus prepare",
    "corpus show data",
    "corpus audit data",
    "corpus prepare data --out corpus.parquet",
    "corpus prepare corpus.parquet corpus.parquet --out merged.parquet",
    f"train compact {SPLIT} {shlex.join(SMALL)}",
    "report run",
    f"model export {MODEL} -o model.mmer",
    f"predict {EXPORTED} data/{{clip}} --transcript yes",
    f"predict {MODEL} data/{{clip}}",
    "predict model.mmer data/{clip} -o answers.jsonl",
    f"timeline {MODEL} data/{{clip}} -o timeline.json",
    f"listen {MODEL} -",
    f"explain {MODEL} data/{{clip}} --transcript yes -o why.json",
    f"evaluate {MODEL} data --out judged",
    f"calibrate {MODEL} data --split all --on-training",
    f"model check {EXPORTABLE} {EXPORTED}",
    f"robustness {MODEL} data --out robust --axes loudness --sample 4",
    f"score {MODEL} data --out scored",
    f"score {EXPORTED} data --out scored-onnx --workers 2",
    f"embed {MODEL} data -o embeddings.parquet",
    f"adapt {MODEL} data -o adapted training.epochs=1 protocol.refit=false",
    f"corpus transcribe data --with ctc:{MODEL} --out heard.parquet",
    "compare run run",
    f"crossval compact {SPLIT} --system majority",
)
SLOW = (
    f"model export {EXPORTABLE} -o again",
    f"crossval compact data.corpus=data {shlex.join(SMALL)}",
    f"ablate compact {SPLIT} {shlex.join(SMALL)} --rows text,mmer",
    "augment corpus.parquet --out views --speech effects --text perturb",
    "model import nothing.pt --out imported",
    "corpus prepare nemo data --out nemo.parquet",
    "demo",
)


def main(folder: Path, commands: tuple[str, ...]) -> None:
    os.chdir(folder)
    make_recordings(Path("data"))
    Path("bare").mkdir()
    for path in Path("data").glob("*.flac"):
        (Path("bare") / path.name).write_bytes(path.read_bytes())
    clip = sorted(path.name for path in Path("data").glob("*.flac"))[0]
    used: list[tuple[str, str, str]] = []
    current = "import"

    def watch(event: str, arguments: tuple) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.bind"):
            if arguments[0].family != socket.AF_UNIX:
                used.append((current, event, str(arguments[1])))
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
            used.append((current, event, str(arguments[0])))

    sys.addaudithook(watch)
    from mmer import demo
    from mmer.cli.main import app

    # The demo makes all its recordings, and trains on them for one epoch.
    demo.load_recipe = lambda name, overrides: load_recipe(name, [*overrides, *SMALL])

    ran = {}
    for current in commands:
        print("-----", current, file=sys.stderr, flush=True)
        sys.argv = ["mmer", *shlex.split(current.replace("{clip}", clip))]
        try:
            app(sys.argv[1:])
            code = 0
        except SystemExit as exit:
            code = exit.code
        ran[current] = code
    print(json.dumps({"ran": ran, "used": used}), file=sys.__stdout__)
