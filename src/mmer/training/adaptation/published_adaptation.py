"""What an adaptation of a published model is worth: its record, what is told of it, and its card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmer.evaluation.intervals import Interval
from mmer.evaluation.model_card import adapted_card
from mmer.plain_text import counted, name_of
from mmer.runs.result_file import ResultFile
from mmer.training.adaptation.last_layer import AS_PUBLISHED

FILE = "adaptation.json"


@dataclass(frozen=True, kw_only=True)
class PublishedAdaptation(ResultFile):
    """Content of `adaptation.json`.

    Attributes:
        model: what was adapted, as it was named.
        model_sha256, corpus_sha256: hashes of what a repeated call must equal.
        train: `frozen` or `lora`, as the caller chose; None for what suits the number of utterances.
        labels: of the adapted model, in the order of its classes.
        utterances, speakers: number of those that it learned from.
        strength: the inverse of the penalty; 0 if the fit left the layer as it was published.
        steps: optimizer steps by which the network was fine-tuned; 0 if only the last layer is new.
        group: column of the utterances that were left out together.
        adapted: balanced accuracy (UA) on utterances that were left out of the fit.
        published: that of the model as it was, among these labels; one that it does not know is never right. None if it
            knows none.
        calibrated: whether its probabilities are calibrated on the same utterances.
    """

    model: str
    model_sha256: str
    corpus_sha256: str
    train: str | None = None
    labels: Sequence[str] = ()
    utterances: int = 0
    speakers: int = 0
    strength: float | None = None
    steps: int = 0
    group: str = "speaker"
    adapted: Interval | None = None
    published: Interval | None = None
    calibrated: bool = False

    def told(self, folder: Path) -> list[str]:
        """Say in lines what the adapted model in a folder is worth, and on what that rests."""
        assert self.adapted is not None
        clips = counted(self.utterances, "utterance")
        if self.steps:
            did = f"the network is fine-tuned to {clips} by {self.steps} optimizer steps"
        elif self.strength == AS_PUBLISHED:
            did = (
                "no other last layer makes left-out utterances more probable, so it stays as it was published"
            )
        else:
            did = f"the last layer is fitted to {clips}"
        before = "" if self.published is None else f", as published {self.published.estimate:.1%}"
        note = f"; {self.adapted.note}" if self.adapted.note else ""
        return [
            did,
            f"balanced accuracy {_with_bounds(self.adapted)}{before}, of {self._protocol}{note}",
            f"the probabilities are {'' if self.calibrated else 'not '}calibrated",
            str(folder),
        ]

    def card(self, *, listens: bool) -> str:
        """Return the card of the adapted model, which takes sound or reads."""
        assert self.adapted is not None
        return adapted_card(
            base=self.model if self.model.count("/") == 1 else name_of(self.model),
            labels=self.labels,
            listens=listens,
            utterances=self.utterances,
            speakers=self.speakers,
            steps=self.steps,
            adapted=_with_bounds(self.adapted),
            published=None if self.published is None else f"{self.published.estimate:.1%}",
            protocol=f"The figures are of {self._protocol}.",
            calibrated=self.calibrated,
        )

    @property
    def _protocol(self) -> str:
        """Which utterances the figures are of."""
        if self.group == "speaker":
            return f"{counted(self.speakers, 'speaker')}, each answered by a model that learned without this speaker"
        whose = counted(self.speakers, "speaker") if self.speakers else "speakers without a name"
        return (
            f"utterances of {whose}, answered by models that learned from others of them; what the model is worth for "
            "other voices is not measured"
        )


def _with_bounds(figure: Interval) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.estimate:.1%}"
    return f"{figure.estimate:.1%} (95 % interval {figure.low:.1%} to {figure.high:.1%})"
