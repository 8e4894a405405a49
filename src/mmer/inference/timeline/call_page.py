"""A page about a timeline in one file, with a player, which asks nothing of any network."""

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined

from mmer.audio.load import SAMPLING_RATE, channel_names, stream_channels
from mmer.corpora.emotion_colors import emotion_colors
from mmer.errors import AudioError
from mmer.files.writing import csv_text
from mmer.inference.prediction import Prediction, predictions_frame
from mmer.inference.timeline.curves import smoothed_curves
from mmer.inference.timeline.plot import LINES, dimension_range, top_of
from mmer.inference.timeline.segments import voice, warning_lines
from mmer.inference.timeline.summary import Summary, summarize
from mmer.plain_text import json_text, shown

_FOLDER = Path(__file__).with_name("page")
_CHUNK = SAMPLING_RATE  # frames that libsndfile encodes at a time


def call_page(
    segments: Sequence[Prediction],
    *,
    recording: str,
    duration: float,
    labels: Sequence[str],
    dimensions: Sequence[str] = (),
    smoothing: float = 0.0,
    silent: Sequence[str] = (),
    embed_audio: bool = False,
) -> str:
    """Make the page of a timeline: warnings, strips and lines of each voice, summaries, segments with words, CSV.

    Args:
        segments: the answers, sorted by start.
        recording: path or name of the recording.
        duration: duration of the recording in seconds.
        labels: emotions of the model.
        dimensions: numbers that the model answers in place of emotions; their page has no summaries.
        smoothing: seconds, which the page tells.
        silent: channels without segments of speech.
        embed_audio: put the sound into the page, about 20 MB an hour for two channels. Otherwise the reader of the page
            chooses the recording on their own computer.

    Raises:
        AudioError: the sound is to be embedded, and the recording is no file or cannot be read.
    """
    style, script = (_FOLDER.joinpath(name).read_text(encoding="utf-8") for name in ("call.css", "call.js"))
    policy = {
        "default-src": "'none'",
        "script-src": _digest(script),
        "style-src": _digest(style),
        "media-src": "data: blob:",
    }
    duration = max(duration, 1e-3)
    names = [*labels, *dimensions]
    whole, *voices = summarize(segments, labels, duration)
    data = {
        "duration": duration,
        "labels": names,
        "dimensional": bool(dimensions),
        "colors": {name: color.css for name, color in emotion_colors(names).items()},
        "smoothing": smoothing,
        "segments": [
            {
                "start": segment.start,
                "end": segment.end,
                "voice": voice(segment),
                "label": segment.label,
                "confidence": segment.confidence,
                "dimensions": segment.dimensions,
                "transcript": segment.transcript,
                "error": segment.error,
            }
            for segment in segments
        ],
        "voices": [_voice(segments, summary, names, duration) for summary in voices],
        "silent": list(silent),
        "summaries": [asdict(summary) for summary in (voices if len(voices) == 1 else [whole, *voices])],
        "csv": csv_text(predictions_frame(segments, labels, dimensions)),
    }
    name = shown(Path(recording).name)
    environment = Environment(
        loader=PackageLoader("mmer.inference.timeline", "page"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("call.html.jinja").render(
        policy="; ".join(f"{kind} {allowed}" for kind, allowed in policy.items()),
        name=name,
        warnings=warning_lines(segments),
        segments=len(segments),
        answered=bool(whole.main()),
        dimensional=bool(dimensions),
        answers="dimensions" if dimensions else "emotions",
        csv_name=f"{Path(name).stem}.csv",
        style=style,
        script=script,
        gaussian=f"{smoothed_curves([], names, duration).seconds:.3g}",
        audio=_embedded(recording) if embed_audio else None,
        data=_script_safe(json_text(data)),
    )


def _digest(text: str) -> str:
    """Name an inline script or style in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _script_safe(text: str) -> str:
    """Escape JSON so that nothing in it ends the script element that holds it."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _voice(
    segments: Sequence[Prediction], summary: Summary, names: Sequence[str], duration: float
) -> dict[str, Any]:
    """Give the lines of a voice's main emotions, or of its dimensions, with gaps as None, and its peaks."""
    mine = [segment for segment in segments if voice(segment) == summary.voice]
    curves = smoothed_curves(mine, names, duration)
    main = summary.main(LINES)
    peaks = {each.label: asdict(each.peak) for each in main if each.peak}
    bottom, top = 0.0, top_of([peak["probability"] for peak in peaks.values()])
    if not summary.emotions:
        bottom, top = dimension_range(curves.values[~np.isnan(curves.values)].tolist())
    return {
        "name": summary.voice,
        "lines": {
            name: [
                None if np.isnan(value) else round(value, 3)
                for value in curves.values[:, names.index(name)].tolist()
            ]
            for name in ([each.label for each in main] if summary.emotions else names)
        },
        "peaks": peaks,
        "bottom": bottom,
        "top": top,
    }


def _embedded(recording: str) -> str:
    """Encode the sound of a recording as Vorbis, which is quick, in a data URL."""
    if not Path(recording).is_file():
        raise AudioError(f"{recording}: its sound cannot be put into a page, it is no file")
    channels = channel_names(recording) if len(channel_names(recording)) == 2 else ["mix"]
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", SAMPLING_RATE, len(channels), "VORBIS", format="OGG") as target:
        for blocks in stream_channels(recording, channels):
            frames = np.stack(blocks, axis=1)
            for start in range(0, len(frames), _CHUNK):
                target.write(frames[start : start + _CHUNK])
    return f"data:audio/ogg;base64,{base64.b64encode(file.getvalue()).decode()}"
