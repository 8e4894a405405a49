"""Commands for training: `mmer recipes`, `train`, `crossval`, `ablate`, `adapt` and `demo`."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.options import (
    AdaptSettings,
    CorpusPath,
    Jobs,
    ModelFolder,
    OutFolder,
    RecipeName,
    RecipeSettings,
    Seed,
    out_option,
)
from mmer.cli.settings import complete_recipe, print_settings
from mmer.display.terminal import print_list, tell
from mmer.errors import MMERError, Parameter
from mmer.memory import objects_that_stay
from mmer.runs.folder import RunFolder


def recipes(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", autocompletion=complete_recipe, help="A recipe to list the settings of."
        ),
    ] = None,
) -> None:
    """List the recipes or, for one recipe, every setting with its value, its default and its meaning."""
    from mmer.recipe.schema import Recipe, load_recipe
    from mmer.recipes import recipe_names, summary

    if recipe is not None:
        print_settings(Recipe, load_recipe(recipe))
        return
    print_list("\n".join(f"{name:<18}{summary(name)}" for name in recipe_names()))


def train(recipe: RecipeName, overrides: RecipeSettings = None, out: OutFolder = Path("run")) -> None:
    """Train a model; the same command again continues after an interruption.

    Given the folder of a cross-validation for the recipe, train its final model on all utterances.
    """
    # In each of these commands, a wrong setting is told before PyTorch is imported, which takes seconds.
    from mmer.recipe.schema import load_recipe

    _check_recipe(recipe, out)
    if RunFolder(Path(recipe)).is_cross_validation:
        from mmer.training.crossval.final import final_recipe

        settings, expected = final_recipe(Path(recipe), overrides or [])
    else:
        settings, expected = load_recipe(recipe, overrides or []), None
    with objects_that_stay():
        from mmer.training.run import train as train_recipe

    train_recipe(settings, out, expected=expected)


def crossval(
    recipe: RecipeName,
    overrides: RecipeSettings = None,
    out: Annotated[
        Path | None,
        out_option("The folder to write; by default crossval, or the name of the system."),
    ] = None,
    folds: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Train only these folds; all by default.")
    ] = None,
    jobs: Jobs = 1,
    system: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel="Baseline",
            help="Test a baseline instead of training: majority, egemaps (openSMILE and an SVM), "
            "egemaps-speaker, standardized over all clips of a speaker, including test clips, "
            "embeddings:FILE[:COLUMN] of `mmer embed` with logistic regression, or embeddings-svm:FILE[:COLUMN] with a "
            "linear SVM.",
        ),
    ] = None,
    per_speaker: Annotated[bool, typer.Option("--per-speaker", hidden=True)] = False,
    features: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel="Baseline",
            help="A .parquet file that stores openSMILE's features for other runs.",
        ),
    ] = None,
) -> None:
    """Train and test every fold, or test a baseline on them; the same command again continues."""
    from mmer.recipe.schema import load_recipe

    if system is None:
        _refuse(" belongs to a baseline; name it with ", per_speaker=per_speaker or None, features=features)
        out = out or Path("crossval")
        _check_recipe(recipe, out)
        settings = load_recipe(recipe, overrides or [])
        with objects_that_stay():
            from mmer.training.crossval.crossval import cross_validate

        cross_validate(settings, out, folds.split(",") if folds else None, jobs)
        return
    with objects_that_stay():
        from mmer.training.crossval.baseline_runs import baseline_of, cross_validate_baseline, embeddings_of

    if embedded := embeddings_of(system):
        chosen, standardizes, (file, column) = embedded[0], False, embedded[1:]
    else:
        (chosen, standardizes), file, column = baseline_of(system), None, None
    out = out or Path(chosen if file else system)
    _refuse(" is for training; leave it out, or leave out ", folds=folds, jobs=jobs if jobs > 1 else None)
    _check_recipe(recipe, out)
    cross_validate_baseline(
        chosen,
        load_recipe(recipe, overrides or []),
        out,
        per_speaker=per_speaker or standardizes,
        cache=features,
        embeddings=file,
        column=column,
    )


def ablate(
    recipe: RecipeName,
    overrides: RecipeSettings = None,
    out: OutFolder = Path("ablation"),
    rows: Annotated[
        str | None, typer.Option(metavar="ROW,ROW", help="Such as text,speech,mmer,no-ctc; all by default.")
    ] = None,
    jobs: Jobs = 1,
) -> None:
    """Train the paper's comparisons: each modality alone, naive fusion, and MMER without each of its parts."""
    from mmer.recipe.schema import load_recipe

    load_recipe(recipe, overrides or [])
    from mmer.training.ablation.rows import wanted_rows

    wanted = wanted_rows(rows.split(",") if rows else None)
    with objects_that_stay():
        from mmer.training.ablation.ablation import ablate as ablate_recipe

    ablate_recipe(recipe, overrides or [], out, wanted, jobs)


def adapt(
    model: ModelFolder,
    corpus: CorpusPath,
    overrides: AdaptSettings = None,
    out: OutFolder = Path("adapted"),
) -> None:
    """Adapt a model to the voices and labels of a corpus; the same command again continues.

    Which weights are trained depends on the number of clips, and what is held out on the number of speakers; both are
    printed with the reason. Of a published model, the last layer is fitted and, with 100 clips or more, the network is
    fine-tuned. Without any emotion in the corpus, nothing is trained: its speakers are enrolled, which takes a model
    that standardizes features per speaker. The adapted model is OUT/model.
    """
    from mmer.corpora.corpus import Corpus

    if Corpus.read(corpus).table["emotion"].isna().all():
        from mmer.inference.enrollment import enroll

        if overrides:
            raise MMERError(
                f"{overrides[0]} is for training, and no utterance of {corpus} has an emotion; leave it out"
            )
        enroll(model, corpus, out)
        return
    from mmer.inference.backends.model_folder import check_trainable
    from mmer.published.kinds import published_kind
    from mmer.recipe.model import Model
    from mmer.recipe.schema import Recipe, changed_recipe

    if published_kind(model) is not None:
        with objects_that_stay():
            from mmer.training.adaptation.adapt_published import adapt_published

        adapt_published(model, corpus, out, overrides or [])
        return
    check_trainable(model)
    changed_recipe(Recipe(model=Model(start_from=Path(model))), overrides or [])
    with objects_that_stay():
        from mmer.training.adaptation.adapt import adapt as adapt_model

    adapt_model(model, corpus, out, overrides or [])


def demo(out: OutFolder = Path("mmer-demo"), seed: Seed = 0) -> None:
    """Train text only, speech only and MMER on synthetic speech with known answers, and compare them."""
    with objects_that_stay():
        from mmer.demo import run_demo

    run_demo(out, seed=seed)
    for line in _NEXT:
        tell(line)


_NEXT = (
    "",
    "With your own recordings: put them into a folder with a metadata.csv of the columns",
    "  file_name,transcript,emotion,speaker",
    "then",
    "  mmer train compact data.corpus=FOLDER protocol.test=ONE-SPEAKER --out my-run",
    "  mmer predict my-run/model NEW-RECORDINGS -o predictions.csv",
)


def _refuse(reason: str, **given: object) -> None:
    """Refuse options that do not go with `--system`, or not without it."""
    for name, value in given.items():
        if value is not None:
            raise MMERError(Parameter(name), reason, Parameter("system"))


def _check_recipe(recipe: str, out: Path) -> None:
    """Check that the complete recipe does not overwrite a hand-written one."""
    from mmer.files.writing import check_not_input

    folder = RunFolder(out)
    if not (folder.is_run or folder.is_cross_validation):
        check_not_input(folder.recipe, [recipe])
