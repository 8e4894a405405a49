"""eSpeak NG, the speech synthesizer in the `espeakng-loader` wheel, through its C interface."""

import _ctypes
import ctypes
import os
import shutil
import tempfile
import threading
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmer.errors import MMERError
from mmer.extras import import_extra

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback, and Synth returns when all have gone
_DO_NOT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_UTF8 = 1  # espeakCHARS_UTF8
_SSML = 0x10  # espeakSSML
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # espeak_PARAMETER

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class SSML(str):
    """Text with markup, whose element `prosody` changes rate, pitch, range and volume of some words."""

    __slots__ = ()


class ESpeak:
    """Synthesizer with its own copy of the library's state.

    The library keeps state between utterances (its pitch flutter, for example), even after it is terminated and
    initialized again, so an utterance depends on earlier ones. Each instance therefore loads a copy of the
    library: the same calls on a new instance give the same samples, bit for bit (but for the variants `Reed` and
    `caleb`, whose noise comes from the C library). That copy takes 1.5 MB; `close`, or the end of a `with` block,
    releases it.

    Attributes:
        sampling_rate: Hz of what `synthesize` returns.

    Raises:
        MissingExtraError: the extra `demo` is not installed.
        MMERError: the library cannot be loaded or does not find its data.
    """

    def __init__(self) -> None:
        espeakng_loader = import_extra("espeakng_loader", "eSpeak NG", "demo")
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                self._library = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), folder))
            except OSError as error:
                remedy = "reinstall espeakng-loader, or set TMPDIR to a folder that libraries load from"
                raise MMERError(f"eSpeak NG cannot be loaded ({error}); {remedy}") from None
        self._lock = threading.Lock()
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _Callback(self._receive)  # the library keeps a pointer to it
        data: str = espeakng_loader.get_data_path()
        self.sampling_rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), _DO_NOT_EXIT)
        if self.sampling_rate <= 0:
            raise MMERError(f"eSpeak NG cannot read its data in {data}; it allows paths of 160 characters")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(0))  # for the noise in breathy voices

    def synthesize(
        self, text: str, *, voice: str, rate: int, pitch: int, pitch_range: int, volume: int
    ) -> NDArray[np.float32]:
        """Speak a text.

        Args:
            text: the text, plain or as `SSML`.
            voice: language and variant, as `en-us+f3`.
            rate: words per minute, 80 to 450; 175 is usual.
            pitch: 0 to 99, relative to the voice's own; 50 is usual.
            pitch_range: 0 (monotone) to 100; 50 is usual.
            volume: 0 to 200; 100 is usual.

        Returns:
            (samples,) full scale = ±1.

        Raises:
            MMERError: the voice is unknown.
        """
        with self._lock:
            if self._library.espeak_SetVoiceByName(voice.encode()):
                raise MMERError(f"eSpeak NG has no voice {voice!r}")
            settings = {_RATE: rate, _VOLUME: volume, _PITCH: pitch, _RANGE: pitch_range}
            for parameter, value in settings.items():
                self._library.espeak_SetParameter(parameter, value, 0)
            self._chunks.clear()
            encoded = text.encode()
            length = ctypes.c_size_t(len(encoded) + 1)
            flags = _UTF8 | (_SSML if isinstance(text, SSML) else 0)
            failed = self._library.espeak_Synth(encoded, length, 0, 1, 0, flags, None, None)
            assert not failed, failed
            samples = np.concatenate([*self._chunks, np.zeros(0, np.int16)])
            return samples.astype(np.float32) / np.float32(32768)

    def close(self) -> None:
        """Unload the library; nothing can be synthesized any more."""
        self._library.espeak_Terminate()
        if os.name == "posix":
            _ctypes.dlclose(self._library._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


def without_silence(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Trim the silence around a sentence of eSpeak NG, (samples,); the result is empty if there is no sound."""
    loud = np.flatnonzero(np.abs(waveform) > 1e-3)
    return waveform[loud[0] : loud[-1] + 1] if len(loud) else waveform[:0]
