"""Room, channel and codec effects on a recording."""

import io
from collections.abc import Collection
from typing import Any

import numpy as np
import soundfile
import soxr
from audiomentations import RoomSimulator
from numpy.typing import NDArray

from mmer.audio.load import SAMPLING_RATE
from mmer.augment.generators.generator import Material, Settings, Sound
from mmer.augment.speech import SpeechAugmenter, seeded
from mmer.extras import import_extra

CODECS = {
    "opus": ("OGG", "OPUS", 16_000),
    "mp3": ("MP3", "MPEG_LAYER_III", 16_000),
    "gsm": ("WAV", "GSM610", 8_000),
    "u-law": ("WAV", "ULAW", 8_000),
}
"""Format and subtype of libsndfile, and sampling rate in Hz."""

_COMPRESSION = 0.9  # libsndfile's scale is 0 to 1; MP3 does not support 1


class Effects:
    """Speech generator that applies a room, the changes of `SpeechAugmenter`, and a codec, in this order.

    Args:
        probability: probability of the room, of the codec, and of each change of `SpeechAugmenter` in its default
            ranges.
    """

    name = "effects"
    languages: Collection[str] | None = None
    speaks = False
    clones = False

    def __init__(self, *, probability: float = 0.5) -> None:
        import_extra("pyroomacoustics", "the room of the effects", extra="augment")
        self.settings: Settings = {"probability": probability}
        self._probability = probability
        self._change = SpeechAugmenter(probability=probability)
        # Without ray tracing, whose random numbers cannot be seeded; 8 reflections decay over about 0.15 s.
        self._room = RoomSimulator(
            p=1.0, max_order=8, use_ray_tracing=False, max_mic_distance=2.0, leave_length_unchanged=True
        )

    def __call__(self, material: Material, seed: int) -> Sound:
        """Change the recording; the sound's `settings` record the codec and the room's absorption, if any."""
        random = np.random.default_rng(seed)
        in_room, coded = random.random(2) < self._probability
        waveform, drawn = material.waveform, dict[str, str | float]()
        if in_room:
            with seeded(seed):
                reflected = np.asarray(self._room(waveform, SAMPLING_RATE), np.float32)
            level = float(np.linalg.norm(waveform) / max(np.linalg.norm(reflected), 1e-9))
            waveform = level * reflected
            chosen: dict[str, Any] = self._room.parameters
            drawn["room_absorption"] = round(float(chosen["absorption_coefficient"]), 4)
        waveform = self._change(waveform, seed)
        if coded:
            codec = str(random.choice(list(CODECS)))
            drawn["codec"] = codec
            waveform = through_codec(waveform, codec)
        return Sound(waveform, drawn)


def through_codec(waveform: NDArray[np.float32], codec: str) -> NDArray[np.float32]:
    """Encode and decode.

    Args:
        waveform: (samples,) mono, 16 kHz, within ±1.
        codec: one of `CODECS`.

    Returns:
        (samples,) the decoded waveform.
    """
    form, subtype, rate = CODECS[codec]
    file, level = io.BytesIO(), _COMPRESSION if rate == SAMPLING_RATE else None
    sent = soxr.resample(waveform, SAMPLING_RATE, rate)
    soundfile.write(file, sent, rate, format=form, subtype=subtype, compression_level=level)
    file.seek(0)
    received = soundfile.read(file, dtype="float32")[0][: len(sent)]
    heard = soxr.resample(received, rate, SAMPLING_RATE)[: len(waveform)]
    return np.pad(heard, (0, len(waveform) - len(heard))).astype(np.float32)
