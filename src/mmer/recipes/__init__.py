"""The recipes that ship with the package, and how the YAML of a recipe is read."""

import re
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from mmer.errors import RecipeError, reason_of
from mmer.files.regular import refuse_special

_MOST_VALUES = 1_000_000
_LONGEST = 500_000  # characters, which PyYAML reads in a few seconds


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _shipped().iterdir() if entry.name.endswith(".yaml")
    )


def read_recipe(name_or_path: str) -> tuple[str, str]:
    """Return the name in messages and the text of a shipped recipe or of a YAML file.

    Raises:
        RecipeError: no such recipe, a file that cannot be read or is not UTF-8.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        refuse_special(path, RecipeError)
        try:
            return f"recipe {name_or_path}", text_of(path, "utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise RecipeError(f"cannot read recipe {name_or_path}: {reason}") from None
    names = recipe_names()
    if name_or_path not in names:
        near = get_close_matches(name_or_path, names, 1, cutoff=0.4)
        hint = f"; did you mean {near[0]}? Shipped" if near else "; shipped"
        shipped = f"are {', '.join(names)}, or give the path of a .yaml file"
        raise RecipeError(f"no recipe {name_or_path!r}{hint} {shipped}")
    return f"recipe {name_or_path}", (_shipped() / f"{name_or_path}.yaml").read_text(encoding="utf-8")


def text_of(path: Path, encoding: str) -> str:
    """Read the text of a file, up to the length that `parse_yaml` refuses.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
    """
    with path.open(encoding=encoding) as file:
        return file.read(_LONGEST + 1)


def summary(name: str) -> str:
    """Return the first sentence of a shipped recipe's opening comment."""
    lines = (_shipped() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    return re.split(r"(?<=[.:]) ", comment, maxsplit=1)[0].rstrip(".:")


class Plain(str):
    """YAML scalar without quotation marks; its setting determines whether it is text, a number or null."""


def parse_yaml(text: str, source: str) -> Any:
    """Read a YAML text.

    Every scalar is text, so that `010`, `no`, `1:30` and `2024-05-01` stay what is written: one without quotation marks
    is `Plain`, and an empty one None.

    Args:
        text: YAML; JSON is YAML too.
        source: what messages call it; the name of a JSON file ends in `.json`.

    Raises:
        RecipeError: longer than 500 000 characters, not YAML, a key given twice or that is no text, a tag, or far more
            content than text.
    """
    if len(text) > _LONGEST:
        raise RecipeError(f"{source}: has more than {_LONGEST} characters, and no more are read")
    unlike = f"not {'JSON' if source.lower().endswith('.json') else 'YAML'}"
    try:
        value = yaml.load(text, _Loader)
        _check_extent(value)
        return value
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None and "\n" in text.strip() else ""
        problem = getattr(error, "problem", None) or reason_of(error)
        raise RecipeError(f"{source}{where}: {unlike}: {problem}") from None
    except RecursionError:
        raise RecipeError(f"{source}: {unlike}: it is nested too deeply") from None
    except Exception as error:  # whatever PyYAML raises on a damaged text
        raise RecipeError(f"{source}: {unlike}: {reason_of(error)}") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML whose scalars are text, that refuses a key given twice and every tag."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key_node.value!r} is given twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)

    def construct_text(self, node: yaml.ScalarNode) -> str | None:
        # JSON writes a character beyond the first 65536 as two halves.
        text = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        if node.style is not None:
            return text
        return Plain(text) if text else None


_Loader.yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("^<<$"))]}
_Loader.yaml_constructors = {
    "tag:yaml.org,2002:str": _Loader.construct_text,
    "tag:yaml.org,2002:merge": _Loader.construct_text,
    "tag:yaml.org,2002:seq": yaml.SafeLoader.construct_yaml_seq,
    "tag:yaml.org,2002:map": yaml.SafeLoader.construct_yaml_map,
    None: yaml.SafeLoader.construct_undefined,
}


def _check_extent(value: Any) -> None:
    """Refuse aliases that make a short text a huge or an endless value."""
    rest, count = [value], 0
    while rest:
        count += 1
        if count > _MOST_VALUES:
            raise yaml.YAMLError("its aliases make it too large")
        part = rest.pop()
        if isinstance(part, dict):
            rest.extend(part.values())
        elif isinstance(part, list):
            rest.extend(part)


def _shipped() -> Traversable:
    return files("mmer") / "recipes"
