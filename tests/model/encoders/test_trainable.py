"""What of an encoder learns, and LoRA from its first step to the saved folder."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import (
    SPEECH_ENCODERS,
    TEXT_SIZE,
    model_config,
    row,
    speech_inputs,
    text_config,
    text_inputs,
    tiny_model,
)
from torch import Tensor
from transformers import AlbertConfig, DistilBertConfig, GPT2Config, PreTrainedConfig

from mmer.errors import EncoderError, MissingExtraError
from mmer.inference.backends.torch_network import read_torch_network
from mmer.model import MMERConfig, MMERForEmotionRecognition
from mmer.model.encoders.activation_checkpointing import enable_activation_checkpointing
from mmer.recipe.values import ActivationCheckpointing

LORA = {"rank": 3, "alpha": 6.0, "dropout": 0.0}
BOTH: dict[str, Any] = {"speech_train": "lora", "text_train": "lora", "lora": LORA}


def batch(model: MMERForEmotionRecognition) -> dict[str, Tensor]:
    inputs = text_inputs([4, 6, 3])
    if model.speech_encoder is not None:
        inputs |= speech_inputs(model, [8000, 4800, 6400])
    return inputs | {
        "labels": torch.tensor([0, 1, 0]),
        "ctc_labels": torch.tensor([[5, 6], [8, -100], [7, 5]]),
    }


def learning(model: MMERForEmotionRecognition, side: str) -> set[str]:
    """Names of the encoder's weights that learn, and get a gradient."""
    model.zero_grad()
    model(**batch(model)).loss.backward()
    named = {name: weight for name, weight in model.named_parameters() if name.startswith(f"{side}_encoder.")}
    chosen = {name for name, weight in named.items() if weight.requires_grad}
    moved = {name for name, weight in named.items() if weight.grad is not None and weight.grad.any()}
    assert moved <= chosen
    assert chosen - moved <= {name for name in chosen if name.endswith("key.bias") or "k_proj.bias" in name}
    return chosen


def test_the_last_layers_learn_and_nothing_else() -> None:
    model = tiny_model(speech_train="last:1", text_train="last:1").train()
    for side, layers in (("speech", "encoder.layers"), ("text", "encoder.layer")):
        stack = f"{side}_encoder.model.{layers}.1."
        whole = {name for name, _ in model.named_parameters() if name.startswith(stack)}
        assert whole
        assert learning(model, side) == whole
    both = tiny_model(text_train="last:2")
    assert {name.split(".")[4] for name in learning(both, "text")} == {"0", "1"}


def test_more_layers_than_there_are() -> None:
    with pytest.raises(EncoderError) as error:
        tiny_model(text_train="last:3")
    assert str(error.value) == (
        "model.text.train is last:3, but the encoder has 2 layers; choose last:1 to last:2, or full"
    )
    with pytest.raises(EncoderError, match="is last:9, but the encoder has 2 layers"):
        tiny_model(speech_train="last:9")


def test_layers_are_found_in_encoders_of_other_shapes() -> None:
    small = DistilBertConfig(vocab_size=100, dim=TEXT_SIZE, n_layers=2, n_heads=2, hidden_dim=48)
    model = tiny_model(text_config=small, fusion="text", text_train="lora", lora=LORA)
    targets = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in learning(model, "text")}
    assert targets == {"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"}


def test_linear_layers_with_transposed_weights_learn_by_lora_and_are_merged(
    recwarn: pytest.WarningsRecorder,
) -> None:
    small = GPT2Config(vocab_size=100, n_embd=TEXT_SIZE, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    model = tiny_model(text_config=small, fusion="text", text_train="lora", lora=LORA)
    targets = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in learning(model, "text")}
    assert targets == {"c_attn", "c_proj", "c_fc"}
    with torch.no_grad():
        trained = model(**batch(model)).logits
        model.merge_lora()
        assert (model(**batch(model)).logits - trained).abs().max() <= 5e-5  # merged weights are rounded
    assert not any("lora" in name for name in model.state_dict())
    assert not recwarn.list


@pytest.mark.parametrize("settings", [{"text_train": "last:1"}, {"text_train": "lora", "lora": LORA}])
def test_layers_that_share_their_weights(settings: dict[str, Any]) -> None:
    shared = AlbertConfig(
        vocab_size=100,
        embedding_size=8,
        hidden_size=TEXT_SIZE,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
    )
    with pytest.raises(EncoderError, match="type 'albert' have no stack of 3 layers"):
        tiny_model(text_config=shared, fusion="text", **settings)


@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_every_lora_weight_learns_and_no_other_weight_of_the_encoders(encoder: str) -> None:
    model = tiny_model(encoder, **BOTH).train()
    for side in ("speech", "text"):
        names = learning(model, side)
        assert names
        assert all(".lora_A." in name or ".lora_B." in name for name in names)
    # Query, key, value, attention output, two feed-forward layers: A and B in each of two layers.
    assert len(learning(model, "text")) == 2 * 6 * 2


def test_lora_begins_with_the_answers_of_the_encoder() -> None:
    torch.manual_seed(0)
    plain = MMERForEmotionRecognition(model_config(speech_train="lora", text_train="lora")).eval()
    with torch.no_grad():
        before = plain(**batch(plain)).logits
        plain.add_lora({**LORA, "dropout": 0.5})
        assert torch.equal(plain.eval()(**batch(plain)).logits, before)
        assert not torch.equal(plain.train()(**batch(plain)).logits, before)


@pytest.mark.parametrize("encoder", ["wav2vec2-layer", "wavlm-group", "wav2vec2-bert"])
def test_a_merged_folder_answers_like_the_trained_model_and_needs_no_peft(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(encoder, **BOTH)
    base = {name: weight.clone() for name, weight in model.state_dict().items() if "base_layer" in name}
    inputs = batch(model)
    with torch.no_grad():
        trained = model(**inputs).logits
    model.save_pretrained(tmp_path / "checkpoint")
    checkpoint = MMERForEmotionRecognition.from_pretrained(tmp_path / "checkpoint")
    with torch.no_grad():
        assert (checkpoint(**inputs).logits - trained).abs().max() <= 1e-5
    checkpoint.merge_lora()
    checkpoint.save_pretrained(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "peft", None)
    merged = MMERForEmotionRecognition.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert (merged(**inputs).logits - trained).abs().max() <= 5e-5  # merged weights are rounded
    assert not any("lora" in name or "base_layer" in name for name in merged.state_dict())
    assert (merged.config.lora, merged.config.speech_train) == (None, "frozen")
    name, weight = next(iter(base.items()))
    assert not torch.allclose(merged.state_dict()[name.replace(".base_layer", "")], weight, atol=1e-3)


def test_a_checkpoint_with_lora_and_no_peft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model(**BOTH).save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        MissingExtraError, match=r"train: lora needs peft; install it: pip install .*\[lora\]"
    ):
        MMERForEmotionRecognition.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"pip install .*\[lora\]"):
        read_torch_network(tmp_path, None)


def test_lora_and_the_batch() -> None:
    model = tiny_model(**BOTH)
    inputs = speech_inputs(model, [4800, 24_000, 7999]) | text_inputs([2, 20, 9])
    with torch.no_grad():
        together = model(**inputs).logits
        for i in range(3):
            assert (together[i] - model(**row(inputs, i)).logits[0]).abs().max() <= 1e-4


@pytest.mark.parametrize("recompute", ["cheap", "layers"])
@pytest.mark.parametrize("settings", [BOTH, {"speech_train": "last:1", "text_train": "last:1"}])
def test_recomputing_changes_no_gradient(
    settings: dict[str, Any], recompute: ActivationCheckpointing
) -> None:
    gradients = []
    kinds: list[ActivationCheckpointing] = ["none", recompute]
    for kind in kinds:
        model = tiny_model(**{**settings, "lora": {**LORA, "dropout": 0.3} if "lora" in settings else None})
        enable_activation_checkpointing(model.train(), kind)
        torch.manual_seed(3)
        model(**batch(model)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert set(gradients[0]) == set(gradients[1])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize(("frozen", "train"), [(True, "frozen"), (False, "full")])
def test_folders_from_before_there_was_lora(frozen: bool, train: str, tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    settings = json.loads(file.read_text())
    for side in ("speech", "text"):
        del settings[f"{side}_train"]
        settings[f"freeze_{side}_encoder"] = frozen
    del settings["lora"]
    file.write_text(json.dumps(settings))
    older = MMERForEmotionRecognition.from_pretrained(tmp_path)
    assert (older.config.speech_train, older.config.text_train) == (train, train)
    inputs = batch(model)
    older(**inputs).loss.backward()
    assert any(p.grad is not None for n, p in older.named_parameters() if "encoder." in n) != frozen
    with torch.no_grad():
        assert torch.equal(older(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("train", ["frozen", "full", "last:1", "lora"])
def test_a_loaded_model_learns_what_the_saved_one_did(train: str, tmp_path: Path) -> None:
    model = tiny_model(speech_train=train, text_train=train, lora=LORA if train == "lora" else None)
    model.save_pretrained(tmp_path)
    loaded = MMERForEmotionRecognition.from_pretrained(tmp_path)
    learning = [{name for name, p in each.named_parameters() if p.requires_grad} for each in (model, loaded)]
    assert learning[0] == learning[1]


def test_the_configuration_is_saved_and_read(tmp_path: Path) -> None:
    config = model_config(**BOTH)
    config.save_pretrained(tmp_path)
    read: PreTrainedConfig = MMERConfig.from_pretrained(tmp_path)
    assert isinstance(read, MMERConfig)
    assert (read.lora, read.text_train) == (LORA, "lora")
    assert text_config().model_type == read.text_config.model_type
