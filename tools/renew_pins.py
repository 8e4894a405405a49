"""Renew the pinned versions from pyproject.toml: `python tools/renew_pins.py [--upgrade] [WHEEL ...]`.

Writes `constraints.txt`, the versions for pip's `-c`, and in `locks/` the same versions with the hashes of every
file on the package index, for `--require-hashes`: `plain.txt`, `serve.txt` and `all.txt` by what they install, and
`cuda.txt` with what the CUDA builds of PyTorch for Linux need beside them. They cover every platform and Python 3.11
or later. Versions that still fit are kept unless `--upgrade` is given. The hash of each WHEEL is added to those of
its project: give the CPU builds of PyTorch, which are not on the package index. Needs uv (`pip install uv`).
"""

import argparse
import hashlib
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = {"plain": [], "serve": ["--extra", "serve"], "all": ["--all-extras"]}
CUDA = ("nvidia-", "cuda-", "triton==")


def compile_pins(output: Path, *options: str) -> list[str]:
    """Resolve with uv, prefer the versions that `output` holds already, and return each pin with its hashes."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11"]
    layout = ["--no-header", "--no-annotate", "--quiet", "--output-file", str(output)]
    subprocess.run([*command, *layout, *options], cwd=ROOT, check=True)
    return re.findall(r"^\S.*\n(?: .*\n)*", output.read_text(encoding="utf-8"), flags=re.MULTILINE)


def add_hash(pins: list[str], wheel: Path) -> list[str]:
    """Add a wheel's SHA-256 to the hashes of the release that it is a build of."""
    project, version = wheel.name.split("-")[:2]
    pinned = f"{project.replace('_', '-')}=={version.partition('+')[0]} "
    if not any(pin.startswith(pinned) for pin in pins):
        raise SystemExit(f"{wheel.name}: nothing pins {pinned}")
    more = f" \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    return [pin.removesuffix("\n") + more if pin.startswith(pinned) else pin for pin in pins]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wheels", nargs="*", type=Path, metavar="WHEEL")
    parser.add_argument("--upgrade", action="store_true")
    arguments = parser.parse_args()
    constraints = ROOT / "constraints.txt"
    compile_pins(constraints, "--all-extras", *["--upgrade"] * arguments.upgrade)
    for name, extras in LOCKS.items():
        lock = ROOT / "locks" / f"{name}.txt"
        lock.unlink(missing_ok=True)
        pins = compile_pins(lock, *extras, "--generate-hashes", "--constraint", str(constraints))
        for wheel in arguments.wheels:
            pins = add_hash(pins, wheel)
        lock.write_text("".join(pin for pin in pins if not pin.startswith(CUDA)), encoding="utf-8")
        cuda = "".join(pin for pin in pins if pin.startswith(CUDA))
        lock.with_name("cuda.txt").write_text(cuda, encoding="utf-8")


if __name__ == "__main__":
    main()
