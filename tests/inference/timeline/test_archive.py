"""Folders of timelines: the answers of each recording alone, whatever interrupts, whatever a recording is."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from commands import Outcome
from processes import Process

from mmer.audio.load import load_audio
from mmer.errors import MMERError
from mmer.inference import EmotionRecognizer
from mmer.inference.prediction import predictions_frame
from mmer.inference.timeline.archive import Timelines, timelines
from mmer.inference.timeline.timeline import Timeline, timeline

RATE = 16_000
Mmer = Callable[..., Outcome]


def write_call(path: Path, clips: list[str]) -> None:
    """Write a stereo call in which two speakers take turns."""
    sides = [[np.zeros(RATE, np.float32)], [np.zeros(RATE, np.float32)]]
    for number, clip in enumerate(clips):
        said = np.concatenate([load_audio(clip), np.zeros(RATE, np.float32)])
        sides[number % 2].append(said)
        sides[1 - number % 2].append(np.zeros_like(said))
    soundfile.write(path, np.stack([np.concatenate(side) for side in sides], axis=1), RATE, format="FLAC")


@pytest.fixture
def calls(clips: list[str], tmp_path: Path) -> Path:
    """Two calls of the same name in two folders, a mono recording, and one that is none."""
    folder = tmp_path / "calls"
    (folder / "may").mkdir(parents=True)
    write_call(folder / "call.flac", clips[:3])
    write_call(folder / "may" / "call.flac", clips[3:5])
    shutil.copy(clips[5], folder / "mono.opus")
    (folder / "notes.wav").write_text("not a recording")
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / f"{name}.parquet")


def test_the_tables_hold_what_each_recording_has_alone(
    mmer: Mmer, recognizer: EmotionRecognizer, model_folder: Path, calls: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ["timeline", model_folder, calls, "--channel", "each", "-o", out, "--device", "cpu"]
    done = mmer(*asked, "--each", ".json", "--each", ".srt")
    assert done.code == 2
    assert done.out == ""
    assert "mmer: " + str(calls / "notes.wav") in done.err
    assert "3 recordings, 6 segments, 1 recording skipped in " in done.err
    paths = [calls / "call.flac", calls / "may" / "call.flac", calls / "mono.opus"]
    alone = [timeline(recognizer, str(path), channel="each") for path in paths]
    expected = predictions_frame(
        [segment for found in alone for segment in found.segments], recognizer.labels
    )
    pd.testing.assert_frame_equal(table(out, "segments"), expected, atol=2e-6)
    rows = [
        {"audio_path": found.recording} | row
        for found in alone
        for summary in found.summaries
        for row in summary.to_rows()
    ]
    summaries = table(out, "summaries")
    pd.testing.assert_frame_equal(summaries, pd.DataFrame(rows).astype(summaries.dtypes), atol=1e-5)
    assert len(rows) == 4 * (3 + 3 + 2)
    skipped = table(out, "skipped")
    assert skipped["audio_path"].tolist() == [str(calls / "notes.wav")]
    assert skipped["error"].str.contains("cannot be read|no audio|not").all()
    assert len({file.stem for file in (out / "recordings").glob("call-*.json")}) == 2
    assert len(list((out / "recordings").iterdir())) == 6
    again = Timeline.from_dict(json.loads(next((out / "recordings").glob("mono-*.json")).read_text()))
    assert [s.probabilities for s in again.segments] == [
        pytest.approx(s.probabilities, abs=1e-6) for s in alone[2].segments
    ]


def test_only_what_is_new_or_has_changed_is_answered(
    model_folder: Path, calls: Path, clips: list[str], tmp_path: Path
) -> None:
    def answer() -> Timelines:
        return timelines(model_folder, str(calls), tmp_path / "out", device="cpu")

    first = answer()
    assert (first.recordings, first.new, len(first.errors)) == (3, 3, 1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.parquet")}
    assert answer().new == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.parquet")} == before
    shutil.copy(clips[6], calls / "notes.wav")
    shutil.copy(clips[7], calls / "mono.opus")
    (calls / "call.flac").unlink()
    last = answer()
    assert (last.recordings, last.new, last.errors) == (3, 2, [])
    assert set(table(tmp_path / "out", "segments")["audio_path"]) == {
        str(calls / name) for name in ("may/call.flac", "mono.opus", "notes.wav")
    }
    assert len(table(tmp_path / "out", "skipped")) == 0


def test_a_killed_one_goes_on_to_the_same_tables(
    model_folder: Path, clips: list[str], tmp_path: Path
) -> None:
    folder, out = tmp_path / "calls", tmp_path / "killed"
    folder.mkdir()
    for number in range(7):
        write_call(folder / f"{number:02}.flac", clips[number : number + 2])
    running = Process("timeline", model_folder, folder, "-o", out, "--device", "cpu")
    journal = out / "_journal.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = journal.read_bytes().count(b"\n")
    assert not (out / "segments.parquet").exists()
    with journal.open("ab") as file:
        file.write(b'{"key": "cut o')
    resumed = timelines(model_folder, str(folder), out, device="cpu")
    whole = timelines(model_folder, str(folder), tmp_path / "other", device="cpu")
    assert (resumed.recordings, resumed.new) == (7, 7 - done)
    assert whole.new == 7
    for name in ("segments", "summaries", "skipped"):
        pd.testing.assert_frame_equal(table(out, name), table(tmp_path / "other", name))
    damaged = min((out / "_timelines").iterdir())
    damaged.write_text("{")
    with pytest.raises(
        MMERError, match=f"{damaged.name} cannot be read, .*; delete it, and the same command"
    ):
        timelines(model_folder, str(folder), out, device="cpu")
    damaged.unlink()
    assert timelines(model_folder, str(folder), out, device="cpu").new == 1


@pytest.mark.slow
def test_ctrl_c(model_folder: Path, clips: list[str], tmp_path: Path) -> None:
    folder, out = tmp_path / "calls", tmp_path / "out"
    folder.mkdir()
    for number in range(12):
        write_call(folder / f"{number:02}.flac", clips[number : number + 3])
    running = Process("timeline", model_folder, folder, "-o", out, start_new_session=True)
    journal = out / "_journal.jsonl"
    while not journal.exists() or not journal.read_bytes():
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == 130
    assert said == f"mmer: interrupted: what is done is in {out}; the same command goes on from there\n"


def test_a_table_gives_segments_with_speakers_and_words(
    mmer: Mmer, model_folder: Path, calls: Path, tmp_path: Path
) -> None:
    call, mono = calls / "call.flac", calls / "mono.opus"
    rows = [
        {"audio_path": call, "start": 3.0, "speaker": "ben", "transcript": "=1+1"},
        {"audio_path": call, "start": 1.0, "end": 2.0, "speaker": "anna", "transcript": "What a day"},
        {"audio_path": mono, "transcript": "all of it"},
        {"audio_path": None, "transcript": "no sound"},
        {"audio_path": tmp_path / "gone.wav"},
    ]
    given = pd.DataFrame(rows).assign(utterance_id=list("abcde"))
    given.to_csv(tmp_path / "calls.csv", index=False)
    asked = ["timeline", model_folder, tmp_path / "calls.csv", "-o", tmp_path / "out", "--format", "csv"]
    done = mmer(*asked, "--device", "cpu")
    assert done.code == 2
    assert "calls.csv: the transcripts of 1 whole recording are not used; give start and end" in done.err
    found = pd.read_csv(tmp_path / "out" / "segments.csv", dtype={"transcript": str})
    of_call = found[found["audio_path"] == str(call)]
    assert of_call["speaker"].tolist() == ["anna", "ben"]
    assert of_call["transcript"].tolist() == ["What a day", "=1+1"]
    assert of_call["end"].tolist() == [2.0, pytest.approx(soundfile.info(call).duration)]
    assert found["confidence"].notna().all()
    assert found[found["audio_path"] == str(mono)]["transcript"].isna().all()
    skipped = pd.read_csv(tmp_path / "out" / "skipped.csv")
    assert skipped["audio_path"].tolist() == ["d", str(tmp_path / "gone.wav")]
    assert skipped["error"].tolist()[0].endswith("d has no recording; a timeline needs sound")
    summaries = pd.read_csv(tmp_path / "out" / "summaries.csv")
    assert summaries[summaries["scope"] == "voice"]["voice"].dropna().unique().tolist() == ["anna", "ben"]


def test_names_of_any_kind(model_folder: Path, clips: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    names = [b"caf\xe9.opus", b"a" + "é".encode() * 120 + b".opus", b"[1] $x$ <b>.opus", b"a\nb.opus"]
    for name in names:
        shutil.copy(clips[0], folder / os.fsdecode(name))
    made = timelines(model_folder, str(folder), tmp_path / "out", each=[".json", ".png"], device="cpu")
    assert (made.recordings, made.errors) == (4, [])
    written = [path.name for path in (tmp_path / "out" / "recordings").iterdir()]
    assert len(written) == 8
    assert sum("é" in name and name.isprintable() for name in written) == 2  # cut between two characters
    assert len(set(table(tmp_path / "out", "segments")["audio_path"])) == 4
    assert (
        timelines(model_folder, str(folder), tmp_path / "out", each=[".png", ".json"], device="cpu").new == 0
    )


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["{calls}"], "names several recordings; give one folder for their tables, with --out"),
            (["{calls}", "-o", "a.json"], "names several recordings; give one folder"),
            (["{calls}/*.flac", "-o", "a", "-o", "b"], "names several recordings; give one folder"),
            (["{calls}/*.wma", "-o", "a"], "no file matches the pattern"),
            (["{calls}", "-o", "a", "--segments", "x.rttm"], "--segments is about one recording, and"),
            (["{calls}", "-o", "a", "--format", "table"], "--format table is for a terminal"),
            (
                ["{calls}", "-o", "a", "--each", ".doc"],
                "no files of the kind '.doc'; it must be one of .json",
            ),
            (["{calls}/mono.opus", "--each", ".png"], "--each is for several recordings; name the files"),
            (["nowhere", "--each", ".png", "-o", "a"], "nowhere: no such file"),
            (["nowhere", "-o", "a"], "nowhere: no such file"),
            (["{calls}", "-o", "{calls}"], "is neither a folder of timelines nor an empty folder, it holds"),
        ],
    )
    def test_before_the_work(
        self,
        mmer: Mmer,
        model_folder: Path,
        calls: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
        message: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        done = mmer("timeline", model_folder, *(argument.format(calls=calls) for argument in arguments))
        assert (done.code, done.out) == (2, "")
        (line,) = done.err.splitlines()
        assert line.startswith("mmer: ")
        assert message in line
        assert sorted(path.name for path in tmp_path.iterdir()) == ["calls"]

    def test_another_request(
        self, model_folder: Path, versatile_folder: Path, clips: list[str], tmp_path: Path
    ) -> None:
        (tmp_path / "in").mkdir()
        shutil.copy(clips[0], tmp_path / "in")
        asked: dict[str, Any] = {"source": str(tmp_path / "in"), "out": tmp_path / "out", "device": "cpu"}
        timelines(model_folder, **asked)
        with pytest.raises(MMERError, match=r"different in smoothing \(0\.0 before\); use another folder"):
            timelines(model_folder, **asked, smoothing=2.0)
        with pytest.raises(MMERError, match="different in the model; use another folder"):
            timelines(versatile_folder, **asked)
