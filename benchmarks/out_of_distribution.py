"""How often a model warns that a recording is unlike those of its training, and what the warning costs.

The model answers the split test of the corpus that it was trained on, other corpora, and made sound: noise, tunes of
three-note chords, silence, and the test split through a telephone band (8 kHz), 12 dB quieter and with noise 20 dB
below it. Beside the score of `mmer.inference.trust.out_of_distribution`, other scores are fitted to the same training
recordings, each with a threshold from left-out speakers. Times are of the same clips with and without the warning.

    python benchmarks/out_of_distribution.py MODEL CORPUS --far OTHER.parquet ...
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from mmer.corpora.corpus import Corpus
from mmer.inference.inputs import Utterance, corpus_utterances
from mmer.inference.prediction import AnswerFault
from mmer.inference.reading import Clip
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.out_of_distribution import OutOfDistribution, sound_statistics

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]
NEIGHBOR = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--far", type=Path, nargs="*", default=[], metavar="CORPUS")
    arguments = parser.parse_args()
    recognizer = EmotionRecognizer.from_pretrained(arguments.model)
    rate = recognizer.processor.sampling_rate
    corpus = Corpus.read(arguments.corpus)
    split = corpus.table["split"]
    known = corpus.select(split.isin(["train", "validation"]).to_numpy())
    groups = known.table["speaker"].to_numpy(str)
    sets = {"training": corpus_utterances(known)}
    sets["held-out speakers"] = corpus_utterances(corpus.select((split == "test").to_numpy()))
    sets |= {path.stem: corpus_utterances(Corpus.read(path)) for path in arguments.far}
    sets |= _made(recognizer, sets["held-out speakers"])
    answered = {name: list(recognizer.answered(utterances, 16)) for name, utterances in sets.items()}
    statistics, embeddings = {}, {}
    for name, utterances in sets.items():
        waveforms = [recognizer.waveform(utterance) for utterance in utterances]
        statistics[name] = np.array([sound_statistics(waveform, rate) for waveform in waveforms])
        embeddings[name] = np.array([clip.embedding for clip in answered[name]], np.float64)
    names = list(sets)[1:]
    print(f"| score | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    _row("the warning", [np.mean([_warned(clip) for clip in answered[name]]) for name in names])
    for title, vectors in (("statistics", statistics), ("fused embeddings", embeddings)):
        for kind, fit in {"z-scores": _z_scores, "Mahalanobis": _mahalanobis, "neighbor": _neighbor}.items():
            found = vectors["training"]
            held_out = [
                fit(found[groups != name])(found[groups == name]) for name in sorted(set(groups.tolist()))
            ]
            threshold = np.quantile(np.concatenate(held_out), 0.95)
            score = fit(found)
            _row(f"{kind} of {title}", [np.mean(score(vectors[name]) > threshold) for name in names])
    confidences = {name: np.array([clip.prediction.confidence for clip in answered[name]]) for name in sets}
    lowest = np.quantile(confidences["training"], 0.05)
    _row("confidence of the answer", [np.mean(confidences[name] < lowest) for name in names])
    _times(arguments.model, sets["held-out speakers"])


def _row(title: str, shares: Sequence[float | np.floating]) -> None:
    print(f"| {title} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


def _warned(clip: Clip) -> bool:
    faults = [getattr(warning, "fault", None) for warning in clip.prediction.warnings]
    return AnswerFault.OUT_OF_DISTRIBUTION in faults


def _made(recognizer: EmotionRecognizer, test: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """Make sound that is no speech, and the recordings of the test split as other devices would record them."""
    generator, rate = np.random.default_rng(0), recognizer.processor.sampling_rate
    speech = [recognizer.waveform(utterance) for utterance in test]

    def said(waveforms: Sequence[NDArray]) -> list[Utterance]:
        return [
            Utterance(waveform.astype(np.float32), test[row % len(test)].transcript, rate)
            for row, waveform in enumerate(waveforms)
        ]

    def noise(samples: int) -> Floats:
        return generator.standard_normal(samples)

    def telephone(waveform: NDArray) -> NDArray:
        return soxr.resample(soxr.resample(waveform, rate, 8000), 8000, rate)

    return {
        "noise": said([0.1 * noise(2 * rate) for _ in range(60)]),
        "tunes": said([_tune(generator, rate) for _ in range(60)]),
        "silence": said([np.zeros(2 * rate)]),
        "8 kHz": said([telephone(waveform) for waveform in speech]),
        "-12 dB": said([waveform * 10 ** (-12 / 20) for waveform in speech]),
        "noise at -20 dB": said(
            [waveform + 0.1 * waveform.std() * noise(len(waveform)) for waveform in speech]
        ),
    }


def _tune(generator: np.random.Generator, rate: int) -> Floats:
    """Play eight major chords of a third of a second."""
    time_of_note = np.arange(rate // 3) / rate
    chords = [
        sum(
            np.sin(2 * np.pi * root * ratio * harmonic * time_of_note) / harmonic * np.exp(-3 * time_of_note)
            for ratio in (1, 5 / 4, 3 / 2)
            for harmonic in range(1, 6)
        )
        for root in 220 * 2 ** (generator.integers(0, 25, 8) / 12)
    ]
    return 0.1 * np.concatenate(chords)


def _z_scores(found: Floats) -> Score:
    mean, std = found.mean(axis=0), found.std(axis=0) + 0.05
    return lambda asked: np.sqrt(np.square((asked - mean) / std).mean(axis=1))


def _mahalanobis(found: Floats) -> Score:
    mean, std = found.mean(axis=0), found.std(axis=0) + 1e-3
    precision = np.linalg.inv(LedoitWolf().fit((found - mean) / std).covariance_)
    return lambda asked: np.einsum("ij,jk,ik->i", (asked - mean) / std, precision, (asked - mean) / std)


def _neighbor(found: Floats) -> Score:
    """Distance to the fifth nearest training recording."""
    mean, std = found.mean(axis=0), found.std(axis=0) + 1e-3
    scaled = (found - mean) / std

    def score(asked: Floats) -> Floats:
        distances = [np.square(row - scaled).mean(axis=1) for row in (asked - mean) / std]
        return np.sort(distances, axis=1)[:, NEIGHBOR - 1]

    return score


def _times(model: Path, utterances: Sequence[Utterance]) -> None:
    """Print the ratio of the times of `predict` with and without the warning, in turns."""
    recognizers = {
        True: EmotionRecognizer.from_pretrained(model),
        False: EmotionRecognizer.from_pretrained(model),
    }
    assert OutOfDistribution.of_model(model) is not None
    recognizers[False]._clips.training_sound = None
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(14):
        warns = turn % 2 == 0
        start = time.perf_counter()
        list(recognizers[warns].predict(utterances))
        times[warns].append(time.perf_counter() - start)
    with_it, without = (float(np.median(times[warns][1:])) for warns in (True, False))
    each = 1000 / len(utterances)
    print(
        f"\npredict takes {with_it * each:.2f} ms per clip with the warning and {without * each:.2f} ms without: "
        f"{with_it / without:.3f} times as long"
    )


if __name__ == "__main__":
    main()
