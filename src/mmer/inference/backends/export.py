"""Export trained models as ONNX graphs, which run without PyTorch.

A graph holds the whole network. Batch and lengths are free; padding is on the right, and masks are 1 where valid.

    input_values           (batch, samples) float32, or input_features (batch, frames, bins)
    speech_attention_mask  (batch, samples or frames) int64
    input_ids              (batch, tokens) int64
    text_attention_mask    (batch, tokens) int64

    logits                 (batch, emotions) float32
    embeddings             (batch, size) float32, from which the logits are computed
    speech_alone           (batch, emotions) float32, logits without the words, of networks with
                           missing-modality embeddings
    text_alone             (batch, emotions) float32, the same without the sound
    ctc_symbols            (batch, encoder frames) int64, the best symbol of each frame, of networks with a CTC head
    frame_mask             (batch, encoder frames) bool

Networks that only listen or only read lack the inputs of the other side. In a network with missing-modality
embeddings, a row whose mask is zero everywhere is missing.
"""

import io
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmer.errors import ExportError
from mmer.extras import import_extra
from mmer.features.preprocessor import Preprocessor
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder
from mmer.files.writing import check_output_folder, writing_folder
from mmer.inference.backends.model_folder import WEIGHTS, read_model_folder
from mmer.inference.backends.models import model_folder
from mmer.inference.backends.network import Inputs, NetworkOutput
from mmer.inference.backends.onnx_network import MODEL, read_onnx_network
from mmer.inference.backends.torch_network import TorchNetwork
from mmer.model.missing_modalities import encode_every_row
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.published.kinds import published_kind

TOLERANCE = 1e-4
"""Of logits, between PyTorch and onnxruntime in float32."""
QUANTIZED = ("MatMul", "Gemm", "Gather")
"""Operations whose weights are 8-bit integers on demand: linear layers and embeddings."""
SIZE_LIMIT = 1_500_000_000
"""Bytes of weights that one file holds; ONNX files end at 2 GB, and larger models have a second file."""


@dataclass(frozen=True)
class Exported:
    """Result of `export_onnx`.

    Attributes:
        folder: that `EmotionRecognizer.from_pretrained` reads.
        size: bytes of the network.
        torch_size: bytes of the weights of the model that was exported.
        difference: the largest between logits of PyTorch and of onnxruntime, over made batches.
    """

    folder: Path
    size: int
    torch_size: int
    difference: float


@writes("export_onnx")
def export_onnx(model: Path, out: Path, *, int8: bool = False) -> Exported:
    """Write a model folder that onnxruntime runs.

    What is written is run on made sound, alone and in a padded batch, and compared with PyTorch.

    Args:
        model: a model folder, or a bundle.
        out: the folder to write; what it holds of an earlier export is replaced.
        int8: weights of linear layers and embeddings as 8-bit integers; smaller, and no longer the same answers.

    Raises:
        CheckpointError: `model` is no model folder.
        ExportError: `model` is exported already or published by others, or `out` holds a model of PyTorch, or the
            network has something that ONNX cannot express, or the answers differ.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(package, "export to ONNX", "export")
    check_output_folder(out)
    if (out / WEIGHTS).exists():
        raise ExportError(f"cannot export to {out}, which holds a model of PyTorch; give another folder")
    check_own_folder(out, "an exported model", MODEL)
    model = model_folder(model)
    if published_kind(model) is not None:
        raise ExportError(f"{model} is a published model; only models that mmer trained can be exported")
    network, processor = read_model_folder(model, "cpu")
    if not isinstance(network, TorchNetwork):
        raise ExportError(f"{model} is exported already; give the model folder that training wrote")
    if network.model.config.uses_text and network.model.text_encoder is None:
        raise ExportError(f"{model} reads text features from outside, which cannot be exported")
    weights = sum(weight.numel() * weight.element_size() for weight in network.model.parameters())
    program = _graph(network.model, _batch(processor, [1.2, 0.9, 0.7]), model)
    shortest = 1 if processor.reads_features else processor.minimum_samples
    with writing_folder(out) as part:
        with TemporaryDirectory(dir=part) as scratch, _quietly():
            file = (Path(scratch) if int8 else part) / MODEL
            program.save(file, external_data=weights > SIZE_LIMIT)
            if int8:
                _quantize(file, part / MODEL, split=weights > SIZE_LIMIT)
        for source in sorted(model.iterdir()):
            if source.is_file() and source.name != WEIGHTS:
                shutil.copyfile(source, part / source.name)
        exported = read_onnx_network(part, shortest)
        difference = 0.0
        for seconds in ([0.8], [1.5, 0.4, 1.0]):
            batch = _batch(processor, seconds)
            difference = max(difference, _difference(network.answer(batch), exported.answer(batch)))
        if not int8 and not difference <= TOLERANCE:
            raise ExportError(
                f"{model} cannot be exported: its logits in onnxruntime differ by {difference:.1g} from those of "
                f"PyTorch, and {TOLERANCE:g} is allowed"
            )
        written = {file.name for file in part.iterdir()}
    for file in out.glob(f"{MODEL}*"):
        if file.name not in written:  # of an earlier export
            file.unlink()
    size = sum(file.stat().st_size for file in out.glob(f"{MODEL}*"))
    return Exported(out, size, (model / WEIGHTS).stat().st_size, difference)


class _Graph(nn.Module):
    """The network as a function of a processor's batch, without a step that depends on its values."""

    def __init__(self, model: MMERForEmotionRecognition) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        speech_attention_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        model, missing_modality_embeddings = self.model, self.model.config.missing_modality_embeddings
        sound = input_features if input_values is None else input_values
        speech = text = None
        if sound is not None and speech_attention_mask is not None:
            assert model.speech_encoder is not None
            missing_embedding = model.missing_speech if missing_modality_embeddings else None
            speech = encode_every_row(model.speech_encoder, sound, speech_attention_mask, missing_embedding)
        if input_ids is not None and text_attention_mask is not None:
            missing_embedding = model.missing_text if missing_modality_embeddings else None
            text = encode_every_row(model.hidden_states_of, input_ids, text_attention_mask, missing_embedding)
            text = model.with_words(text, input_ids, text_attention_mask)
        embeddings, logits = model.answer(speech, text)
        answers = {"logits": logits, "embeddings": embeddings}
        if missing_modality_embeddings:
            answers["speech_alone"] = model.answer(speech, None)[1]
            answers["text_alone"] = model.answer(None, text)[1]
        if model.ctc_head is not None and speech is not None:
            answers["ctc_symbols"] = model.ctc_head(speech.hidden).argmax(dim=-1)
            answers["frame_mask"] = speech.mask
        return answers


def _graph(model: MMERForEmotionRecognition, batch: Inputs, name: Path) -> Any:
    """Trace a network on a batch and return its ONNX program."""
    axes = {
        "input_values": {0: "batch", 1: "samples"},
        "input_features": {0: "batch", 1: "frames"},
        "speech_attention_mask": {0: "batch", 1: "samples" if "input_values" in batch else "frames"},
        "input_ids": {0: "batch", 1: "tokens"},
        "text_attention_mask": {0: "batch", 1: "tokens"},
    }
    graph = _Graph(model).eval()
    with torch.no_grad():
        outputs = list(graph(**_tensors(batch)))
        try:
            with _quietly():
                program = torch.onnx.export(
                    graph,
                    (),
                    kwargs=_tensors(batch),
                    input_names=list(batch),
                    output_names=outputs,
                    dynamic_shapes={name: axes[name] for name in batch},
                    dynamo=True,
                    verbose=False,
                )
        except Exception as error:  # of the exporter, torch and onnxscript; they have no common base
            reason = str(error.__cause__ or error).strip().splitlines()[0].rstrip(".: ")
            raise ExportError(
                f"{name} cannot be exported to ONNX: its network has something that ONNX cannot express ({reason}); "
                "use the model folder as it is, or train with other encoders"
            ) from error
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # traces that name the folders of this machine
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    return program


def _quantize(file: Path, out: Path, *, split: bool) -> None:
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    model = onnx.load(file)
    del model.graph.value_info[:]  # shapes of weights, which the quantizer transposes and then stumbles over
    operations = list(QUANTIZED)
    quantize_dynamic(model, out, operations, per_channel=True, use_external_data_format=split)


def _batch(processor: Preprocessor, seconds: list[float]) -> Inputs:
    """Make a batch of noise and words; if the model allows, row 2 has no words and row 3 no sound."""
    noise = np.random.default_rng(0)
    rate = processor.sampling_rate
    clips: list[Any] = [
        processor.features(0.1 * noise.standard_normal(round(length * rate), np.float32))
        for length in seconds
    ]
    words: list[str | None] = ["never said that", "what a day it is", "no"]
    if processor.missing_modality_embeddings and len(clips) > 1:
        words[1], clips[2] = None, None
    heard = clips if processor.uses_speech else None
    return processor.collate(heard, words[: len(clips)], return_tensors="np")


def _tensors(batch: Inputs) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _difference(ours: NetworkOutput, theirs: NetworkOutput) -> float:
    """Compute the largest difference between logits; NaN if one is NaN."""
    pairs = (
        (ours.logits, theirs.logits),
        (ours.speech_alone, theirs.speech_alone),
        (ours.text_alone, theirs.text_alone),
    )
    found = [np.abs(one - other).max() for one, other in pairs if one is not None and other is not None]
    return float(np.max(found))


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the exporter's and the quantizer's messages about their internals."""
    logging.disable(logging.WARNING)
    try:
        # PyTorch prints the whole graph of a network that it cannot export.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
