"""What a notebook shows of predictions and timelines: bars, the sound of short clips, the picture."""

import base64
import html
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

import soundfile

from mmer.audio.load import SAMPLING_RATE, load_audio, probe
from mmer.errors import AudioError
from mmer.inference.prediction import Prediction

if TYPE_CHECKING:
    from mmer.inference.timeline.timeline import Timeline

LONGEST = 30.0  # s of sound that is put into a notebook, about 32 kB a second as FLAC at worst
SHOWN = 50  # segments of a timeline that are listed


def prediction_html(prediction: Prediction) -> str:
    """The answer: name, player of a clip of at most `LONGEST` seconds, words, a bar for each emotion, warnings."""
    parts = [f"<strong>{html.escape(prediction.utterance_id)}</strong>", _player(prediction)]
    if prediction.transcript:
        parts.append(f"<q>{html.escape(prediction.transcript)}</q>")
    if prediction.error is not None:
        parts.append(f"<em>no answer: {html.escape(prediction.error)}</em>")
    else:
        parts.append(_bars(prediction))
    parts += [f"<small>{html.escape(warning)}</small>" for warning in prediction.warnings]
    return f'<div style="max-width:32em">{"<br>".join(filter(None, parts))}</div>'


def timeline_html(timeline: "Timeline") -> str:
    """The picture, a player of a recording of at most `LONGEST` seconds, and its first segments as a table."""
    picture = io.BytesIO()
    timeline.plot(picture)
    image = base64.b64encode(picture.getvalue()).decode()
    described = html.escape(repr(timeline), quote=True)
    player = _player(Prediction(utterance_id="", audio_path=timeline.recording))
    rows = "".join(map(_row, timeline.segments[:SHOWN]))
    more = len(timeline.segments) - SHOWN
    rest = f"<p>… and {more} more; see to_frame()</p>" if more > 0 else ""
    head = "".join(f"<th>{name}</th>" for name in ("start", "end", "speaker", "emotion", "words"))
    return (
        f'<img style="max-width:100%" alt="{described}" src="data:image/png;base64,{image}">'
        f"{player}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{rest}"
    )


def _row(segment: Prediction) -> str:
    answer = (
        f"{segment.label} {segment.confidence:.0%}" if segment.confidence is not None else str(segment.error)
    )
    who = segment.speaker or ("" if segment.channel == "mix" else segment.channel)
    cells: Iterable[str] = (
        f"{segment.start:.2f}",
        f"{segment.end:.2f}",
        who,
        answer,
        segment.transcript or "",
    )
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _bars(prediction: Prediction) -> str:
    rows = "".join(
        f'<tr><td style="text-align:right">{html.escape(label)}</td>'
        '<td style="width:16em;text-align:left">'
        f'<div style="background:#0072b2;height:0.9em;width:{share:.1%}"></div></td>'
        f"<td>{share:.1%}</td></tr>"
        for label, share in prediction.ranking
    )
    return f"<table>{rows}</table>"


def _player(prediction: Prediction) -> str:
    """Empty for what is long, is no file, or cannot be read any more."""
    path = prediction.audio_path
    if path is None:
        return ""
    try:
        whole = probe(path).duration
        end = whole if prediction.end is None else prediction.end
        if end - (prediction.start or 0.0) > LONGEST:
            return ""
        waveform = load_audio(path, start=prediction.start, end=prediction.end, channel=prediction.channel)
    except AudioError:
        return ""
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLING_RATE, format="FLAC")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<audio controls src="data:audio/flac;base64,{data}"></audio>'
