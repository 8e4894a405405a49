"""Colors of emotions: fixed for common names, different from each other, and seen against their grounds."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import mmer
from mmer.corpora.emotion_colors import NAMED, OTHER, emotion_colors
from mmer.corpora.labels import ALIASES

SOURCE = Path(mmer.__file__).parent
PAGES = (
    "inference/timeline/page/call.css",
    "serving/page/page.css",
    "evaluation/report/report.html.jinja",
)
CONES = {  # matrices of Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB
    "all cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(color: str) -> NDArray[np.float64]:
    parts = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", CONES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_named_colors_differ(theme: str, vision: str) -> None:
    """In CIELAB, where differences of about 2 can just be seen side by side."""
    seen = {name: lab(CONES[vision] @ linear(getattr(color, theme))) for name, color in NAMED.items()}
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(seen, 2)}
    assert min(distances.values()) > 18, min(distances, key=lambda pair: distances[pair])


@pytest.mark.parametrize("page", PAGES)
def test_colors_stand_out_from_the_grounds_of_pages(page: str) -> None:
    style = (SOURCE / page).read_text(encoding="utf-8")
    grounds = re.findall(r"--(?:ground|card|page): (#\w+)", style)
    if page.endswith("css"):  # the ground of strips
        grounds += re.findall(r"--soft: (#\w+)", style)
    for ground in ("#ffffff" if ground == "#fff" else ground for ground in grounds):
        theme = "light" if luminance(ground) > 0.5 else "dark"
        for color in [*NAMED.values(), *OTHER]:
            darker, lighter = sorted((luminance(getattr(color, theme)), luminance(ground)))
            assert (lighter + 0.05) / (darker + 0.05) >= 3, (color, ground)


def test_common_names_keep_their_color_in_any_writing() -> None:
    assert emotion_colors(["Anger", "sad", "7"])["Anger"] == NAMED["angry"]
    assert emotion_colors(["SADNESS"]) == {"SADNESS": NAMED["sad"]}
    assert NAMED.keys() <= ALIASES.keys()


@given(st.sets(st.sampled_from([*ALIASES, "gniew", "7", "_", "<b>"]), max_size=12).map(sorted))
def test_no_two_of_twelve_share_a_color(labels: list[str]) -> None:
    colors = emotion_colors(labels)
    assert list(colors) == labels
    assert len(set(colors.values())) == len(labels)
