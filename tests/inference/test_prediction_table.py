"""Predictions as a table: what a terminal of any width shows of names, labels and transcripts of any kind."""

import csv
import io
import json
from pathlib import Path

import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mmer.display.terminal import BAR, PlainConsole, bar
from mmer.inference.prediction import Prediction
from mmer.inference.prediction_table import PredictionTable
from mmer.inference.timeline.timeline import Timeline
from mmer.inference.timeline.timeline_table import summary_table

ANSWER = {"angry": 0.8249, "sad": 0.17, "calm": 0.0051}


def shown(predictions: list[Prediction], width: int = 80, *, ranked: bool = False) -> list[str]:
    file = io.StringIO()
    console = PlainConsole(file=file, width=width)
    table = PredictionTable(
        console, [each.utterance_id for each in predictions], ["angry", "calm", "sad"], ranked=ranked
    )
    for prediction in predictions:
        table.add(prediction)
    return file.getvalue().removesuffix("\n").split("\n")


def answer(name: str = "a.wav", label: str = "angry", **others: object) -> Prediction:
    return Prediction(utterance_id=name, label=label, probabilities=ANSWER, **others)  # type: ignore[arg-type]


def test_a_row_has_the_label_a_bar_a_rounded_share_and_the_words() -> None:
    lines = shown([answer(transcript="I never said that!"), answer("b.wav")])
    assert lines == [
        "recording  emotion  probability        transcript",
        "a.wav      angry    ████████▎   82.5%  I never said that!",
        "b.wav      angry    ████████▎   82.5%",
    ]


def test_one_recording_ranks_its_emotions() -> None:
    lines = shown([answer(transcript="hi")], ranked=True)
    assert [line.split()[0] for line in lines] == ["recording", "a.wav", "sad"]  # calm has less than 1 %


def test_warnings_errors_and_doubt_stand_below() -> None:
    lines = shown(
        [
            answer(warnings=["cut\nshort"], label_set=["angry", "sad"], abstained=True),
            Prediction(utterance_id="gone.wav", error="gone.wav: no such file"),
        ]
    )
    assert "angry?" in lines[1]
    assert [line.strip() for line in lines[2:5]] == [
        "abstained: the probability is below the requested confidence",
        "one of angry, sad",
        "warning: cut short",
    ]
    assert lines[5] == "gone.wav   no answer: gone.wav: no such file"


def test_a_warning_of_many_recordings_is_given_once_in_full() -> None:
    warning = "speaker not known, standardized as an average speaker of the training corpus"
    lines = shown([answer(f"{name}.wav", warnings=[warning, f"of {name}"]) for name in "abc"], 60)
    assert " ".join(line.strip() for line in lines[2:4]) == f"warning: {warning}"
    assert [line.strip() for line in lines[4:]] == [
        "warning: of a",
        "b.wav      angry    ████████▎   82.5%",
        "warning: speaker not known, standardized as an a…",
        "warning: of b",
        "c.wav      angry    ████████▎   82.5%",
        "warning: speaker not known, standardized as an a…",
        "warning: of c",
    ]


def test_the_end_of_a_long_name_is_kept() -> None:
    lines = shown([answer("/a/very/long/way/to/the/folder/of/anna/clip_001.wav")], 80)
    assert lines[1].startswith("…")
    assert "anna/clip_001.wav  angry" in lines[1]


@given(
    st.text(max_size=60),
    st.text(max_size=200),
    st.integers(40, 200),
)
def test_no_row_is_wider_than_the_terminal_and_no_text_is_obeyed(name: str, words: str, width: int) -> None:
    row = shown([answer(f"n{name}", transcript=f"{words}[bold]x[/bold]\x1b[2J")], width)
    assert len(row) == 2
    assert cell_len(row[1]) <= width
    assert "\x1b" not in row[1]
    assert "82.5%" in row[1]


@given(st.floats(0, 1))
def test_a_bar_is_as_long_as_its_share(share: float) -> None:
    drawn = bar(share)
    assert cell_len(drawn) == BAR
    assert abs(drawn.count("█") - BAR * share) <= 1


def test_the_summary_of_a_timeline_shares_out_the_speech_of_each_voice() -> None:
    def segment(start: float, end: float, label: str, channel: str) -> Prediction:
        return Prediction(
            utterance_id="s", label=label, probabilities=ANSWER, start=start, end=end, channel=channel
        )

    found = Timeline(
        recording="[red]call.wav",
        duration=10.0,
        labels=list(ANSWER),
        segments=[
            segment(0, 3, "angry", "left"),
            segment(4, 5, "sad", "left"),
            segment(5, 6, "sad", "right"),
        ],
    )
    file = io.StringIO()
    PlainConsole(file=file, width=80).print(summary_table(found))
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert lines[0][0] == "[red]call.wav:"
    assert [line[0] for line in lines[2:]] == ["left", "sad", "right"]
    assert [line[-3:] for line in lines[2:]] == [
        ["75.0%", "3.0", "1"],
        ["25.0%", "1.0", "1"],
        ["100.0%", "1.0", "1"],
    ]


def test_formats_of_standard_output(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model_folder: Path, clips: list[str]
) -> None:
    asked = ["predict", model_folder, *clips[:2], "--device", "cpu"]
    piped = [json.loads(line) for line in run(capfd, monkeypatch, asked).out.splitlines()]
    lines = list(csv.DictReader(io.StringIO(run(capfd, monkeypatch, [*asked, "--format", "csv"]).out)))
    assert [line["utterance_id"] for line in lines] == [each["utterance_id"] for each in piped]
    assert float(lines[0]["probability_sad"]) == piped[0]["probabilities"]["sad"]
    table = run(capfd, monkeypatch, [*asked, "--format", "table"])
    rows = [line for line in table.out.splitlines() if "%" in line]
    assert [each["label"] in row for each, row in zip(piped, rows, strict=True)] == [True, True]
    assert table.err.count("warning") == 0
    refused = run(capfd, monkeypatch, [*asked, "--format", "csv", "-o", "x.csv"])
    assert (refused.code, "--format" in refused.err, "--out" in refused.err) == (2, True, True)
