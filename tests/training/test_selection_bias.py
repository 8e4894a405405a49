"""Selection bias of a run, and its mean over folds."""

from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.results import ChosenEpoch, SelectionBias
from mmer.training.selection_bias import mean_selection_bias, selection_bias


def test_mean_selection_bias():
    # 2 of 4 right, and 1 of 4.
    better = compute_metrics(["a", "a", "a", "b"], ["b", "b", "a", "b"], ["a", "b"])
    worse = compute_metrics(["a", "a", "a", "b"], ["b", "b", "b", "b"], ["a", "b"])
    first = selection_bias(better, 3, worse, 1)
    assert first == SelectionBias(
        test_selected=ChosenEpoch(epoch=3, accuracy=0.5, balanced_accuracy=2 / 3),
        validation_selected=ChosenEpoch(epoch=1, accuracy=0.25, balanced_accuracy=0.5),
        difference=ChosenEpoch(accuracy=0.25, balanced_accuracy=2 / 3 - 0.5),
    )
    all_right = compute_metrics(["a", "b"], ["a", "b"], ["a", "b"])
    second = selection_bias(all_right, 2, all_right, 2)
    assert mean_selection_bias([first, second]) == SelectionBias(
        test_selected=ChosenEpoch(accuracy=0.75, balanced_accuracy=(2 / 3 + 1) / 2),
        validation_selected=ChosenEpoch(accuracy=0.625, balanced_accuracy=0.75),
        difference=ChosenEpoch(accuracy=0.125, balanced_accuracy=(2 / 3 + 1) / 2 - 0.75),
    )
    assert mean_selection_bias([first, None]) is None
    assert mean_selection_bias([]) is None
