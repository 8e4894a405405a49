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
        wanted = f"'mmer[{extra}]'" if extra else package
        raise MissingExtraError(f"{purpose} needs {package}; install it: pip install {wanted}") from None
