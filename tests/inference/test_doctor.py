"""Golden clips, and what is found when something is off."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import run
from inference.conftest import raise_first_logit
from safetensors.numpy import load_file, save_file

from mmer.errors import CheckpointError
from mmer.inference import EmotionRecognizer, Utterance
from mmer.inference.doctor import Check, examine
from mmer.inference.golden import golden_clips, golden_levels, golden_logits, write_golden

LEVELS = [
    [0.02800841, 0.01483014, 0.05217671, 0.08562566],
    [0.05776746, 0.05779365, 0.0578284, 0.05797203],
    [0.05774319, 0.05786698, 0.0585432, 0.06003441],
    [0.065767, 0.03961405, 0.03919798, 0.06551766],
]
"""Root mean square of the first, fourth, seventh and last tenth of each golden clip."""


@pytest.fixture
def folder(versatile_folder: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(versatile_folder, tmp_path / "model"))
    write_golden(copy)
    return copy


def named(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_clips_are_the_same_everywhere(recognizer: EmotionRecognizer):
    clips = golden_clips(recognizer.processor)
    levels = np.array(golden_levels(clips))
    assert levels[:, ::3] == pytest.approx(np.array(LEVELS), abs=1e-6)
    assert [len(waveform) / 16_000 for waveform, _ in clips] == [0.9, 1.7, 2.6, 1.2]
    assert all(0.05 < np.abs(waveform).max() < 1 for waveform, _ in clips)
    louder = golden_levels([(1.01 * waveform, words) for waveform, words in clips])
    assert np.abs(np.array(louder) - levels).max() > 1e-4


def test_golden_logits_are_those_of_the_recognizer(versatile: EmotionRecognizer):
    clips = golden_clips(versatile.processor)
    logits = golden_logits(versatile, clips, together=False)
    answers = versatile.predict([Utterance(waveform, words, 16_000) for waveform, words in clips])
    for row, answer in zip(logits, answers, strict=True):
        powers = np.exp(row - row.max())
        assert answer.probabilities is not None
        assert list(answer.probabilities.values()) == pytest.approx(
            (powers / powers.sum()).tolist(), abs=1e-5
        )


def test_a_sound_model(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    done = run(capfd, monkeypatch, ["model", "check", folder, "--device", "cpu"])
    assert done.code == 0, done.out
    assert "different" not in done.out
    assert "name the folder that was exported" in done.out
    checks = named(examine(folder, device="cpu"))
    assert [name for name, check in checks.items() if check.holds is None] == ["PyTorch against ONNX"]
    assert checks["golden clips, answers"].difference == 0
    assert 0 < (checks["bfloat16 against float32"].difference or 0) < 0.05
    assert 0 < (checks["48 kHz stereo against 16 kHz mono"].difference or 0) < 0.02


def test_other_weights(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    raise_first_logit(folder)
    done = run(capfd, monkeypatch, ["model", "check", folder, "--device", "cpu"])
    assert done.code == 1
    assert "golden.json is of other weights than model.safetensors" in done.out
    found = named(examine(folder, device="cpu"))["golden clips, answers"]
    assert found.holds is False
    assert found.difference == pytest.approx(0.5, abs=1e-4)


def test_another_processor(folder: Path):
    path = folder / "processor_config.json"
    content = json.loads(path.read_text())
    content["feature_extractor"]["do_normalize"] = not content["feature_extractor"].get("do_normalize", True)
    path.write_text(json.dumps(content))
    found = named(examine(folder, device="cpu"))
    assert found["golden clips, features"].holds is False
    assert found["golden clips, weights"].holds


def test_a_batch_that_changes_answers(folder: Path, monkeypatch: pytest.MonkeyPatch):
    from mmer.model.mmer import MMERForEmotionRecognition

    answer = MMERForEmotionRecognition.answer

    def leaking(self, speech, text):
        fused, logits = answer(self, speech, text)
        return fused, logits + 0.1 * (len(logits) - 1) * logits.mean(dim=0)

    monkeypatch.setattr(MMERForEmotionRecognition, "answer", leaking)
    found = named(examine(folder, device="cpu"))
    assert found["in a batch against alone"].holds is False
    assert found["golden clips, answers"].holds


def test_a_decoder_that_mixes_channels_otherwise(folder: Path, monkeypatch: pytest.MonkeyPatch):
    from mmer.audio.decoding.libsndfile import SoundFileRecording

    original = SoundFileRecording.blocks

    def blocks(self, *arguments):
        for block in original(self, *arguments):
            yield block if self.info.channels == 1 else replace(block, samples=block.samples**3)

    monkeypatch.setattr(SoundFileRecording, "blocks", blocks)
    assert named(examine(folder, device="cpu"))["48 kHz stereo against 16 kHz mono"].holds is False


def test_no_golden_clips_and_damaged_ones(folder: Path, model_folder: Path):
    found = named(examine(model_folder, device="cpu"))["golden clips, answers"]
    assert found.holds is None
    assert "no golden.json" in found.note
    path = folder / "golden.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"version": 9}))
    with pytest.raises(CheckpointError, match="is of version 9, this mmer reads 1; delete it"):
        examine(folder, device="cpu")
    path.write_text(path.read_text()[:100])
    with pytest.raises(CheckpointError, match=r"golden\.json cannot be read, it may be damaged"):
        examine(folder, device="cpu")


def test_a_model_whose_answers_are_no_numbers(folder: Path):
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][:] = 3e38
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    found = named(examine(folder, device="cpu"))
    assert found["48 kHz stereo against 16 kHz mono"].holds is False


def test_a_model_that_cannot_answer_is_named(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] = {
        word: number if number < 4 else number + 5000 for word, number in content["model"]["vocab"].items()
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    done = run(capfd, monkeypatch, ["model", "check", folder, "--device", "cpu"])
    assert done.code == 2
    assert done.err.startswith(f"mmer: {folder}: the model cannot compute an answer (IndexError")
    assert done.err.count("\n") == 1


def test_a_model_that_cannot_read_the_golden_words_is_named(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 3}))
    done = run(capfd, monkeypatch, ["model", "check", folder, "--device", "cpu"])
    assert done.code == 2
    assert done.err.startswith(f"mmer: {folder}: a transcript has ")
    assert done.err.count("\n") == 1
