"""`mmer predict` on every container a user has, and on the channels of stereo recordings."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from audio.test_audio import make
from commands import Outcome

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.inference import EmotionRecognizer, Utterance
from mmer.inference.inputs import in_channels

Mmer = Callable[..., Outcome]
CONTAINERS = ["a.wav", "a.flac", "a.mp3", "a.opus", "a.m4a", "video.mp4", "a.webm", "video.avi"]


@pytest.fixture(scope="module")
def sides(clips: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Two real recordings at 48 kHz, the second cut or padded to the length of the first."""
    left, right = (load_audio(clip, sampling_rate=48_000) for clip in clips[:2])
    return left, np.pad(right, (0, max(0, len(left) - len(right))))[: len(left)]


def test_every_container_channel_by_channel(
    mmer: Mmer,
    model_folder: Path,
    recognizer: EmotionRecognizer,
    sides: tuple[np.ndarray, ...],
    tmp_path: Path,
) -> None:
    said = sides[0]
    for name in CONTAINERS:
        make(tmp_path, name, np.stack([said, np.zeros_like(said)]))
    out = tmp_path / "answers.csv"
    done = mmer("predict", model_folder, tmp_path, "--channel", "each", "--device", "cpu", "-o", out)
    assert (done.code, "16 predictions" in done.err) == (0, True), done.err
    table = pd.read_csv(out)
    paths = [str(path) for path in sorted(map(tmp_path.joinpath, CONTAINERS))]
    assert table["utterance_id"].tolist() == [
        f"{path}#{side}" for path in paths for side in ("left", "right")
    ]
    assert table["channel"].tolist() == ["left", "right"] * len(CONTAINERS)
    expected = recognizer(said, sampling_rate=48_000).probabilities
    assert expected is not None
    for row in table.to_dict("records"):
        assert ("silent" in str(row["warnings"])) == (row["channel"] == "right"), row
        if row["channel"] == "left":
            got = [row[f"probability_{label}"] for label in expected]
            assert got == pytest.approx(list(expected.values()), abs=0.06), row["utterance_id"]


def test_one_channel(mmer: Mmer, model_folder: Path, sides: tuple[np.ndarray, ...], tmp_path: Path) -> None:
    stereo, mono = make(tmp_path, "a.wav", np.stack(sides)), make(tmp_path, "mono.wav", sides[0][None])
    answers = {
        channel: json.loads(mmer("predict", model_folder, stereo, "--channel", channel).out)
        for channel in ("mix", "left", "right", "2")
    }
    assert answers["mix"]["utterance_id"] == str(stereo)
    assert answers["right"]["utterance_id"] == f"{stereo}#right"
    assert answers["right"]["probabilities"] == answers["2"]["probabilities"]
    assert answers["left"]["probabilities"] != pytest.approx(answers["right"]["probabilities"], abs=1e-3)
    alone = json.loads(mmer("predict", model_folder, mono, "--channel", "each").out)
    assert (alone["utterance_id"], alone["channel"]) == (str(mono), "mix")
    assert alone["probabilities"] == pytest.approx(answers["left"]["probabilities"], abs=1e-4)
    failed = mmer("predict", model_folder, mono, "--channel", "right")
    assert failed.code == 2
    assert failed.err == f"mmer: {mono}: has no channel right, it is mono; give mix, left or each\n"
    assert json.loads(failed.out)["error"] in failed.err
    wrong = mmer("predict", model_folder, mono, "--channel", "top")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith(
        "mmer: no channel 'top'; it must be mix, left, right, each or a number from 1"
    )


def test_files_that_cannot_be_read_stay_one_row(mmer: Mmer, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is no audio")
    failed = mmer("predict", model_folder, tmp_path / "text.wav", "--channel", "each")
    assert failed.code == 2
    assert "is no audio" in json.loads(failed.out)["error"]


def test_a_transcript_of_all_channels_is_not_read_in_each(
    mmer: Mmer, model_folder: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((16_000, 2)), 16_000)
    table = pd.DataFrame(
        {"utterance_id": ["u"], "audio_path": [str(tmp_path / "a.wav")], "transcript": ["hello and goodbye"]}
    )
    Corpus(table).write(tmp_path / "corpus.parquet")
    refused = mmer("predict", model_folder, tmp_path / "corpus.parquet", "--channel", "each")
    assert refused.code == 2
    assert refused.err.startswith("mmer: u#left: its transcript is of all channels together")
    one = mmer("predict", model_folder, tmp_path / "a.wav", "--channel", "each", "--transcript", "hello")
    assert one.err.startswith(f"mmer: {tmp_path / 'a.wav'}#left: its transcript is of all channels together")
    answered = mmer(
        "predict", model_folder, tmp_path / "corpus.parquet", "--channel", "each", "--transcription", "none"
    )
    assert [json.loads(line)["utterance_id"] for line in answered.out.splitlines()] == ["u#left", "u#right"]


def test_speakers_and_what_has_no_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 2)), 16_000)
    known = Utterance(str(tmp_path / "a.wav"), speaker="anna", utterance_id="u")
    data = Utterance((tmp_path / "a.wav").read_bytes(), utterance_id="sent")
    words = Utterance(None, "hello", utterance_id="w")
    each = in_channels([known, data, words], "each")
    assert [(u.utterance_id, u.channel, u.speaker) for u in each] == [
        ("u#left", "left", "anna#left"),
        ("u#right", "right", "anna#right"),
        ("sent#left", "left", None),
        ("sent#right", "right", None),
        ("w", "mix", None),
    ]
    left, _, text = in_channels([known, data, words], "left")
    assert (left.utterance_id, left.speaker, text.channel) == ("u#left", "anna", "mix")


def test_channels_that_cancel_are_answered_like_one_and_said(
    mmer: Mmer,
    model_folder: Path,
    recognizer: EmotionRecognizer,
    sides: tuple[np.ndarray, ...],
    tmp_path: Path,
) -> None:
    said = sides[0]
    path = make(tmp_path, "a.wav", np.stack([said, -0.9 * said]).astype(np.float32))
    answered = json.loads(mmer("predict", model_folder, path).out)
    expected = recognizer(make(tmp_path, "mono.wav", said[None]))
    assert answered["probabilities"] == pytest.approx(expected.probabilities, abs=1e-3)
    warning = answered["warnings"][0]
    assert warning.startswith("channels cancel: right is left inverted")
    samples = recognizer(np.stack([said, -0.9 * said]), sampling_rate=48_000)
    assert samples.warnings[0] == warning
    along = json.loads(mmer("timeline", model_folder, path).out)
    alone = json.loads(mmer("timeline", model_folder, tmp_path / "mono.wav").out)
    assert [(each["start"], each["end"]) for each in along["segments"]] == [
        (each["start"], each["end"]) for each in alone["segments"]
    ]
    assert along["segments"]
    assert along["segments"][0]["warnings"][0].startswith("channels cancel: ")
    for channel in ("left", "right"):
        alone = json.loads(mmer("predict", model_folder, path, "--channel", channel).out)
        assert "cancel" not in " ".join(alone["warnings"])


def test_what_is_no_file_is_one_row(mmer: Mmer, model_folder: Path, clips: list[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    paths = [clips[0], tmp_path / "pipe.wav", "/dev/zero", clips[1]]
    table = pd.DataFrame({"utterance_id": list("abcd"), "audio_path": list(map(str, paths))})
    table.to_csv(tmp_path / "table.csv", index=False)
    done = mmer("predict", model_folder, tmp_path / "table.csv", "--device", "cpu")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["error"] is None for row in rows] == [True, False, False, True]
    assert rows[1]["error"].endswith("pipe.wav: is a pipe, not a file; write what it gives to a file first")
    assert rows[2]["error"].startswith("/dev/zero: is a device")
    for command in ("predict", "timeline"):
        refused = mmer(command, model_folder, tmp_path / "pipe.wav")
        assert refused.code == 2
        assert "is a pipe, not a file" in refused.err
