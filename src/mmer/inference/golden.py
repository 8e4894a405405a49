"""Golden clips: what a model answered where it was made, so that it can be checked wherever it runs.

The clips are made by arithmetic alone, the same everywhere, and never a person's voice: gliding harmonics in a
rhythm of syllables, with noise. What they sound like does not matter, only that the same answers come out.
`golden.json` in the model folder holds the levels of what is heard, mean and deviation of the features, and the logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmer.audio.load import SAMPLING_RATE
from mmer.features.preprocessor import Preprocessor
from mmer.files.damaged import damaged_file
from mmer.inference.backends.network import Array
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.calibration import weights_hash
from mmer.runs.result_file import ResultFile

FILE = "golden.json"

_CLIPS = (  # seconds, Hz at the beginning and at the end, syllables a second, transcript
    (0.9, 110.0, 95.0, 3.0, "yes"),
    (1.7, 210.0, 320.0, 6.0, "no I never said that"),
    (2.6, 140.0, 130.0, 4.0, "we will see what comes of it tomorrow"),
    (1.2, 180.0, 180.0, 5.0, "one two three"),
)
_BAND = 6000  # Hz, so that nothing is lost at other sampling rates


@dataclass(frozen=True, kw_only=True)
class GoldenAnswers(ResultFile):
    """Content of `golden.json`.

    Attributes:
        weights: SHA-256 of the `model.safetensors` that answered.
        levels: see `golden_levels`, (clips, 10).
        transcripts: the words of each clip.
        features: see `golden_features`, (clips, 2); empty for a model without speech.
        labels: emotions in the order of the model's classes.
        logits: (clips, emotions), without calibration.
    """

    weights: str
    levels: Sequence[Sequence[float]]
    transcripts: Sequence[str]
    features: Sequence[Sequence[float]]
    labels: Sequence[str]
    logits: Sequence[Sequence[float]]

    @classmethod
    def of_model(cls, folder: Path) -> Self | None:
        """Read `golden.json` of a model folder; None where it has none.

        Raises:
            CheckpointError: it is damaged, or of another version.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        again = "delete it, or train again"
        read = cls.read(path, again)
        with damaged_file(path, again):
            for rows in (read.levels, read.features, read.logits):
                if len(set(map(len, rows))) > 1:
                    raise ValueError("its rows are not of one length")
        return read


def golden_clips(processor: Preprocessor) -> list[tuple[NDArray[np.float32], str]]:
    """Make the waveform, (samples,) at 16 kHz, and the words of each clip, within the processor's `max_duration`."""
    return list(_clips(min(max(_CLIPS)[0], processor.max_duration)))


@lru_cache
def _clips(longest: float) -> tuple[tuple[NDArray[np.float32], str], ...]:
    """Make the clips, of at most `longest` seconds."""
    clips = []
    for number, (seconds, first, last, syllables, words) in enumerate(_CLIPS):
        time = np.arange(round(min(seconds, longest) * SAMPLING_RATE)) / SAMPLING_RATE
        pitch = first + (last - first) * time / time[-1]
        phase = 2 * np.pi * np.cumsum(pitch) / SAMPLING_RATE
        harmonics = int(_BAND / max(first, last))
        voice = sum(np.sin(k * phase + k * k) / k for k in range(1, harmonics + 1))
        beat = 0.05 + np.sin(np.pi * syllables * time) ** 2
        # Raw numbers of PCG64 are the same in every version of numpy, those of its distributions need not be.
        raw = np.random.PCG64(number).random_raw(len(time))
        noise = raw.astype(np.float64) / 2.0**64 - 0.5
        smooth = np.convolve(noise, np.hanning(9) / 4, mode="same")
        clips.append(((0.1 * beat * voice + 0.01 * smooth).astype(np.float32), words))
    return tuple(clips)


def golden_logits(
    recognizer: EmotionRecognizer, clips: Sequence[tuple[NDArray[np.float32], str]], *, together: bool
) -> Array:
    """Compute the network's logits, (clips, emotions), without calibration.

    Args:
        recognizer: of any network.
        clips: of `golden_clips`, or the like.
        together: whether they share a batch.
    """
    processor = recognizer.processor
    features = [processor.features(waveform) if processor.uses_speech else None for waveform, _ in clips]
    words = [text for _, text in clips]
    parts = [list(range(len(clips)))] if together else [[place] for place in range(len(clips))]
    rows = []
    for part in parts:
        heard = [features[place] for place in part] if processor.uses_speech else None
        batch = processor.collate(heard, [words[place] for place in part], return_tensors="np")
        rows.append(recognizer.network.answer(batch).logits)
    return np.concatenate(rows)


def golden_features(
    processor: Preprocessor, clips: Sequence[tuple[NDArray[np.float32], str]]
) -> list[list[float]]:
    """Compute mean and standard deviation of the features of each clip.

    Args:
        processor: of the model.
        clips: waveforms, (samples,) each, with their transcripts.

    Returns:
        Two numbers for each clip; empty for a model without speech.
    """
    if not processor.uses_speech:
        return []
    made = [processor.standardize(processor.features(waveform)) for waveform, _ in clips]
    return [[float(each.mean(dtype=float)), float(each.std(dtype=float))] for each in made]


def golden_levels(clips: Sequence[tuple[NDArray[np.float32], str]]) -> list[list[float]]:
    """Compute the root mean square of each tenth of each clip, to tell whether two machines make the same clips.

    A hash would not do, since the last bit of a sine differs between machines.

    Args:
        clips: waveforms, (samples,) each, with their transcripts.
    """
    return [
        [float(np.sqrt(np.mean(np.square(part, dtype=float)))) for part in np.array_split(waveform, 10)]
        for waveform, _ in clips
    ]


def write_golden(folder: Path, recognizer: EmotionRecognizer | None = None) -> Path:
    """Answer the golden clips on the CPU, and write `golden.json` into a model folder, complete or not at all.

    Args:
        folder: the model folder.
        recognizer: the model of that folder where it is loaded already; not used if it is on another device.
    """
    if recognizer is None or recognizer.network.device != "cpu":
        recognizer = EmotionRecognizer.from_pretrained(folder, "cpu", calibrated=False)
    clips = golden_clips(recognizer.processor)
    answers = GoldenAnswers(
        weights=weights_hash(folder),
        levels=golden_levels(clips),
        transcripts=[words for _, words in clips],
        features=golden_features(recognizer.processor, clips),
        labels=recognizer.labels,
        logits=golden_logits(recognizer, clips, together=False).tolist(),
    )
    path = folder / FILE
    answers.write(path)
    return path
