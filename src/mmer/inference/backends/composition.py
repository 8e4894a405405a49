"""A model with other labels, or two models joined: what a folder says about them, and the network that they make.

A folder with `models.json` names one model and what its labels are called; or a speech model and a text model, whose
probabilities are averaged (late fusion). Each model's logits are divided by a temperature first.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from mmer.errors import CheckpointError
from mmer.features.preprocessor import Preprocessor
from mmer.files.damaged import damaged_file
from mmer.inference.backends.network import Array, Inputs, Network, NetworkOutput, Symbols
from mmer.plain_text import counted
from mmer.runs.result_file import ResultFile

FILE = "models.json"
_SPEECH = {"input_values", "input_features", "speech_attention_mask"}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model of a composition.

    Attributes:
        model: its name on the Hugging Face Hub, or the absolute path of its folder or bundle.
        sha256: of its files, see `model_hash`.
        labels: the label of each of its classes in the answers, in order; None for one that is left out.
        temperature: by which its logits are divided.
        weight: share of its probabilities in the answer, 0 to 1.
    """

    model: str
    sha256: str
    labels: Sequence[str | None]
    temperature: float = 1.0
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class FusionFit:
    """How weight and temperatures were fitted.

    Attributes:
        corpus: name of the corpus.
        split: of it; None for all.
        speakers: names of the speakers.
        utterances: with speech, text and a label that both models know.
        log_loss: of `speech` and `text` alone, of both with `equal` weights, and `fitted`, each utterance by a fit
            without its speaker.
    """

    corpus: str
    split: str | None
    speakers: Sequence[str]
    utterances: int
    log_loss: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Composition(ResultFile):
    """Content of `models.json`.

    Attributes:
        models: one model, or a speech model and a text model.
        fit: of weight and temperatures; None where they are equal and 1.
    """

    models: Sequence[Member]
    fit: FusionFit | None = None

    def __str__(self) -> str:
        names = [member.model for member in self.models]
        alone = f"{names[0]} with other labels or a calibration"
        return alone if len(names) == 1 else f"{' and '.join(names)} joined"

    @property
    def labels(self) -> list[str]:
        """Labels of the answers: those that all models have, in the order of the first one."""
        first, *others = [[label for label in member.labels if label is not None] for member in self.models]
        return list(dict.fromkeys(label for label in first if all(label in other for other in others)))

    @property
    def fitted(self) -> str:
        """Weight, temperatures and log-losses of a fusion that was fitted, in one line."""
        assert self.fit is not None
        speech, text = self.models
        losses = ", ".join(f"{name} {loss:z.3f}" for name, loss in self.fit.log_loss.items())
        return (
            f"speech counts {speech.weight:.0%} (temperature {speech.temperature:.2f}), text {text.weight:.0%} "
            f"(temperature {text.temperature:.2f}); log-loss on {counted(self.fit.utterances, 'utterance')}: {losses}"
        )

    def check(self) -> None:
        """Check that the parts agree with each other.

        Raises:
            ValueError: they do not.
        """
        if len(self.models) not in (1, 2):
            raise ValueError(f"{len(self.models)} models, where one or two are allowed")
        if len(self.labels) < 2:
            raise ValueError("fewer than two labels are left")
        if not all(member.temperature > 0 and 0 <= member.weight <= 1 for member in self.models):
            raise ValueError("a temperature is not above 0, or a weight not between 0 and 1")


def read_composition(folder: Path) -> Composition | None:
    """Read `models.json`; None where the folder has none.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    composition = Composition.read(path)
    with damaged_file(path):
        composition.check()
    return composition


def composed_processor(composition: Composition, processors: Sequence[Preprocessor]) -> Preprocessor:
    """Make the processor of a composition.

    Args:
        composition: what is composed.
        processors: of its models, in order.

    Raises:
        CheckpointError: a model has other classes than the composition says.
    """
    for member, processor in zip(composition.models, processors, strict=True):
        if len(member.labels) != len(processor.labels):
            raise CheckpointError(
                f"{member.model} has {len(processor.labels)} classes, and its composition names {len(member.labels)}; "
                "make it again"
            )
    made = copy.copy(processors[0])
    made.labels = composition.labels
    if len(processors) == 2:
        made.tokenizer = processors[1].tokenizer
        made.uses_text = made.missing_modality_embeddings = True
        made.ctc_symbols = None
    return made


class RelabeledNetwork(Network):
    """A network with other labels: classes of the same label are added up, and some left out.

    Args:
        network: the network.
        labels: of each of its classes; None for one that is left out.
        answers: the labels of the answers.
    """

    def __init__(self, network: Network, labels: Sequence[str | None], answers: Sequence[str]) -> None:
        self.network = network
        self.device = network.device
        self._classes = [[place for place, name in enumerate(labels) if name == label] for label in answers]

    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput:
        found = self.network.answer(inputs, read)
        return replace(
            found,
            logits=self._relabeled(found.logits),
            speech_alone=None if found.speech_alone is None else self._relabeled(found.speech_alone),
            text_alone=None if found.text_alone is None else self._relabeled(found.text_alone),
        )

    def probabilities(self, logits: Array) -> Array:
        """Apply the softmax to (batch, emotions) logits."""
        return self.network.probabilities(logits)

    def _relabeled(self, logits: Array) -> Array:
        # The softmax of these gives sums of probabilities, divided by what is not left out.
        columns = [np.logaddexp.reduce(logits[:, classes], axis=1) for classes in self._classes]
        return np.stack(columns, axis=1)


class FusedNetwork(Network):
    """Late fusion: the weighted mean of the probabilities of a speech model and a text model.

    Where one modality is missing, the other model answers alone. The embedding of an utterance is the logarithm of
    both models' probabilities, zero where a model did not answer.

    Args:
        speech, text: networks with the same labels.
        composition: their temperatures and weights.
    """

    def __init__(self, speech: Network, text: Network, composition: Composition) -> None:
        self._networks = (speech, text)
        self._members = composition.models
        self._labels = len(composition.labels)
        self.device = speech.device

    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput:
        heard = {name: array for name, array in inputs.items() if name in _SPEECH}
        words = {name: array for name, array in inputs.items() if name not in _SPEECH}
        rows = len(next(iter(inputs.values())))
        speech, has_speech = self._alone(0, heard, heard.get("speech_attention_mask"), rows)
        text, has_text = self._alone(1, words, words.get("text_attention_mask"), rows)
        both = has_speech & has_text
        weights = np.log([max(member.weight, 1e-30) for member in self._members])
        fused = np.logaddexp(speech + weights[0], text + weights[1]).astype(np.float32)
        logits: Array = np.where(both[:, None], fused, np.where(has_speech[:, None], speech, text))
        return NetworkOutput(logits, np.concatenate([speech, text], axis=1), both, speech, text)

    def _alone(
        self, place: int, inputs: Inputs, mask: NDArray | None, rows: int
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return log-probabilities of one model, (rows, labels), zero where it has no input, and where it has."""
        logs = np.zeros((rows, self._labels), np.float32)
        if mask is None:
            return logs, np.zeros(rows, bool)
        given = mask.max(axis=1) > 0
        if given.any():
            found = self._networks[place].answer({name: array[given] for name, array in inputs.items()})
            logs[given] = log_softmax(found.logits / self._members[place].temperature, axis=1)
        return logs, given
