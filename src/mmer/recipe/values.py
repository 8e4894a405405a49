"""Types of settings, with errors that list the allowed values."""

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mmer.recipe.errors import not_allowed
from mmer.recipes import Plain, parse_yaml
from mmer.text.names import tidy


class Section(BaseModel):
    """Section of settings: immutable, without unknown keys, described by the docstrings of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


Name = Annotated[str, AfterValidator(tidy)]
"""Label, speaker or session, always text."""


def _check_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise not_allowed("a list that has each name once")
    return names


Unique = AfterValidator(_check_unique)

_NULLS = ("null", "Null", "NULL", "~")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}(_[0-9]{1,18})*")
_NUMBER = re.compile(
    r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_QUOTED = re.compile(r"""\"(?:[^"\\]|\\.)*\"|'(?:[^']|'')*'""")
_ITEM = re.compile(rf"\s*({_QUOTED.pattern}|[^,]*?)\s*(?:,|$)")


def read_as(value: Any, kind: Any) -> Any:
    """Convert a YAML value to the type of a setting.

    Text without quotation marks is a number, true, false or null only where the type has such. For a list it is its
    items, separated by commas, with or without brackets around them; an item in quotation marks may hold commas.
    What does not fit stays as it is, for validation to refuse.

    Args:
        value: what `parse_yaml` gives.
        kind: the annotation of the setting.
    """
    kinds = list(_kinds(kind))
    if isinstance(value, Plain):
        return _read_plain(value, kinds)
    if isinstance(value, list):
        of = _item_kind(kinds)
        return [read_as(item, str if of is None else of) for item in value]
    if isinstance(value, dict):
        section = next(filter(_is_section, kinds), None)
        if section is not None:
            fields = section.model_fields
            return {key: read_as(part, fields[key].annotation) for key, part in value.items()}
        # A name for nothing is none: null stays null there, and is refused where there must be one.
        return {str(key): read_as(part, str | None) for key, part in value.items()}
    return [value] if isinstance(value, str) and str not in kinds and _item_kind(kinds) is not None else value


def read_override(text: str, kind: Any, source: str) -> Any:
    """Read what an override says, for `read_as`.

    A section or a mapping is YAML. Anything else is what is written, so that blanks, colons and brackets in the name of
    a file or a speaker mean nothing; quotation marks around all of it are left out.

    Args:
        text: what is right of the equals sign.
        kind: the annotation of the setting.
        source: what messages call the override.

    Raises:
        RecipeError: not YAML where it has to be.
    """
    text, kinds = text.strip(), list(_kinds(kind))
    if any(get_origin(kind) is dict or _is_section(kind) for kind in kinds):
        return parse_yaml(text, source)
    if _QUOTED.fullmatch(text):
        return parse_yaml(text, source)
    return Plain(text) if text else None


def _kinds(kind: Any) -> Iterator[Any]:
    """Yield the types that a setting may have."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _kinds(get_args(kind)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(kind):
            yield from _kinds(member)
    else:
        yield kind


def _is_section(kind: Any) -> bool:
    return get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, BaseModel)


def _item_kind(kinds: list[Any]) -> Any:
    """Find the type of the items, for a setting that may be a list."""
    return next((get_args(kind)[0] for kind in kinds if get_origin(kind) in (list, tuple)), None)


def _read_plain(text: Plain, kinds: list[Any]) -> Any:
    if text in _NULLS and type(None) in kinds:
        return None
    if bool in kinds and text.lower() in _TRUTHS:
        return _TRUTHS[text.lower()]
    if (int in kinds or float in kinds) and _INTEGER.fullmatch(text):
        return int(text)
    if (int in kinds or float in kinds) and _NUMBER.fullmatch(text):
        return float(re.sub(r"\.(?=[iInN])", "", text))
    of = _item_kind(kinds)
    if of is None:
        return str(text)
    inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    items = [found[1] for found in _ITEM.finditer(inside.strip())][:-1]  # the last is the nothing at the end
    return [read_as(read_override(item, of, "a list"), of) for item in items]


def _check_span(value: Any) -> Any:
    numbers = isinstance(value, list | tuple) and all(isinstance(each, int | float) for each in value)
    if not numbers or len(value) != 2 or value[0] > value[1]:
        raise not_allowed("two numbers [smallest, largest]")
    return tuple(value)


Span = Annotated[tuple[float, float], BeforeValidator(_check_span)]
"""The smallest and the largest value of a random setting."""


def _check_folds(value: Any) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 2
    known = ("leave-one-out", "official")
    name = isinstance(value, str) and (value in known or value.endswith(".json"))
    if not (value is None or number or name):
        raise not_allowed(f"{', '.join(known)}, a number from 2 on, or a .json file of folds")
    return value


Folds = Annotated[int | str | None, BeforeValidator(_check_folds)]
"""Groups that a cross-validation tests in turn."""


def _check_train(value: Any) -> Any:
    if value not in ("full", "frozen", "lora") and not (
        isinstance(value, str) and LAST_LAYERS.fullmatch(value)
    ):
        raise not_allowed("full, frozen, lora, or last:N for its last N layers, as last:2")
    return value


def _check_layers(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]  # a word where a list may be
    if value in ("last", "weighted"):
        return value
    numbers = isinstance(value, list) and all(
        isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in value
    )
    if not numbers or not value or len(set(value)) < len(value):
        raise not_allowed("last, weighted, or different layer numbers from 0 on, as [6, 7, 8]")
    return sorted(value)


Layers = Annotated[str | list[int], BeforeValidator(_check_layers)]
"""Hidden states of an encoder that the network reads."""

LAST_LAYERS = re.compile(r"last:([1-9]\d*)")
Train = Annotated[str, BeforeValidator(_check_train)]
"""Weights of an encoder that are trained."""

Order = Literal["shuffled", "balanced", "by_length"]
ActivationCheckpointing = Literal["none", "cheap", "layers"]
Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
