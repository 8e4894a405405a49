"""Temporary settings of PyTorch on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def attention_of_any_length() -> Iterator[None]:
    """Keep cuDNN's attention from being chosen on a GPU, and allow it again afterwards.

    cuDNN compiles a kernel for every new shape, and nearly every batch of utterances has a length of its own.
    """
    if not torch.cuda.is_available():
        yield
        return
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Enable or disable TF32 for float32 products and convolutions on a GPU, and restore the state afterwards."""
    if not torch.cuda.is_available():
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
