"""Which of an encoder's hidden states the network reads: the last, or a learned mixture of several.

Hidden state 0 of an encoder of N layers is what its first layer reads, and hidden state n is what layer n gives.
`weighted` mixes all N + 1, as SUPERB does (Yang et al., 2021); a list mixes those that it names.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial

import torch
from torch import Tensor, nn

from mmer.errors import EncoderError

LAST = "last"
_read: ContextVar["_Read | None"] = ContextVar("read by layers", default=None)
"""What each layer reads in the current thread, while `states_read` runs an encoder."""


def chosen_layers(layers: str | Sequence[int], count: int, side: str) -> list[int] | None:
    """Return the numbers of the hidden states that are mixed; None for the last alone.

    Args:
        layers: `last`, `weighted`, or numbers from 0 to `count`.
        count: layers of the encoder.
        side: `speech` or `text`, for the message.

    Raises:
        EncoderError: the encoder has no such hidden state.
    """
    if isinstance(layers, str):
        return None if layers == LAST else list(range(count + 1))
    if wrong := [number for number in layers if not 0 <= number <= count]:
        raise EncoderError(
            f"model.{side}.layers names {wrong[0]}, but the encoder has {count} layers; choose from 0, what its first "
            f"layer reads, to {count}, what its last layer gives"
        )
    return list(layers)


class LayerWeights(nn.Module):
    """Mixes hidden states with learned weights, which are positive and add up to 1.

    Args:
        layers: numbers of the hidden states.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        super().__init__()
        self.layers = list(layers)
        self.logits = nn.Parameter(torch.zeros(len(layers)))

    def forward(self, states: Sequence[Tensor] | Tensor) -> Tensor:
        """Mix hidden states, one for each of `layers`, to (..., positions, size).

        Args:
            states: (..., positions, size) each, or all of them as (..., positions, layers, size), which is mixed
                several times as fast.
        """
        weights = self.logits.softmax(dim=0)
        if isinstance(states, Tensor):
            rows = states.flatten(0, -3)  # einsum would copy all of them
            return torch.bmm(weights.expand(len(rows), 1, -1), rows).view_as(states[..., 0, :])
        mixed = weights[0] * states[0]
        for weight, state in zip(weights[1:], states[1:], strict=True):
            mixed = mixed + weight * state
        return mixed

    @torch.no_grad()
    def shares(self) -> dict[int, float]:
        """Return the weight of each hidden state by its number."""
        return dict(zip(self.layers, self.logits.softmax(dim=0).tolist(), strict=True))


def record_layers(layers: nn.ModuleList) -> None:
    """Make layers note what they read; see `states_read`."""
    for number, layer in enumerate(layers):
        layer.register_forward_pre_hook(partial(_record, number))


class _Read(dict[int, Tensor]):
    """What layers read, by their numbers, up to the layer `end`, without `extra` tokens in front."""

    def __init__(self, end: int, extra: int) -> None:
        super().__init__()
        self.end, self.extra = end, extra


class _AllRead(Exception):  # noqa: N818 - no error: it ends a forward pass whose rest nobody reads
    """Raised by the layer that reads the last hidden state that is wanted."""


def _record(number: int, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    read = _read.get()
    if read is not None:
        read[number] = inputs[0][:, read.extra :]
        # An exported graph cannot be left early, and drops what nobody reads itself.
        if number >= read.end and not torch.compiler.is_compiling():
            raise _AllRead


def states_read(
    last_of: Callable[[], Tensor], count: int, wanted: Sequence[int], extra: int = 0
) -> list[Tensor]:
    """Run an encoder whose layers went through `record_layers`, up to the last hidden state that is wanted.

    Args:
        last_of: runs the encoder and returns the hidden states of its last layer, (batch, positions, size).
        count: layers of the encoder.
        wanted: numbers of hidden states, from 0 to `count`.
        extra: tokens in front of the frames, which the encoder removes from its last hidden states.

    Returns:
        The wanted hidden states, (batch, positions, size) each. A layer that LayerDrop skips gives what it would have
        read.
    """
    read = _Read(max(wanted), extra)
    token = _read.set(read)
    try:
        read[count] = last_of()
    except _AllRead:
        pass
    finally:
        _read.reset(token)
    return [read[min(known for known in read if known >= number)] for number in wanted]
