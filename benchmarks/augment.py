"""What a second view costs: seconds for each clip and generator of sound, on recordings of a corpus.

    python benchmarks/augment.py nemo.parquet --clips 60

Each generator makes one view of the same clips, in turn, in one process on one core; reading the recording and writing
the FLAC file are counted. `on the fly` is the change that training makes of the same clips when it has no views.
"""

import argparse
import tempfile
import time

import numpy as np

from mmer.audio.load import load_audio
from mmer.augment import SpeechAugmenter
from mmer.augment.generators.by_name import speech_generators
from mmer.augment.make import make_views
from mmer.corpora.corpus import Corpus


def main() -> None:
    """Print a line for each generator."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus")
    parser.add_argument("--clips", type=int, default=60)
    arguments = parser.parse_args()
    whole = Corpus.read(arguments.corpus)
    drawn = np.random.default_rng(0).choice(len(whole), min(arguments.clips, len(whole)), replace=False)
    corpus = whole.select(np.isin(np.arange(len(whole)), drawn))
    clips = [load_audio(path) for path in corpus.table["audio_path"]]
    seconds = sum(map(len, clips)) / 16_000
    print(f"{len(corpus)} clips of {seconds / len(corpus):.2f} s on average")
    print("generator   wall s/clip   CPU s/clip   CPU / duration   good")
    for name in ("espeak", "world", "effects"):
        (generator,) = speech_generators([name])
        with tempfile.TemporaryDirectory() as folder:
            make_views(corpus.select(np.arange(len(corpus)) < 2), f"{folder}/first", [generator])
            wall, cpu = time.perf_counter(), time.process_time()
            made = make_views(corpus, f"{folder}/all", [generator])
            _show(name, wall, cpu, len(corpus), seconds, sum(view.rejected is None for view in made))
    change = SpeechAugmenter()
    change(clips[0], 0)
    wall, cpu = time.perf_counter(), time.process_time()
    for seed, clip in enumerate(clips):
        change(clip, seed)
    _show("on the fly", wall, cpu, len(corpus), seconds, len(clips))


def _show(name: str, wall: float, cpu: float, clips: int, seconds: float, good: int) -> None:
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"{name:<11} {wall / clips:11.3f}   {cpu / clips:10.3f}   {cpu / seconds:14.3f}   {good} of {clips}"
    )


if __name__ == "__main__":
    main()
