from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.typing import ColorType
from PIL import Image

from mmer.display.picture import Picture
from mmer.evaluation import plots
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.plots import history_of, plot_comparison, plot_confusion_matrix, plot_curves


def drawn(path: Path) -> np.ndarray:
    """Pixels of a picture that is large enough for 800 px, has no ink at its edge, and is not blank."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[1] >= 800
    border = np.concatenate(
        [pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, :2].reshape(-1, 3)]
    )
    assert (border == 255).all(), "something is cut off at the edge"
    assert (pixels < 128).any()
    return pixels


def test_curves_without_a_judged_split(tmp_path: Path):
    logs = [{"epoch": epoch, "step": epoch, "loss": 1.0, "cross_entropy": 1 / epoch} for epoch in (1, 2, 3)]
    plot_curves(history_of(logs), tmp_path / "curves.png", kept_epoch=3)
    drawn(tmp_path / "curves.png")


def test_curves_of_a_model_that_does_without_a_side(tmp_path: Path):
    logs = [
        log
        for epoch in (1, 2, 3)
        for log in (
            {"epoch": epoch, "step": epoch, "loss": 1.0, "cross_entropy": 1 / epoch},
            {"epoch": epoch, "step": epoch, "eval_balanced_accuracy": epoch / 3}
            | {"eval_balanced_accuracy_speech": epoch / 6, "eval_balanced_accuracy_text": 0.25},
        )
    ]
    history = history_of(logs)
    assert history["balanced_accuracy_speech"].tolist() == pytest.approx([1 / 6, 1 / 3, 1 / 2])
    plot_curves(history, tmp_path / "alone.png", kept_epoch=3)
    plot_curves(history_of([log for log in logs if "loss" in log]), tmp_path / "curves.png", kept_epoch=3)
    assert drawn(tmp_path / "alone.png").shape != drawn(tmp_path / "curves.png").shape


@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_curves(tmp_path: Path, epochs: int):
    logs = []
    for epoch in range(1, epochs + 1):
        logs += [
            {"epoch": epoch, "step": epoch, "loss": 1.0, "cross_entropy": 1 / epoch, "ctc": 200 / epoch},
            {"epoch": epoch, "step": epoch, "eval_balanced_accuracy": epoch / 100},
        ]
    plot_curves(history_of(logs), tmp_path / "curves.png", kept_epoch=epochs)
    drawn(tmp_path / "curves.png")


def test_confusion_matrix_with_long_names(tmp_path: Path):
    labels = [
        "angry",
        "disgusted",
        "enthusiastic (positive)",
        "fearful",
        "happy",
        "neutral",
        "sad",
        "surprised",
    ]
    truth = labels * 5
    predicted = labels * 4 + labels[1:] + labels[:1]
    plot_confusion_matrix(compute_metrics(truth, predicted, labels), tmp_path / "matrix.png", title="test")
    drawn(tmp_path / "matrix.png")


@pytest.mark.parametrize(
    "labels",
    [
        ["โกรธ", "มีความสุข", "เป็นกลาง", "เศร้า"],
        ["愤怒", "高兴", "中性", "悲伤", "恐惧", "厌恶", "惊讶", "无聊"],
        ["angry and disappointed with somebody else", "happy", "x" * 300, "sad"],
        ["x" * 300, *(f"emotion {number}" for number in range(27))],
    ],
)
def test_names_beside_a_confusion_matrix_do_not_overlap(
    tmp_path: Path, labels: list[str], monkeypatch: pytest.MonkeyPatch
):
    """Whether a font here has their script or not."""
    figures: list[Picture] = []
    monkeypatch.setattr(plots, "Picture", lambda **named: figures.append(Picture(**named)) or figures[-1])
    plot_confusion_matrix(compute_metrics(labels, labels, labels), tmp_path / "matrix.png", title="test")
    drawn(tmp_path / "matrix.png")
    (axes,) = figures[0].axes
    edge = figures[0].bbox
    for axis in (axes.xaxis, axes.yaxis):
        names = [label for label in axis.get_majorticklabels() if label.get_text()]
        boxes = [label.get_window_extent() for label in names]
        assert len(names) == len(labels)
        assert all(edge.x0 <= box.x0 and edge.y0 <= box.y0 for box in boxes)
        if names[0].get_rotation() % 90 == 0:
            assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def luminance(color: ColorType) -> float:
    """Relative luminance as WCAG defines it."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_numbers_of_a_confusion_matrix_are_read_on_every_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    figures: list[Picture] = []
    monkeypatch.setattr(plots, "Picture", lambda **named: figures.append(Picture(**named)) or figures[-1])
    rows = [[share, 20 - share] for share in range(21)]
    matrix = replace(
        compute_metrics(["a"], ["a"], ["a"]), labels=[str(n) for n in range(21)], confusion_matrix=rows
    )
    plot_confusion_matrix(matrix, tmp_path / "matrix.png", title="test")
    (axes,) = figures[0].axes
    (image,) = axes.images
    numbers = [text for text in axes.texts if text.get_text()]
    assert len(numbers) == 2 * 42
    for text in numbers:
        ground = luminance(image.cmap(rows[round(text.get_position()[1])][int(text.get_position()[0])] / 20))
        lighter, darker = sorted((ground, luminance(text.get_color())), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_confusion_matrix_colors_follow_the_shares(tmp_path: Path):
    for share, name in ((1.0, "right"), (0.0, "wrong")):
        predicted = ["sad", "happy"] if share else ["happy", "sad"]
        figures = compute_metrics(["sad", "happy"], predicted, ["sad", "happy"])
        plot_confusion_matrix(figures, tmp_path / f"{name}.png", title="test")
    right, wrong = drawn(tmp_path / "right.png"), drawn(tmp_path / "wrong.png")
    quarter = (
        slice(right.shape[0] // 4, right.shape[0] // 3),
        slice(right.shape[1] // 4, right.shape[1] // 3),
    )
    assert right[quarter].mean() < 150 < wrong[quarter].mean()


def test_comparison(tmp_path: Path):
    systems = {name: score for name, score in (("text only", 0.05), ("MMER", 1.0))}
    plot_comparison(systems, tmp_path / "bars.png", title="unheard voices", chance=0.25)
    drawn(tmp_path / "bars.png")


def test_history_weighs_windows_by_their_steps():
    logs = [
        {"epoch": 0.5, "step": 3, "loss": 1.0, "cross_entropy": 1.0, "infinite_ctc": 0.0},
        {"epoch": 1.0, "step": 4, "loss": 1.0, "cross_entropy": 5.0, "infinite_ctc": 0.0},
        {"epoch": 1.0, "step": 4, "eval_balanced_accuracy": 0.4},
        {"epoch": 1.75, "step": 7, "loss": 1.0, "cross_entropy": 3.0, "infinite_ctc": 0.0},
        {"epoch": 2.0, "step": 8, "loss": 1.0, "cross_entropy": 3.0, "infinite_ctc": 0.0},
        {"epoch": 2.0, "step": 8, "eval_balanced_accuracy": 0.6},
        {"epoch": 2.0, "step": 8, "train_runtime": 3.0, "train_loss": 2.0},
    ]
    history = history_of(logs)
    assert history["epoch"].tolist() == [1, 2]
    assert history["cross_entropy"].tolist() == [2.0, 3.0]
    assert history["balanced_accuracy"].tolist() == [0.4, 0.6]
    assert np.isnan(history["ctc"].to_numpy()).all()
    pd.testing.assert_index_equal(history.columns[:2], pd.Index(["epoch", "cross_entropy"]))


@pytest.mark.parametrize(("number", "letters"), [(300, 5), (8, 20_000)])
def test_confusion_matrix_of_many_or_endless_names(tmp_path: Path, number: int, letters: int) -> None:
    """Of a corpus whose emotions are something else; the picture stays one that can be opened."""
    labels = [f"{n}{'x' * letters}" for n in range(number)]
    figures = replace(
        compute_metrics(["a"], ["a"], ["a"]),
        labels=labels,
        confusion_matrix=np.eye(number, dtype=int).tolist(),
    )
    plot_confusion_matrix(figures, tmp_path / "many.png", title="many")
    with Image.open(tmp_path / "many.png") as image:
        assert max(image.size) < 6000


def test_a_picture_without_end(tmp_path: Path) -> None:
    figure = Picture(figsize=(8, 2000), dpi=200)
    figure.subplots()
    figure.savefig(tmp_path / "long.png")
    with Image.open(tmp_path / "long.png") as image:
        assert image.width * image.height <= 60e6
