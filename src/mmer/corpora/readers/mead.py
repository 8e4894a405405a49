"""MEAD (Wang et al., ECCV 2020): talking faces in eight emotions at three intensities, here the audio track."""

import os

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.readers.file_grammars import Grammar
from mmer.corpora.readers.file_names import read_grammar

TEST_FROM = {"neutral": 31}
OTHERS_TEST_FROM = 25
"""Number of the first test recording: the paper tests on the last 10 of 40 neutral and 6 of 30 other ones."""

_GRAMMAR = Grammar(
    pattern=r"(?P<speaker>[MW]\d{3})/audio/"
    r"(?P<emotion>angry|contempt|disgusted|fear|happy|neutral|sad|surprised)/level_(?P<intensity>[123])/"
    r"(?P<number>\d{3})",
    example="M003/audio/angry/level_1/001.m4a",
    suffixes=(".m4a", ".wav"),
    utterance="{speaker}_{emotion}_{intensity}_{number}",
)


def read_mead(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read the audio part of MEAD.

    The split is that of the paper, by the number of the recording: all speakers are in both parts. There are no
    transcripts: the release has none, and a number means another sentence for each emotion, and for speaker M003.

    Extra columns: `original_emotion` (the folder); `intensity` (level 1 to 3, neutral has 1 alone); `number`.

    Args:
        root: folder with the unpacked folders of the speakers, such as M003.
        progress: called with the number of recordings whose header was read so far and of all.

    Raises:
        CorpusError: no recording of MEAD is there.
    """
    corpus = read_grammar("mead", _GRAMMAR, root)
    table = corpus.table
    recordings = zip(table["original_emotion"], table["number"], strict=True)
    table["split"] = [
        "test" if int(number) >= TEST_FROM.get(label, OTHERS_TEST_FROM) else "train"
        for label, number in recordings
    ]
    table["gender"] = ["male" if speaker[0] == "M" else "female" for speaker in table["speaker"]]
    return corpus.with_durations(progress)
