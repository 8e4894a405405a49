"""Errors a user of mmer can cause. Each message is one line: what is wrong, what was found, what to do."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from mmer.plain_text import shortened, valid


@dataclass(frozen=True)
class Parameter:
    """Parameter named in a message; the command line writes the option or setting of the same name instead.

    Attributes:
        name: as in Python.
        value: to give it; None to name the parameter alone.
    """

    name: str
    value: object = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value!r}"


@dataclass(frozen=True)
class Function:
    """Function named in a message; the command line writes the command that calls it instead.

    Attributes:
        name: as in Python.
        arguments: names of what to call it with.
    """

    name: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.arguments)})"


class CodedWarning(str):
    """Warning, or reason for no answer, of one line with a code for programs.

    Attributes:
        fault: the kind of fault, the same for all warnings that differ only in what was measured.
    """

    fault: StrEnum

    def __new__(cls, text: str, fault: StrEnum) -> "CodedWarning":
        warning = super().__new__(cls, text)
        warning.fault = fault
        return warning

    def __reduce__(self) -> tuple[type["CodedWarning"], tuple[str, StrEnum]]:  # for other processes
        return CodedWarning, (str(self), self.fault)


_LONGEST = 1500
_NO_MEMORY = re.compile(
    r"out of memory|you tried to allocate|ALLOC_FAILED|Failed to allocate memory|bad allocation"
)
"""What CUDA, PyTorch's CPU allocator, cuBLAS or cuDNN, and onnxruntime say."""


class MMERError(ValueError):
    """Base of every error a user can cause; the command line prints it as one line and exits with 2.

    The line is cut at 1500 characters. It may list names from a file, which can be of any number and length.

    Args:
        parts: the message, in pieces that are put together as they are; a piece that is a `Parameter` or a `Function`
            is spelled as in Python, and by `spelled` in another way.
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)

    def __str__(self) -> str:
        return self.spelled(str)

    def spelled(self, spell: Callable[[Parameter | Function], str]) -> str:
        """Return the message with each parameter and function as `spell` writes it."""
        message = "".join(
            spell(part) if isinstance(part, Parameter | Function) else str(part) for part in self.args
        )
        return shortened(message, _LONGEST)


class AudioError(MMERError):
    """A recording cannot be used."""


class EmptyAudioError(AudioError):
    """A recording holds no samples."""


class TooLongError(AudioError):
    """A recording, or the part of it that is read, is longer than allowed."""


class TruncatedError(AudioError):
    """A recording ends before its header says."""


class CorpusError(MMERError):
    """A corpus table, a corpus folder or a label set cannot be used."""


class RecipeError(MMERError):
    """A recipe or an override is wrong."""


class EncoderError(MMERError):
    """A pretrained encoder cannot be loaded or is not supported."""


class CheckpointError(MMERError):
    """A model folder or a published checkpoint cannot be read."""


class ExportError(MMERError):
    """A model cannot be made into something else."""


class TrainingError(MMERError):
    """Training cannot go on."""


class MissingExtraError(MMERError):
    """An optional part of mmer is not installed; the message gives the command that adds it."""


def reason_of(error: BaseException, longest: int = 200) -> str:
    """Say in one line what an error of a parser says, in at most so many characters."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return shortened(text, longest)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is out of memory, on a GPU or on the CPU."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


@contextmanager
def reading(source: object, what: str, kind: type[MMERError]) -> Iterator[None]:
    """Turn whatever parsers raise on a user's file into one error of one line that names the file.

    Args:
        source: what the error calls the file.
        what: what the file should be, as in "cannot be read as `what`".
        kind: the error to raise; an `MMERError` raised inside passes, cut to one line of 1000 characters.

    Raises:
        MMERError: of this kind.
    """
    try:
        yield
    except MMERError as error:
        if (line := reason_of(error, 1000)) == str(error).rstrip("."):
            raise
        raise type(error)(line) from error
    except OSError as error:
        raise kind(f"{source}: cannot be read: {error.strerror or reason_of(error)}") from error
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        raise kind(f"{source}: is not UTF-8 ({found}); save it in UTF-8") from error
    except UnicodeEncodeError as error:
        found = f"the name {valid(error.object)} is not UTF-8"
        raise kind(f"{source}: {found}; rename that file or folder") from error
    except RecursionError as error:
        raise kind(f"{source}: cannot be read as {what} (it is nested too deeply)") from error
    except Exception as error:  # whatever a parser raises on a damaged file
        raise kind(f"{source}: cannot be read as {what} ({reason_of(error)})") from error
