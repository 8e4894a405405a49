"""The recipes that ship with the package, and how the YAML of a recipe is read."""

import re
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from mmer.errors import RecipeError
from mmer.regular_files import refuse_special


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _shipped().iterdir() if entry.name.endswith(".yaml")
    )


def read_recipe(name_or_path: str) -> tuple[str, str]:
    """Text of a recipe that ships with the package or of a YAML file, after what messages call it.

    Raises:
        RecipeError: no such recipe, a file that cannot be read or is not UTF-8.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        refuse_special(path, RecipeError)
        try:
            return f"recipe {name_or_path}", path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise RecipeError(f"cannot read recipe {name_or_path}: {reason}") from None
    names = recipe_names()
    if name_or_path not in names:
        near = get_close_matches(name_or_path, names, 1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        shipped = f"shipped are {', '.join(names)}, or give the path of a .yaml file"
        raise RecipeError(f"no recipe {name_or_path!r}{hint}; {shipped}")
    return f"recipe {name_or_path}", (_shipped() / f"{name_or_path}.yaml").read_text(encoding="utf-8")


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text; `source` is what messages call it.

    Raises:
        RecipeError: not YAML, or a key given twice.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None and not source.startswith("override") else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RecipeError(f"{source}{where}: not YAML: {problem}") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-5 as a number (YAML 1.1 takes it for text) and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key_node.value!r} is given twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _shipped() -> Traversable:
    return files("mmer") / "recipes"
