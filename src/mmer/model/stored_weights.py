"""What a file of weights holds, known before a network is built for it."""

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mmer.errors import CheckpointError
from mmer.files.damaged import damaged_file


def stored_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the tensors in a safetensors file from its header alone."""
    with safe_open(weights, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def no_larger_than(shapes: Mapping[str, tuple[int, ...]], weights: Path) -> Iterator[None]:
    """Stop building a network that has more weights than a file holds.

    With a config.json of ten million layers, transformers would build layers for hours before it looks for their
    weights. Four times as many weights are allowed, since some layers are built twice (weight normalization, LoRA),
    and the decoder of an encoder-decoder is built and then left out.

    Raises:
        CheckpointError: the network has more.
    """
    number, size = 4 * len(shapes), 4 * sum(map(math.prod, shapes.values()))
    thread = threading.get_ident()

    def count(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        nonlocal number, size
        # What is loaded is registered again, and other threads may build other models meanwhile.
        if parameter is None or not parameter.is_meta or threading.get_ident() != thread:
            return
        number, size = number - 1, size - parameter.numel()
        if number < 0 or size < 0:
            raise CheckpointError(
                f"{weights.with_name('config.json')} describes a larger network than there are weights in "
                f"{weights.name}; they are not of the same model"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def check_finite(model: nn.Module, weights: Path) -> None:
    """Check that all weights of a network are numbers.

    Args:
        model: with its weights.
        weights: the file that they come from.

    Raises:
        CheckpointError: one is NaN or infinite.
    """
    with damaged_file(weights):
        for name, weight in model.named_parameters():
            if not all(bound.isfinite() for bound in weight.detach().aminmax()):
                raise CheckpointError(
                    f"{weights} holds NaN or infinite weights in {name}; ask for another copy"
                )
