"""HTML of predictions and timelines for notebooks: bars, players of short recordings, tables."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import soundfile

from mmer.audio.load import SAMPLING_RATE, load_audio, probe
from mmer.errors import AudioError

LONGEST = 30.0  # longest sound embedded in a notebook in s, at most about 32 kB per second as FLAC


def card(title: str, parts: Iterable[str]) -> str:
    """Lay out a title and elements below each other; empty ones are left out."""
    lines = [f"<strong>{html.escape(title)}</strong>", *filter(None, parts)]
    return f'<div style="max-width:32em">{"<br>".join(lines)}</div>'


def line(text: str, element: str) -> str:
    """Put text into an element, such as `em`; an empty string for no text."""
    return f"<{element}>{html.escape(text)}</{element}>" if text else ""


def image(png: bytes, description: str) -> str:
    """Embed a picture."""
    data = base64.b64encode(png).decode()
    alternative = html.escape(description, quote=True)
    return f'<img style="max-width:100%" alt="{alternative}" src="data:image/png;base64,{data}">'


def table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Show rows of text below the names of their columns."""
    head = "".join(line(name, "th") or "<th></th>" for name in names)
    body = "".join(f"<tr>{''.join(line(cell, 'td') or '<td></td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def bars(shares: Sequence[tuple[str, float]]) -> str:
    """Show a bar for each name; shares are 0 to 1."""
    rows = "".join(
        f'<tr><td style="text-align:right">{html.escape(name)}</td>'
        '<td style="width:16em;text-align:left">'
        f'<div style="background:#0072b2;height:0.9em;width:{share:.1%}"></div></td>'
        f"<td>{share:.1%}</td></tr>"
        for name, share in shares
    )
    return f"<table>{rows}</table>"


def player(
    path: str | None, start: float | None = None, end: float | None = None, channel: str = "mix"
) -> str:
    """Embed a player for part of a recording.

    Args:
        path: the recording; None for none.
        start, end: seconds; None for its beginning and its end.
        channel: as `load_audio` takes it.

    Returns:
        HTML; an empty string if the part is longer than `LONGEST`, or the recording is no file or unreadable.
    """
    if path is None:
        return ""
    try:
        last = probe(path).duration if end is None else end
        if last - (start or 0.0) > LONGEST:
            return ""
        waveform = load_audio(path, start=start, end=end, channel=channel)
    except AudioError:
        return ""
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLING_RATE, format="FLAC")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<audio controls src="data:audio/flac;base64,{data}"></audio>'
