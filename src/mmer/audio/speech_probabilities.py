"""How probable speech is in each moment of a stream, by the network of silero-vad."""

import warnings
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmer.extras import import_extra

FRAME = 512  # samples at 16 kHz, for which silero-vad gives one probability
CONTEXT = 64  # samples before a frame, which it looks at too
_LOADING = Lock()  # of silero-vad, which changes what all threads use


class SpeechProbabilities:
    """Gives the probability of speech in the next frames of one stream.

    silero-vad runs its network frame by frame. Only the LSTM near its end depends on the frames before, so this class
    runs each layer on all given frames at once. With a hundred frames at a time, that takes a tenth of the time. The
    probabilities are those of silero-vad within 1e-4.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """

    def __init__(self) -> None:
        # Imported here, so that given segments need no PyTorch.
        torch: Any = import_extra("torch", "finding speech")
        with _LOADING, warnings.catch_warnings():
            # of torch.jit and importlib, which silero-vad uses
            warnings.simplefilter("ignore", DeprecationWarning)
            threads = torch.get_num_threads()
            from silero_vad import load_silero_vad

            silero: Any = load_silero_vad()
            torch.set_num_threads(threads)  # silero-vad sets it to 1 for the whole process
        self._torch = torch
        self._network = silero._model
        cell = self._network.decoder.rnn.state_dict()
        self._lstm = torch.nn.LSTM(cell["weight_ih"].shape[1], cell["weight_hh"].shape[1])
        self._lstm.load_state_dict({f"{name}_l0": weight for name, weight in cell.items()})
        self._state: Any = None
        self._before = np.zeros(CONTEXT, np.float32)

    def __call__(self, frames: NDArray[np.float32]) -> list[float]:
        """Judge the next frames.

        Args:
            frames: (frames, `FRAME`) samples, full scale = ±1; none are allowed.

        Returns:
            A probability for each frame, 0 to 1.
        """
        if not len(frames):
            return []
        samples = np.concatenate([self._before, frames.reshape(-1)])
        self._before = samples[-CONTEXT:]
        with self._torch.inference_mode():
            windows = self._torch.from_numpy(samples).unfold(0, CONTEXT + FRAME, FRAME)
            encoded = self._network.encoder(self._network.run_extractors(windows))  # (frames, size, 1)
            hidden, self._state = self._lstm(encoded[:, :, 0], self._state)
            return self._network.decoder.decoder(hidden[:, :, None]).reshape(-1).tolist()
