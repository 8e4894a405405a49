"""What computes the answers: one interface to PyTorch and to onnxruntime."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmer.errors import CheckpointError, MMERError
from mmer.files.damaged import one_line

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
Array = NDArray[np.float32]
Inputs = Mapping[str, NDArray]
"""A batch of `MMERProcessor.collate` as NumPy arrays."""
Symbols = list[list[int] | None]
"""For each row the best CTC symbol of every valid frame; None where there is no sound."""


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """What a network says about a batch.

    Attributes:
        logits: (batch, emotions).
        embeddings: (batch, size) from which the logits are computed.
        both: (batch,) bool, the row has sound and words.
        speech_alone: (batch, emotions) logits of each row's sound without its words; None unless the network has
            missing-modality embeddings and there is sound and text in the batch.
        text_alone: the same of the words without the sound.
    """

    logits: Array
    embeddings: Array
    both: NDArray[np.bool_]
    speech_alone: Array | None = None
    text_alone: Array | None = None


class Network(ABC):
    """A trained network, ready to answer.

    Attributes:
        device: where it computes, as PyTorch writes it.
    """

    device: str

    def answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None = None) -> NetworkOutput:
        """Answer a batch.

        Args:
            inputs: `input_values` or `input_features`, `speech_attention_mask`, `input_ids`, `text_attention_mask`, as
                far as there are any.
            read: for a network with a CTC head that reads what it hears: from what is heard in the batch to the
                `input_ids` and `text_attention_mask` that replace those of `inputs`; not called where there is no
                sound.

        Raises:
            CheckpointError: the network cannot compute an answer to these inputs.
        """
        try:
            return self._answer(inputs, read)
        except MMERError:
            raise
        except Exception as error:  # of PyTorch and onnxruntime; they have no common base
            raise CheckpointError(
                f"the model cannot compute an answer ({type(error).__name__}: {one_line(error)[:200]}); "
                "are its weights, its tokenizer and its config.json those of one model?"
            ) from error

    @abstractmethod
    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput: ...

    @abstractmethod
    def probabilities(self, logits: Array) -> Array:
        """Softmax of (batch, emotions)."""
