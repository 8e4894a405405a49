"""Renamed commands and options, whose old names work for one more release."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OldCommand:
    """Former command that is now part of another one.

    Attributes:
        new: its new name.
        first: the option that replaces its first argument.
        last: the option that replaces its last argument.
        out: its default output.
    """

    new: str
    first: str | None = None
    last: str | None = None
    out: str | None = None


COMMANDS: Mapping[str, OldCommand] = {
    "baseline": OldCommand("crossval", first="--system", out="baseline"),
    "bundle": OldCommand("model export"),
    "card": OldCommand("report"),
    "corpus convert": OldCommand("corpus prepare", last="--out"),
    "corpus list": OldCommand("corpus prepare"),
    "corpus merge": OldCommand("corpus prepare"),
    "doctor": OldCommand("model check"),
    "export": OldCommand("model export"),
    "import-checkpoint": OldCommand("model import", last="--out"),
    "model bundle": OldCommand("model export"),
}


def _settings(*names: str) -> dict[str, str]:
    """Return the new spellings of options that became settings of the same name."""
    return {f"--{name.replace('_', '-')}": f"{name}={{}}" for name in names}


OPTIONS: Mapping[str, Mapping[str, str | None]] = {
    "augment": {
        **_settings("views", "within", "language", "similarity", "min_similarity", "asr", "max_error_rate"),
        **_settings("max_length_ratio", "max_duration_ratio", "seed", "batch_size"),
        "--sample": "sample=true",
        "--every-split": "every_split=true",
    },
    "calibrate": {"--batch-size": None},
    "compare": {
        "--json": "--out {}",
        "--id-column": "--column utterance_id={}",
        "--truth-column": "--column emotion={}",
        "--prediction-column": "--column predicted={}",
        "--speaker-column": "--column speaker={}",
    },
    "corpus audit": {"--json": "--out {}"},
    "corpus prepare": {"--label-map": "--rename {}"},
    "listen": {"--device-mic": "{}"},
    "model check": {"--onnx": "{}"},
    "model export": {"--onnx": ""},
    "robustness": {"--batch-size": None},
    "serve": {
        **_settings("host", "port", "token_file", "max_duration", "max_concurrent", "max_streams"),
        **_settings("max_per_minute", "time_limit", "grace", "allow_host", "trusted_proxy", "speakers"),
        **_settings("transcription", "batch_size", "device"),
        "--max-upload": "max_upload={}MB",
    },
}
"""New spelling by command and old option; `{}` stands for the value. An option that is no longer needed has an empty
text, or None if it took a value."""

KEPT: Mapping[str, Mapping[str, str]] = {
    "crossval": {"--per-speaker": "--system egemaps-speaker"},
    "evaluate": {"--transcripts": "mmer robustness --axes words:LEVEL"},
}
"""Hidden options that still work, and their replacements."""

_REPEATED = ("allow_host=",)


def renamed(arguments: Sequence[str], root: Any) -> tuple[list[str], list[str]]:
    """Translate a command line.

    Args:
        arguments: the arguments of `mmer`.
        root: all commands.

    Returns:
        The new command line, and a note for each old name.
    """
    start = next((place for place, word in enumerate(arguments) if not word.startswith("-")), len(arguments))
    before, words = list(arguments[:start]), list(arguments[start:])
    for length in (2, 1):
        if old := COMMANDS.get(" ".join(words[:length])):
            note = f"'mmer {' '.join(words[:length])}' is now {_described(old)}"
            rest, notes = _options(old.new, words[length:])
            return [*before, *_moved(old, rest, root)], [note, *notes]
    for length in (2, 1):
        path = " ".join(words[:length])
        if path in OPTIONS or path in KEPT:
            rest, notes = _options(path, words[length:])
            return [*before, *words[:length], *rest], notes
    return list(arguments), []


def _described(old: OldCommand) -> str:
    option = f" {old.first} NAME" if old.first else f" {old.last} OUT" if old.last else ""
    return f"'mmer {old.new}{option}'"


def _options(command: str, words: list[str]) -> tuple[list[str], list[str]]:
    """Translate the options of a command; those that became settings or arguments go to the end."""
    table, kept = OPTIONS.get(command, {}), KEPT.get(command, {})
    made: list[str] = []
    appended: list[str] = []
    notes: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            made += [word, *rest]
            break
        option, equals, value = word.partition("=")
        if option in kept:
            notes.append(f"instead of {option} there is '{kept[option]}'")
        if option not in table:
            made.append(word)
            continue
        form = table[option]
        if (form is None or "{}" in form) and not equals:
            value = next(rest, None)
            if value is None:  # the command itself reports the error
                made.append(word)
                break
        notes.append(f"{option} is now {form.replace('{}', 'VALUE')}" if form else f"{option} is not needed")
        new = [part.replace("{}", value) for part in (form or "").split()]
        if form and form.startswith("-"):
            made += new
        else:
            _append(appended, new)
    return [*made, *appended], list(dict.fromkeys(notes))


def _append(settings: list[str], new: list[str]) -> None:
    for setting in new:
        name, equals, value = setting.partition("=")
        place = next((i for i, each in enumerate(settings) if each.startswith(name + equals)), None)
        if place is not None and name + equals in _REPEATED:
            settings[place] += f",{value}"
        else:
            settings.append(setting)


def _moved(old: OldCommand, words: list[str], root: Any) -> Iterator[str]:
    """Return the words of an old command with the arguments that became options."""
    command = root
    for name in old.new.split():
        yield name
        command = command.commands[name]
    places = list(_arguments(words, command))
    taken = {}
    if old.first and places:
        taken[places[0]] = old.first
    if old.last and len(places) > 1:
        taken[places[-1]] = old.last
    for place, word in enumerate(words):
        if place in taken:
            yield taken[place]
        yield word
    if old.out and not any(word.partition("=")[0] in ("--out", "-o") for word in words):
        yield from ("--out", old.out)


def _arguments(words: list[str], command: Any) -> Iterator[int]:
    """Return the positions of words that are neither options nor their values."""
    with_value = {
        name
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.is_flag
        for name in parameter.opts
    }
    is_value = False
    for place, word in enumerate(words):
        if not is_value and not word.startswith("-"):
            yield place
        is_value = not is_value and word in with_value
