"""How long an audit takes, and how far apart the fingerprints of copies and of other recordings are.

Text: 100 000 made utterances with words and lengths as frequent as in conversation (Zipf's law; 1 to more than 100),
of which a tenth are said again word for word and a tenth with a word changed, audited by split, session and speaker.

Recordings: all of a corpus are held against each other, and 240 of them, of speakers who say the same words five times
or more, also against copies with another gain, cut at both ends and coded again. Needs a prepared corpus:

    mmer corpus prepare nemo ROOT -o nemo.parquet
    python benchmarks/audit.py [nemo.parquet]
"""

import io
import sys
import time
from itertools import combinations

import av
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.corpora.audit.audit import audit
from mmer.corpora.clips import read_clips
from mmer.corpora.corpus import Corpus
from mmer.corpora.fingerprint import DIFFERENCE, Fingerprint, difference, fingerprint, same_recordings

CODECS = (
    ("libmp3lame", "mp3", 48),
    ("libmp3lame", "mp3", 24),
    ("libopus", "matroska", 24),
    ("libopus", "matroska", 12),
)
"""Encoder, container, kbit/s."""


def made_corpus(utterances: int, seed: int = 0) -> Corpus:
    """Transcripts of Zipf-distributed words, with repeats and near repeats, in 10 sessions of 20 speakers each."""
    rng = np.random.default_rng(seed)
    ranks = np.arange(1, 30_001)
    frequencies = 1 / (ranks + 2.7) ** 1.07
    lengths = np.ceil(rng.lognormal(2.0, 0.8, utterances)).astype(int)
    words = rng.choice(ranks, lengths.sum(), p=frequencies / frequencies.sum()).astype(str)
    texts = [list(text) for text in np.split(words, np.cumsum(lengths)[:-1])]
    for number in range(utterances // 5):  # the first fifth says again what is said later
        text = list(texts[rng.integers(utterances // 5, utterances)])
        if number % 2:
            text[rng.integers(len(text))] = str(rng.integers(1, 30_000))
        texts[number] = text
    order = rng.permutation(utterances)
    speakers = rng.integers(0, 200, utterances)
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{number}" for number in range(utterances)],
            "audio_path": None,
            "transcript": [" ".join(texts[number]) for number in order],
            "emotion": rng.choice(["angry", "happy", "neutral", "sad"], utterances),
            "speaker": speakers.astype(str),
            "session": (speakers // 20).astype(str),
            "split": rng.choice(["train", "validation", "test"], utterances, p=[0.7, 0.1, 0.2]),
        }
    )
    return Corpus(table)


def coded(waveform: NDArray[np.float32], codec: str, container: str, kbits: int) -> io.BytesIO:
    """A recording in a lossy format, in memory."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=SAMPLING_RATE)
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 1000 * kbits
        samples = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = SAMPLING_RATE
        for part in (frame, None):
            output.mux(stream.encode(part))
    file.seek(0)
    return file


def copy(
    waveform: NDArray[np.float32], codec: tuple[str, str, int], rng: np.random.Generator
) -> Fingerprint | None:
    """The fingerprint of a copy with another gain, up to a fifth cut from either end, coded again."""
    length = len(waveform)
    first, last = int(rng.uniform(0, 0.2) * length), int(rng.uniform(0.8, 1) * length)
    return fingerprint(load_audio(coded(waveform[first:last] * rng.uniform(0.05, 0.95), *codec)))


def least_difference(one: Fingerprint, other: Fingerprint) -> float:
    """Of all alignments."""
    offsets = range(-len(other.codes), len(one.codes))
    return min(share for offset in offsets if (share := difference(one, other, offset)) is not None)


def judge_text(utterances: int) -> None:
    corpus = made_corpus(utterances)
    for by in ("split", "session", "speaker"):
        start = time.monotonic()
        total = audit(corpus, by).total
        shares = ", ".join(
            f"{name} {total.share(name) or 0:.1%}"
            for name in ("transcript_overlap", "near_transcript_overlap")
        )
        print(f"{utterances} transcripts by {by}: {time.monotonic() - start:.1f} s ({shares})")


def judge_recordings(corpus: Corpus) -> None:
    same_words = corpus.table.groupby(["speaker", "transcript"])
    groups = [rows for _, rows in same_words if len(rows) > 4]
    chosen = pd.concat([groups[number] for number in np.random.default_rng(0).permutation(len(groups))[:40]])
    start = time.monotonic()
    clips = read_clips(corpus.table)
    print(f"{len(clips)} clips read and fingerprinted: {len(clips) / (time.monotonic() - start):.0f} clips/s")
    start = time.monotonic()
    everything = [clip.print for clip in clips.values() if clip.print]
    taken = sum(len(matches) for matches in same_recordings(everything))
    rate = len(everything) / (time.monotonic() - start)
    print(f"{len(everything)} searched for the same recording: {taken} pairs, {rate:.0f} clips/s")
    prints = {row: own for row in chosen.index if (own := clips[row].print)}
    originals, rng = list(prints.values()), np.random.default_rng(1)
    takes = [
        [prints[row] for row in rows.index if row in prints]
        for _, rows in chosen.groupby(["speaker", "transcript"])
    ]
    others = [least_difference(one, other) for group in takes for one, other in combinations(group, 2)]
    print(
        f"{len(others)} pairs of one speaker saying the same words: differ in {min(others):.1%} of bits or more"
    )
    print(f"two recordings are the same up to {DIFFERENCE:.0%}")
    for codec in CODECS:
        copies = {row: copy(load_audio(chosen.loc[row, "audio_path"]), codec, rng) for row in prints}
        heard = {row: copied for row, copied in copies.items() if copied}
        matches = list(same_recordings([*originals, *heard.values()]))[len(originals) :]
        found, wrong = [], 0
        for row, match in zip(heard, matches, strict=True):
            for position, share in match:
                if position < len(originals):
                    same = originals[position] is prints[row]
                    found += [share] * same
                    wrong += not same
        print(
            f"{codec[0]} {codec[2]} kbit/s, gain, cut: {len(found)} of {len(heard)} found, {wrong} taken for another, "
            f"differ in {np.median(found):.1%}, at most {max(found):.1%}"
        )


def main() -> None:
    judge_text(100_000)
    if len(sys.argv) > 1:
        judge_recordings(Corpus.read(sys.argv[1]))


if __name__ == "__main__":
    main()
