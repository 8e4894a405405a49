"""The figure class of all plots, which draws users' text literally and in fonts that have its characters."""

import logging
import math
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.typing import ColorType
from rich.cells import cell_len

from mmer.files.writing import writing
from mmer.plain_text import RIGHT_TO_LEFT, one_line, shown

INK, FAINT = "#1f2933", "#c3cbd3"
"""Colors of text and of background elements."""
_SPELLED = re.compile(r"(?:HIRAGANA|KATAKANA|HANGUL) (?:LETTER|SYLLABLE) (?:SMALL )?(\w+)$")
_NOTE = 0.22  # inches for a line below the picture
_LINES = 8  # most lines of a name
_MOST_PIXELS = 60e6  # most pixels of a picture, which needs four bytes for each
_CODES = 8  # most characters without a font that are listed
_BOXES = "LastResort"  # matplotlib's font that draws a box for every character

_logger = logging.getLogger(__name__)


def in_order(text: str) -> str:
    """Mark what is written from right to left, so that the words and numbers beside it keep their places."""
    return RIGHT_TO_LEFT.sub("\u200e\\g<0>\u200e", text)


class Picture(Figure):
    """Figure that draws no text as mathematics and no character as an empty box.

    Characters that matplotlib's font lacks are drawn in an installed font that has them. Where there is none, they are
    spelled (kana, Hangul) or given as code points, and a line below the picture and in the log says so.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.replaced: set[str] = set()
        """Characters that no font on this machine has."""

    def label(self, text: str, width: int, lines: int = _LINES) -> str:
        """Give a name as it will be drawn, in at most `lines` lines of at most `width` characters."""
        plain, _, without = _plain_text(text, FontProperties(), spelled=True)
        self.replaced |= without
        if not RIGHT_TO_LEFT.fullmatch(plain):
            plain = in_order(plain)
        wrapped = textwrap.wrap(plain, width, max_lines=lines, placeholder="…")
        if wrapped and wrapped[-1] == "…":  # the next word is longer than a line
            begun = textwrap.wrap(plain, width)[len(wrapped) - 1]
            wrapped[-1] = f"{begun[: width - 1]}…"
        return "\n".join(wrapped)

    def draw(self, renderer: Any) -> None:
        """Draw, or only lay out where there is a layout engine: matplotlib then draws again, without the engine."""
        engine = self.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine):
            engine.execute(self)
        else:
            super().draw(renderer)

    def savefig(self, fname: Any, *, format: str | None = None, **settings: Any) -> None:
        """Write the picture atomically to a path, or to an open file; reduce the resolution of a huge one."""
        path = Path(fname) if isinstance(fname, str | Path) else None
        if path is not None:
            format = format or path.suffix[1:].lower()
        width, height = self.get_size_inches()
        settings["dpi"] = min(settings.get("dpi", self.get_dpi()), math.sqrt(_MOST_PIXELS / (width * height)))
        _draw_plainly(self, spelled=format != "svg" or matplotlib.rcParams["svg.fonttype"] != "none")
        with warnings.catch_warnings():
            # Matplotlib warns of text that stays text; where characters are shapes, none is missing.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            if path is None:
                super().savefig(fname, format=format, **settings)
                return
            with writing(path) as part:
                super().savefig(part, format=format, **settings)


@contextmanager
def additional_picture(what: str) -> Iterator[None]:
    """Draw an optional picture: log a failure instead of raising it.

    Args:
        what: name of the picture in the log.
    """
    try:
        yield
    except Exception as error:
        reason = one_line(str(error)) or type(error).__name__
        _logger.warning("no picture %s: %s", one_line(what), reason)


def ink_on(ground: ColorType) -> str:
    """Choose white or black for text on a ground, whichever has more contrast: 4.5:1 at least."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(ground)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def legend_name(name: str) -> str:
    """Give a name that a legend shows: matplotlib leaves out what begins with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


def legend_widths(names: Sequence[str], size: float) -> list[float]:
    """Estimate the inches that entries of a legend take in one row, at a font size in points."""
    return [0.067 * size + 0.0085 * size * cell_len(name) for name in names]


def legend_columns(widths: Sequence[float], room: float) -> int:
    """Choose the most columns with which a legend is `room` inches wide; it is filled column by column."""
    for columns in range(len(widths), 1, -1):
        rows, longer = divmod(len(widths), columns)
        starts = [rows * place + min(place, longer) for place in range(columns + 1)]
        if sum(max(widths[start:end]) for start, end in pairwise(starts)) < room:
            return columns
    return 1


def _draw_plainly(figure: Picture, *, spelled: bool) -> None:
    """Make every text of a figure plain.

    Args:
        figure: a completely drawn figure.
        spelled: whether the file holds shapes, so that each character needs a font on this machine.
    """
    replaced = figure.replaced
    for axis in figure.findobj(Axis):
        assert isinstance(axis, Axis)
        ticks = axis.get_majorticklabels()
        plain = [_plain(label, spelled)[0] for label in ticks]
        if plain != [label.get_text() for label in ticks]:
            replaced.update(*(_plain(label, spelled)[2] for label in ticks))
            axis.set_ticks(axis.get_majorticklocs(), labels=plain)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        plain, families, without = _plain(text, spelled)
        replaced |= without
        if plain != text.get_text():
            text.set_text(plain)
        if families:
            text.set_fontfamily([*text.get_fontfamily(), *families])
    if replaced:
        characters = "".join(sorted(replaced)[:_CODES])
        _logger.warning("no font here has the characters %s; install one that has, such as Noto", characters)
        _add_note(figure)


def _add_note(figure: Figure) -> None:
    """Write below everything else that characters were replaced."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + _NOTE)
    share = _NOTE / (height + _NOTE)
    if engine := figure.get_layout_engine():
        # The constrained layout takes `rect`; the base class of all engines does not declare it.
        engine.set(rect=(0, share, 1, 1 - share))  # pyright: ignore[reportCallIssue]
    for legend in figure.legends:
        if legend.get_window_extent().y0 < _NOTE * figure.dpi:  # at the lower edge, where the note goes
            legend.borderaxespad += 72 * _NOTE / legend.prop.get_size_in_points()
    note = "Some characters are spelled or given as code points: no font on this machine has them."
    figure.text(0.01, share / 4, note, fontsize=7, ha="left", va="bottom", parse_math=False)


def _plain(text: Text, spelled: bool) -> tuple[str, tuple[str, ...], frozenset[str]]:
    """Return the text to draw, the further fonts that it needs, and the characters that no font has."""
    return _plain_text(text.get_text(), text.get_fontproperties(), spelled=spelled)


def _plain_text(
    text: str, font: FontProperties, *, spelled: bool
) -> tuple[str, tuple[str, ...], frozenset[str]]:
    safe = "".join(map(_drawn, shown(text)))
    if not spelled or safe.isascii():
        return safe, (), frozenset()
    families, without = _fonts(findfont(font), frozenset(safe))
    return _spell(safe, without), families, without


def _drawn(character: str) -> str:
    if "\u2400" <= character <= "\u2421":  # symbol for a control character; few fonts have it
        return "\ufffd"
    return " " if character != "\n" and (character.isspace() or character == "\ufeff") else character


@lru_cache
def _fonts(path: str, characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return families of installed fonts with the characters that the font at `path` lacks, and those that none has."""
    lacking = _lacking(
        path, frozenset(each for each in characters if unicodedata.category(each) not in ("Cc", "Cf"))
    )
    found: list[str] = []
    if lacking:
        # Ties go to the first by name, so that the same machine draws the same picture.
        for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.weight != 400, entry.name)):
            if lacking and _BOXES not in Path(entry.fname).name:
                rest = _lacking(entry.fname, lacking)
                if rest < lacking:
                    found.append(entry.name)
                    lacking = rest
    return tuple(found), lacking


def _lacking(path: str, characters: frozenset[str]) -> frozenset[str]:
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # matplotlib cannot read it
        return characters
    return frozenset(character for character in characters if not font.get_char_index(ord(character)))


def _spell(text: str, without: frozenset[str]) -> str:
    """Return the text with each run of `without` as letters or code points."""
    if not without:
        return text
    run = re.compile(f"[{re.escape(''.join(sorted(without)))}]+")
    return run.sub(lambda found: _spelled(found[0]), text)


def _spelled(run: str) -> str:
    names = [_SPELLED.search(unicodedata.name(character, "")) for character in run]
    if all(names):
        return "".join(name[1].lower() for name in names if name)
    codes = " ".join(f"U+{ord(character):04X}" for character in run[:_CODES])
    return codes if len(run) <= _CODES else f"{codes} and {len(run) - _CODES} more"


def soft_axes(axes: Axes, grid: Literal["both", "x", "y"]) -> Axes:
    """Give axes thin lines and a faint grid, and return them."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=9, length=3)
    axes.grid(axis=grid, color=FAINT, lw=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    return axes
