"""Optional packages that are missing, and such as are there but fail."""

import ast
import re
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mmer.errors import MissingExtraError
from mmer.extras import import_extra

ROOT = Path(__file__).parents[1]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]["optional-dependencies"]


def distributions(extra: str) -> set[str]:
    """What an extra installs, without versions."""
    return {re.split(r"[^\w.-]", required)[0].lower() for required in EXTRAS[extra]}


@cache
def optional_packages() -> list[tuple[str, str | None]]:
    """Each package that the sources import by `import_extra`, with its extra."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "import_extra":
                named = {keyword.arg: keyword.value for keyword in node.keywords}
                values = [*node.args[:1], node.args[2] if len(node.args) > 2 else named.get("extra")]
                package, extra = (each.value if isinstance(each, ast.Constant) else None for each in values)
                if isinstance(package, str):
                    found.append((package.partition(".")[0], extra))
    return found


def test_an_optional_package_comes_with_the_extra_that_holds_it() -> None:
    """So that the versions are those that this project allows."""
    assert len(optional_packages()) > 20
    distributions_of = packages_distributions()
    for package, extra in optional_packages():
        names = {name.lower() for name in distributions_of.get(package, [package])}
        holding = {each for each in EXTRAS if each not in ("test", "docs") and names & distributions(each)}
        assert extra in holding or not holding, f"{package} is in {holding}, its message names {extra}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_pages_name_extras_that_exist_and_no_package_of_one(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for named in re.findall(r"\.\[([\w,]+)\]", text):
        assert set(named.split(",")) <= set(EXTRAS)
    held = set().union(*(distributions(extra) for extra in EXTRAS))
    for package in re.findall(r"pip install ([\w-]+)", text):
        assert package.lower() not in held


def test_the_page_about_views_installs_what_its_commands_need() -> None:
    text = (ROOT / "docs" / "augment.md").read_text(encoding="utf-8")
    needs = {
        name: set(re.findall(r"extra `(\w+)`", row))
        for name, row in re.findall(r"^\| `(\w+)` \|(.+)", text, re.MULTILINE)
    }
    extra_of = dict(optional_packages())
    for name, package in {
        **{"yourtts": "TTS", "world": "pyworld"},
        **{"effects": "pyroomacoustics", "espeak": "espeakng_loader"},
    }.items():
        assert needs[name] == {extra_of[package]}
    commands = re.findall(r"pip install .*\.\[([\w,]+)\].*\n    mmer augment .*--speech ([\w,]+)", text)
    assert len(commands) == 2
    for extras, generators in commands:
        wanted: set[str] = set().union(*(needs[name] for name in generators.split(",")))
        assert wanted
        assert wanted <= set(extras.split(","))


def test_a_package_that_is_missing_is_named_with_its_command() -> None:
    with pytest.raises(
        MissingExtraError, match=r"^this needs no_such_package; install it: pip install no_such_"
    ):
        import_extra("no_such_package", "this")
    with pytest.raises(MissingExtraError, match=r"^this needs no_such_package\.part; install it: "):
        import_extra("no_such_package.part", "this")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("from os import no_such_name", "cannot import name 'no_such_name' from 'os'"),
        ("raise OSError('libx.so: cannot open')", "libx.so: cannot open"),
        ("int('a')", "invalid literal for int()"),
    ],
)
def test_a_package_that_fails_as_it_is_imported_is_not_called_missing(
    code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError) as caught:
        import_extra("half_installed_package", "this")
    message = str(caught.value)
    assert message.startswith(
        f"this needs half_installed_package, which is installed but cannot be imported ({reason}"
    )
    assert message.endswith("); complete its installation: pip install half_installed_package")
