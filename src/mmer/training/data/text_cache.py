"""Disk cache of a frozen text encoder's hidden states, computed once for all epochs.

A cache is a folder with two append-only files: `states.bin`, the hidden states of one text after the other, and
`index.bin`, a record for each of them. A record is written after its states, so that a process may be killed at any
moment: opening the cache truncates incomplete or damaged data. The name of the folder is a hash of the encoder's
weights, its configuration and the precision, so each encoder has its own. Token ids identify a text, whatever the
tokenizer.

An epoch that is repeated after an interruption finds the same cache as the first attempt, because `set_epoch` drops
what was added in it. A resumed run is therefore bit-identical to an uninterrupted one on CPU.
"""

import hashlib
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmer.files.writing import writable
from mmer.model.encoders.text import TextEncoder
from mmer.training.data.dataset import Batch, Item

# Not safetensors, whose files do not grow, nor lmdb, whose pages are not cut back to the end of an epoch.
_RECORD = np.dtype(
    [("key", "V16"), ("offset", "<i8"), ("tokens", "<i4"), ("epoch", "<i4"), ("checksum", "<u4")], align=False
)
_VIEWS = ("", "augmented_")
FOLDER = "text_cache"
"""Subfolder of a run for the caches during training."""
Key = tuple[bytes, int]
"""Key of a text: hash and number of its token ids."""


class KeyedCollator:
    """Collator that adds `text_keys` and `augmented_text_keys` to its batches.

    Args:
        collate: the collator of the batches.
    """

    def __init__(self, collate: Callable[[Sequence[Item]], Batch]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Item]) -> Batch:
        batch = self.collate(items)
        for view in _VIEWS:
            if f"{view}input_ids" in batch:
                batch[f"{view}text_keys"] = text_keys(
                    batch[f"{view}input_ids"], batch[f"{view}text_attention_mask"]
                )
        return batch


def text_keys(input_ids: Tensor, attention_mask: Tensor) -> list[Key]:
    """Compute a key for each row of right-padded token ids (batch, tokens)."""
    counts = attention_mask.sum(dim=1).tolist()
    rows = input_ids.to(torch.int32).numpy()
    return [
        (hashlib.blake2b(row[:count].tobytes(), digest_size=16).digest(), count)
        for row, count in zip(rows, counts, strict=True)
    ]


class TextCache:
    """Cache of hidden states of a frozen text encoder, memory-mapped from disk.

    Args:
        folder: folder of the caches of all encoders, created if it does not exist.
        encoder: the frozen encoder; it is put into evaluation mode and stays there.
        limit: limit of the hidden states in bytes; texts beyond it are encoded each time.
        precision: precision of the encoder, as `training.precision`.
        process: number of this process; each has a cache of its own.
        keep_second_view: whether to store texts of the second view; views made on the fly differ in each epoch. They
            are looked up either way.
    """

    def __init__(
        self,
        folder: Path,
        encoder: TextEncoder,
        limit: float,
        precision: str = "float32",
        process: int = 0,
        *,
        keep_second_view: bool = False,
    ) -> None:
        self.encoder, self.limit, self.keep_second_view = encoder.eval(), limit, keep_second_view
        self.folder = folder / f"{_fingerprint(encoder, precision)}-{process}"
        self.folder.mkdir(parents=True, exist_ok=True)
        size, mixed = int(encoder.model.config.hidden_size), encoder.layer_weights
        self._shape = (size,) if mixed is None else (len(mixed.layers), size)
        self._size = math.prod(self._shape)
        self._states_file, self._index_file = (self.folder / name for name in ("states.bin", "index.bin"))
        for file in (self._states_file, self._index_file):
            file.touch()
        self._mapped: NDArray[np.float32] = np.empty(0, np.float32)
        self._places: dict[bytes, int] = {}
        self._epoch = 0
        self._keep(self._undamaged())

    def __len__(self) -> int:
        """Return the number of stored texts."""
        return len(self._places)

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch, counted from 0; drop what was added in it or in a later one."""
        self._epoch = epoch
        records = self._records()
        self._keep(int(np.searchsorted(records["epoch"], epoch)))

    def complete(self, inputs: Batch) -> None:
        """Replace token ids by hidden states, in place.

        Args:
            inputs: a batch from `KeyedCollator`.
        """
        for view in _VIEWS:
            keys = inputs.pop(f"{view}text_keys", None)
            if keys is not None:
                ids, mask = inputs.pop(f"{view}input_ids"), inputs[f"{view}text_attention_mask"]
                keep = not view or self.keep_second_view
                inputs[f"{view}text_hidden_states"] = self._states(keys, ids, mask, keep=keep)

    def _states(self, keys: Sequence[Key], ids: Tensor, mask: Tensor, *, keep: bool) -> Tensor:
        """Return hidden states (batch, tokens, d), or (batch, tokens, layers, d) to be mixed, zero where padded."""
        device = self.encoder.model.device
        found = np.zeros((*ids.shape, self._size), np.float32)
        missing: dict[Key, list[int]] = {}
        for row, (key, count) in enumerate(keys):
            if key in self._places:
                found[row, :count] = self._read(key, count)
            elif count:
                missing.setdefault((key, count), []).append(row)
        states = torch.from_numpy(found)
        if device.type == "cuda":  # from pinned memory, the copy is asynchronous
            states = states.pin_memory()
        states = states.to(device, non_blocking=True)
        if missing:
            longest, first = max(count for _, count in missing), [rows[0] for rows in missing.values()]
            ids, mask = (tensor[first, :longest].to(device) for tensor in (ids, mask))
            with torch.no_grad():
                new = torch.stack(list(self.encoder.hidden_states(ids, mask)), dim=2).flatten(2).float()
                new = new * mask[..., None]
            for number, rows in enumerate(missing.values()):
                states[rows, :longest] = new[number]
            if keep:
                self._add(list(missing), new.cpu().numpy())
        return states.unflatten(2, self._shape)

    def _read(self, key: bytes, count: int) -> NDArray[np.float32]:
        start = self._places[key]
        end = start + count * self._size
        if end > len(self._mapped):
            self._mapped = np.memmap(self._states_file, np.float32, mode="r")
        return self._mapped[start:end].reshape(count, self._size)

    def _add(self, keys: Sequence[Key], states: NDArray[np.float32]) -> None:
        offset = self._states_file.stat().st_size // 4
        contents, records = [], []
        for (key, count), rows in zip(keys, states, strict=True):
            content = rows[:count].tobytes()
            if 4 * offset + len(content) > self.limit:
                continue
            contents.append(content)
            records.append((key, offset, count, self._epoch, zlib.crc32(content)))
            self._places[key] = offset
            offset += len(content) // 4
        for file, content in (
            (self._states_file, b"".join(contents)),
            (self._index_file, np.array(records, _RECORD).tobytes()),
        ):
            with writable(file), open(file, "ab") as output:
                output.write(content)

    def _records(self) -> NDArray[Any]:
        content = self._index_file.read_bytes()
        return np.frombuffer(content[: len(content) // _RECORD.itemsize * _RECORD.itemsize], _RECORD)

    def _undamaged(self) -> int:
        """Count the records before the first with damaged states."""
        records = self._records()
        size = self._states_file.stat().st_size
        content: Any = np.memmap(self._states_file, np.uint8, mode="r") if size else b""
        end = 0
        for number, record in enumerate(records):
            start, end = end, end + 4 * int(record["tokens"]) * self._size
            whole = record["offset"] * 4 == start and end <= size
            if not whole or zlib.crc32(content[start:end]) != record["checksum"]:
                return number
        return len(records)

    def _keep(self, count: int) -> None:
        """Truncate the cache to the first `count` texts."""
        records = self._records()[:count]
        end = 0
        if count:
            end = 4 * (int(records["offset"][-1]) + int(records["tokens"][-1]) * self._size)
        if self._states_file.stat().st_size > end:
            self._mapped = np.empty(0, np.float32)  # its file is about to be truncated
        for file, size in ((self._index_file, count * _RECORD.itemsize), (self._states_file, end)):
            with open(file, "r+b") as output:
                output.truncate(size)
        self._places = {bytes(record["key"]): int(record["offset"]) for record in records}


def _fingerprint(encoder: TextEncoder, precision: str) -> str:
    settings = encoder.model.config.to_json_string(use_diff=False)
    digest = hashlib.blake2b(f"{precision} {settings}".encode(), digest_size=12)
    if encoder.layer_weights is not None:
        digest.update(f"layers {encoder.layer_weights.layers}".encode())
    for name, weight in encoder.model.state_dict().items():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
