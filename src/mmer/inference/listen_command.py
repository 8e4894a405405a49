"""The command `mmer listen`: print answers as they arrive, and a summary at the end."""

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TextIO

from mmer.display.terminal import ResultFormat, result_format, tell
from mmer.inference.listen import Heard, Listener, listen, microphone, pipe
from mmer.inference.prediction import Prediction, csv_rows, row_schema
from mmer.inference.recognizer import EmotionRecognizer
from mmer.memory import return_freed_memory
from mmer.plain_text import counted, json_text, one_line


def listen_to(
    model: Path,
    *,
    piped: bool,
    rate: int,
    microphone_name: str | None,
    pause: float,
    interval: float,
    format: ResultFormat | None = None,
    transcription: str,
    device: str | None,
) -> None:
    """Answer while somebody speaks; a line for each answer on standard output, and what was heard on standard error.

    An interruption (Ctrl-C) ends listening: what is being said then is answered still.

    Args:
        model: a model folder.
        piped: listen to standard input, at `rate` Hz, and not to the microphone.
        microphone_name: see `microphone`.
        pause, interval: see `Listener`.
        format: see `result_format`; a table is lines of text. CSV has the columns of `Prediction.to_row`, `final` and
            `delay`.
        transcription, device: see `EmotionRecognizer`.

    Raises:
        MMERError: the model cannot be loaded, or there is no such microphone.
        MissingExtraError: sounddevice is not installed.
    """
    return_freed_memory()
    recognizer = EmotionRecognizer.from_pretrained(model, device, transcription)
    listener = Listener(recognizer, pause=pause, interval=interval)
    source = pipe(sys.stdin.buffer, rate) if piped else microphone(microphone_name)
    show = _printer(result_format(format), sys.stdout, recognizer)
    emotions: Counter[str] = Counter()
    delays: list[float] = []
    with source as chunks, _interruption() as interrupted:
        tell("listening; Ctrl-C ends it")
        for heard in listen(listener, chunks, interrupted.is_set):
            show(heard)
            if heard.final:
                emotions[_counted(heard.prediction)] += 1
                delays.append(heard.delay)
    told = [f"{count} {label}" for label, count in emotions.most_common()]
    if delays:
        told.append(
            f"answered {sum(delays) / len(delays):.2f} s after the end of speech, at most {max(delays):.2f} s"
        )
    summary = ", ".join([f"{counted(len(delays), 'utterance')} in {listener.seconds:.1f} s", *told])
    tell(summary)


def _printer(form: ResultFormat, file: TextIO, recognizer: EmotionRecognizer) -> Callable[[Heard], object]:
    """Return what prints an answer."""
    if form == "table":
        return lambda heard: _show_text(heard, file)
    if form == "jsonl":
        return lambda heard: print(json_text(heard.to_dict()), file=file, flush=True)
    columns = recognizer.labels, recognizer.dimensions
    write = csv_rows(file, [*row_schema(*columns).names, "final", "delay"])
    return lambda heard: write(
        {**heard.prediction.to_row(*columns), "final": heard.final, "delay": heard.delay}
    )


def _counted(prediction: Prediction) -> str:
    return prediction.label or ("no answer" if prediction.dimensions is None else "of dimensions")


def _show_text(heard: Heard, file: TextIO) -> None:
    prediction = heard.prediction
    times = f"{prediction.start:7.1f} - {prediction.end:.1f} s"
    answer = prediction.answer
    if prediction.error is not None:
        print(one_line(f"{times}  {answer}"), file=file, flush=True)
        return
    when = f"{heard.delay:.2f} s after" if heard.final else "so far"
    words = f"  {prediction.transcript}" if prediction.transcript else ""
    print(one_line(f"{times}  {answer:<16} {when}{words}"), file=file, flush=True)
    for warning in prediction.warnings if heard.final else ():
        print(one_line(f"{'':{len(times)}}  warning: {warning}"), file=file, flush=True)


@contextmanager
def _interruption() -> "Iterator[Event]":
    """Set by Ctrl-C, which ends nothing else."""
    interrupted = Event()
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
