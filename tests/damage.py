"""Damages model folders and bundles at random, and asks them: `python damage.py KIND SOURCE SCRATCH SEED COUNT`.

Prints one JSON object: `unexpected`, what went wrong otherwise than by one line of mmer, each with the number that
makes it again; `answered`, how many were answered all the same; and `peak_mb` of memory.
"""

import json
import random
import re
import shutil
import signal
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PATIENCE = 120  # seconds for one folder
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 10**7, 10**11, -(10**11), 2**63, 0.5, -0.5, 1e300, 1e-300),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "NaN",
        "../x",
        "\ud800",
        "[/b]",
        "a\nb",
        [],
        {},
        [[]],
        [None],
        {"": 1},
    ),
    *([1, [2, 3]], {"a": {"b": []}}, ["a"] * 3, "x" * 10_000, list(range(1000))),
)
TEXTS = (
    *(
        b"",
        b"{}",
        b"[]",
        b"null",
        b"NaN",
        b'{"a":',
        b"[" * 100_000,
        b"\xff\xfe{}",
        b"version https://git-lfs.github.com/spec/v1\n",
    ),
    *(b"1" * 5000, b'{"model_type": "mmer"}', b"PK\x03\x04", b"\x00" * 64, "é".encode("latin-1")),
)


def damage_json(draw: random.Random, content: Any) -> Any:
    """One value at a random place replaced, left out or added to."""
    if not isinstance(content, dict | list) or not content or draw.random() < 0.15:
        return draw.choice(NASTY)
    key = draw.choice(list(content) if isinstance(content, dict) else range(len(content)))
    if draw.random() < 0.15:
        del content[key]
    elif draw.random() < 0.1 and isinstance(content, list):
        content.extend([content[key]] * draw.choice([1, 100, 10_000]))
    else:
        content[key] = damage_json(draw, content[key])
    return content


def damage_bytes(draw: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut off, left out or put in; the beginning, where headers are, more often than the rest."""
    changed = bytearray(data)
    kind = draw.choice(["change", "change", "cut", "leave", "put"])
    reach = max(1, draw.choice([16, 1000, len(data)]))
    place = draw.randrange(min(len(data), reach) or 1)
    if kind == "change":
        for _ in range(draw.choice([1, 3, 30])):
            if changed:
                changed[draw.randrange(min(len(changed), reach))] = draw.randrange(256)
    elif kind == "cut":
        del changed[place:]
    elif kind == "leave":
        del changed[place : place + draw.choice([1, 8, 1000])]
    else:
        changed[place:place] = draw.randbytes(draw.choice([1, 8, 1000]))
    return bytes(changed)


def damage_folder(draw: random.Random, folder: Path) -> None:
    """One or two files of a model folder damaged, swapped, removed or replaced by something else."""
    for _ in range(draw.choice([1, 1, 1, 2])):
        file = draw.choice(sorted(path for path in folder.iterdir() if path.is_file()))
        how = draw.random()
        if how < 0.6 and file.suffix == ".json":
            try:
                content = json.loads(file.read_text())
            except ValueError:
                continue
            file.write_text(json.dumps(damage_json(draw, content)))
        elif how < 0.85:
            file.write_bytes(damage_bytes(draw, file.read_bytes()))
        elif how < 0.93:
            file.write_bytes(draw.choice(TEXTS))
        elif how < 0.96:
            file.unlink()
            file.mkdir()
        else:
            other = draw.choice(sorted(path for path in folder.iterdir() if path.is_file()))
            file.write_bytes(other.read_bytes())


def damage_weights(draw: random.Random, folder: Path) -> None:
    """A tensor left out, added, of another shape or type, or with values that are not finite."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = draw.choice(sorted(tensors))
    kind = draw.randrange(6)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[draw.choice(["x", name + ".x", ""])] = tensors[name]
    elif kind == 2:
        tensors[name] = tensors[name].reshape(-1)[: draw.choice([0, 1, 5])]
    elif kind == 3:
        types: list[type] = [np.float16, np.float64, np.int8, np.int64, np.bool_]
        tensors[name] = tensors[name].astype(draw.choice(types))
    elif kind == 4:
        tensors[name].reshape(-1)[:1] = draw.choice([np.nan, np.inf, -np.inf, 1e38])
    else:
        tensors = {name: tensors[name] for name in draw.sample(sorted(tensors), draw.randrange(len(tensors)))}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "calibration.json").unlink()  # which is of other weights then


def damage_bundle(draw: random.Random, file: Path) -> None:
    """A bundle with damaged bytes, or with another manifest, other names or other kinds of entries."""
    if draw.random() < 0.5:
        file.write_bytes(damage_bytes(draw, file.read_bytes()))
        return
    with zipfile.ZipFile(file) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["manifest.json"])
    names = [
        "../x",
        "/x",
        "a/b",
        "con",
        "x" * 300,
        "a:b",
        "x.py",
        "x.PT",
        "a\nb",
        "\x1b[2J",
        "a/",
        "config.json/x",
        "é",
    ]
    if draw.random() < 0.5:
        name, old = draw.choice(names), draw.choice(sorted(manifest["files"]))
        manifest["files"][name], files[name] = manifest["files"][old], files[old]
    else:
        manifest = damage_json(draw, manifest)
    files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w", draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = draw.choice([0, 0o644, 0o120777, 0o40755, 0o10644]) << 16
            archive.writestr(entry, data)


def ask(model: Path, seed: int) -> int:
    """Everything that reads a model folder: 1 if it was answered."""
    from mmer.inference import EmotionRecognizer, Utterance
    from mmer.inference.backends.model_folder import model_hash
    from mmer.inference.backends.models import model_folder
    from mmer.inference.doctor import examine

    recognizer = EmotionRecognizer.from_pretrained(model, "cpu")
    noise = 0.1 * np.random.default_rng(seed).standard_normal(12_000, np.float32)
    items = [Utterance(noise, words, sampling_rate=16_000) for words in ("never said that", None)]
    answers = list(recognizer.predict(items))
    for answer in answers:
        json.dumps(answer.to_dict(), allow_nan=False)
    examine(model, device="cpu")
    model_hash(model_folder(model))
    return int(all(answer.error is None for answer in answers))


def peak_memory() -> float:
    """MB of this process at most; `ru_maxrss` counts what its parent had when it began."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def main(kind: str, source: Path, scratch: Path, seed: int, count: int) -> None:
    from mmer.errors import MMERError
    from mmer.inference.backends import bundle

    damages: dict[str, Callable[[random.Random, Path], None]] = {
        "folder": damage_folder,
        "weights": damage_weights,
        "bundle": damage_bundle,
    }
    bundle.user_cache_path = lambda name: scratch / name  # pyright: ignore[reportAttributeAccessIssue]
    answered, unexpected = 0, []
    for number in range(seed, seed + count):
        model = scratch / source.name
        if source.is_dir():
            shutil.rmtree(model, ignore_errors=True)
            shutil.copytree(source, model)
        else:
            shutil.copyfile(source, model)
        damages[kind](random.Random(number), model)
        signal.alarm(PATIENCE)  # ends this process; the number is in its last line then
        print(number, file=sys.stderr, flush=True)
        try:
            answered += ask(model, number)
        except MMERError as error:
            told = str(error)
            if "\n" in told or len(told) > 2000 or str(scratch) not in told:
                unexpected.append((number, f"not one line that names a file: {told}"))
        except BaseException:
            unexpected.append((number, traceback.format_exc()[-1500:]))
        signal.alarm(0)
        shutil.rmtree(scratch / "mmer", ignore_errors=True)
    peak = peak_memory()
    print(json.dumps({"unexpected": unexpected, "answered": answered, "peak_mb": round(peak)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
