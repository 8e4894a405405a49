"""Pinned versions and licenses cover what pyproject.toml asks for."""

import re
import sys
import tomllib
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import licenses
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmer.corpora.synthetic.espeak import ESpeak
from mmer.errors import MissingExtraError

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCKS = ["plain", "serve", "all", "cuda"]
PERMISSIVE = re.compile(
    r"\b(MIT|BSD|[0-3]-Clause|Apache|ISC|PSF|Python-2\.0|Python Software|Zlib|HPND|Unlicense|CC0)",
    re.IGNORECASE,
)
UNDECLARED = {"pympi-ling": "MIT", "pyroomacoustics": "MIT", "pyworld-prebuilt": "MIT"}
"""Licenses that metadata does not name, read in the packages' own texts."""
TOOLS = {"hypothesis", "axe-playwright-python"}
"""Packages of the extra `test`, which nobody passes on."""


def requirements() -> list[Requirement]:
    """What mmer and all of its extras ask for directly."""
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return [found for found in map(Requirement, lines) if found.name != PROJECT["name"]]


def pins(path: Path) -> dict[str, set[str]]:
    """Versions of each project that a file of pins names."""
    found: dict[str, set[str]] = {}
    for line in re.findall(r"^\w.*", path.read_text(encoding="utf-8"), re.MULTILINE):
        pin = Requirement(line.removesuffix(" \\"))
        (version,) = pin.specifier
        assert version.operator == "==", line
        found.setdefault(canonicalize_name(pin.name), set()).add(version.version)
    return found


def test_every_extra_is_pinned() -> None:
    constraints = pins(ROOT / "constraints.txt")
    for requirement in requirements():
        versions = constraints.get(canonicalize_name(requirement.name), set())
        assert versions, f"constraints.txt does not pin {requirement.name}"
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_locks_hold_the_same_versions_with_hashes() -> None:
    constraints = pins(ROOT / "constraints.txt")
    for name in LOCKS:
        path = ROOT / "locks" / f"{name}.txt"
        assert all(versions <= constraints[project] for project, versions in pins(path).items())
        entries = re.findall(r"^\w.*\n(?: .*\n)*", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert entries
        assert all("--hash=sha256:" in entry for entry in entries)
    locked = {project for name in ("all", "cuda") for project in pins(ROOT / "locks" / f"{name}.txt")}
    assert locked == set(constraints)


def test_the_tables_of_licenses_are_current() -> None:
    for name in licenses.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert licenses.with_table(page) == page, f"run python tools/licenses.py: {name} differs"


def declared_license(project: metadata.Distribution) -> str:
    """What a package says of its license, in any of the three fields that exist for it, without whole texts."""
    fields = [
        text[:100]
        for name in ("License-Expression", "License")
        for text in project.metadata.get_all(name) or []
    ]
    classifiers = project.metadata.get_all("Classifier") or []
    return " ".join([*fields, *(line for line in classifiers if line.startswith("License"))])


def installed(
    requirement: Requirement, extras: frozenset[str], seen: dict[str, metadata.Distribution]
) -> None:
    """Add a requirement and all it needs, as far as it is installed here, to `seen`."""
    try:
        project = metadata.distribution(requirement.name)
    except PackageNotFoundError:
        return
    name = canonicalize_name(requirement.name)
    if name in seen:
        return
    seen[name] = project
    for line in project.requires or []:
        needed = Requirement(line)
        wanted = [{"extra": extra} for extra in extras | {""}]
        if needed.marker is None or any(needed.marker.evaluate(environment) for environment in wanted):
            installed(needed, frozenset(needed.extras), seen)


def test_no_license_goes_unnoticed() -> None:
    seen: dict[str, metadata.Distribution] = {}
    for requirement in requirements():
        installed(requirement, frozenset(requirement.extras), seen)
    assert len(seen) > 50
    known = {notice.project for notice in licenses.NOTICES} | TOOLS
    for name, project in seen.items():
        text = UNDECLARED.get(name) or declared_license(project)
        copyleft = re.search(
            r"\b(A?L?GPL|MPL|Mozilla|Lesser|EUPL|Proprietary|Non-?commercial)", text, re.IGNORECASE
        )
        assert name in known or (PERMISSIVE.search(text) and not copyleft), (
            f"{name}: {text[:200] or 'none declared'}"
        )


def test_noticed_files_are_there() -> None:
    for notice in licenses.NOTICES:
        if not notice.evidence or not sys.platform.startswith("linux"):
            continue
        site = Path(str(metadata.distribution(notice.project).locate_file("")))
        assert list(site.glob(notice.evidence)), f"{notice.project} no longer ships {notice.evidence}"


def test_espeak_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("espeak" in line for line in PROJECT["dependencies"])
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingExtraError, match=r"eSpeak NG needs espeakng_loader; .*\[demo\]"):
        ESpeak()
