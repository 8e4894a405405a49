"""Disk cache of the hidden states that frozen layers of a speech encoder give, computed once for all epochs and runs.

A cache is a folder with a file for each clip. The name of a file is a hash of what the encoder reads, so recording,
segment and normalization are in it; the folder's name is a hash of the frozen weights, the configuration, the hidden
states that are stored and the precision. Files are written whole, so that a process may be killed at any moment, and
two processes may use one cache; a file that is damaged counts as missing.

Each clip is encoded alone. Its hidden states are therefore the same bits whichever clips are stored, whatever the limit
is, and after an interruption.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmer.files.writing import writable, writing
from mmer.model.encoders.speech import SpeechEncoder
from mmer.model.gpu_settings import tf32
from mmer.training.data.feature_store import Features

FOLDER = "speech_cache"
"""Subfolder of a run or a study for the caches of all encoders during training."""
_SHARED = "MMER_SPEECH_CACHE"
"""Environment variable of a process that uses the caches of a study; names their folder."""
_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_VOLATILE = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
"""Of a configuration: what does not change the hidden states, but changes when a model is saved."""


@contextmanager
def study_cache(study: Path) -> Iterator[Path]:
    """Yield the folder of the caches of a study, which the processes started meanwhile use too.

    Inside another study, it is that study's folder. The folder is deleted at the end, unless an error ends the study,
    which may then be resumed.

    Args:
        study: folder of a run, a cross-validation or an ablation.
    """
    shared = os.environ.get(_SHARED)
    if shared is not None:
        yield Path(shared)
        return
    folder = study / FOLDER
    os.environ[_SHARED] = str(folder)
    try:
        yield folder
    finally:
        del os.environ[_SHARED]
    shutil.rmtree(folder, ignore_errors=True)


class SpeechCache:
    """Cache of `SpeechEncoder.frozen_states`, memory-mapped from disk.

    Args:
        folder: folder of the caches of all encoders, created if it does not exist.
        encoder: an encoder that `is_stored`, on the device that computes; it is put into evaluation mode.
        limit: limit of the files of all encoders in bytes; clips beyond it are encoded each time.
        precision: precision of the encoder, as `training.precision`.
    """

    def __init__(
        self, folder: Path, encoder: SpeechEncoder, limit: float, precision: str = "float32"
    ) -> None:
        self.encoder, self.limit, self.precision = encoder.eval(), limit, precision
        self.folder = folder / _fingerprint(encoder, precision)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._used = 0

    def __call__(self, key: str, features: Callable[[], Features]) -> NDArray[np.float32]:
        """Return the hidden states of a clip, (frames, layers, size).

        Args:
            key: see `key_of`.
            features: gives what the encoder reads, (samples,) or (frames, bins), where the clip is not stored.
        """
        states = self._read(key)
        return self._compute(features()) if states is None else states

    def add(self, key: str, features: Callable[[], Features]) -> bool:
        """Store a clip that is not stored yet, inside `only_writer`; return whether it is stored now.

        Args:
            key, features: as for `__call__`.

        Raises:
            MMERError: the file cannot be written.
        """
        if self._read(key) is not None:
            return True
        if self._used >= self.limit:
            return False
        states = self._compute(features())
        if self._used + states.nbytes > self.limit:
            return False
        file = self._file(key)
        with writable(file):
            file.parent.mkdir(exist_ok=True)
        with writing(file) as part, part.open("wb") as output:
            np.save(output, states)
        self._used += file.stat().st_size
        return True

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Wait until no other process stores clips, and keep others from it."""
        with FileLock(self.folder.parent / ".lock"):
            self._used = sum(file.stat().st_size for file in self.folder.parent.rglob("*.npy"))
            yield

    @torch.no_grad()
    def states_of_batch(self, inputs: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Replace the sound of a batch by hidden states.

        Args:
            inputs: (batch, samples) waveforms or (batch, frames, bins) log-mel features.
            attention_mask: (batch, samples or frames), 1 where valid; zero where sound is missing.

        Returns:
            The hidden states, (batch, frames, layers, size), zero where padded, and their mask, (batch, frames).
        """
        rows: list[Tensor | None] = []
        for row, count in zip(inputs.cpu().numpy(), attention_mask.sum(dim=1).tolist(), strict=True):
            clip = row[:count]
            heard = self(key_of(clip), lambda clip=clip: clip) if count else None
            rows.append(None if heard is None else torch.from_numpy(np.array(heard)))
        shape = next((row.shape[1:] for row in rows if row is not None), (1, 1))
        states = pad_sequence(
            [torch.zeros(0, *shape) if row is None else row for row in (*rows, torch.zeros(1, *shape))],
            batch_first=True,
        )[:-1]  # with a row of one frame, since there is no frame where all sound is missing
        counts = torch.tensor([0 if row is None else len(row) for row in rows])
        mask = (torch.arange(states.shape[1]) < counts[:, None]).to(attention_mask.dtype)
        return states.to(inputs.device), mask.to(inputs.device)

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npy"

    def _read(self, key: str) -> NDArray[np.float32] | None:
        try:
            return np.load(self._file(key), mmap_mode="c")  # PyTorch shares no read-only memory
        except (OSError, ValueError, EOFError):  # not there, or damaged
            return None

    @torch.no_grad()
    def _compute(self, features: Features) -> NDArray[np.float32]:
        device = next(self.encoder.parameters()).device
        inputs = torch.from_numpy(np.array(features))[None].to(device)
        mask = torch.ones(inputs.shape[:2], dtype=torch.int64, device=device)
        half = _PRECISIONS.get(self.precision)
        # A clip that is not stored is encoded while training computes in TF32.
        with tf32(False), torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            states, _ = self.encoder.frozen_states(inputs, mask)
        return torch.stack(list(states), dim=2)[0].float().cpu().numpy()


def key_of(*contents: Features | str) -> str:
    """Compute the key of a clip from what the encoder reads, or from what that is made of."""
    digest = hashlib.blake2b(digest_size=16)
    for content in contents:
        if isinstance(content, str):
            digest.update(content.encode())
        else:
            digest.update(f"{content.dtype} {content.shape}".encode())
            digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


def _fingerprint(encoder: SpeechEncoder, precision: str) -> str:
    settings = {
        name: value for name, value in encoder.model.config.to_dict().items() if name not in _VOLATILE
    }
    layers = None if encoder.layer_weights is None else encoder.layer_weights.layers
    if encoder.below is not None:
        layers = encoder.frozen_numbers
    digest = hashlib.blake2b(f"{precision} {layers} {sorted(settings.items())}".encode(), digest_size=12)
    for name, weight in encoder.stored_weights.items():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
