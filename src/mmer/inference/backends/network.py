"""One interface to networks in PyTorch and in onnxruntime."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from mmer.errors import CheckpointError, MMERError
from mmer.files.damaged import message_of

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
Array = NDArray[np.float32]
Inputs = Mapping[str, NDArray]
"""A batch of `Preprocessor.collate` as NumPy arrays."""
Symbols = list[list[int] | None]
"""For each row the most probable CTC symbol of every valid frame; None where there is no sound."""


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """The outputs of a network for a batch.

    Attributes:
        logits: (batch, emotions); or dimensions, (batch, dimensions).
        embeddings: (batch, size) from which the logits are computed.
        both: (batch,) bool, true where the row has speech and text.
        speech_alone: (batch, emotions) logits from each row's speech without its text; None unless the network has
            missing-modality embeddings and the batch has both modalities.
        text_alone: (batch, emotions) logits from each row's text without its speech; None likewise.
        encodings: `speech` and `text` -> what `TorchNetwork.keep` returns for the encoder's output; empty unless asked.
    """

    logits: Array
    embeddings: Array
    both: NDArray[np.bool_]
    speech_alone: Array | None = None
    text_alone: Array | None = None
    encodings: Mapping[str, Sequence[Array | None]] = field(default_factory=dict)


class Network(ABC):
    """A trained network in evaluation mode.

    Attributes:
        device: on which it computes, in PyTorch's notation.
    """

    device: str

    def answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None = None) -> NetworkOutput:
        """Answer a batch.

        Args:
            inputs: `input_values` or `input_features`, `speech_attention_mask`, `input_ids`, `text_attention_mask`,
                (batch, ...) each, of the modalities in the batch.
            read: for transcripts of the network's CTC head: maps the symbols of the batch to the `input_ids` and
                `text_attention_mask`, (batch, tokens), that replace those of `inputs`. Not called without sound.

        Raises:
            CheckpointError: the network cannot compute an answer to these inputs.
        """
        try:
            return self._answer(inputs, read)
        except MMERError:
            raise
        except Exception as error:  # of PyTorch and onnxruntime; they have no common base
            raise CheckpointError(
                f"the model cannot compute an answer ({type(error).__name__}: {message_of(error)[:200]}); "
                "are its weights, its tokenizer and its config.json those of one model?"
            ) from error

    @abstractmethod
    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput: ...

    def probabilities(self, logits: Array) -> Array:
        """Apply the softmax to (batch, emotions) logits."""
        return softmax(logits, axis=1)
