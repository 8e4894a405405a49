"""Arguments and options shared by several commands."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mmer.cli.settings import complete_recipe, complete_setting
from mmer.display.terminal import ResultFormat, tell
from mmer.errors import MMERError

_MAPS = (".yaml", ".yml", ".json", ".csv", ".tsv")
WORDS, COMPUTING, OUTPUT = "Recording and words", "Computing", "Output"


def found_model(context: typer.Context, model: Path) -> Path:
    """Find the folder of MODEL, with the labels of `ModelLabels` where a command has them."""
    from mmer.inference.backends.models import model_folder

    return model_folder(model, label_map=context.params.get("model_labels"), note=_note)


def found_source(source: str) -> str:
    """Find the folder of SPEECH+TEXT, as of MODEL; another name stays as it is."""
    from mmer.inference.backends.models import model_folder, names_of

    return str(model_folder(source, note=_note)) if len(names_of(source)) > 1 else source


def _note(line: str) -> None:
    tell(f"note: {line}")


MODEL_HELP = (
    "A model folder, such as RUN/model, a .mmer file that `mmer model export` wrote, the name or folder of a published "
    "model, or SPEECH+TEXT, two of these."
)
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", callback=found_model, help=MODEL_HELP)]
ModelLabels = Annotated[
    str | None,
    typer.Option(
        "--label-map",
        metavar="FILE|NAME",
        is_eager=True,  # known when MODEL is found, which needs it
        help="Names of the model's labels in its answers: canonical, four, polarity, or a .yaml, .json or .csv file.",
    ),
]
"""Read by `found_model`, not by the command."""


def _corpus(corpus: Path) -> Path:
    path = str(corpus).removeprefix("data.corpus=")
    if path != str(corpus):
        raise MMERError(f"{corpus}: the corpus is an argument here, not a setting; give {path}")
    return corpus


CorpusPath = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS",
        callback=_corpus,
        help="A .parquet, .csv, .tsv or .jsonl table, or a folder with metadata.csv.",
    ),
]
RecordingsPath = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS",
        callback=_corpus,
        help="A .parquet, .csv, .tsv or .jsonl table, or a folder of recordings.",
    ),
]
RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        autocompletion=complete_recipe,
        help="A recipe that `mmer recipes` lists, or a .yaml file.",
    ),
]
RecipeSettings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME=VALUE",
        autocompletion=complete_setting,
        help="Settings that differ from the recipe, such as data.corpus=corpus.parquet; "
        "`mmer recipes RECIPE` lists them all.",
    ),
]
AdaptSettings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME=VALUE",
        autocompletion=complete_setting,
        help="Settings of the training to change, such as training.epochs=5; `mmer recipes compact` explains them.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME=VALUE", autocompletion=complete_setting, help="Settings of the list below."),
]


def out_option(what: str) -> Any:
    """Return the option `--out` of a command, which says what it writes."""
    return typer.Option("--out", "-o", rich_help_panel=OUTPUT, help=what)


OutFolder = Annotated[Path, out_option("The folder to write.")]
OutTable = Annotated[Path, out_option("The table to write: .parquet, .csv, .tsv or .jsonl.")]


def _json_file(path: Path | None) -> Path | None:
    """Refuse a name that says something else than JSON."""
    if path is not None and path.suffix.lower() not in ("", ".json"):
        raise MMERError(f"{path}: would hold JSON; end its name in .json")
    return path


OutJson = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        rich_help_panel=OUTPUT,
        help="Also write everything to this .json file.",
        callback=_json_file,
    ),
]

Format = Annotated[
    ResultFormat | None,
    typer.Option(
        "--format",
        rich_help_panel=OUTPUT,
        help="How standard output is written; a table on a terminal and JSON lines elsewhere by default.",
    ),
]

Split = Annotated[
    str, typer.Option(help="Use only the utterances of this split: train, validation or test; or use all.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random choices.")]
Renames = Annotated[
    list[str] | None,
    typer.Option(
        "--rename",
        metavar="FROM=TO",
        help="Rename an emotion first, or give a .yaml, .json or .csv file of such pairs; repeatable. FROM ends at "
        "the first =.",
    ),
]
Jobs = Annotated[int, typer.Option(min=1, help="Number of folds to train in parallel.")]

Transcript = Annotated[
    str | None,
    typer.Option(rich_help_panel=WORDS, help="Transcript of the recording; only with one recording."),
]
Channel = Annotated[
    str,
    typer.Option(
        rich_help_panel=WORDS,
        help="Channel to use: mix of all, left, right, a number from 1, or each for every channel by itself.",
    ),
]
OneSpeaker = Annotated[
    bool,
    typer.Option(
        "--one-speaker",
        rich_help_panel=WORDS,
        help="Treat everything as one speaker; for models that standardize per speaker.",
    ),
]
Pause = Annotated[
    float, typer.Option(min=0.1, rich_help_panel=WORDS, help="Seconds of silence that end a segment.")
]

Transcription = Annotated[
    str,
    typer.Option(
        rich_help_panel=WORDS,
        help="Source of the transcripts: given, none, whisper:NAME-OR-FOLDER, or ctc, the model's own speech "
        "recognition, which `mmer evaluate` should measure first.",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, rich_help_panel=COMPUTING, help="Number of utterances in a batch.")
]
Device = Annotated[
    str | None,
    typer.Option(rich_help_panel=COMPUTING, help="cpu, cuda or cuda:N; the first GPU if there is one."),
]


def label_map(pairs: list[str] | None) -> dict[str, str | None]:
    """Return the new name of each emotion in `Renames`; None removes a label.

    Raises:
        MMERError: an entry is neither FROM=TO nor a file.
    """
    from mmer.corpora.label_map import read_label_map

    found: dict[str, str | None] = {}
    for pair in pairs or []:
        before, equals, after = pair.partition("=")
        if Path(pair).suffix.lower() in _MAPS and (not equals or Path(pair).is_file()):
            found |= read_label_map(Path(pair))
        elif before and equals and after:
            found[before] = after
            if "=" in after:
                _note(
                    f"--rename {pair!r} renames {before!r} to {after!r}; write a name that has an = into a .yaml, "
                    ".json or .csv file"
                )
        else:
            raise MMERError(
                f"--rename {pair!r} is not of the form FROM=TO, such as excited=happy, nor a file"
            )
    return found


def renames(pairs: list[str] | None) -> dict[str, str]:
    """Return `label_map` for evaluation, where every emotion keeps a label.

    Raises:
        MMERError: `label_map` raises one, or an entry removes a label.
    """
    found = label_map(pairs)
    if nameless := [before for before, after in found.items() if after is None]:
        raise MMERError(f"--rename: {nameless[0]!r} gets no new name; give one, or leave it out")
    return {before: after for before, after in found.items() if after is not None}
