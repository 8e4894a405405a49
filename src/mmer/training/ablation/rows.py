"""Rows of the ablation: what each changes in the recipe for MMER, and which of its weights are trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from mmer.corpora.labels import nearest
from mmer.errors import RecipeError
from mmer.recipe.model import COMPACT, Lora
from mmer.recipe.schema import Recipe, load_recipe

_ALONE = [
    f"objectives.{name}_weight=0" for name in ("ctc", "supervised_contrastive", "augmented_contrastive")
]


# Settings of the published text-only script, the presumable source of the paper's figure.
_FINE_TUNED_TEXT = (
    *("model.text.train=full", "training.learning_rate=2.2e-5", "training.text_learning_rate=null"),
    *("training.epochs=50", "training.batch_size=32", "training.accumulation=1"),
    *("training.micro_batch_size=null", "training.schedule=linear", "training.warmup_ratio=0"),
)
_FINE_TUNED_NAIVE = ("model.text.train=full", "training.text_learning_rate=2.2e-5")
_LINEAR_PROBE = (
    *("training.learning_rate=1.0e-3", "training.epochs=50", "training.batch_size=32"),
    *("training.accumulation=1", "training.micro_batch_size=null", "training.schedule=linear"),
)
_FROZEN = (
    *("model.text.train=frozen", "training.text_learning_rate=null"),
    *(f"model.lora.{name}={value}" for name, value in Lora().model_dump().items()),
)


@dataclass(frozen=True)
class Row:
    """Row of the table.

    Attributes:
        title: heading of the row.
        settings: overrides that turn the recipe for MMER into that of the row; None for a baseline without training.
        paper: accuracy (WA) in the paper's table 1 on IEMOCAP, 0 to 1; None where it is not given.
        usual: overrides below the caller's own, for rows that learn badly with MMER's settings.
        pretrained_text: whether it requires a pretrained text encoder.
    """

    title: str
    settings: tuple[str, ...] | None
    paper: float | None = None
    usual: tuple[str, ...] = ()
    pretrained_text: bool = False


ROWS = {
    "text": Row("text only", ("model.fusion=text", *_ALONE), 0.781, _FINE_TUNED_TEXT),
    "text-frozen": Row(
        "text only, frozen", ("model.fusion=text", *_ALONE, *_FROZEN), None, _LINEAR_PROBE, True
    ),
    "speech": Row("speech only", ("model.fusion=speech", *_ALONE), 0.789),
    "naive": Row("naive fusion", ("model.fusion=naive", *_ALONE), 0.798, _FINE_TUNED_NAIVE),
    "naive-frozen": Row(
        "naive fusion, text frozen", ("model.fusion=naive", *_ALONE, *_FROZEN), None, (), True
    ),
    "mmer": Row("MMER", ("training.log_gradient_shares=true",), 0.812),
    "no-ctc": Row("without CTC", ("objectives.ctc_weight=0",)),
    "no-scl": Row("without supervised contrastive", ("objectives.supervised_contrastive_weight=0",)),
    "no-acl": Row("without augmented contrastive", ("objectives.augmented_contrastive_weight=0",)),
    "no-gate": Row("without gate", ("model.ablate=[gate]",)),
    "no-b": Row("without block B", ("model.ablate=[block_b]",)),
    "no-c": Row("without blocks B and C", ("model.ablate=[block_c]",)),
    "no-d": Row("without block D and gate", ("model.ablate=[block_d]",)),
    "no-text-attention": Row("without text self-attention", ("model.ablate=[text_self_attention]",)),
    "majority": Row("majority class", None),
    "egemaps": Row("eGeMAPS + SVM", None),
    "egemaps-speaker": Row("eGeMAPS + SVM, per speaker", None),
}
"""Rows in order. Text, speech and naive fusion are trained with cross-entropy alone, as in the paper. If the recipe
freezes a pretrained text encoder, `text` and `naive` still train it, with their own settings."""


def wanted_rows(rows: Sequence[str] | None) -> list[str]:
    """Check names of rows and put them in the order of the table; None for all that can be computed here.

    Raises:
        RecipeError: there is no such row.
    """
    if rows is None:
        return [name for name in ROWS if not name.startswith("egemaps") or find_spec("opensmile")]
    for name in rows:
        if name not in ROWS:
            raise RecipeError(f"no row {name!r}{nearest(name, ROWS)}; the rows are {', '.join(ROWS)}")
    return [name for name in ROWS if name in rows]


def row_recipe(recipe: str, overrides: Sequence[str], row: Row) -> Recipe | None:
    """Return the recipe of a trained row; None where it requires a pretrained text encoder and there is none.

    Args:
        recipe: name or path of the recipe for MMER.
        overrides: the caller's overrides, which take precedence over `usual` but not over `settings` of the row.
        row: one of `ROWS`, with settings.
    """
    assert row.settings is not None
    text = load_recipe(recipe, overrides).model.text
    if row.pretrained_text and text.encoder == COMPACT:
        return None
    usual = row.usual if row.pretrained_text or text.train == "frozen" else ()
    return load_recipe(recipe, [*usual, *overrides, *row.settings])


def learns(recipe: Recipe) -> str:
    """Describe the encoders of a recipe and which of their weights are trained, as in `speech, text frozen`."""
    model, told = recipe.model, []
    for side, other, encoder in (("speech", "text", model.speech), ("text", "speech", model.text)):
        if model.fusion != other:
            part = {"full": "", "frozen": " frozen", "lora": " by LoRA"}.get(encoder.train)
            told.append(side + (f", {encoder.train[5:]} layers" if part is None else part))
    return ", ".join(told)
