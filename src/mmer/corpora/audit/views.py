"""The fold guard in an audit: views of training utterances that used the voice or the words of others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mmer.corpora.audit.leaks import Sides

if TYPE_CHECKING:
    from mmer.corpora.views import View  # whose package takes seconds to import

FIGURE = "view_overlap"
"""Figure of a fold: share of the views of its training utterances that break it."""


def count_broken_views(
    table: pd.DataFrame, sides: Sides, views: Sequence["View"]
) -> tuple[dict[str, tuple[int, int]], tuple[int, int], list[dict[str, str]]]:
    """Look for views that may not train where their source does.

    Args:
        table: of a `Corpus`.
        sides: of its rows.
        views: of its utterances; rejected ones do not count.

    Returns:
        By fold, how many of the views of its training utterances break it, and how many these are; the same for views
        that break some fold, of those that are trained on in some; and of each that does, `view`, the first such
        `fold`, and `reason`.
    """
    good = [view for view in views if view.rejected is None]
    counts: dict[str, tuple[int, int]] = {}
    reasons: dict[str, dict[str, str]] = {}
    used: set[str] = set()
    for fold in sorted(sides.tested.dropna().unique()):
        trained = table[[sides.train(name, fold) for name in sides.names]]
        ids, speakers = set(trained["utterance_id"]), set(trained["speaker"].dropna())
        inside = [view for view in good if view.source_utterance in ids]
        broken = [(view, reason) for view in inside if (reason := view.breaks(ids, speakers))]
        counts[str(fold)] = len(broken), len(inside)
        used.update(view.view_id for view in inside)
        for view, reason in broken:
            reasons.setdefault(view.view_id, {"view": view.view_id, "fold": str(fold), "reason": reason})
    return counts, (len(reasons), len(used)), list(reasons.values())
