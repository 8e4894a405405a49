"""Published checkpoints, their old names, and files that are none."""

import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import text_config
from torch import Tensor
from transformers import AutoModel

from mmer.errors import CheckpointError, EncoderError
from mmer.model import MMERForEmotionRecognition, MMERProcessor
from mmer.model.encoders.compact import compact_tokenizer
from mmer.model.import_checkpoint import (
    BLOCKS,
    LAYER_PARTS,
    MODULES,
    import_checkpoint,
    official_config,
    translate_name,
)
from mmer.recipe.model import CompactText


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text encoder of RoBERTa's class and width."""
    folder = tmp_path_factory.mktemp("roberta")
    compact_tokenizer(["hello there"], CompactText(vocabulary_size=60)).save_pretrained(folder)
    config = text_config(768)
    config.update({"num_hidden_layers": 1, "intermediate_size": 16})
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model() -> MMERForEmotionRecognition:
    torch.manual_seed(0)
    return MMERForEmotionRecognition(official_config(hidden_size=768)).eval()


@pytest.fixture(scope="module")
def official(model: MMERForEmotionRecognition) -> dict[str, Tensor]:
    """The model's weights under the names of the published code."""
    names = {ours: theirs for theirs, ours in MODULES.items()}
    state: dict[str, Tensor] = {"model_mmi.weights": torch.zeros(13)}
    for name, tensor in model.state_dict().items():
        ours = max((module for module in names if name.startswith(module + ".")), key=len)
        state[names[ours] + name[len(ours) :]] = tensor
    return state


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As PyTorch 1 saved them from several GPUs."""
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        renamed["module." + name.replace("parametrizations.weight.original1", "weight_v")] = tensor
    return renamed


@pytest.mark.parametrize("old", [pytest.param(False, marks=pytest.mark.slow), True])
def test_import(
    old: bool,
    model: MMERForEmotionRecognition,
    official: dict[str, Tensor],
    text_folder: Path,
    tmp_path: Path,
) -> None:
    content: Any = {"state_dict": OrderedDict(old_names(official)), "epoch": 3} if old else official
    torch.save(content, tmp_path / "official.pt")
    import_checkpoint(tmp_path / "official.pt", tmp_path / "model", text_encoder=str(text_folder))

    imported = MMERForEmotionRecognition.from_pretrained(tmp_path / "model")
    state = imported.state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)
    processor = MMERProcessor.from_pretrained(tmp_path / "model")
    assert processor.labels == ["happy", "angry", "neutral", "sad"]
    assert len(processor.ctc_symbols or []) == 32
    batch = processor([torch.randn(4000).numpy()], ["hello"])
    assert imported(**batch).logits.shape == (1, 4)


def test_every_published_module_has_a_place_of_its_own() -> None:
    assert len(set(MODULES.values())) == len(MODULES) == 9 + len(BLOCKS) * len(LAYER_PARTS)
    assert translate_name("model_mmi.weights") is None
    with pytest.raises(CheckpointError, match=r"'model_mmi.lstm.weight' is not of the published MMER model"):
        translate_name("model_mmi.lstm.weight")


def test_wrong_checkpoints(official: dict[str, Tensor], text_folder: Path, tmp_path: Path) -> None:
    def message(content: Any) -> str:
        path = tmp_path / "official.pt"
        torch.save(content, path)
        with pytest.raises(CheckpointError) as error:
            import_checkpoint(path, tmp_path / "model", text_encoder=str(text_folder))
        assert "\n" not in str(error.value)
        return str(error.value)

    # Zeros that share one number: files of some kilobytes instead of 400 MB, with the names and shapes of all.
    official = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in official.items()}
    incomplete = {name: tensor for name, tensor in official.items() if "gate" not in name}
    assert "2 tensors are missing" in message(incomplete)
    assert "size mismatch for fusion.gate.bias" in message(official | {"model_mmi.gate.bias": torch.zeros(5)})
    assert "no state_dict of tensors" in message({"state_dict": [1, 2]})
    assert "cannot be read as a PyTorch checkpoint of tensors alone" in message({"state_dict": Path("x")})
    assert not (tmp_path / "model").exists()


def test_files_that_are_no_checkpoints(text_folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.pt"
    text.write_text("not a pickle")
    empty = tmp_path / "empty.pt"
    empty.touch()
    for path, message in (
        (tmp_path / "nowhere.pt", "no such file"),
        (text, "cannot be read as a PyTorch checkpoint"),
        (empty, "cannot be read as a PyTorch checkpoint"),
        (tmp_path, "cannot be read as a PyTorch checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=message) as error:
            import_checkpoint(path, tmp_path / "model", text_encoder=str(text_folder))
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content",
    [
        b"these are only words\n" * 20,
        "\xe9t\xe9".encode("latin-1") * 20,
        b"{}",
        b"PK\x03\x04",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
        b"\x80\x02" + b"]" * 5000,
        {1: torch.ones(2)},
        {"a": torch.ones(2)},
        torch.nn.Linear(2, 2),
    ],
)
def test_contents_that_are_no_checkpoint(text_folder: Path, tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError) as error:
        import_checkpoint(path, tmp_path / "model", text_encoder=str(text_folder))
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("protocol", ["zip", "legacy"])
def test_damaged_checkpoints(text_folder: Path, tmp_path: Path, protocol: str) -> None:
    path = tmp_path / "damaged.pt"
    torch.save({"a": torch.ones(20)}, path, _use_new_zipfile_serialization=protocol == "zip")
    whole, draw = path.read_bytes(), random.Random(0)
    for _ in range(100):
        changed = bytearray(whole[: draw.choice([len(whole), draw.randrange(len(whole))])])
        for _ in range(draw.choice([1, 5, 30])):
            if changed:
                changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=str(path)):
            import_checkpoint(path, tmp_path / "model", text_encoder=str(text_folder))


def test_without_the_text_encoder(official: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(official, tmp_path / "official.pt")
    with pytest.raises(EncoderError, match="local folder"):
        import_checkpoint(
            tmp_path / "official.pt", tmp_path / "model", text_encoder=str(tmp_path / "nowhere")
        )
