"""Give the recordings of a corpus made transcripts, one word of which tells the emotion for a known share of them.

Recorded corpora with informative words are licensed; nEMO, which is free, has the same sentences in all emotions. With
made words beside its real voices, one knows what reading alone can reach, and whether listening adds to it on speakers
whom training did not hear.

    python benchmarks/made_words.py nemo.parquet words.parquet [--told 0.6]
    mmer crossval compact data.corpus=words.parquet protocol.folds=leave-one-out --out folds

A transcript has four to eight words. All but one say nothing; one comes from ten words of an emotion: of the emotion of
the recording with the probability `--told`, else of any emotion.
"""

import argparse
from pathlib import Path

import numpy as np

from mmer.corpora.corpus import Corpus

SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "sta", "pe", "wi", "do", "ga", "zu", "ter", "bo", "chi", "ny")
OF_EMOTION = 10
OTHERS = 340


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--told", type=float, default=0.6)
    arguments = parser.parse_args()
    corpus = Corpus.read(arguments.corpus)
    shown = corpus.table["emotion"].tolist()
    emotions = sorted(set(shown))
    rng = np.random.default_rng(0)
    words = make_words(rng, OF_EMOTION * len(emotions) + OTHERS)
    telling = {
        emotion: words[place * OF_EMOTION : (place + 1) * OF_EMOTION]
        for place, emotion in enumerate(emotions)
    }
    others = words[OF_EMOTION * len(emotions) :]
    transcripts, right = [], 0
    for emotion in shown:
        told = emotion if rng.random() < arguments.told else emotions[rng.integers(len(emotions))]
        right += told == emotion
        transcript = list(rng.choice(others, rng.integers(4, 9)))
        transcript[rng.integers(len(transcript))] = rng.choice(telling[told])
        transcripts.append(" ".join(transcript))
    table = corpus.table.assign(transcript=transcripts, normalized_text=transcripts, language=None)
    Corpus(table).write(arguments.out)
    print(f"the words tell the emotion of {right / len(shown):.1%} of {len(shown)} recordings")


def make_words(rng: np.random.Generator, count: int) -> list[str]:
    """Make different words of two or three syllables."""
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(rng.choice(SYLLABLES, rng.integers(2, 4)))] = None
    return list(words)


if __name__ == "__main__":
    main()
