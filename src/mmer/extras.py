"""Optional packages."""

import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from types import ModuleType

from mmer.errors import MissingExtraError, reason_of

DISTRIBUTION = "mmer-speech"
"""Name of this project on the package index, where `mmer` is another one."""


def import_extra(package: str, purpose: str, extra: str | None = None) -> ModuleType:
    """Import a package that an extra of mmer installs.

    Args:
        package: its name for Python, and for pip unless `extra` is given.
        purpose: what needs it, the beginning of the message.
        extra: name of the extra of mmer that installs it, where it needs others beside it.

    Raises:
        MissingExtraError: it is not installed, or it fails as it is imported, with the command that installs it.
    """
    try:
        return import_module(package)
    except Exception as error:  # a package of another version, or one that misses a library, raises anything
        command = install_command(extra) if extra else f"pip install {package}"
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{package}.".startswith(f"{missing}."):
            raise MissingExtraError(f"{purpose} needs {package}; install it: {command}") from None
        raise MissingExtraError(
            f"{purpose} needs {package}, which is installed but cannot be imported ({reason_of(error)}); complete its "
            f"installation: {command}"
        ) from error


def installed_version(package: str) -> str | None:
    """Return the version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this installation.

    A checkout is installed again with the extra. Any other installation may come from a file or a folder that is gone,
    so that the packages of the extra are named.
    """
    checkout = Path(__file__).parents[2]
    if (checkout / "pyproject.toml").is_file():
        constraints = shlex.quote(str(checkout / "constraints.txt"))
        return f"pip install -c {constraints} -e {shlex.quote(f'{checkout}[{extra}]')}"
    return shlex.join(["pip", "install", *_packages(extra)])


def _packages(extra: str) -> Iterator[str]:
    """Yield what an extra requires, as pip takes it."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, requires(DISTRIBUTION) or ()):
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.name == DISTRIBUTION:
            for other in sorted(requirement.extras):
                yield from _packages(other)
        else:
            requirement.marker = None
            yield str(requirement)
