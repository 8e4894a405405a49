"""What `mmer corpus show` prints of speakers, and the picture of `--plot`."""

import io
from pathlib import Path

import pandas as pd
import pytest
from commands import run

from mmer.corpora.corpus import Corpus
from mmer.corpora.summary_plot import plot_corpus
from mmer.display.terminal import PlainConsole
from mmer.errors import MMERError


def corpus(speakers: list[str | None], emotions: list[str | None]) -> Corpus:
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{number}" for number in range(len(speakers))],
            "audio_path": "a.wav",
            "transcript": "x",
            "speaker": speakers,
            "emotion": emotions,
            "duration": [1.0 + number for number in range(len(speakers))],
        }
    )
    return Corpus(table, source="some")


def printed(found: Corpus, width: int = 100) -> list[list[str]]:
    file = io.StringIO()
    PlainConsole(file=file, width=width).print(found.summary())
    return [line.replace("│", " ").replace("┃", " ").split() for line in file.getvalue().splitlines()]


def test_each_speaker_has_a_row_and_each_emotion_a_column() -> None:
    found = corpus(["ben", "anna", "anna", None], ["sad", "sad", "angry", None])
    lines = printed(found)
    assert ["speaker", "angry", "sad", "(none)", "total"] in lines
    start = lines.index(["speaker", "angry", "sad", "(none)", "total"])
    assert lines[start + 2 : start + 5] == [
        ["anna", "1", "1", "0", "2"],
        ["ben", "0", "1", "0", "1"],
        ["(no", "speaker)", "0", "0", "1", "1"],
    ]


def test_an_emotion_may_be_called_total() -> None:
    lines = printed(corpus(["ben", "anna", "anna"], ["total", "total", "sad"]))
    start = lines.index(["emotion", "utterances"])
    rows = [line for line in lines[start:] if line[:1] in (["sad"], ["total"])]
    assert rows[:3] == [["sad", "1"], ["total", "2"], ["total", "3"]]


def test_names_in_brackets_are_not_those_without_one() -> None:
    found = corpus(["(no speaker)", "anna", None, None, None], ["(none)", "sad", "(none)", None, None])
    lines = printed(found)
    start = lines.index(["emotion", "utterances"])
    assert lines[start + 2 : start + 5] == [["(none)", "2"], ["sad", "1"], ["(none)", "2"]]
    start = lines.index(["speaker", "(none)", "sad", "(none)", "total"])
    assert lines[start + 2 : start + 5] == [
        ["(no", "speaker)", "1", "0", "0", "1"],
        ["anna", "0", "1", "0", "1"],
        ["(no", "speaker)", "1", "0", "2", "3"],
    ]


def test_many_emotions_keep_their_names_in_80_columns() -> None:
    emotions = ["anger", "anticipation", "boredom", "contempt", "disgust", "embarrassment", "fear", "joy"]
    lines = printed(corpus([f"speaker-{number}" for number in range(8)], [*emotions]), width=80)
    headings = {word for line in lines if line[:1] == ["speaker"] for word in line}
    assert headings == {"speaker", *emotions, "total"}
    assert ["speaker-7", "1", "1"] in [[line[0], *line[-2:]] for line in lines if line]


def test_many_speakers_are_summed_up() -> None:
    names = [f"s{number}" for number in range(31)]
    lines = printed(corpus([*names, "s0", "s0"], ["sad"] * 33))
    assert not any(line[:1] == ["speaker"] for line in lines)
    assert ["utterances", "of", "a", "speaker", "1", "to", "3,", "median", "1"] in lines


def test_rare_emotions_of_many_share_a_column() -> None:
    emotions: list[str | None] = [f"e{number}" for number in range(14)]
    lines = printed(corpus(["anna"] * 28, emotions * 2), 160)
    assert ["anna", *["2"] * 10, "8", "28"] in lines


@pytest.mark.parametrize("count", [1, 3, 80])
def test_the_picture_holds_any_names(tmp_path: Path, count: int) -> None:
    names: list[str | None] = [f"$x_{number}^2$ [red] 日本 " + "long " * 9 for number in range(count)]
    path = tmp_path / "corpus.png"
    plot_corpus(corpus(names, names).table, path, title="<a> $b")
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_plot_is_refused_before_the_work(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "corpus.csv"
    table.write_text("utterance_id,audio_path,transcript,emotion,speaker\na,,x,sad,anna\n")
    drawn = run(capfd, monkeypatch, ["corpus", "show", table, "--plot", tmp_path / "corpus.png"])
    assert (drawn.code, (tmp_path / "corpus.png").is_file()) == (0, True)
    refused = run(capfd, monkeypatch, ["corpus", "show", table, "--plot", tmp_path / "corpus.jpg"])
    assert (refused.code, refused.out, ".png, .svg, .pdf" in refused.err) == (2, "", True)
    with pytest.raises(MMERError):
        plot_corpus(Corpus.read(table).table, tmp_path / "nowhere" / "corpus.png", title="")
