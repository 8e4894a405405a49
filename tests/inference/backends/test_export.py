"""Exported models: the same answers by onnxruntime, without PyTorch."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import run
from inference.conftest import LABELS, raise_first_logit, save_model
from published_models import save_audio_classifier, save_text_classifier
from tiny import SPEECH_ENCODERS, tiny_model
from transformers import LongformerConfig

from mmer.errors import CheckpointError, ExportError, MissingExtraError, MMERError
from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.inference.backends.export import export_onnx
from mmer.inference.backends.onnx_network import threads_asked_for
from mmer.inference.doctor import Check, examine

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\n"


def items_of(clips: Sequence[str], *, some_missing: bool) -> list[Utterance]:
    """Clips and words of several lengths, a third of either missing."""
    return [
        Utterance(
            None if some_missing and n % 3 == 1 else clip,
            None if some_missing and n % 3 == 2 else "la " * (n + 1),
            utterance_id=str(n),
        )
        for n, clip in enumerate(clips)
    ]


def logits(prediction: Prediction) -> np.ndarray:
    """Up to a constant."""
    assert prediction.probabilities is not None, prediction.error
    logarithms = np.log(list(prediction.probabilities.values()))
    return logarithms - logarithms.mean()


def assert_same(ours: Prediction, theirs: Prediction) -> None:
    assert np.abs(logits(ours) - logits(theirs)).max() <= 1e-4
    assert (ours.label, ours.transcript, ours.warnings) == (theirs.label, theirs.transcript, theirs.warnings)
    assert (ours.alone is None) == (theirs.alone is None)
    for side in ours.alone or {}:
        assert ours.alone is not None
        assert theirs.alone is not None
        assert list(ours.alone[side].values()) == pytest.approx(list(theirs.alone[side].values()), abs=1e-5)


def test_answers_are_those_of_torch(exportable: Path, exported: Path, clips: Sequence[str]) -> None:
    torch, onnx = (EmotionRecognizer.from_pretrained(each, "cpu") for each in (exportable, exported))
    items = items_of(clips[:12], some_missing=True)
    expected = list(torch.predict(items, batch_size=4))
    for ours, theirs in zip(expected, onnx.predict(items, batch_size=4), strict=True):
        assert_same(ours, theirs)
    for ours, item in zip(expected, items, strict=True):
        (alone,) = onnx.predict([item])
        assert_same(ours, alone)
    assert expected[0].alone is not None
    for ours, theirs in zip(torch.embed(items), onnx.embed(items), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_batches_that_lack_one_side(exportable: Path, exported: Path, clips: Sequence[str]) -> None:
    torch, onnx = (EmotionRecognizer.from_pretrained(each, "cpu") for each in (exportable, exported))
    for items in (
        [Utterance(clip, utterance_id=clip) for clip in clips[:3]],
        [Utterance(None, "la"), Utterance(None, "la la")],
        [Utterance(None, "l")],
    ):
        for ours, theirs in zip(torch.predict(items), onnx.predict(items), strict=True):
            assert_same(ours, theirs)


def test_reads_what_it_hears(exportable: Path, exported: Path, clips: Sequence[str]) -> None:
    torch, onnx = (
        EmotionRecognizer.from_pretrained(each, "cpu", transcription="ctc") for each in (exportable, exported)
    )
    items = [*items_of(clips[:6], some_missing=False), Utterance(None, "What a day", utterance_id="unheard")]
    for ours, theirs in zip(
        torch.predict(items, batch_size=3), onnx.predict(items, batch_size=3), strict=True
    ):
        assert ours.transcript
        assert ours.transcript_source == theirs.transcript_source
        assert_same(ours, theirs)


def test_doctor_compares_them(
    exportable: Path,
    exported: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def row(first: Path, second: Path | None) -> Check:
        checks = {check.name: check for check in examine(first, exported=second, device="cpu")}
        return checks["PyTorch against ONNX"]

    assert row(exportable, exported).holds
    assert "PyTorch's folder, and this one as exported" in row(exported, None).note
    other = tmp_path / "other"
    shutil.copytree(exportable, other)
    raise_first_logit(other)
    assert row(other, exported).difference == pytest.approx(0.5, abs=1e-3)
    assert run(capfd, monkeypatch, ["model", "check", other, exported, "--device", "cpu"]).code == 1


def test_without_torch(exportable: Path, exported: Path, clips: Sequence[str]) -> None:
    code = (
        f"{WITHOUT_TORCH}import json; from mmer import EmotionRecognizer\n"
        f"recognizer = EmotionRecognizer.from_pretrained({str(exported)!r})\n"
        f"print(json.dumps(recognizer({clips[0]!r}, 'What a day').to_dict()))\n"
        f"for each in (({str(exportable)!r}, None), ({str(exported)!r}, None, 'whisper:x')):\n"
        "    try: EmotionRecognizer.from_pretrained(*each)\n"
        "    except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer, *errors = done.stdout.splitlines()
    expected = EmotionRecognizer.from_pretrained(exportable, "cpu")(clips[0], "What a day").probabilities
    assert json.loads(answer)["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert errors == [
        f"model folder {exportable} needs torch; install it: pip install torch",
        "transcription by a speech recognizer needs torch; install it: pip install torch",
    ]


def test_holds_no_path_of_this_machine(exported: Path) -> None:
    data = (exported / "model.onnx").read_bytes()
    assert b"site-packages" not in data
    assert str(Path(__file__).parents[3]).encode() not in data
    graph = onnx.load(exported / "model.onnx").graph
    assert [entry.name for entry in graph.output] == [
        *("logits", "embeddings", "speech_alone", "text_alone", "ctc_symbols", "frame_mask"),
    ]
    axes = {
        entry.name: [axis.dim_param for axis in entry.type.tensor_type.shape.dim] for entry in graph.input
    }
    assert axes["input_features"][:2] == ["batch", "frames"]
    assert axes["input_ids"] == ["batch", "tokens"]


def test_command_with_8_bits(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(tmp_path / "model", fusion="text")
    done = run(capfd, monkeypatch, ["model", "export", model, "--int8", "-o", tmp_path / "int8"])
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"exported model written: {tmp_path / 'int8'} (0.1 MB, of PyTorch 0.2 MB); ")
    torch, small = (EmotionRecognizer.from_pretrained(tmp_path / name, "cpu") for name in ("model", "int8"))
    assert {weight.data_type for weight in onnx.load(tmp_path / "int8/model.onnx").graph.initializer} >= {
        onnx.TensorProto.INT8
    }
    for text in ("la", "What a day, what a day."):
        difference = np.abs(logits(torch(None, text)) - logits(small(None, text))).max()
        assert 0 < difference < 0.2


def test_what_cannot_be_exported(
    exportable: Path,
    exported: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ExportError, match="is exported already; give the model folder that training wrote"):
        export_onnx(exported, tmp_path / "again")
    with pytest.raises(ExportError, match="which holds a model of PyTorch; give another folder"):
        export_onnx(exportable, exportable)
    speech = save_audio_classifier(tmp_path / "speech", "hubert")
    text = save_text_classifier(tmp_path / "text")
    for out in ("out", "out.mmer"):
        done = run(capfd, monkeypatch, ["model", "export", f"{speech}+{text}", "-o", tmp_path / out])
        assert done.code == 2
        assert f"cannot bundle or export {speech} and {text} joined, which has no weights" in done.err
    done = run(capfd, monkeypatch, ["model", "export", exported, "-o", tmp_path / "out"])
    assert (done.code, "is exported already" in done.err) == (2, True)


def test_a_network_that_onnx_cannot_express_is_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_model(tmp_path / "model", fusion="text")
    tokens = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    sizes: dict[str, Any] = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    }
    names = dict(enumerate(LABELS))
    tiny_model(
        text_config=LongformerConfig(vocab_size=tokens, attention_window=4, **sizes),
        speech_config=None,
        fusion="text",
        id2label=names,
        label2id={label: number for number, label in names.items()},
    ).save_pretrained(folder)
    capfd.readouterr()
    done = run(capfd, monkeypatch, ["model", "export", folder, "-o", tmp_path / "onnx"])
    assert done.code == 2
    assert re.fullmatch(
        r"mmer: .* cannot be exported to ONNX: its network has something that ONNX cannot express \(.*[^:]\); .*\n",
        done.err,
    )


def test_what_cannot_be_loaded(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MMERError, match=r"device cuda cannot be used: .* runs on cpu"):
        EmotionRecognizer.from_pretrained(exported, "cuda")
    with pytest.raises(MMERError, match="an exported model cannot be looked into"):
        _ = EmotionRecognizer.from_pretrained(exported).model
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / "model.onnx").write_bytes((exported / "model.onnx").read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"model\.onnx cannot be read, it may be damaged"):
        EmotionRecognizer.from_pretrained(copy)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"needs onnxruntime; install it: .*\[onnx\]"):
        EmotionRecognizer.from_pretrained(exported)


@pytest.mark.slow
@pytest.mark.parametrize("missing_modality_embeddings", [False, True])
@pytest.mark.parametrize("speech", SPEECH_ENCODERS)
def test_every_encoder(
    speech: str, missing_modality_embeddings: bool, tmp_path: Path, clips: Sequence[str]
) -> None:
    model = save_model(
        tmp_path / "model", speech=speech, missing_modality_embeddings=missing_modality_embeddings
    )
    export_onnx(model, tmp_path / "onnx")
    torch, onnx = (EmotionRecognizer.from_pretrained(tmp_path / name, "cpu") for name in ("model", "onnx"))
    items = items_of(clips[:12], some_missing=missing_modality_embeddings)
    for batch_size in (1, 5):
        for ours, theirs in zip(
            torch.predict(items, batch_size=batch_size),
            onnx.predict(items, batch_size=batch_size),
            strict=True,
        ):
            assert_same(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["naive", "speech", "text"])
def test_every_baseline(fusion: str, tmp_path: Path, clips: Sequence[str]) -> None:
    model = save_model(tmp_path / "model", fusion=fusion)
    assert export_onnx(model, tmp_path / "onnx").difference <= 1e-4


@pytest.mark.slow
def test_in_an_environment_without_torch(exported: Path, clips: Sequence[str], tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "export.md").read_text()
    needed = page[page.index(" av jinja2") : page.index("pip install --no-deps")].split()
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    install = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*install, "-c", root / "constraints.txt", *needed], check=True)
    subprocess.run([*install, "--no-deps", root], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 1
    command = [
        tmp_path / "venv" / "bin" / "mmer",
        "predict",
        exported,
        clips[0],
        "--transcript",
        "What a day",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = EmotionRecognizer.from_pretrained(exported)(clips[0], "What a day").probabilities
    assert json.loads(done.stdout)["probabilities"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "threads"),
    [
        (None, 0),
        ("", 0),
        (" 3 ", 3),
        ("2,1", 2),
        ("2 , 1", 2),
        ("0", 0),
        ("-1", 0),
        ("many", 0),
        ("²", 0),
        ("1.5", 0),
        ("99999999999", 0),
    ],
)
def test_threads_that_are_asked_for(
    exported: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, threads: int
) -> None:
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert threads_asked_for() == threads
    assert EmotionRecognizer.from_pretrained(exported).labels
