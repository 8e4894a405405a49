"""Parse settings of any kind: from a YAML text and NAME=VALUE laid over it to validated values; and list them."""

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mmer.errors import RecipeError
from mmer.recipe.errors import check_keys, explain, sections
from mmer.recipe.renamed import RENAMED, rename
from mmer.recipe.values import read_as, read_override
from mmer.recipes import parse_yaml

Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: dotted, as `training.epochs`.
        meaning: one paragraph.
        default: as a recipe writes it.
        choices: values it may have, where they are few and known.
    """

    name: str
    meaning: str
    default: str
    choices: tuple[str, ...]


def read_settings(
    kind: type[Kind],
    text: str,
    source: str,
    overrides: Sequence[tuple[str, str]] = (),
    *,
    silent: bool = False,
) -> Kind:
    """Read settings from a YAML text, with overrides laid over it.

    Args:
        kind: the kind of settings.
        text: a YAML mapping; empty for none.
        source: what messages call the text.
        overrides: for each, what messages call it and the override itself, `name=value`; later ones win. A value is
            what is written; see `read_override`.
        silent: log no line for each old name in the text.

    Raises:
        RecipeError: not YAML, an unknown name, with the nearest known one, or a value that is not allowed.
    """
    settings = parse_yaml(text, source)
    if settings is None:
        settings = {}
    rename(settings, source, silent=silent)
    check_keys(settings, kind, source)
    settings = read_as(settings, kind)
    set_by_override: dict[str, str] = {}
    for place, override in overrides:
        path, equals, value = override.partition("=")
        if not equals or not path.strip():
            form = "section.setting=value" if sections(kind) else "NAME=VALUE"
            raise RecipeError(f"{place} is not of the form {form}")
        if re.search("[\ud800-\udfff]", value):
            raise RecipeError(f"{place}: a setting is UTF-8 text, which cannot hold it")
        path = path.strip()
        layer = read_override(value, _annotation(kind, RENAMED.get(path, path).split(".")), place)
        for key in reversed(path.split(".")):
            layer = {key: layer}
        rename(layer, place)
        check_keys(layer, kind, place)
        _merge(settings, read_as(layer, kind), kind)
        set_by_override[RENAMED.get(path, path)] = place
    try:
        # From JSON, strict validation takes a list for a tuple and text for a path but no text for a number.
        return kind.model_validate_json(json.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        raise RecipeError(explain(error, settings, kind, source, set_by_override)) from None


def list_settings(kind: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """List the settings of a kind, in the order of definition."""
    for name, field in kind.model_fields.items():
        if name in sections(kind):
            yield from list_settings(sections(kind)[name], f"{prefix}{name}.")
        else:
            meaning = " ".join((field.description or "").split())
            default = written(field.get_default())
            yield Setting(prefix + name, meaning, default, tuple(_choices(field.annotation)))


def values(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each setting."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from values(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def written(value: Any) -> str:
    """Format a value as in an override."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return ",".join(map(_written_item, value)) or "[]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _written_item(value: Any) -> str:
    has_marks = isinstance(value, str) and re.search(r"""[,"'\[\]]""", value)
    return json.dumps(value, ensure_ascii=False) if has_marks else written(value)


def _choices(annotation: Any) -> Iterator[str]:
    origin = get_origin(annotation)
    if origin is Literal:
        yield from map(str, get_args(annotation))
    elif origin in (Union, types.UnionType, list):
        for member in get_args(annotation):
            yield from _choices(member)
    elif origin is Annotated:
        yield from _choices(get_args(annotation)[0])
    elif annotation is bool:
        yield from ("true", "false")
    elif annotation is type(None):
        yield "null"


def _annotation(kind: type[BaseModel], keys: Sequence[str]) -> Any:
    """Return the annotation of the setting at a path; text where there is none."""
    found: Any = kind
    for key in keys:
        if not (isinstance(found, type) and issubclass(found, BaseModel) and key in found.model_fields):
            return str
        found = found.model_fields[key].annotation
    return found


def _merge(settings: dict[str, Any], layer: Mapping[str, Any], model: type[BaseModel]) -> None:
    for key, value in layer.items():
        if key in sections(model):
            _merge(settings.setdefault(key, {}), value, sections(model)[key])
        else:
            settings[key] = value
