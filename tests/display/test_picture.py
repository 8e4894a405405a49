"""Pictures draw what users wrote: no mathematics, no empty boxes in silence, and no run that is lost for a picture."""

import logging
import os
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backend_bases import RendererBase
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

from mmer.display.picture import Picture, additional_picture, legend_name
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.plots import plot_confusion_matrix
from mmer.evaluation.report.plots import embedding_map

LABELS = [
    "$a^$_",
    "$$",
    "[/angry]",
    "<script>",
    "_under",
    "غضب",
    "שמחה",
    "怒り",
    "\x1b[31m",
    os.fsdecode(b"\xe9"),
]
HAN = "\u6012"


def texts(picture: Picture) -> list[str]:
    return [text.get_text() for text in picture.findobj(Text) if isinstance(text, Text) and text.get_text()]


def without_fonts_for(monkeypatch: pytest.MonkeyPatch, character: str) -> None:
    """As on a machine where no installed font has it."""
    import mmer.display.picture

    lacking = mmer.display.picture._lacking
    mmer.display.picture._fonts.cache_clear()
    monkeypatch.setattr(
        mmer.display.picture, "_lacking", lambda path, wanted: lacking(path, wanted) | (wanted & {character})
    )


@pytest.mark.parametrize(
    ("name", "lines", "label"),
    [
        ("joy", 1, "joy"),
        ("surprised and delighted", 1, "surprised…"),
        ("surprisedanddelighted", 1, "surprisedan…"),
        ("an overwhelmed-speaker", 1, "an…"),
        ("overwhelmed-speaker 😀", 1, "overwhelmed…"),
        ("overwhelmedspeaker of the", 2, "overwhelmeds\npeaker of…"),
        ("غضب شديد", 1, "غضب شديد"),
        ("غضب 13%", 1, "\u200eغضب\u200e 13%"),
    ],
)
def test_a_label_that_is_cut_keeps_its_beginning_and_numbers_their_place(
    name: str, lines: int, label: str
) -> None:
    assert Picture().label(name, 12, lines) == label


def test_labels_of_any_kind_in_a_confusion_matrix(tmp_path: Path) -> None:
    figures = compute_metrics(LABELS, LABELS, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion_matrix(figures, tmp_path / "a.png", title="$x^ of [data] שלום")
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).min() < 100
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@settings(max_examples=15)
@given(st.text(st.characters(), max_size=12))
def test_any_text_is_drawn(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    picture = Picture(figsize=(3, 2), dpi=50, layout="constrained")
    axes = picture.subplots()
    axes.set_xticks([0, 1], [text, "b"])
    axes.set_title(text)
    axes.legend(handles=[Patch(label=legend_name(text))])
    path = tmp_path_factory.mktemp("pictures") / "a.svg"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing from font")
        picture.savefig(path)
    ElementTree.parse(path)


def test_what_no_font_has_is_spelled_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_fonts_for(monkeypatch, HAN)
    picture = Picture(figsize=(4, 3), layout="constrained")
    axes = picture.subplots()
    axes.set_yticks([0, 1], [HAN, "calm"])
    axes.set_title(f"a{HAN * 20}b")
    with caplog.at_level(logging.WARNING):
        picture.savefig(tmp_path / "a.png")
    drawn = texts(picture)
    assert "U+6012" in drawn
    assert f"a{' '.join(['U+6012'] * 8)} and 12 moreb" in drawn
    assert any("no font on this machine" in text for text in drawn)
    assert f"no font here has the characters {HAN}" in caplog.text


def test_kana_and_hangul_are_transliterated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmer.display.picture

    monkeypatch.setattr(
        mmer.display.picture, "_lacking", lambda path, wanted: frozenset(c for c in wanted if c > "\u3000")
    )
    mmer.display.picture._fonts.cache_clear()
    picture = Picture()
    picture.text(0, 0, "かなし")
    picture.text(0, 0.5, "가나")
    picture.savefig(tmp_path / "a.png")
    assert {"kanasi", "gana"} <= set(texts(picture))
    mmer.display.picture._fonts.cache_clear()


def test_another_installed_font_is_taken(tmp_path: Path) -> None:
    picture = Picture()
    text = picture.text(0, 0, "\U0001d4d0")  # DejaVu Sans, the default, lacks it; STIX comes with matplotlib
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture.savefig(tmp_path / "a.png")
    assert text.get_text() == "\U0001d4d0"
    assert len(text.get_fontfamily()) > 1
    assert "LastResort" not in findfont(FontProperties(family=text.get_fontfamily()[-1:]))


def test_text_of_a_page_stays_text() -> None:
    places = np.arange(2.0 * 30 * len(LABELS)).reshape(-1, 2)
    names = LABELS * 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = embedding_map(places, names, names, LABELS)
    for label in ("$a^$_", "$$", "[/angry]", "&lt;script&gt;", "_under", "غضب", "怒り", "\\xe9"):
        assert label in svg
    assert "<script" not in svg
    assert "\x1b" not in svg


def test_a_picture_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), additional_picture("curves.png"):
        raise ZeroDivisionError("no\nepoch")
    assert "no picture curves.png: no epoch" in caplog.text


@pytest.mark.parametrize("format", ["png", "pdf"])
def test_it_is_drawn_once_and_as_matplotlib_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    drawn: list[str] = []

    class Counted(Text):
        def draw(self, renderer: RendererBase) -> None:
            drawn.append(self.get_text())
            super().draw(renderer)

    def draw(path: Path) -> bytes:
        picture = Picture(figsize=(3, 2), dpi=80, layout="constrained")
        axes = picture.subplots(2, 1, sharex=True)
        axes[0].plot([1, 1000])
        axes[1].set_title("title")
        axes[1].set_aspect("equal")
        axes[1].add_artist(Counted(0.2, 0.5, "text"))
        picture.savefig(path)
        return path.read_bytes()

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # the date in a PDF
    ours = draw(tmp_path / f"ours.{format}")
    assert drawn == ["text"]
    monkeypatch.delattr(Picture, "draw")
    assert ours == draw(tmp_path / f"theirs.{format}")
    assert drawn == ["text"] * 3
