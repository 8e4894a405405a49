"""Calibrated probabilities: the contents of a model folder's `calibration.json`, and how they are applied.

A network's softmax is usually over- or underconfident. `mmer.evaluation.calibration.calibrate` fits a correction on
speakers outside the training data, and `EmotionRecognizer.from_pretrained` applies it to every answer. A model with
missing-modality embeddings has separate calibrators for answers from both modalities, from sound alone and from text
alone, because its confidence differs between them.
"""

import hashlib
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from scipy.special import softmax

from mmer.errors import CheckpointError, MMERError, Parameter
from mmer.files.damaged import damaged_file
from mmer.plain_text import one_line
from mmer.runs.result_file import ResultFile

FILE = "calibration.json"
CONDITIONS = ("both", "speech", "text")
"""Inputs of an answer; a model without missing-modality embeddings has only `both`, whatever it reads."""

_WEIGHTS = (
    *("model.safetensors", "models.json", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt"),
)

SMALLEST = 1e-30
"""Lower bound of a probability, so that its logarithm is finite."""

Floats = NDArray[np.float64]
_STRICT: ConfigDict = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True)
class Calibrator:
    """Calibration function of a network's probabilities.

    Attributes:
        method: `none`; `temperature`, softmax(z / T); `vector`, softmax(w * z + b) with a factor and an offset of each
            emotion; `isotonic`, a piecewise rising function of each emotion's probability, renormalized. z is the
            logarithm of the network's probabilities.
        parameters: `temperature`; `weight` and `bias`, (emotions,); or `x` and `y`, for each emotion the corners of
            its function.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    method: str = "none"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, probabilities: Floats) -> Floats:
        """Calibrate (answers, emotions) probabilities."""
        if self.method == "none":
            return probabilities
        if self.method == "isotonic":
            corners = zip(probabilities.T, self.parameters["x"], self.parameters["y"], strict=True)
            made = np.stack([np.interp(column, x, y) for column, x, y in corners], axis=1)
            return made / made.sum(axis=1, keepdims=True)
        logs = np.log(np.maximum(probabilities, SMALLEST))
        if self.method == "temperature":
            return softmax(logs / self.parameters["temperature"], axis=1)
        return softmax(logs * np.array(self.parameters["weight"]) + np.array(self.parameters["bias"]), axis=1)

    def check(self, emotions: int) -> None:
        """Check the parameters against the method and the number of emotions.

        Raises:
            ValueError: they do not match.
        """
        wanted = {
            "none": {},
            "temperature": {"temperature": ()},
            "vector": {"weight": (emotions,), "bias": (emotions,)},
            "isotonic": {"x": None, "y": None},
        }
        if self.method not in wanted or set(self.parameters) != set(wanted[self.method]):
            raise ValueError(
                f"no method {reprlib.repr(self.method)} with the parameters {', '.join(self.parameters)}"
            )
        if self.method == "isotonic":
            for x, y in zip(self.parameters["x"], self.parameters["y"], strict=True):
                corners = np.array([x, y], np.float64)
                if corners.ndim != 2 or not corners.size or not np.isfinite(corners).all():
                    raise ValueError("corners of an isotonic function are no pairs of numbers")
                if (np.diff(corners) < 0).any() or corners[1, 0] <= 0:
                    raise ValueError("an isotonic function does not rise, or begins at zero")
            if len(self.parameters["x"]) != emotions:
                raise ValueError(f"{len(self.parameters['x'])} isotonic functions for {emotions} emotions")
            return
        for name, shape in wanted[self.method].items():
            value = np.array(self.parameters[name], np.float64)
            if value.shape != shape or not np.isfinite(value).all() or (name == "temperature" and value <= 0):
                raise ValueError(
                    f"{name} {self.parameters[name]!r} is out of its range, or not of the shape {shape}"
                )


@dataclass(frozen=True)
class CalibratedCondition:
    """Calibration of the answers from the same modalities.

    Attributes:
        calibrator: the calibration function.
        utterances: number of utterances that it was fitted on.
        folds: how the candidates were compared, in words.
        candidates: method -> its log-loss on speakers it was not fitted on; the simplest was chosen of those that
            are as low as the lowest within one standard error over speakers.
        before, after: `log_loss`, `brier` and `expected_calibration_error`, without and with calibration; each answer
            of `after` is calibrated by a fit without its speaker.
        bins: `before` and `after`, the rows of the reliability diagram of `confidence_bins`.
        scores: emotion -> 1 minus the probability of the true emotion of each utterance of that emotion, calibrated
            like those of `after`, in rising order; see `mmer.inference.trust.conformal`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    calibrator: Calibrator
    utterances: int
    folds: str
    candidates: Mapping[str, float]
    before: Mapping[str, float]
    after: Mapping[str, float]
    bins: Mapping[str, Sequence[Mapping[str, float]]]
    scores: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Calibration(ResultFile):
    """Contents of `calibration.json`.

    Attributes:
        weights: SHA-256 of the `weights_file` that it was fitted to.
        labels: emotions in the order of the model's classes.
        corpus: name of the corpus.
        split: the split; None for the whole corpus.
        speakers: names of the speakers that it was fitted on.
        conditions: a condition of `CONDITIONS` -> its calibration.
        note: limitations of the calibration; None for none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    weights: str
    labels: Sequence[str]
    corpus: str
    split: str | None
    speakers: Sequence[str]
    conditions: Mapping[str, CalibratedCondition]
    note: str | None = None

    def __call__(self, probabilities: Floats, condition: str) -> Floats:
        """Calibrate probabilities, (answers, emotions), of answers from one condition of `CONDITIONS`."""
        found = self.conditions.get(condition)
        return found.calibrator(probabilities) if found else probabilities

    def check(self) -> None:
        """Check that the parts agree with each other.

        Raises:
            ValueError: they do not.
        """
        if unknown := set(self.conditions) - set(CONDITIONS):
            raise ValueError(f"no condition {min(unknown)!r}; it must be {', '.join(CONDITIONS)}")
        for condition in self.conditions.values():
            condition.calibrator.check(len(self.labels))
            if sorted(condition.scores) != sorted(self.labels):
                raise ValueError(f"scores are of {', '.join(condition.scores)}, not of every emotion")

    def of_one_modality(self, modality: Literal["speech", "text"]) -> Self:
        """Return the calibration of a model that uses one modality, whose condition older versions called `both`."""
        names = {"both": modality}
        return replace(
            self, conditions={names.get(name, name): each for name, each in self.conditions.items()}
        )

    @classmethod
    def of_model(cls, folder: Path, labels: Sequence[str]) -> Self | None:
        """Read `calibration.json` of a model folder; None where it has none.

        Args:
            folder: the model folder.
            labels: emotions of the model.

        Raises:
            CheckpointError: the file is damaged, of a later version of mmer, or was fitted to another model.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        again = "fit it again, or delete it"
        calibration = cls.read(path, again)
        weights = weights_file(folder)
        if weights is not None and weights_hash(folder) != calibration.weights:
            raise CheckpointError(
                f"{path} was fitted to other weights than {weights.name} beside it; {again}"
            )
        if list(calibration.labels) != list(labels):
            found, known = (one_line(", ".join(names)) for names in (calibration.labels, labels))
            raise CheckpointError(f"{path} is for the emotions {found}, the model knows {known}; {again}")
        with damaged_file(path, again):
            calibration.check()
        return calibration


def weights_file(folder: Path) -> Path | None:
    """Find the file that a calibration depends on: weights, or what names the models; None in an exported model."""
    return next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)


def weights_hash(folder: Path) -> str:
    """Compute the SHA-256 of the `weights_file` of a folder that has one, and of the files that it lists."""
    path = weights_file(folder)
    assert path is not None
    parts = folder.glob(f"{path.name.partition('.')[0]}-*") if path.name.endswith(".index.json") else ()
    together = hashlib.sha256()
    for part in (path, *sorted(parts)):
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                together.update(block)
    return together.hexdigest()


def check_share(name: str, share: float) -> None:
    """Check that a share is between 0 and 1.

    Raises:
        MMERError: it is not.
    """
    if not 0 < share < 1:
        raise MMERError(Parameter(name), f" {share:g} is not between 0 and 1; give a share such as 0.9")
