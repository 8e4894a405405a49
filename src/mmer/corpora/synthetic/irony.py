"""*irony*: a synthetic corpus, made by eSpeak NG, in which a word must agree with the prosody of that same word.

Every sentence has an adjective that carries valence and a neutral one, the decoy, in either order. eSpeak NG speaks one
of them brightly (higher, livelier, louder) and the other flatly (lower, monotone, quieter). A bright positive word and
a flat negative word are *sincere*; a flat positive word and a bright negative word are *ironic*.

A sentence is spoken in two renderings, the first adjective bright or the second. The same renderings are used for the
sentence with the opposite valence, and for both sentences with the adjectives exchanged: eight utterances. Over these,
the label is independent of the words, of the rendering, and of the rendering together with the words without their
order. Only the order of the words together with the place of each prosody determines it.

As sound holds the words, a model can learn to recognize them and need no text. In reiterant speech, both adjectives
are spoken as `mamama`, so that only the text has the words and only the sound has the prosody.
"""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.synthetic.espeak import SSML, ESpeak
from mmer.corpora.synthetic.spoken import PERSONS, Voice, check_sizes, draw_voices, write_speech
from mmer.corpora.tables import Row
from mmer.errors import CorpusError

VALENCES = (  # positive, negative
    *(("wonderful", "terrible"), ("beautiful", "disgusting"), ("perfect", "rotten"), ("lovely", "nasty")),
    *(("brilliant", "stupid"), ("charming", "boring"), ("marvelous", "miserable")),
    ("delightful", "dreadful"),
)
DECOYS = ("wooden", "narrow", "yellow", "northern", "purple", "modern", "rectangular", "Japanese")
FRAMES = (
    "{person} saw a {first} {thing} and a {second} {other}",
    "the {first} {thing} was near the {second} {other}",
    "{person} gave the {first} {thing} to a {second} {other}",
    "there was a {first} {thing} behind the {second} {other}",
    "after the {first} {thing} came a {second} {other}",
    "it is a {first} {thing} with a {second} {other}",
)
THINGS = (
    *("garden", "concert", "letter", "journey", "meeting"),
    *("dinner", "picture", "lesson", "kitchen", "window"),
)
LABELS = {True: "sincere", False: "ironic"}
"""Label by whether word and prosody agree."""
LARGEST_CONTOUR = 40
REITERANT = "mamama"
"""What is spoken in place of the adjectives in reiterant speech."""

_OCTET = 8
_MAX_OCTETS = 5000  # out of more than 40 000, so that drawing new ones stays fast


@dataclass(frozen=True, slots=True)
class _Octet:
    """Sentences of eight utterances: `frame` has places for the adjectives alone."""

    frame: str
    valenced: tuple[str, str]
    decoy: str


def make_irony(
    out_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    train_voices: int = 16,
    validation_voices: int = 4,
    test_voices: int = 6,
    utterances: int = 48,
    contour: int = 35,
    contrasted_decoy: bool = True,
    reiterant: bool = False,
    progress: Progress | None = None,
) -> Corpus:
    """Make the corpus: 16 kHz mono FLAC files and their table.

    No voice and no sentence is in two splits; the adjectives are in all of them. The same arguments give the same
    samples, bit for bit.

    Args:
        out_dir: folder of the recordings, created if it does not exist; files of the same names are overwritten.
        seed: seed of the voices, the sentences and the prosody.
        train_voices, validation_voices, test_voices: number of voices in each split, at most 26 in all.
        utterances: number of utterances of each voice, a multiple of 8.
        contour: how far a bright word lies above the sentence, and a flat one below it, in eSpeak NG's units of pitch
            and pitch range, 0 to 40; volume changes by half as much. Each rendering varies it by up to 20 %. With 0,
            no adjective has a prosody of its own.
        contrasted_decoy: whether the decoy has the opposite prosody. Without, the decoy is spoken like the rest of the
            sentence: then the words and the one prosody that occurs determine the label, wherever the prosody is.
        reiterant: whether both adjectives are spoken as `REITERANT`. The transcript has the words in any case.
        progress: called with the number of utterances spoken so far and of all.

    Returns:
        The corpus, with the split column filled; extra columns: `word` (the adjective that carries valence),
        `valence`, `place` (of that word: first or second adjective), `prosody` (of that word: bright or flat), and the
        settings `rate`, `pitch`, `rise` and `fall`.

    Raises:
        CorpusError: there are too few voices or sentences, `utterances` is no multiple of 8, or `contour` is out of
            its range.
    """
    counts = {"train": train_voices, "validation": validation_voices, "test": test_voices}
    check_sizes(counts, utterances, _OCTET, _MAX_OCTETS)
    if not 0 <= contour <= LARGEST_CONTOUR:
        raise CorpusError(f"a contour of {contour}; it must be from 0 to {LARGEST_CONTOUR}")
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    voices, octets = draw_voices(generator), _octets(generator)
    synthesizer = ESpeak()
    rows: list[Row] = []
    for split, count in counts.items():
        for voice in itertools.islice(voices, count):
            for number, octet in enumerate(itertools.islice(octets, utterances // _OCTET), 1):
                for markup, row in _eight(octet, generator, contour, contrasted_decoy, reiterant):
                    said = [row[part] for part in ("word", "place", "prosody")]
                    name = "_".join([voice.accent, voice.variant, f"{number:02}", *said])
                    path = folder / f"{name}.flac"
                    seconds = _speak(synthesizer, voice, markup, row, path)
                    rows.append(
                        {
                            **{"utterance_id": name, "audio_path": str(path), "split": split},
                            **{"speaker": voice.name, "gender": voice.gender, "duration": seconds},
                            **{"language": "en", "corpus": "irony", **row},
                        }
                    )
                    if progress:
                        progress(len(rows), sum(counts.values()) * utterances)
    return Corpus(pd.DataFrame(rows), source=str(folder))


def _octets(generator: np.random.Generator) -> Iterator[_Octet]:
    """Yield sentences, all valenced words in turn, none twice."""
    given: set[_Octet] = set()
    while True:
        for i in generator.permutation(len(VALENCES)):
            thing, other = generator.choice(THINGS, 2, replace=False)
            frame = str(generator.choice(FRAMES)).format(
                person=generator.choice(PERSONS),
                **{"thing": thing, "other": other, "first": "{first}", "second": "{second}"},
            )
            octet = _Octet(frame, VALENCES[i], str(generator.choice(DECOYS)))
            if octet not in given:
                given.add(octet)
                yield octet


def _eight(
    octet: _Octet, generator: np.random.Generator, contour: int, contrasted_decoy: bool, reiterant: bool
) -> Iterator[tuple[str, Row]]:
    """Yield the markup and the row of each utterance: four sentences in each of two renderings."""
    for bright_place in ("first", "second"):
        rate, pitch = (int(generator.integers(*span, endpoint=True)) for span in ((165, 195), (45, 55)))
        rise, fall = (round(contour * generator.uniform(0.8, 1.2)) for _ in range(2))
        for place, other in (("first", "second"), ("second", "first")):
            for valence, word in zip(("positive", "negative"), octet.valenced, strict=True):
                bright = bright_place == place
                spoken, decoy = (REITERANT, REITERANT) if reiterant else (word, octet.decoy)
                marked = {
                    place: _with_prosody(spoken, pitch, rise if bright else -fall),
                    other: _with_prosody(decoy, pitch, -fall if bright else rise)
                    if contrasted_decoy
                    else decoy,
                }
                yield (
                    octet.frame.format(**marked),
                    {
                        "transcript": octet.frame.format(**{place: word, other: octet.decoy}),
                        "emotion": LABELS[bright == (valence == "positive")],
                        **{"word": word, "valence": valence, "place": place},
                        **{"prosody": "bright" if bright else "flat", "rate": rate, "pitch": pitch},
                        **{"rise": rise, "fall": fall},
                    },
                )


def _with_prosody(word: str, pitch: int, change: int) -> str:
    """Mark a word up as higher, livelier and louder, or the opposite of each."""
    settings = f'pitch="{pitch + change}" range="{50 + change}" volume="{50 + change // 2}"'
    return f"<prosody {settings}>{word}</prosody>"


def _speak(synthesizer: ESpeak, voice: Voice, markup: str, row: Row, path: Path) -> float:
    """Write the recording of a sentence and return its seconds."""
    waveform = synthesizer.synthesize(
        SSML(markup), voice=voice.name, rate=row["rate"], pitch=row["pitch"], pitch_range=50, volume=50
    )
    return write_speech(waveform, synthesizer.sampling_rate, path)
