"""Catalog of published checkpoints: what each answers, its license, and what its authors report."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter
from rich.text import Text

from mmer.recipes import parse_yaml

NOT_STATED = "not stated"


@dataclass(frozen=True)
class PublishedFacts:
    """Facts about one published checkpoint; None for what its sources do not state.

    Attributes:
        name: on the Hugging Face Hub.
        answers: its labels or dimensions.
        reads: `speech` or `text`.
        source: where these facts are from.
        languages: codes of ISO 639-1.
        parameters: number of weights.
        license: as its authors state it.
        commercial: whether the license allows commercial use.
        training: what it was trained on.
        overlap: corpora of `mmer corpus prepare` that are in its training data, on which it cannot be judged.
        figure: what its authors report, and on which protocol.
        figure_source: where the figure is from, if not from `source`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}
    name: str
    answers: str
    reads: str
    source: str
    languages: str | None = None
    parameters: str | None = None
    license: str | None = None
    commercial: bool | None = None
    training: str | None = None
    overlap: Sequence[str] = ()
    figure: str | None = None
    figure_source: str | None = None


def published_models() -> list[PublishedFacts]:
    """Read the catalog."""
    text = (files("mmer.published") / "catalog.yaml").read_text(encoding="utf-8")
    return TypeAdapter(list[PublishedFacts]).validate_python(parse_yaml(text, "catalog.yaml"))


def list_models() -> Text:
    """List the catalog for a terminal: a block of lines for each checkpoint."""
    listed = Text()
    for model in published_models():
        allowed = {True: "", False: ": no commercial use", None: ", commercial use not stated"}[
            model.commercial
        ]
        about = f"{model.reads}, {model.languages or 'languages not stated'}, {_parameters(model)}"
        listed.append(model.name, style="bold")
        listed.append(f"  {about}\n")
        listed.append(f"  answers   {model.answers}\n")
        listed.append(f"  license   {model.license or NOT_STATED}{allowed if model.license else ''}\n")
        listed.append(f"  training  {model.training or NOT_STATED}")
        if model.overlap:
            listed.append(f"; do not judge it on {', '.join(model.overlap)}", style="yellow")
        listed.append(f"\n  reported  {model.figure or NOT_STATED}\n")
        sources = ", ".join(filter(None, (model.source, model.figure_source)))
        listed.append(f"  source    {sources}\n\n")
    listed.append("The makers of mmer have downloaded none of these weights.")
    return listed


def _parameters(model: PublishedFacts) -> str:
    return "size not stated" if model.parameters is None else f"{model.parameters} parameters"
