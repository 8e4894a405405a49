"""Answers of an exported model, by onnxruntime and without PyTorch."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmer.errors import MMERError
from mmer.extras import import_extra
from mmer.files.damaged import damaged_file
from mmer.inference.backends.network import Inputs, Network, NetworkOutput, Symbols
from mmer.inference.backends.onnx_graph import check_graph

MODEL = "model.onnx"
"""The file in a folder that `mmer model export` writes."""


class OnnxNetwork(Network):
    """A model that `mmer model export` wrote, on the CPU; the graph is described in `mmer.inference.backends.export`.

    It takes as many threads as `OMP_NUM_THREADS` says, like PyTorch.

    Args:
        file: of the model.
        shortest: samples or frames of silence that stand where a whole batch has no sound.

    Raises:
        CheckpointError: the file is damaged, or holds what `check_graph` refuses.
        MissingExtraError: onnxruntime is not installed.
    """

    device = "cpu"

    def __init__(self, file: Path, shortest: int) -> None:
        runtime: Any = import_extra("onnxruntime", f"the exported model {file.parent}", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads_asked_for()
        options.log_severity_level = 3  # errors
        # Threads that wait would otherwise spin on the cores that decode the next recordings.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with damaged_file(file):
            check_graph(file)
            self._session: Any = runtime.InferenceSession(file, options, ["CPUExecutionProvider"])
        self._inputs = {entry.name: entry for entry in self._session.get_inputs()}
        self._outputs = [entry.name for entry in self._session.get_outputs()]
        self._shortest = shortest

    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput:
        heard, was_read = "speech_attention_mask" in inputs, "input_ids" in inputs
        feeds = self._complete(inputs)
        if read is not None and heard:
            symbols, mask = self._run(["ctc_symbols", "frame_mask"], feeds)
            rows = zip(symbols, mask, _given(inputs["speech_attention_mask"]), strict=True)
            feeds |= read([row[valid].tolist() if sound else None for row, valid, sound in rows])
            was_read = True
        names = ["logits", "embeddings"]
        if heard and was_read and "speech_alone" in self._outputs:
            names += ["speech_alone", "text_alone"]
        logits, embeddings, *alone = self._run(names, feeds)
        if not alone:
            return NetworkOutput(logits, embeddings, np.zeros(len(logits), bool))
        both = _given(feeds["speech_attention_mask"]) & _given(feeds["text_attention_mask"])
        return NetworkOutput(logits, embeddings, both, speech_alone=alone[0], text_alone=alone[1])

    def _complete(self, inputs: Inputs) -> dict[str, NDArray]:
        """Complete the inputs of the graph; a missing modality is masked everywhere."""
        rows = len(next(iter(inputs.values())))
        feeds = dict(inputs)
        for name, entry in self._inputs.items():
            if name not in feeds:
                length = (
                    self._shortest if name.startswith(("input_values", "input_features", "speech")) else 1
                )
                kind = np.float32 if entry.type == "tensor(float)" else np.int64
                feeds[name] = np.zeros((rows, length, *entry.shape[2:]), kind)
        return feeds

    def _run(self, names: Sequence[str], feeds: dict[str, NDArray]) -> list[NDArray]:
        return self._session.run(names, {name: feeds[name] for name in self._inputs})


def threads_asked_for() -> int:
    """Read the number in `OMP_NUM_THREADS`; the first of a list such as `4,2`; 0 if it is not set."""
    asked = re.match(r"\s*\d{1,4}(?=\s*(,|$))", os.environ.get("OMP_NUM_THREADS", ""))
    return int(asked.group()) if asked else 0


def _given(mask: NDArray) -> NDArray[np.bool_]:
    """Find the rows that are not masked everywhere, (batch,) bool."""
    return mask.max(axis=1) > 0


def read_onnx_network(folder: Path, shortest: int, device: object = None) -> OnnxNetwork:
    """Load the model of a folder that `mmer model export` wrote.

    Args:
        folder: with `model.onnx`.
        shortest: see `OnnxNetwork`.
        device: `cpu`, or None.

    Raises:
        CheckpointError, MissingExtraError: see `OnnxNetwork`.
        MMERError: another device is asked for.
    """
    if device is not None and str(device) != "cpu":
        raise MMERError(f"device {device} cannot be used: {folder} is an exported model, which runs on cpu")
    return OnnxNetwork(folder / MODEL, shortest)
