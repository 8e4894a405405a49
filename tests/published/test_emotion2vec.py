"""emotion2vec and emotion2vec+ answer what FunASR answers, in any batch; what cannot answer is refused in one line."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
import torch
import yaml
from commands import run
from damage import damage_json
from emotion2vec_rule import (
    LABELS,
    LENGTHS,
    RECORDED,
    SIZES,
    TOKENS,
    recorded_frames,
    recording,
    settings,
    write_release,
)
from published_models import assert_refused
from torch import Tensor

from mmer.errors import CheckpointError
from mmer.inference import EmotionRecognizer
from mmer.inference.backends.published_network import PublishedNetwork
from mmer.inference.inputs import Utterance
from mmer.model.encoders.emotion2vec.release import Release

RATE = 16_000
CLIPS = [recording(number) for number in range(len(LENGTHS))]
FUNASR = np.load(RECORDED)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("release"), "small")


def batch(numbers: list[int]) -> dict[str, Tensor]:
    clips = [torch.from_numpy(CLIPS[number]) for number in numbers]
    inputs = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mask = torch.arange(inputs.shape[1]) < torch.tensor(list(map(len, clips)))[:, None]
    return {"input_values": inputs, "speech_attention_mask": mask.long()}


def check(network: Any, size: str, numbers: list[int]) -> None:
    """Hold the frames and logits of a padded batch against FunASR's, which heard each clip alone."""
    encoded: list[Any] = []
    hook = network.encoder.register_forward_hook(lambda module, inputs, output: encoded.append(output))
    with torch.inference_mode():
        logits, _ = network(batch(numbers))
    hook.remove()
    ((frames, frame_mask),) = encoded
    for row, number in enumerate(numbers):
        expected = {name: FUNASR[f"{size} {number} {name}"] for name in ("count", "frames", "logits")}
        assert frame_mask[row].sum() == expected["count"]
        kept = frames[row, recorded_frames(int(expected["count"]))].numpy()
        assert np.abs(kept - expected["frames"]).max() <= 1e-4
        assert np.abs(logits[row].numpy() - expected["logits"]).max() <= 1e-4


def probabilities(folder: Path, batch_size: int) -> list[list[float]]:
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    utterances = [Utterance(clip, sampling_rate=RATE) for clip in CLIPS]
    answers = list(recognizer.predict(utterances, batch_size=batch_size))
    assert [answer.error for answer in answers] == [None] * len(CLIPS)
    assert [list(answer.probabilities or {}) for answer in answers] == [recognizer.labels] * len(CLIPS)
    return [list((answer.probabilities or {}).values()) for answer in answers]


@pytest.mark.parametrize("size", ["small", "base", pytest.param("large", marks=pytest.mark.slow)])
def test_frames_and_logits_are_those_of_funasr_alone_and_in_a_padded_batch(size: str, tmp_path: Path) -> None:
    network = EmotionRecognizer.from_pretrained(write_release(tmp_path, size), "cpu").network
    assert isinstance(network, PublishedNetwork)
    for number in range(len(CLIPS)):
        check(network.model, size, [number])
    check(network.model, size, [2, 0, 1, 3])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_probabilities_are_those_of_funasr(batch_size: int, small: Path) -> None:
    assert EmotionRecognizer.from_pretrained(small, "cpu").labels == LABELS
    expected = [FUNASR[f"small {number} probabilities"] for number in range(len(CLIPS))]
    assert np.abs(np.array(probabilities(small, batch_size)) - expected).max() <= 1e-5
    assert np.ptp(expected, axis=0).min() > 0.01  # clips that were mixed up would show


def test_classes_that_funasr_never_answers_are_left_out(tmp_path: Path) -> None:
    tokens = ("angry", "unuse_0", "unuse_1", "happy", "neutral", "unuse_2", "sad", "surprised", "<unk>")
    folder = write_release(tmp_path, "small", tokens)
    answered = [number for number, token in enumerate(tokens) if not token.startswith("unuse")]
    assert EmotionRecognizer.from_pretrained(folder, "cpu").labels == [tokens[number] for number in answered]
    expected = np.array([FUNASR[f"small {number} probabilities"][answered] for number in range(len(CLIPS))])
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(np.array(probabilities(folder, 4)) - expected).max() <= 1e-5


def change_settings(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = yaml.safe_load((folder / "config.yaml").read_text())
    change(content["model_conf"])
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    content = torch.load(folder / "model.pt")
    change(content["model"])
    torch.save(content, folder / "model.pt")


def test_levels_matter_where_waveforms_are_not_normalized(tmp_path: Path) -> None:
    folder = write_release(tmp_path, "small")
    change_settings(folder, lambda network: network.update(normalize=False))
    expected = [FUNASR[f"small {number} probabilities"] for number in range(len(CLIPS))]
    assert np.abs(np.array(probabilities(folder, 4)) - expected).max() > 1e-2


def test_names_without_prefix_and_weights_that_served_training(tmp_path: Path) -> None:
    folder = write_release(tmp_path, "small", prefix="")
    unused = ("modality_encoders.AUDIO.decoder.blocks.0.0.weight", "_ema", "recon_proj.weight")
    change_weights(folder, lambda weights: weights.update(dict.fromkeys(unused, torch.ones(1))))
    network = EmotionRecognizer.from_pretrained(folder, "cpu").network
    assert isinstance(network, PublishedNetwork)
    check(network.model, "small", [0, 1])


def test_half_precision_weights_are_read_as_float32(tmp_path: Path) -> None:
    folder = write_release(tmp_path, "small")
    change_weights(folder, lambda weights: weights.update({k: v.half() for k, v in weights.items()}))
    expected = [FUNASR[f"small {number} probabilities"] for number in range(len(CLIPS))]
    assert np.abs(np.array(probabilities(folder, 4)) - expected).max() <= 1e-2


@pytest.mark.parametrize("tokens", [False, True])
def test_the_self_supervised_release_is_refused_as_a_classifier(tokens: bool, tmp_path: Path) -> None:
    folder = write_release(tmp_path, "small", None)
    if tokens:
        (folder / "tokens.txt").write_text("\n".join(TOKENS))
    with pytest.raises(
        CheckpointError,
        match=r"so it names no emotions; .* can be the model.speech.encoder of a model to train",
    ):
        EmotionRecognizer.from_pretrained(folder, "cpu")


def evil(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return (Path(folder / "executed").write_text, ("x",))

    torch.save({"model": {"proj.weight": Evil()}}, folder / "model.pt")


def in_settings(path: str, value: object) -> Callable[[Path], None]:
    def change(network: dict[str, Any]) -> None:
        *sections, name = path.split(".")
        for section in sections:
            network = network[section]
        network[name] = value

    return lambda folder: change_settings(folder, change)


def in_weights(name: str, change: Callable[[Tensor], Tensor | None]) -> Callable[[Path], None]:
    def changed(weights: dict[str, Tensor]) -> None:
        replaced = change(weights.pop(name))
        if replaced is not None:
            weights[name] = replaced

    return lambda folder: change_weights(folder, changed)


def write(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


FC1 = "d2v_model.blocks.1.mlp.fc1.weight"
SPEC = "modalities.audio.feature_encoder_spec"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "model.pt").unlink(), "no such file: .*model.pt"),
        (lambda folder: (folder / "config.yaml").unlink(), "config.yaml: no such file"),
        (write("model.pt", "version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
        (write("model.pt", "x"), "model.pt cannot be read as a PyTorch checkpoint"),
        (evil, "model.pt cannot be read as a PyTorch checkpoint of tensors alone"),
        (
            write("config.yaml", "model: SenseVoiceSmall"),
            "no model of type Emotion2vec, but 'SenseVoiceSmall'",
        ),
        (write("config.yaml", "model: Emotion2vec"), "config.yaml has no model_conf"),
        (write("config.yaml", "a: 1\nb: !!python/object/apply:os.abort []"), "config.yaml, line 2: not YAML"),
        (in_settings("layer_norm_first", True), "layer_norm_first is True; it must be False"),
        (in_settings("embed_dim", 10**9), "embed_dim is '1000000000'; it must be less than"),
        (in_settings("num_heads", 5), "num_heads is 5, which does not divide embed_dim, 48"),
        (in_settings(SPEC, "__import__('os').abort()"), "feature_encoder_spec .* is no list of"),
        (
            in_settings(SPEC, "[(16, 10, 5)] * 1000000000"),
            "feature_encoder_spec .* numbers that no release has",
        ),
        (in_settings(SPEC, "[" * 900), "config.yaml: cannot be read as the settings of emotion2vec"),
        (in_settings("depth", 3), "model.pt lacks 12 weights .* the first is blocks.2.attn.proj.bias"),
        (in_settings("depth", 1), "model.pt holds 12 weights of layers that config.yaml does not describe"),
        (in_weights(FC1, lambda weight: None), "model.pt lacks 1 weight .* blocks.1.mlp.fc1.weight"),
        (
            in_weights(FC1, lambda weight: weight[:-1]),
            r"fc1.weight has the shape \(191, 48\), where .* \(192, 48\)",
        ),
        (
            in_weights(FC1, lambda weight: weight * torch.nan),
            "NaN or infinite weights in blocks.1.mlp.fc1.weight",
        ),
        (in_weights(FC1, lambda weight: weight.long()), "fc1.weight holds no floating-point numbers"),
        (in_weights("proj.bias", lambda bias: None), "model.pt lacks 1 weight .* the first is proj.bias"),
        (in_weights("proj.bias", lambda bias: bias[:8]), r"proj.bias has the shape \(8,\)"),
        (write("tokens.txt", "angry\nsad"), "tokens.txt names 2 classes, and proj.weight in model.pt has 9"),
        (write("tokens.txt", "a/sad\n" * 9), "tokens.txt must name a different emotion on each line"),
        (write("tokens.txt", "a/\n" * 9), "tokens.txt must name a different emotion on each line"),
    ],
)
def test_what_cannot_answer_is_refused_in_one_line(
    damage: Callable[[Path], Any], told: str, tmp_path: Path
) -> None:
    folder = write_release(tmp_path, "small")
    damage(folder)
    assert_refused(folder, told)


@pytest.mark.parametrize("name", [FC1, "proj.weight"])
def test_weights_that_take_far_more_memory_than_their_file(name: str, tmp_path: Path) -> None:
    folder = write_release(tmp_path, "small")
    one = torch.zeros(1)
    change_weights(folder, lambda weights: weights.update({name: one.expand(10**8, 48)}))
    with pytest.raises(CheckpointError, match=r"model\.pt holds fewer numbers than its weights have"):
        EmotionRecognizer.from_pretrained(folder, "cpu")


def test_settings_damaged_at_random(tmp_path: Path) -> None:
    path, told = tmp_path / "config.yaml", []
    for seed in range(150):
        path.write_text(yaml.safe_dump(damage_json(random.Random(seed), settings(SIZES["small"]))))
        try:
            Release.read(tmp_path)
        except CheckpointError as error:
            told.append(str(error))
    assert 50 < len(told) < 150
    assert all("\n" not in line and str(path) in line for line in told)


def test_folders_damaged_at_random(small: Path, tmp_path: Path) -> None:
    program = (Path(__file__).parents[1] / "damage.py").read_text(encoding="utf-8")
    (tmp_path / "scratch").mkdir()
    done = processes.run("folder", small, tmp_path / "scratch", 0, 60, program=program)
    assert done.returncode == 0, f"hung or died: {done.stderr[-2000:]}"
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["unexpected"] == []
    assert result["peak_mb"] < 1000


def test_commands(
    small: Path,
    nemo_samples: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clips = [nemo_samples / f"EB0_anger_{number}.opus" for number in (1, 10)]
    table = tmp_path / "table.csv"
    rows = [f"{clip.stem},{clip},{emotion}" for clip, emotion in zip(clips, ("angry", "sad"), strict=True)]
    table.write_text("\n".join(["utterance_id,audio_path,emotion", *rows]))
    predicted = run(capfd, monkeypatch, ["predict", small, *clips])
    assert predicted.code == 0
    assert [list(json.loads(line)["probabilities"]) for line in predicted.out.splitlines()] == [LABELS] * 2
    timeline = run(capfd, monkeypatch, ["timeline", small, clips[0]])
    assert (timeline.code, json.loads(timeline.out)["labels"]) == (0, LABELS)
    assert run(capfd, monkeypatch, ["score", small, table, "--out", tmp_path / "scored"]).code == 0
    evaluated = run(capfd, monkeypatch, ["evaluate", small, table, "--out", tmp_path / "evaluated"])
    assert (evaluated.code, (tmp_path / "evaluated" / "metrics.json").exists()) == (0, True)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.yaml").write_text("model: x")
    refused = run(capfd, monkeypatch, ["predict", damaged, clips[0]])
    assert (refused.code, refused.err.count("\n"), "config.yaml" in refused.err) == (2, 1, True)
