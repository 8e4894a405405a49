"""What is installed: a wheel, away from the checkout, and the command that adds an extra to either."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from mmer.extras import install_command

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ALONE = {name: value for name, value in os.environ.items() if name not in ("PIP_QUIET", "PYTHONPATH")}


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that succeeds, without this checkout on Python's path and with a pip that speaks."""
    done = subprocess.run(command, cwd=cwd, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel is built from, so that the build leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "tests"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
        )
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist"]
    run(*build, ".", cwd=sources)
    (built,) = (sources / "dist").iterdir()
    return built


def fresh_environment(folder: Path, wheel: Path) -> Path:
    """The programs of an environment with the wheel, and what it needs from the environment of the tests."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    paths = {"base": str(folder), "platbase": str(folder)}
    python = Path(sysconfig.get_path("scripts", "venv", paths)) / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel, cwd=folder)
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    (packages / "dependencies.pth").write_text(
        sysconfig.get_path("purelib")
    )  # its own .pth files are not read
    return python.parent


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_environment(tmp_path_factory.mktemp("fresh") / "venv", wheel)


def test_what_a_wheel_holds(wheel: Path) -> None:
    assert wheel.name == f"mmer_speech-{PROJECT['version']}-py3-none-any.whl"
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "mmer").rglob("*.*")}
    wanted = {name for name in wanted if "__pycache__" not in name}
    assert {name for name in held if ".dist-info/" not in name} == wanted
    assert {"mmer/py.typed", "mmer/recipes/compact.yaml", "mmer/serving/page/index.html"} < held


def test_a_wheel_away_from_the_checkout(programs: Path, tmp_path: Path) -> None:
    where = run(programs / "python", "-c", "import mmer; print(mmer.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(programs.parent)
    assert run(programs / "mmer", "--version", cwd=tmp_path) == f"mmer {PROJECT['version']}\n"
    assert "compact" in run(programs / "mmer", "recipes", cwd=tmp_path)


def test_an_extra_for_a_wheel(programs: Path, tmp_path: Path) -> None:
    """The file that was installed may be gone, so that the packages themselves are named."""
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    code = "from mmer.extras import install_command; print(*map(install_command, {}), sep='\\n')"
    asked = ["annotation", "export"]
    annotation, export = run(programs / "python", "-c", code.format(asked), cwd=tmp_path).splitlines()
    assert shlex.split(annotation) == ["pip", "install", *extras["annotation"]]
    assert sorted(shlex.split(export)[2:]) == sorted([*extras["onnx"], *extras["export"][1:]])


def test_an_extra_for_a_checkout() -> None:
    pip, *arguments = shlex.split(install_command("serve"))
    assert (pip, arguments[0]) == ("pip", "install")
    offline = ["--dry-run", "--no-deps", "--no-build-isolation"]
    said = run(sys.executable, "-m", "pip", "install", *offline, *arguments[1:], cwd=Path("/"))
    assert f"Would install mmer-speech-{PROJECT['version']}" in said
    assert "does not provide the extra" not in said


def test_no_page_names_the_other_project() -> None:
    """`pip install mmer` installs somebody else's project."""
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.*")]:
        if page.suffix in (".md", ".py", ".jinja", ".html", ".js"):
            found = re.search(r"pip install[^\n&`]*[ '\"]mmer\b(?!-speech)", page.read_text(encoding="utf-8"))
            assert found is None, f"{page}: {found}"


@pytest.mark.slow
def test_demo_of_a_built_wheel(sources: Path, tmp_path: Path) -> None:
    """Built as a release is, in an environment with nothing but `build`; this needs the package index."""
    run(sys.executable, "-m", "venv", tmp_path / "build", cwd=tmp_path)
    python = tmp_path / "build" / "bin" / "python"
    run(python, "-m", "pip", "install", "build", cwd=tmp_path)
    run(python, "-m", "build", "--outdir", tmp_path / "dist", sources, cwd=tmp_path)
    (built,) = (tmp_path / "dist").glob("*.whl")
    programs = fresh_environment(tmp_path / "fresh", built)
    run(programs / "mmer", "demo", cwd=tmp_path)
    demo = tmp_path / "mmer-demo"
    assert json.loads((demo / "demo.json").read_text())["mmer"]["balanced_accuracy"] > 0.8
    assert (demo / "comparison.png").is_file()
