"""Optional packages."""

from importlib import import_module
from types import ModuleType

from mmer.errors import MissingExtraError


def import_extra(package: str, purpose: str, extra: str | None = None) -> ModuleType:
    """Import a package that an extra of mmer installs.

    Args:
        package: its name for Python, and for pip unless `extra` is given.
        purpose: what needs it, the beginning of the message.
        extra: name of the extra of mmer that installs it, where it needs others beside it.

    Raises:
        MissingExtraError: it is not installed, with the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError:
        command = install_command(extra) if extra else f"pip install {package}"
        raise MissingExtraError(f"{purpose} needs {package}; install it: {command}") from None


def install_command(extra: str) -> str:
    """Give the command that adds an extra; PyPI's project of the name mmer is another one."""
    return f"pip install -c constraints.txt '.[{extra}]' in the source folder of mmer"
