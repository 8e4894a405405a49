"""Attention kernels on a GPU."""

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
