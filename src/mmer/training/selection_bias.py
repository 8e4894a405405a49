"""Selection bias: the gain in test figures from selecting the epoch on the test split."""

from collections.abc import Sequence

import numpy as np

from mmer.display.terminal import Table
from mmer.evaluation.metrics import Metrics
from mmer.evaluation.results import ChosenEpoch, SelectionBias
from mmer.evaluation.terminal_tables import FIGURES
from mmer.plain_text import points

JUDGED = ("accuracy", "balanced_accuracy")


def selection_bias(
    test_selected: Metrics, test_epoch: int, validation_selected: Metrics, validation_epoch: int
) -> SelectionBias:
    """Compare the epoch chosen on the test split with the one that validation speakers would choose.

    Args:
        test_selected, validation_selected: test figures of either choice.
        test_epoch, validation_epoch: the epochs, from 1.
    """
    test, validation = test_selected, validation_selected
    return _bias(
        ChosenEpoch(epoch=test_epoch, accuracy=test.accuracy, balanced_accuracy=test.balanced_accuracy),
        ChosenEpoch(
            epoch=validation_epoch,
            accuracy=validation.accuracy,
            balanced_accuracy=validation.balanced_accuracy,
        ),
    )


def mean_selection_bias(folds: Sequence[SelectionBias | None]) -> SelectionBias | None:
    """Average the selection bias over folds; None where it is None in a fold."""
    known = [fold for fold in folds if fold is not None]
    if not known or len(known) < len(folds):
        return None
    return _bias(
        _mean([fold.test_selected for fold in known]), _mean([fold.validation_selected for fold in known])
    )


def bias_table(bias: SelectionBias) -> Table:
    """Return a table of the selection bias for the terminal."""
    table = Table(title="Selection bias on the test split", title_justify="left")
    table.add_column("epoch")
    for name in JUDGED:
        table.add_column(FIGURES[name], justify="right")
    for called, chosen in (
        ("chosen on test", bias.test_selected),
        ("chosen on validation", bias.validation_selected),
        ("optimism in points", bias.difference),
    ):
        epoch = "" if chosen.epoch is None else f" ({chosen.epoch})"
        form = points if chosen is bias.difference else "{:.1%}".format
        table.add_row(called + epoch, *(form(getattr(chosen, name)) for name in JUDGED))
    return table


def _bias(test: ChosenEpoch, validation: ChosenEpoch) -> SelectionBias:
    difference = ChosenEpoch(
        accuracy=test.accuracy - validation.accuracy,
        balanced_accuracy=test.balanced_accuracy - validation.balanced_accuracy,
    )
    return SelectionBias(test_selected=test, validation_selected=validation, difference=difference)


def _mean(epochs: Sequence[ChosenEpoch]) -> ChosenEpoch:
    return ChosenEpoch(
        accuracy=float(np.mean([each.accuracy for each in epochs])),
        balanced_accuracy=float(np.mean([each.balanced_accuracy for each in epochs])),
    )
