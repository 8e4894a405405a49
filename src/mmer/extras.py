"""Optional packages."""

from importlib import import_module
from types import ModuleType

from mmer.errors import MissingExtraError


def import_extra(package: str, purpose: str) -> ModuleType:
    """Import a package that an extra of mmer installs.

    Args:
        package: its name, for Python and for pip.
        purpose: what needs it, the beginning of the message.

    Raises:
        MissingExtraError: it is not installed, with the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError:
        raise MissingExtraError(f"{purpose} needs {package}; install it: pip install {package}") from None
