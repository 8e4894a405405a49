"""Errors in recipes, in one line: the place, the value found, and the values allowed."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import accumulate
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from mmer.errors import RecipeError
from mmer.plain_text import shortened

Model = type[BaseModel]

_CONTRADICTION, _NOT_ALLOWED = "contradiction", "not_allowed"

_ALLOWED = {
    _NOT_ALLOWED: "{allowed}",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping such as {{A: B}}",
    "finite_number": "a finite number",
    "float_parsing": "a valid number",
    "float_type": "a valid number",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "greater than or equal to {ge}",
    "int_from_float": "a valid integer",
    "int_parsing": "a valid integer",
    "int_parsing_size": "a valid integer",
    "int_type": "a valid integer",
    "less_than": "less than {lt}",
    "less_than_equal": "less than or equal to {le}",
    "list_type": "a list such as [A, B]",
    "literal_error": "{expected}",
    "path_type": "text",
    "string_type": "text",
    "too_short": "a list of at least {min_length} items",
    "tuple_type": "a list such as [A, B]",
}
"""What is allowed, by pydantic's type of the error, to be formatted with its context."""


def sections(model: Model) -> dict[str, Model]:
    """List the settings of a section that are sections themselves."""
    annotations = {name: field.annotation for name, field in model.model_fields.items()}
    return {
        name: kind
        for name, kind in annotations.items()
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


def check_keys(settings: Any, recipe: Model, source: str) -> None:
    """Check that all keys exist, and that sections hold mappings.

    Args:
        settings: content of the YAML.
        recipe: the model of the whole recipe.
        source: what messages call it.

    Raises:
        RecipeError: for the first such key, with the nearest known one.
    """
    _check_section(settings, recipe, source, "", list(_paths(recipe)))


def not_allowed(allowed: str) -> PydanticCustomError:
    """Return the error that a validator of one setting raises.

    Args:
        allowed: what the setting must be.
    """
    return PydanticCustomError(_NOT_ALLOWED, "it must be {allowed}", {"allowed": allowed})


def contradiction(found: str, remedy: str) -> PydanticCustomError:
    """Return the error that a validator of a section raises for settings that do not go together.

    Args:
        found: the settings, by their names in the section, and why they do not.
        remedy: what to do.
    """
    context = {"found": found, "remedy": remedy}
    return PydanticCustomError(_CONTRADICTION, "{found}; {remedy}", context)


def explain(
    error: ValidationError, settings: Any, recipe: Model, source: str, set_by_override: Mapping[str, str]
) -> str:
    """Describe the first wrong setting in one line: its place, the value found, and what is allowed or what to do.

    Args:
        error: what validation said.
        settings: what was validated.
        recipe: the model of the whole recipe.
        source: what messages call the settings.
        set_by_override: by dotted path, what messages call the override that set it.
    """
    paths = list(_paths(recipe))
    problems = error.errors(include_url=False)
    path = _path(problems[0]["loc"], paths)
    overrides = {key: place for key, place in set_by_override.items() if not path or _overlap(key, path)}
    if problems[0]["type"] == _CONTRADICTION:
        told = problems[0].get("ctx", {})
        about = [
            place
            for key, place in overrides.items()
            if f"{path}.".startswith(f"{key}.") or _is_named(key.removeprefix(f"{path}."), told["found"])
        ]
        place = about[-1] if about else source
        where = f"in {path}, " if path else ""  # of the whole recipe
        return f"{place}: {where}{told['found']}; {told['remedy']}"
    place = next(iter(overrides.values()), source)
    # A setting of two types has one problem for each.
    allowed = " or ".join(
        dict.fromkeys(_allowed(problem) for problem in problems if _path(problem["loc"], paths) == path)
    )
    found = settings
    for key in path.split("."):
        found = found[key]
    return f"{place}: {path} is {_shown(found)}; it must be {allowed}"


def _is_named(key: str, text: str) -> bool:
    """Tell whether a text names a setting, one within it, or a section that it is in."""
    *sections_around, last = accumulate(key.split("."), "{}.{}".format)
    names = [rf"{re.escape(last)}(?!\w)", *(rf"{re.escape(name)}(?!\w|\.\w)" for name in sections_around)]
    return re.search(rf"(?<![\w.])({'|'.join(names)})", text) is not None


def _shown(value: Any) -> str:
    return shortened(json.dumps(value, default=str, ensure_ascii=False), 200)


def _paths(model: Model, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every setting and section."""
    for name in model.model_fields:
        yield prefix + name
        if name in sections(model):
            yield from _paths(sections(model)[name], f"{prefix}{name}.")


def _check_section(settings: Any, model: Model, source: str, prefix: str, paths: Sequence[str]) -> None:
    if not isinstance(settings, dict):
        at = f"{prefix.rstrip('.')} is" if prefix else "found"
        found, allowed = _shown(settings), ", ".join(model.model_fields)
        raise RecipeError(f"{source}: {at} {found}, not a section; its settings are {allowed}")
    for key, value in settings.items():
        if key not in model.model_fields:
            near = _nearest_key(str(key)[:100], model, prefix, paths)
            raise RecipeError(f"{source}: unknown key {prefix}{shortened(str(key), 200)}{near}")
        if key in sections(model):
            _check_section(value, sections(model)[key], source, f"{prefix}{key}.", paths)


def _nearest_key(key: str, model: Model, prefix: str, paths: Sequence[str]) -> str:
    siblings = list(model.model_fields)
    if near := get_close_matches(key, siblings, 1):
        return f"; did you mean {prefix}{near[0]}?"
    by_last = {path.rpartition(".")[2]: path for path in reversed(paths)}
    if near := get_close_matches(key, by_last, 1):
        return f"; did you mean {by_last[near[0]]}?"
    words = re.sub(r"\B(?=[A-Z])", " ", model.__name__).lower()  # as in `ServeSettings`
    of = prefix.rstrip(".") or (words if words.endswith("s") else f"a {words}")
    return f"; the keys of {of} are {', '.join(siblings)}"


def _path(location: Sequence[int | str], paths: Sequence[str]) -> str:
    """Find the setting at pydantic's `location`, which may end in list indices and members of unions."""
    path = ""
    for step in location:
        if f"{path}{step}" not in paths:
            break
        path += f"{step}."
    return path.rstrip(".")


def _overlap(a: str, b: str) -> bool:
    return f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.")


def _allowed(problem: ErrorDetails) -> str:
    if problem["type"] not in _ALLOWED:
        return problem["msg"]
    context = problem.get("ctx", {})
    return _ALLOWED[problem["type"]].format(**{name: _plain(value) for name, value in context.items()})


def _plain(bound: Any) -> Any:
    """Return 0 for 0.0, as people write a bound."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound
