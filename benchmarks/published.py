"""Compare published classifiers with transformers.pipeline, and with themselves in batches.

Each class is a small random checkpoint. The figures are the largest difference between probabilities of 12 inputs.
"""

import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from transformers import pipeline
from transformers.utils import logging

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from published_models import AUDIO, SENTENCES, TEXT, save_audio_classifier, save_text_classifier

from mmer.display.terminal import Table
from mmer.inference.inputs import Utterance
from mmer.inference.recognizer import EmotionRecognizer

RATE = 16000


def main() -> None:
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    table = Table("class", "to the pipeline", "between batches", "pipeline between batches")
    noise = np.random.default_rng(0)
    clips = [0.2 * noise.standard_normal(n, np.float32) for n in noise.integers(2000, 40000, 12)]
    heard = [Utterance(clip, sampling_rate=RATE) for clip in clips]
    read = [Utterance(None, transcript=sentence) for sentence in SENTENCES * 3]
    with TemporaryDirectory() as scratch:
        for kind in AUDIO:
            folder = save_audio_classifier(Path(scratch, kind), kind)
            table.add_row(
                kind, *compare(folder, "audio-classification", heard, [clip.copy() for clip in clips])
            )
        for kind in TEXT:
            folder = save_text_classifier(Path(scratch, kind), kind)
            table.add_row(kind, *compare(folder, "text-classification", read, SENTENCES * 3))
    Console().print(table)


def compare(folder: Path, task: Any, utterances: list[Utterance], inputs: list[Any]) -> tuple[str, str, str]:
    """Return the largest differences: to the pipeline alone, between batches of 1 and 12, and the pipeline's own."""
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")

    def ours(size: int) -> np.ndarray:
        found = recognizer.predict(utterances, batch_size=size)
        return np.array(
            [[(each.probabilities or {})[label] for label in recognizer.labels] for each in found]
        )

    def theirs(size: int) -> np.ndarray:
        made: Any = pipeline(task, model=str(folder), device="cpu")
        rows = made(inputs, top_k=None, batch_size=size)
        return np.array(
            [[{e["label"]: e["score"] for e in row}[label] for label in recognizer.labels] for row in rows]
        )

    alone, reference = ours(1), theirs(1)
    try:
        batched = f"{np.abs(theirs(len(inputs)) - reference).max():.1e}"
    except Exception as error:  # of a pipeline that cannot pad
        batched = type(error).__name__
    return f"{np.abs(alone - reference).max():.1e}", f"{np.abs(ours(len(inputs)) - alone).max():.1e}", batched


if __name__ == "__main__":
    main()
