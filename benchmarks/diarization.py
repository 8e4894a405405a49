"""Error of the speakers that `mmer timeline --speakers` finds, and what that error changes in the emotions.

Recordings are made of a corpus's clips, without their silence at both ends: two speakers take turns of one to three
clips, with pauses of 0.15 to 1 s, for some minutes, in 16 kHz WAV. All pairs of the corpus's speakers take part. As
clips are acted one by one, a speaker's emotion changes from clip to clip, which is harder than a real call.

The diarization error rate is the time that is missed (speech without a speaker), a false alarm (a speaker where nobody
speaks) or confused (another speaker, by the best assignment of the speakers found to the true ones), as a share of the
speech, in steps of 10 ms. Up to 0.25 s on either side of a true boundary do not count (the collar).

Emotions are compared with those of the same model on the true segments and speakers (`agreement`), and on the segments
found with the speaker who truly speaks most in each (`by_speaker`): the share of the speech, without collars, that has
the same emotion. A segment found may hold several clips, of several emotions, so that only the second figure shows what
wrong speakers change. Memory is of the whole process, and time of `timeline`.

`senko` in place of a number of speakers is the clustering of that library, which `mmer` does not use.

    python benchmarks/diarization.py RUN/model corpus.parquet [--minutes 3] [--speakers auto 2 senko]
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import psutil
import soundfile
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mmer import EmotionRecognizer, Timeline, timeline
from mmer.audio import speakers
from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.audio.speakers import Turn, load_senko, speaker_at
from mmer.audio.speech_segments import Segment
from mmer.corpora.corpus import Corpus

STEPS = 100  # a second
COLLAR = 0.25  # s
PAUSES = (0.15, 1.0)  # s
QUIET = 0.01  # of the largest magnitude of a clip, below which its ends are cut off


@dataclass(frozen=True)
class Error:
    """Shares of the speech, and how many speakers were found."""

    missed: float
    false_alarm: float
    confused: float
    found: int

    @property
    def rate(self) -> float:
        return self.missed + self.false_alarm + self.confused


def conversation(
    clips: pd.DataFrame, minutes: float, file: Path, random: np.random.Generator
) -> list[Segment]:
    """Write a recording in which two speakers take turns; return its segments."""
    said = {who: rows["audio_path"].tolist() for who, rows in clips.groupby("speaker")}
    segments, pieces, now = list[Segment](), list[NDArray[np.float32]](), 0.0
    for speaker in itertools.cycle(said):
        if now > 60 * minutes:
            break
        for _ in range(random.integers(1, 4)):
            clip = load_audio(said[speaker][random.integers(len(said[speaker]))])
            (loud,) = np.nonzero(np.abs(clip) > QUIET * np.abs(clip).max())
            clip = clip[loud[0] : loud[-1] + 1]
            pause = np.zeros(round(random.uniform(*PAUSES) * SAMPLING_RATE), np.float32)
            segments.append(Segment(now, now + len(clip) / SAMPLING_RATE, speaker=str(speaker)))
            pieces += [clip, pause]
            now += (len(clip) + len(pause)) / SAMPLING_RATE
    soundfile.write(file, np.concatenate(pieces), SAMPLING_RATE)
    return segments


def along(segments: Sequence[tuple[float, float, str | None]], steps: int) -> NDArray[np.object_]:
    """Return the value of the segment that holds each step, (steps,), None outside of segments."""
    values = np.full(steps, None, object)
    for start, end, value in segments:
        values[round(start * STEPS) : round(end * STEPS)] = value
    return values


def judged(true: Sequence[Segment], steps: int) -> NDArray[np.bool_]:
    """Mark the steps that are in no collar, (steps,)."""
    counts = np.ones(steps, bool)
    for edge in (edge for segment in true for edge in (segment.start, segment.end)):
        counts[max(round((edge - COLLAR) * STEPS), 0) : round((edge + COLLAR) * STEPS)] = False
    return counts


def error(true: Sequence[Segment], found: Timeline) -> Error:
    """Compute the diarization error."""
    steps = round(found.duration * STEPS)
    counts = judged(true, steps)
    truth = along([(each.start, each.end, each.speaker) for each in true], steps)[counts]
    answer = along([(each.start or 0, each.end or 0, each.speaker) for each in found.segments], steps)[counts]
    speech = truth != None  # noqa: E711
    answered = answer != None  # noqa: E711
    both = pd.crosstab(truth[speech & answered], answer[speech & answered]).to_numpy()
    right = both[linear_sum_assignment(both, maximize=True)].sum()
    total = speech.sum()
    return Error(
        missed=(speech & ~answered).sum() / total,
        false_alarm=(answered & ~speech).sum() / total,
        confused=(both.sum() - right) / total,
        found=len({each.speaker for each in found.segments}),
    )


def agreement(true: Sequence[Segment], reference: Timeline, found: Timeline) -> float:
    """Compute the share of the speech that has the same emotion in two timelines."""
    steps = round(found.duration * STEPS)
    counts = judged(true, steps)
    labels = [
        along([(each.start or 0, each.end or 0, each.label) for each in told.segments], steps)[counts]
        for told in (reference, found)
    ]
    answered = (labels[0] != None) & (labels[1] != None)  # noqa: E711
    return float((labels[0] == labels[1])[answered].mean())


def with_true_speakers(true: Sequence[Segment], found: Timeline) -> list[Segment]:
    """Return the segments found, each with the speaker who truly speaks most in it."""
    turns = [Turn(each.start, each.end, each.speaker or "") for each in true]
    times = [(each.start or 0, each.end or 0) for each in found.segments]
    return [Segment(start, end, speaker=speaker_at(turns, start, end)) for start, end in times]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--speakers", nargs="+", default=["auto", "2"], choices=["auto", "2", "senko"])
    parser.add_argument("--pairs", type=int, help="only so many, spread over all")
    arguments = parser.parse_args()
    recognizer = EmotionRecognizer.from_pretrained(arguments.model, "cpu")
    table = Corpus.read(arguments.corpus).table
    genders = table.drop_duplicates("speaker").set_index("speaker")["gender"]
    pairs = list(enumerate(itertools.combinations(sorted(table["speaker"].unique()), 2)))
    pairs = pairs[:: max(1, len(pairs) // (arguments.pairs or len(pairs)))]
    own, guessed = load_senko()[0].spectral_cluster, speakers._guessed_speakers
    rows = []
    for number, pair in pairs:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "call.wav")
            clips = table[table["speaker"].isin(pair)]
            true = conversation(clips, arguments.minutes, file, np.random.default_rng(number))
            reference = timeline(recognizer, file, segments=true)
            for asked in arguments.speakers:
                began = time.perf_counter()
                with patch("mmer.audio.speakers._guessed_speakers", own if asked == "senko" else guessed):
                    found = timeline(recognizer, file, speakers=2 if asked == "2" else "auto")
                took = (time.perf_counter() - began) / found.duration
                figures = error(true, found)
                corrected = timeline(recognizer, file, segments=with_true_speakers(true, found))
                same = genders[pair[0]] == genders[pair[1]]
                rows.append(
                    {"asked": asked, "pair": "same sex" if same else "mixed", "speakers": " ".join(pair)}
                    | {each.name: getattr(figures, each.name) for each in fields(figures)}
                    | {"rate": figures.rate, "agreement": agreement(true, reference, found)}
                    | {"by_speaker": agreement(true, corrected, found), "took": took}
                )
                print(
                    pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1), flush=True
                )
    told = pd.DataFrame(rows)
    told["two"] = told["found"] == 2
    numbers = ["missed", "false_alarm", "confused", "rate", "two", "agreement", "by_speaker", "took"]
    print(told.groupby(["asked", "pair"])[numbers].mean().round(3).to_string())
    print(told.groupby("asked")[numbers].mean().round(3).to_string())
    print(f"{len(pairs)} recordings of {arguments.minutes:g} minutes")
    print(f"{psutil.Process().memory_info().rss / 1e6:.0f} MB resident at the end")


if __name__ == "__main__":
    main()
