"""What a GPU computes, against the CPU and against itself; MMER_TEST_DEVICE=cpu runs the same tests without a GPU."""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run
from interrupting import Interrupting
from learning import batch, gradients, summarize
from rich.console import Console
from tiny import SPEECH_ENCODERS, row, speech_inputs, text_inputs, tiny_model
from torch import Tensor

from mmer import EmotionRecognizer, MMERForEmotionRecognition, export_onnx
from mmer.inference.archive.score import score
from mmer.model.gpu_settings import tf32
from mmer.objectives.gradient_cache import backward_in_parts, split_batch
from mmer.objectives.multitask import multitask_loss
from mmer.training.run import TrainingRun, train

pytestmark = pytest.mark.gpu

TOLERANCE = 1e-3  # float32 without TF32, whose sums a GPU forms in another order
LIVELY = ["training.epochs=3", "model.dropout=0.2", "augment.speech.probability=0.8"]


@pytest.fixture(scope="session")
def device() -> str:
    chosen = os.environ.get("MMER_TEST_DEVICE", "cuda")
    if chosen == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device; MMER_TEST_DEVICE=cpu runs these tests on the CPU")
    return chosen


@pytest.fixture(autouse=True)
def full_float32(device: str):
    with tf32(allowed=False):
        yield


def on(device: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).to(device)
        for name, tensor in inputs.items()
    }


def model_on(device: str, speech: str = "wav2vec2-layer", **settings: Any) -> MMERForEmotionRecognition:
    model = tiny_model(speech, **settings)
    model.to(device=torch.device(device))  # pyright: ignore[reportCallIssue]
    return model


def off(found: Tensor, expected: Tensor) -> float:
    """Relative distance of two tensors."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-6))


@pytest.mark.parametrize("formulation", ["paper", "official"])
@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_logits_losses_and_gradients_are_those_of_the_cpu(
    device: str, encoder: str, formulation: str
) -> None:
    settings = {"formulation": formulation, "text_train": "full"}
    ours, theirs = model_on(device, encoder, **settings), model_on("cpu", encoder, **settings)
    found, expected = ours(**on(device, batch(ours))), theirs(**on("cpu", batch(theirs)))
    assert found.logits.device.type == device
    assert off(found.logits, expected.logits) <= TOLERANCE
    assert found.objectives.keys() == expected.objectives.keys()
    for name, value in expected.objectives.items():
        assert off(found.objectives[name], value) <= TOLERANCE, name
    assert found.infinite_ctc == expected.infinite_ctc
    found.loss.backward()
    expected.loss.backward()
    largest = max(float(gradient.norm()) for gradient in gradients(theirs).values())
    assert gradients(ours).keys() == gradients(theirs).keys()
    for name, gradient in gradients(theirs).items():
        distance = float((gradients(ours)[name].cpu() - gradient).norm())
        # A gradient that is zero but for rounding, as a key's bias is, has no relative distance.
        assert distance <= TOLERANCE * max(float(gradient.norm()), TOLERANCE * largest), name


@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_an_utterance_alone_and_beside_clips_ten_times_longer(device: str, encoder: str) -> None:
    model = model_on(device, encoder)
    inputs = speech_inputs(model, [4800, 48_000, 16_123, 4801, 7999]) | text_inputs([2, 20, 9, 3, 5])
    inputs = on(device, inputs)
    with torch.no_grad():
        together = model(**inputs).logits
        for i in range(5):
            assert (together[i] - model(**row(inputs, i)).logits[0]).abs().max() <= TOLERANCE


def test_the_gradient_of_a_batch_in_parts_is_that_of_the_whole(device: str) -> None:
    """With dropout, whose random numbers are those of the device."""
    model = model_on(device, text_train="full").train()
    parts = split_batch(on(device, batch(model)), 4)
    loss_of = partial(multitask_loss, model.config)
    torch.manual_seed(7)
    summaries = [summarize(model, part) for part in parts]
    expected_loss = loss_of({name: torch.cat([each[name] for each in summaries]) for name in summaries[0]})[0]
    expected_loss.backward()
    expected = gradients(model)
    model.zero_grad()
    torch.manual_seed(7)
    loss = backward_in_parts(parts, partial(summarize, model), loss_of, Tensor.backward)[0]
    assert off(loss, expected_loss) <= 1e-5
    largest = max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in gradients(model).items():
        assert float((gradient - expected[name]).norm()) <= TOLERANCE * max(
            float(expected[name].norm()), TOLERANCE * largest
        ), name


def test_bfloat16_learns_as_float32_does(device: str) -> None:
    """Fifty steps on one batch: the loss falls, and both curves stay within a tenth of the first loss."""
    curves = []
    for half in (False, True):
        model = model_on(device, text_train="full")
        inputs = on(device, batch(model))
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
        losses = []
        for _ in range(50):
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = model(**inputs).loss
            assert loss.dtype == torch.float32
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        curves.append(torch.stack(losses).cpu())
    full, half = curves
    assert full[-1] < 0.5 * full[0]
    assert (full - half).abs().max() <= 0.1 * full[0]


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory: pytest.TempPathFactory, device: str) -> TrainingRun:
    """A run on the device that `train` chooses."""
    return train(tiny(*LIVELY), tmp_path_factory.mktemp("trained") / "run", console=Console(quiet=True))


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    tiny, trained: TrainingRun, tmp_path: Path, device: str
) -> None:
    """Dropout draws on as if nothing had happened; the sums of CTC's gradient have no fixed order on a GPU."""
    recipe, folder = tiny(*LIVELY), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder, console=Console(file=Interrupting("epoch 2/3")))
    resumed = train(recipe, folder, console=Console(quiet=True))
    found, expected = (
        pd.read_parquet(each.folder / "predictions.parquet").filter(like="probability_").to_numpy()
        for each in (resumed, trained)
    )
    assert found.size
    assert np.abs(found - expected).max() <= (0 if device == "cpu" else TOLERANCE)


@pytest.fixture(scope="module")
def answers(tones: Path, trained: TrainingRun, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """(utterances, emotions) probabilities on the CPU."""
    return probabilities(trained.model_folder, tones, tmp_path_factory.mktemp("cpu") / "scores", "cpu")


def probabilities(model: Path, corpus: Path, folder: Path, device: str | None) -> np.ndarray:
    scored = score(model, str(corpus), folder, device=device)
    assert not scored.errors
    table = pd.concat(map(pd.read_parquet, sorted(folder.glob("part-*.parquet"))))
    return table.sort_values("utterance_id").filter(like="probability_").to_numpy(float)


def test_what_a_gpu_trained_answers_on_the_cpu_as_on_the_gpu(
    device: str, tones: Path, trained: TrainingRun, answers: np.ndarray, tmp_path: Path
) -> None:
    recognizer = EmotionRecognizer.from_pretrained(trained.model_folder)
    assert recognizer.network.device.startswith(device) or device == "cpu"
    found = probabilities(trained.model_folder, tones, tmp_path / "scores", None)
    assert found.shape == (36, 3)
    assert np.abs(found - answers).max() <= TOLERANCE


def test_what_a_gpu_trained_is_exported(
    tones: Path, trained: TrainingRun, answers: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    export_onnx(trained.model_folder, tmp_path / "onnx")
    found = probabilities(tmp_path / "onnx", tones, tmp_path / "scores", None)
    assert np.abs(found - answers).max() <= TOLERANCE


def test_the_commands_choose_the_device_themselves(
    tiny,
    tones: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
) -> None:
    recipe = tones.parent / "tiny.yaml"
    tiny()  # writes it
    out = tmp_path / "run"
    overrides = [f"data.corpus={tones}", "training.epochs=1"]
    outcome = run(capfd, monkeypatch, ["train", recipe, "--out", out, *overrides])
    assert outcome.code == 0, outcome.err
    assert device == "cpu" or torch.cuda.get_device_name() in outcome.err
    clip = tones.parent / "A_calm_0.wav"
    told = [
        run(capfd, monkeypatch, ["predict", out / "model", clip, "--transcript", "yes", *more])
        for more in ([], ["--device", "cpu"])
    ]
    assert [each.code for each in told] == [0, 0], told
    chosen, on_cpu = (json.loads(each.out)["probabilities"] for each in told)
    assert chosen == pytest.approx(on_cpu, abs=TOLERANCE)
