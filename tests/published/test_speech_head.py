"""wav2vec 2.0 with the head of audEERING's model: dimensions in every form of output."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from published_models import save_speech_head
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Model
from typer.testing import CliRunner

from mmer.cli.main import app
from mmer.errors import CheckpointError
from mmer.inference import EmotionRecognizer
from mmer.inference.backends.models import model_folder
from mmer.inference.inputs import Utterance
from mmer.inference.timeline.smoothing import smoothed
from mmer.inference.timeline.timeline import timeline
from mmer.serving.schemas import Answer, TimelineAnswer

RATE = 16000
NAMES = ["arousal", "dominance", "valence"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speech_head(tmp_path_factory.mktemp("dimensional"), NAMES, problem_type="regression")


@pytest.fixture(scope="module")
def clips() -> list[NDArray[np.float32]]:
    noise = np.random.default_rng(0)
    return [(0.1 * k * noise.standard_normal(n)).astype(np.float32) for k, n in ((1, 9100), (3, 21000))]


@pytest.fixture
def recording(tmp_path: Path, clips: list[NDArray[np.float32]]) -> Path:
    soundfile.write(tmp_path / "clip.wav", clips[1], RATE)
    return tmp_path / "clip.wav"


def by_hand(folder: Path, clip: NDArray[np.float32]) -> NDArray[np.float32]:
    """The model card's computation: the plain mean over frames of one clip."""
    weights = load_file(folder / "model.safetensors")
    encoder = Wav2Vec2Model.from_pretrained(folder).eval()
    normal = torch.from_numpy((clip - clip.mean()) / np.sqrt(clip.var() + 1e-7))[None]
    with torch.no_grad():
        pooled = encoder(normal).last_hidden_state.mean(dim=1)
        hidden = torch.tanh(pooled @ weights["classifier.dense.weight"].T + weights["classifier.dense.bias"])
        return (hidden @ weights["classifier.out_proj.weight"].T + weights["classifier.out_proj.bias"])[
            0
        ].numpy()


def test_dimensions_are_those_of_the_card_alone_and_in_a_batch(
    folder: Path, clips: list[NDArray[np.float32]]
) -> None:
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    assert (recognizer.labels, recognizer.dimensions) == ([], NAMES)
    utterances = [Utterance(clip, sampling_rate=RATE) for clip in clips]
    for size in (1, 2):
        for clip, answer in zip(clips, recognizer.predict(utterances, batch_size=size), strict=True):
            assert (answer.error, answer.label, answer.probabilities) == (None, None, None)
            assert answer.dimensions is not None
            assert list(answer.dimensions) == NAMES
            assert list(answer.dimensions.values()) == pytest.approx(by_hand(folder, clip).tolist(), abs=1e-5)


def test_every_output_has_them(folder: Path, recording: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    for suffix in ("jsonl", "csv", "parquet"):
        done = run(app, ["predict", str(folder), str(recording), "-o", str(tmp_path / f"out.{suffix}")])
        assert done.exit_code == 0, done.output
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["label"] is None
    values = row["dimensions"]
    for table in (pd.read_csv(tmp_path / "out.csv"), pd.read_parquet(tmp_path / "out.parquet")):
        assert table["label"].isna().all()
        found = table[[f"dimension_{name}" for name in NAMES]].iloc[0]
        assert found.tolist() == pytest.approx(list(values.values()))
    for option in ("--min-confidence", "--coverage"):
        refused = run(app, ["predict", str(folder), str(recording), option, "0.9"])
        told = f"{option} is about the probabilities of emotions, and this model answers {', '.join(NAMES)}"
        assert told in refused.output
    shown = run(app, ["predict", str(folder), str(recording), "--format", "table"])
    assert f"arousal {values['arousal']:.2f}, dominance" in shown.output
    scored = run(app, ["score", str(folder), str(recording.parent), "-o", str(tmp_path / "scored")])
    assert scored.exit_code == 0, scored.output
    assert pd.read_parquet(tmp_path / "scored" / "part-00000.parquet")["dimension_valence"].notna().all()


def test_a_timeline_has_them(folder: Path, recording: Path, tmp_path: Path) -> None:
    from mmer.inference.timeline.input_segments import Segment

    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    segments = [Segment(0.0, 0.5), Segment(0.5, 1.2)]
    found = timeline(recognizer, str(recording), segments=segments)
    assert [list(segment.dimensions or {}) for segment in found.segments] == [NAMES, NAMES]
    assert not found.errors
    for suffix in ("json", "csv", "srt", "rttm", "png", "html"):
        found.write(tmp_path / f"timeline.{suffix}")
    assert "arousal" in (tmp_path / "timeline.srt").read_text()
    assert "no answer" not in (tmp_path / "timeline.srt").read_text()
    assert "dimension_valence" in (tmp_path / "timeline.csv").read_text()
    TimelineAnswer(model="x", **found.to_dict())
    first, second = smoothed(found.segments, 1.0)
    assert first.dimensions == pytest.approx(found.segments[0].dimensions)
    assert second.dimensions is not None
    low, high = sorted((each.dimensions or {})["arousal"] for each in found.segments)
    assert low < second.dimensions["arousal"] < high
    answer = Answer.of(found.segments[0], model="x", min_confidence=0)
    assert (answer.label, answer.dimensions) == (None, found.segments[0].dimensions)


def test_so_have_timelines_of_a_folder(folder: Path, recording: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["timeline", str(folder), str(recording.parent), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    columns = pd.read_parquet(tmp_path / "out" / "segments.parquet").columns
    assert {f"dimension_{name}" for name in NAMES} <= set(columns)
    summaries = pd.read_parquet(tmp_path / "out" / "summaries.parquet")
    assert "share" in summaries
    assert summaries.empty


def test_what_asks_for_emotions_is_refused(folder: Path, recording: Path, tmp_path: Path) -> None:
    table = tmp_path / "corpus.csv"
    table.write_text(
        "utterance_id,audio_path,emotion,speaker,transcript\na,clip.wav,happy,x,yes\nb,clip.wav,sad,y,no\n"
    )
    for command in (
        ["evaluate"],
        ["robustness", "-o", str(tmp_path / "robust")],
        ["calibrate", "--split", "all"],
    ):
        done = CliRunner().invoke(app, [command[0], str(folder), str(table), *command[1:]])
        assert done.exit_code == 2
        assert "this model answers arousal, dominance, valence and no emotions" in done.output
        assert done.output.count("\n") == 1
    with pytest.raises(CheckpointError, match="answers arousal, dominance, valence and no emotions"):
        model_folder(folder, label_map="canonical")


def test_the_same_head_may_answer_emotions(tmp_path: Path, clips: list[NDArray[np.float32]]) -> None:
    folder = save_speech_head(tmp_path / "classes", ["anger", "joy", "sadness"])
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    expected = np.exp(by_hand(folder, clips[0]))
    answer = recognizer(clips[0], sampling_rate=RATE)
    assert list((answer.probabilities or {}).values()) == pytest.approx(
        (expected / expected.sum()).tolist(), abs=1e-5
    )
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.out_proj.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks classifier\.out_proj\.bias"):
        EmotionRecognizer.from_pretrained(folder, "cpu")
    pooled = save_speech_head(tmp_path / "pooled", ["anger", "joy"], pooling_mode="max")
    with pytest.raises(CheckpointError, match="pooling_mode is 'max', and only mean is supported"):
        EmotionRecognizer.from_pretrained(pooled, "cpu")
