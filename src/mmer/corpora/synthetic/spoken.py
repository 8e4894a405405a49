"""*spoken*: a synthetic corpus with known answers, made by eSpeak NG.

An emotion is arousal times valence: happy (high, positive), angry (high, negative), calm (low, positive) and sad
(low, negative). Rate, pitch, pitch range and loudness alone carry arousal; words alone carry valence. The same voice
speaks every sentence with both arousals, and every setting of the prosody is used for a positive sentence and its
negative twin, which differs in one word. So the text alone, or the prosody alone, gives at most 50 % accuracy.
"""

import io
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
from numpy.typing import NDArray
from rich.console import Console

from mmer.audio.load import SAMPLING_RATE
from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.synthetic.espeak import ESpeak, without_silence
from mmer.corpora.tables import Row
from mmer.display.progress import counting
from mmer.errors import CorpusError
from mmer.files.writing import write_bytes
from mmer.plain_text import counted

EMOTIONS = {
    ("high", "positive"): "happy",
    ("high", "negative"): "angry",
    ("low", "positive"): "calm",
    ("low", "negative"): "sad",
}

ACCENTS = (
    *("en-us", "en", "en-gb-scotland", "en-029"),
    *("en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc"),
)
VARIANTS = {
    "female": (
        *("f1", "f2", "f3", "f4", "f5", "Alicia", "Andrea"),
        *("Annie", "anika", "aunty", "belinda", "linda", "steph"),
    ),
    "male": ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Andy", "Denis", "Diogo", "Lee", "travis"),
}
"""Variants of eSpeak NG, without whispers, robots and other oddities."""

PROSODY = {  # smallest and largest value of each setting of `ESpeak.synthesize`
    "high": {"rate": (235, 265), "pitch": (54, 70), "pitch_range": (75, 100), "volume": (60, 72)},
    "low": {"rate": (125, 145), "pitch": (30, 46), "pitch_range": (5, 30), "volume": (27, 38)},
}

ADJECTIVES = (  # positive, negative
    *(("wonderful", "terrible"), ("beautiful", "disgusting"), ("perfect", "rotten"), ("lovely", "nasty")),
)
VERBS = (("loved", "hated"), ("praised", "cursed"))
FRAMES = {
    ADJECTIVES: (
        "{person} had a {word} {thing}",
        "the {thing} {time} was {word}",
        "it was a {word} {thing} {time}",
        "{person} called the {thing} {word}",
    ),
    VERBS: ("{person} {word} the {thing} {time}", "{time} {person} {word} the {thing}"),
}
PERSONS = ("my sister", "our neighbor", "the doctor", "his teacher", "her brother", "the driver")
THINGS = ("garden", "concert", "letter", "journey", "meeting", "dinner", "picture", "answer", "lesson")
TIMES = ("today", "this morning", "last night", "on Monday", "this year", "last week")

RECORDINGS, TABLE = "recordings", "corpus.parquet"
"""What `make_spoken_once` writes to a folder, in this order."""
_MAX_TWINS = 1000  # out of 2160 pairs of sentences, so that drawing new ones stays fast


@dataclass(frozen=True, slots=True)
class Voice:
    """Voice of eSpeak NG: an accent and a variant."""

    accent: str
    variant: str
    gender: str

    @property
    def name(self) -> str:
        """Return its name in eSpeak NG and in the speaker column."""
        return f"{self.accent}+{self.variant}"


def make_spoken(
    out_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    train_voices: int = 16,
    validation_voices: int = 4,
    test_voices: int = 6,
    utterances: int = 24,
    progress: Progress | None = None,
) -> Corpus:
    """Make the corpus: 16 kHz mono FLAC files and their table.

    No voice and no sentence is in two splits; the words that carry valence are in all of them. Half of the voices
    are female, or one more. The same arguments give the same samples, bit for bit.

    Args:
        out_dir: folder of the recordings, created if it does not exist; files of the same names are overwritten.
        seed: seed of the voices, the sentences and the prosody.
        train_voices, validation_voices, test_voices: number of voices in each split, at most 26 in all.
        utterances: number of utterances of each voice, a multiple of 4 for equal numbers of the emotions.
        progress: called with the number of utterances spoken so far and of all.

    Returns:
        The corpus, with the split column filled; extra columns: `arousal`, `valence`, and the settings `rate`,
        `pitch`, `pitch_range` and `volume`.

    Raises:
        CorpusError: there are too few voices or sentences, or `utterances` is no multiple of 4.
    """
    counts = {"train": train_voices, "validation": validation_voices, "test": test_voices}
    check_sizes(counts, utterances, 4, _MAX_TWINS)
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    voices, twins = draw_voices(generator), _twins(generator)
    synthesizer = ESpeak()
    rows: list[Row] = []
    total = sum(counts.values()) * utterances
    for split, count in counts.items():
        for voice in itertools.islice(voices, count):
            for number, sentences in enumerate(itertools.islice(twins, utterances // 4), 1):
                for row in _four(voice, sentences, generator):
                    name = f"{voice.accent}_{voice.variant}_{number:02}_{row['emotion']}"
                    path = folder / f"{name}.flac"
                    row |= {"utterance_id": name, "audio_path": str(path), "split": split}
                    row["duration"] = _speak(synthesizer, voice, row, path)
                    rows.append(row)
                    if progress:
                        progress(len(rows), total)
    return Corpus(pd.DataFrame(rows), source=str(folder))


def check_sizes(counts: Mapping[str, int], utterances: int, together: int, most: int) -> None:
    """Check how many voices and utterances are asked for.

    Args:
        counts: voices in each split.
        utterances: of each voice.
        together: number of utterances that are made at a time, which has to divide `utterances`.
        most: how often so many can be made.

    Raises:
        CorpusError: too many are asked for, or `utterances` is no multiple of `together`.
    """
    voices, available = sum(counts.values()), sum(map(len, VARIANTS.values()))
    if voices > available or min(counts.values()) < 0:
        raise CorpusError(f"{counted(voices, 'voice', 'is', 'are')} asked for; 0 to {available} are there")
    each = f"{counted(utterances, 'utterance')} of each voice"
    if utterances < together or utterances % together:
        raise CorpusError(f"{each}; give a multiple of {together}")
    if voices * utterances // together > most:
        allowed = f"{counted(voices, 'voice', 'has', 'have')} sentences for {most // voices * together} each"
        raise CorpusError(f"{each} are too many; {allowed}")


def make_spoken_once(out: Path, seed: int, console: Console) -> Path:
    """Make *spoken* in a folder unless it is there, and return the path of its table."""
    table_path = out / TABLE
    if not table_path.exists():
        with counting(console, "eSpeak NG is speaking") as progress:
            make_spoken(out / RECORDINGS, seed=seed, progress=progress).write(table_path)
    return table_path.resolve()


def draw_voices(generator: np.random.Generator) -> Iterator[Voice]:
    """Yield every variant once, women and men in turn, each with an accent."""
    accents = itertools.cycle(generator.permutation(ACCENTS).tolist())
    women, men = (generator.permutation(VARIANTS[gender]).tolist() for gender in ("female", "male"))
    for woman, man in zip(women, men, strict=True):
        yield Voice(next(accents), woman, "female")
        yield Voice(next(accents), man, "male")


def _twins(generator: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Yield sentences with a positive word and their twins with a negative one, all words in turn, none twice."""
    words = [(kind, pair) for kind in FRAMES for pair in kind]
    said: set[str] = set()
    while True:
        for i in generator.permutation(len(words)):
            kind, (positive, negative) = words[i]
            frame = str(generator.choice(FRAMES[kind]))
            slots = {"person": PERSONS, "thing": THINGS, "time": TIMES}
            filled = {name: str(generator.choice(fillers)) for name, fillers in slots.items()}
            sentence = frame.format(word=positive, **filled)
            if sentence not in said:
                said.add(sentence)
                yield sentence, frame.format(word=negative, **filled)


def _four(voice: Voice, sentences: tuple[str, str], generator: np.random.Generator) -> Iterator[Row]:
    """Return rows of the four emotions: two sentences, each with the same two settings of the prosody."""
    for arousal, spans in PROSODY.items():
        settings = {
            name: int(generator.integers(smallest, largest, endpoint=True))
            for name, (smallest, largest) in spans.items()
        }
        for valence, sentence in zip(("positive", "negative"), sentences, strict=True):
            yield {
                "transcript": sentence,
                "emotion": EMOTIONS[arousal, valence],
                "speaker": voice.name,
                "gender": voice.gender,
                "language": "en",
                "corpus": "spoken",
                "arousal": arousal,
                "valence": valence,
                **settings,
            }


def _speak(synthesizer: ESpeak, voice: Voice, row: Row, path: Path) -> float:
    """Write the recording of a row and return its seconds."""
    settings = {name: row[name] for name in ("rate", "pitch", "pitch_range", "volume")}
    waveform = synthesizer.synthesize(row["transcript"], voice=voice.name, **settings)
    return write_speech(waveform, synthesizer.sampling_rate, path)


def write_speech(waveform: NDArray[np.float32], sampling_rate: int, path: Path) -> float:
    """Write (samples,) of eSpeak NG as a 16 kHz mono FLAC file without silence around it, and return its seconds."""
    waveform = soxr.resample(without_silence(waveform), sampling_rate, SAMPLING_RATE, quality="HQ")
    sound = io.BytesIO()
    soundfile.write(sound, waveform, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    write_bytes(path, sound.getvalue())
    return len(waveform) / SAMPLING_RATE
