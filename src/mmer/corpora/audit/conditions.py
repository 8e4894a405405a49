"""Conditions on which an audit fails, as `speaker_overlap>0`: an exit code for continuous integration."""

import operator
import re
from dataclasses import dataclass
from typing import Self

from mmer.corpora.audit.findings import FAULTS, LOOKUPS, OVERLAPS, VIEW_OVERLAP, Audit
from mmer.corpora.labels import nearest
from mmer.errors import MMERError

_COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_KNOWN = (*OVERLAPS, VIEW_OVERLAP, *LOOKUPS, *FAULTS)
_FORM = re.compile(r"\s*([A-Za-z_]+)\s*(>=|<=|>|<)\s*(-?(?:\d+\.?\d*|\.\d+))\s*")


@dataclass(frozen=True)
class AuditCondition:
    """Limit on a figure of an audit.

    Attributes:
        figure: one of `OVERLAPS` or `LOOKUPS` or `view_overlap`, judged in each fold, or of `FAULTS`: the number of
            such clips.
        comparison: `>`, `>=`, `<` or `<=`.
        limit: a share between 0 and 1, or a number of clips.
    """

    figure: str
    comparison: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `speaker_overlap>0`.

        Raises:
            MMERError: the text has another form, or the figure is unknown; the message names the nearest known one.
        """
        match = _FORM.fullmatch(text)
        if not match:
            raise MMERError(f"condition {text!r} is not of the form FIGURE>NUMBER, such as speaker_overlap>0")
        if match[1] not in _KNOWN:
            unknown = f"condition {text!r}: no figure {match[1]!r}{nearest(match[1], _KNOWN)}"
            raise MMERError(f"{unknown}; known are {', '.join(_KNOWN)}")
        return cls(match[1], match[2], float(match[3]))

    def __str__(self) -> str:
        return f"{self.figure}{self.comparison}{self.limit:g}"

    def judge(self, audit: Audit) -> tuple[bool | None, str]:
        """Tell whether the condition holds in some fold (None where unknown), also as one line of text."""
        if self.figure in FAULTS:
            values = {"the corpus": len(audit.clips.of(self.figure))}
        else:
            figures = {name: fold.share(self.figure) for name, fold in audit.folds.items()}
            values = {name: value for name, value in figures.items() if value is not None}
        if not values:
            return None, f"{self} cannot be judged: {self.figure} is not known"
        worst = (max if self.comparison.startswith(">") else min)(values, key=values.__getitem__)
        holds = _COMPARISONS[self.comparison](values[worst], self.limit)
        return holds, f"{self} {'holds' if holds else 'does not hold'}: {values[worst]:.4g} in {worst}"
