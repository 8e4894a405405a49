"""Kinds of values that settings of a recipe have, each refused with what is allowed."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field


def _number_to_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_number_to_text)]
"""A label, speaker or session; `protocol.test=[5]` on a command line means the session named "5"."""


def _check_span(value: Any) -> Any:
    numbers = isinstance(value, list | tuple) and all(isinstance(each, int | float) for each in value)
    if not numbers or len(value) != 2 or value[0] > value[1]:
        raise ValueError("two numbers [smallest, largest]")
    return tuple(value)


Span = Annotated[tuple[float, float], BeforeValidator(_check_span)]
"""The smallest and the largest value of a random setting."""


def _check_folds(value: Any) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 2
    known = ("leave-one-out", "official")
    name = isinstance(value, str) and (value in known or value.endswith(".json"))
    if not (value is None or number or name):
        raise ValueError(f"{', '.join(known)}, a number from 2 on, or a .json file of folds")
    return value


Folds = Annotated[int | str | None, BeforeValidator(_check_folds)]
"""What a cross-validation tests in turn."""


def _check_train(value: Any) -> Any:
    if value not in ("full", "frozen", "lora") and not (
        isinstance(value, str) and LAST_LAYERS.fullmatch(value)
    ):
        raise ValueError("full, frozen, lora, or last:N for its last N layers, as last:2")
    return value


LAST_LAYERS = re.compile(r"last:([1-9]\d*)")
Train = Annotated[str, BeforeValidator(_check_train)]
"""What of an encoder learns."""

Order = Literal["shuffled", "balanced", "by_length"]
Recompute = Literal["none", "cheap", "layers"]
Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
