"""Base of all `mmer` commands: help with an example, and errors in one line."""

import errno
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from mmer.cli.renamed import renamed
from mmer.cli.settings import settings_kind, show_settings
from mmer.display.terminal import tell, use_utf8
from mmer.errors import Function, MMERError, Parameter, is_out_of_memory, reason_of
from mmer.plain_text import shown
from mmer.runs.reports_to_parent import Failure, has_parent

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of standard output redirected to a full disk, which name no file."""

_COMMANDS = {
    "ablate": "ablate",
    "adapt": "adapt",
    "adapt_published": "adapt",
    "calibrate": "calibrate",
    "cross_validate": "crossval",
    "cross_validate_baseline": "crossval",
    "embed": "embed",
    "enroll": "adapt",
    "evaluate": "evaluate",
    "export_onnx": "model export",
    "import_checkpoint": "model import",
    "make_views": "augment",
    "predict": "predict",
    "read_from": "corpus prepare",
    "robustness": "robustness",
    "run_demo": "demo",
    "score": "score",
    "timeline": "timeline",
    "timelines": "timeline",
    "train": "train",
    "transcribe": "corpus transcribe",
    "write_folder_table": "corpus init",
    "write_report": "report",
}
"""The command for each function that messages name."""

_OPTIONS = {
    "interval": "--every",
    "id_column": "--column utterance_id=NAME",
    "label_map": "--rename FROM=TO",
    "prediction_column": "--column predicted=NAME",
    "truth_column": "--column emotion=NAME",
}
"""Options whose spelling differs from the name of the parameter."""

_RESUMED = frozenset(
    {
        "ablate",
        "adapt",
        "augment",
        "calibrate",
        "crossval",
        "embed",
        "robustness",
        "score",
        "train",
        "transcribe",
    }
)
"""Commands that go on from where they were interrupted."""

_OUTPUTS = ("--out", "--plot")
"""Options that name a file or a folder to write."""

_RUNNING = "mmer.command"


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C but with its own exit code."""


class Command(TyperCommand):
    """Command whose help ends with the settings it takes as NAME=VALUE."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_RUNNING] = self
        if not ctx.resilient_parsing:
            self._check_outputs(ctx, args)
        return super().parse_args(ctx, args)

    def _check_outputs(self, ctx: Any, args: list[str]) -> None:
        """Refuse several outputs where only the last would be written; the last of other options counts, as usual."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, count in Counter[Any](given).items():
            if count > 1 and parameter.opts[0] in _OUTPUTS and not parameter.multiple:
                ctx.fail(f"{parameter.opts[0]} is given {count} times and takes one value")

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        show_settings(str(self.name))


class Group(TyperGroup):
    """Group of commands that suggests the nearest name for a misspelled one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            raise MMERError(_with_help(f"no command {name!r}{self._hint(name)}", ctx.command_path))
        return super().resolve_command(ctx, args)

    def _hint(self, name: str) -> str:
        for group, command in self.commands.items():
            if isinstance(command, Group) and name in command.commands:
                return f"; did you mean {group} {name}?"
        return _nearest(name, self.commands)


class Commands(Group):
    """Top-level `mmer` command, which translates old names and prints errors in one line, with exit code 2."""

    def main(self, args: Any = None, *rest: Any, **settings: Any) -> Any:
        use_utf8()
        arguments = list(sys.argv[1:] if args is None else args)
        translated, notes = renamed(arguments, self)
        if notes:
            tell(f"mmer: {'; '.join(notes)}; the old spelling goes away with the next release")
        try:
            settings = {"prog_name": "mmer", **settings, "standalone_mode": False}
            code = super().main(translated if notes else args, *rest, **settings)
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            _tell_usage_error(error)
            sys.exit(2)
        sys.exit(code if isinstance(code, int) else 0)

    def make_context(self, *args: Any, **settings: Any) -> Any:
        with _one_line_errors():  # of --help and --version, which print here
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        with _one_line_errors(ctx), _terminable():
            os.getcwd()  # raises where the working folder was deleted, in which oneMKL ends the process
            return super().invoke(ctx)


def register(
    group: typer.Typer,
    function: Callable[..., None],
    example: str,
    *,
    name: str | None = None,
    panel: str = "",
) -> None:
    """Add a command.

    Args:
        group: the group to add it to.
        function: its implementation; the docstring is its help.
        example: a complete command line.
        name: name of the command; default: that of the function.
        panel: heading under which the group lists it.
    """
    paragraphs = (function.__doc__ or "").split("\n\n")
    group.command(
        name,
        cls=Command,
        # Typer keeps line breaks after the first
        help="\n\n".join(" ".join(each.split()) for each in paragraphs),
        epilog=f"Example: {example}",
        rich_help_panel=panel or None,
    )(function)


@contextmanager
def _one_line_errors(ctx: Any = None) -> Iterator[None]:
    debug, meta = (bool(ctx.params.get("debug")), ctx.meta) if ctx else (False, {})
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_output()
        sys.exit(141)
    except (MMERError, OSError) as error:
        _abandon_output()
        if debug:
            raise
        spell = partial(_spell, meta.get(_RUNNING))
        _tell_failure(error.spelled(spell) if isinstance(error, MMERError) else _refusal(error))
        sys.exit(2)
    except KeyboardInterrupt as interruption:
        if debug:
            raise
        _tell_failure(str(interruption) or _interrupted(meta.get(_RUNNING)))
        terminated = any(isinstance(each, Terminated) for each in (interruption, interruption.__context__))
        sys.exit(143 if terminated else 130)
    except UnicodeEncodeError as error:
        name = _name_of_bytes(error)
        if debug or name is None:
            raise
        _abandon_output()
        _tell_failure(f"{name}: this name is not UTF-8, which is needed here; rename that file or folder")
        sys.exit(2)
    except ModuleNotFoundError as error:
        package = (error.name or "mmer").partition(".")[0]
        if debug or package == "mmer":
            raise
        _abandon_output()
        _tell_failure(
            f"this command needs the package {package}, which is not installed; install mmer with all that it "
            "requires, without --no-deps"
        )
        sys.exit(2)
    except Exception as error:
        if debug or not is_out_of_memory(error):
            raise
        _abandon_output()
        remedy = "a smaller --batch-size where the command has one, shorter recordings, or another device"
        _tell_failure(f"there is not enough memory ({reason_of(error)}); use {remedy}")
        sys.exit(2)


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM."""

    def terminate(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell_failure(reason: str) -> None:
    tell(f"mmer: {reason}")
    if has_parent():
        print(Failure(reason=reason).line(), flush=True)


def _name_of_bytes(error: UnicodeEncodeError) -> str | None:
    """Return the line of text that names a file in bytes that are not UTF-8; None if the error is another one."""
    if not 0xDC80 <= ord(error.object[error.start]) <= 0xDCFF:  # how Python reads such bytes
        return None
    before, after = error.object[: error.start], error.object[error.start :]
    return before.rpartition("\n")[2] + after.partition("\n")[0]


def _abandon_output() -> None:
    """Discard pending standard output, so that the end of the process does not try again."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def _interrupted(command: Any) -> str:
    goes_on = command is not None and command.name in _RESUMED
    return "interrupted; the same command goes on" if goes_on else "interrupted"


def _refusal(error: OSError) -> str:
    """Describe what the system refused, and for which file."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if not names and isinstance(error, FileNotFoundError) and not _has_working_folder():
        return "the working folder was deleted; change into another one"
    what = "an output cannot be written" if error.errno in _FULL else "cannot go on"
    return f"{' and '.join(names) or what}: {error.strerror or error}"


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _spell(command: Any, part: Parameter | Function) -> str:
    """Spell a parameter as an option, argument or setting of the current command, and a function as its command."""
    if isinstance(part, Function):
        return " ".join(["mmer", _COMMANDS[part.name], *part.arguments])
    if part.name in _OPTIONS:
        return _OPTIONS[part.name]
    for parameter in command.params if command else ():
        if parameter.name != part.name:
            continue
        if parameter.param_type_name == "argument":
            return str(parameter.metavar or part.name.upper()).strip("[].")
        option = max(parameter.opts, key=len)
        return option if part.value in (None, True) else f"{option} {part.value}"
    kind = settings_kind(str(command.name)) if command else None
    if kind is not None and part.name in kind.model_fields and part.value is not None:
        return f"{part.name}={'true' if part.value is True else part.value}"
    return str(part)


def _nearest(name: str, known: Any) -> str:
    bare = {each.lstrip("-"): each for each in known}  # dashes make any two options alike
    near = get_close_matches(name.lstrip("-"), list(bare), 1, cutoff=0.5)
    return f"; did you mean {bare[near[0]]}?" if near else ""


def _with_help(message: str, path: str) -> str:
    return f"{message}{' See' if message.endswith('?') else '; see'} {path} --help"


def _tell_usage_error(error: Any) -> None:
    """Print a usage error in one line."""
    ctx: Any = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        if error.message:  # empty with rich, which printed the help when the error was made
            print(error.message, file=sys.stderr)
        return
    path = ctx.command_path if ctx else "mmer"
    if type(error).__name__ == "NoSuchOption":
        parameters = ctx.command.params if ctx else ()
        known = [each for parameter in parameters for each in parameter.opts if each.startswith("-")]
        message = f"no option {error.option_name}{_nearest(error.option_name, known)}"
        for each in sys.argv[1:]:
            if each.startswith(error.option_name) and os.path.exists(each):
                message = f"{each} is read as an option; write the file as ./{each}"
    else:
        # words of pydantic, which converts choices for Typer
        error.message = error.message.removeprefix("Value error, ")
        message = error.format_message().strip().rstrip(".")
        message = f"{message[:1].lower()}{message[1:]}"
    # A message begins with `mmer: ` anyway, as does the path of a command with `mmer `.
    tell(f"{path.replace('mmer ', 'mmer: ', 1)}: {_with_help(shown(message), path)}")
