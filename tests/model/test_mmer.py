"""The model as users meet it: objectives, baselines, frozen parts, saving, wrong inputs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import (
    SIZE,
    SPEECH_ENCODERS,
    TEXT_SIZE,
    speech_config,
    speech_inputs,
    text_config,
    text_inputs,
    tiny_model,
)
from torch import Tensor
from transformers import AutoConfig, AutoModelForAudioClassification, PreTrainedConfig

from mmer.errors import EncoderError
from mmer.model import MMERConfig, MMERForEmotionRecognition
from mmer.model.encoders.activation_checkpointing import enable_activation_checkpointing
from mmer.recipe.values import ActivationCheckpointing

LENGTHS, TOKENS = [8000, 4800, 6400], [4, 6, 3]


def batch(model: MMERForEmotionRecognition) -> dict[str, Tensor]:
    """Both views, labels and CTC targets."""
    inputs: dict[str, Tensor] = {}
    for prefix, seed in (("", 0), ("augmented_", 1)):
        view = text_inputs(TOKENS, seed) if model.config.uses_text else {}
        if model.config.uses_speech:
            view |= speech_inputs(model, LENGTHS, seed)
        inputs |= {prefix + name: tensor for name, tensor in view.items()}
    inputs["labels"] = torch.tensor([0, 1, 0])
    inputs["ctc_labels"] = torch.tensor([[5, 6, 7], [8, -100, -100], [-100, -100, -100]])
    return inputs


def test_the_loss_is_the_weighted_sum_of_the_four_objectives() -> None:
    model = tiny_model(ctc_weight=0.3, supervised_contrastive_weight=0.5, augmented_contrastive_weight=0.7)
    output = model(**batch(model))
    weights = {"cross_entropy": 1, "ctc": 0.3, "supervised_contrastive": 0.5, "augmented_contrastive": 0.7}
    assert set(output.objectives) == set(weights)
    torch.testing.assert_close(
        output.loss, torch.stack([weights[name] * loss for name, loss in output.objectives.items()]).sum()
    )
    assert output.logits.shape == (3, 4)
    assert output.fused_embedding.shape == output.augmented_fused_embedding.shape == (3, SIZE + TEXT_SIZE)


@pytest.mark.parametrize("objective", ["ctc", "supervised_contrastive", "augmented_contrastive"])
def test_each_auxiliary_objective_can_be_off(objective: str) -> None:
    model = tiny_model("wav2vec2-group", 0, **{f"{objective}_weight": 0.0})
    objectives = model(**batch(model)).objectives
    assert len(objectives) == 3
    assert objective not in objectives


def test_the_augmented_view_takes_part_in_its_own_objective_alone() -> None:
    model = tiny_model()
    inputs = batch(model)
    both = model(**inputs)
    one = model(**{name: tensor for name, tensor in inputs.items() if not name.startswith("augmented_")})
    assert set(both.objectives) - set(one.objectives) == {"augmented_contrastive"}
    torch.testing.assert_close(both.logits, one.logits)
    for name, loss in one.objectives.items():
        torch.testing.assert_close(both.objectives[name], loss)


def test_class_weights_and_label_smoothing() -> None:
    model = tiny_model(class_weights=[1.0, 3.0, 1.0, 1.0], label_smoothing=0.1)
    inputs = batch(model)
    output = model(**inputs)
    terms = []
    for logits, label in zip(output.logits.log_softmax(dim=1), inputs["labels"], strict=True):
        weights = torch.tensor([1.0, 3.0, 1.0, 1.0])
        terms.append(-(0.9 * weights[label] * logits[label] + 0.1 / 4 * (weights * logits).sum()))
    expected = sum(terms) / (1 + 3 + 1)
    torch.testing.assert_close(output.objectives["cross_entropy"], expected)


def test_text_features_from_outside_are_those_of_the_encoder() -> None:
    model = tiny_model()
    inputs = batch(model)
    assert model.text_encoder is not None
    features = model.text_encoder(inputs["input_ids"], inputs["text_attention_mask"])
    inside = model(**inputs).logits
    ids = inputs.pop("input_ids")
    torch.testing.assert_close(model(**inputs, text_hidden_states=features).logits, inside)
    without = tiny_model(text_config=None, hidden_size=TEXT_SIZE)
    with pytest.raises(ValueError, match="no text encoder"):
        without(**inputs, input_ids=ids)


@pytest.mark.parametrize("fusion", ["naive", "speech", "text"])
def test_baselines(fusion: Any) -> None:
    model = tiny_model(fusion=fusion)
    inputs = batch(model)
    output = model(**inputs)
    output.loss.backward()
    assert output.logits.shape == (3, 4)
    assert (model.speech_encoder is None) == (fusion == "text")
    assert (model.text_encoder is None) == (fusion == "speech")
    assert ("ctc" in output.objectives) == (fusion != "text")


def test_frozen_parts_stay_in_evaluation_mode_and_get_no_gradient() -> None:
    model = tiny_model().train()
    model(**batch(model)).loss.backward()
    without_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    extractor = {name for name, _ in model.named_parameters() if ".feature_extractor." in name}
    text = {name for name, _ in model.named_parameters() if name.startswith("text_encoder.")}
    unused = {"speech_encoder.model.masked_spec_embed"}
    assert without_gradient - unused == extractor | text
    assert model.text_encoder is not None
    assert not model.text_encoder.model.training

    thawed = tiny_model(text_train="full", freeze_feature_extractor=False).train()
    thawed(**batch(thawed)).loss.backward()
    assert {n for n, p in thawed.named_parameters() if p.grad is None} - unused == set()

    frozen = tiny_model(speech_train="frozen").train()
    frozen(**batch(frozen)).loss.backward()
    assert all(p.grad is None for n, p in frozen.named_parameters() if n.startswith("speech_encoder."))


@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_a_saved_model_is_the_same_model(encoder: str, tmp_path: Path) -> None:
    model = tiny_model(encoder, id2label={0: "angry", 1: "happy", 2: "neutral", 3: "sad"})
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert isinstance(loaded, MMERForEmotionRecognition)
    assert not loaded.training
    inputs = batch(model)
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits, rtol=0, atol=0)
    config: Any = AutoConfig.from_pretrained(tmp_path)
    assert config.id2label[3] == "sad"


def test_weights_keep_the_names_that_stored_model_folders_have() -> None:
    encoder = (
        "query",
        "key",
        "value",
        "attention_output",
        "attention_norm",
        "intermediate",
        "output",
        "output_norm",
    )
    blocks = ("text_self_attention", "block_b", "block_c", "block_d")
    layers = [
        *(f"fusion.{block}.{layer}" for block in blocks for layer in encoder),
        *(f"fusion.{layer}" for layer in ("speech_to_keys", "speech_to_queries", "gate", "down_projection")),
        *("ctc_head", "classifier", "contrastive_projection.0", "contrastive_projection.2"),
        *("augmented_contrastive_projection.0", "augmented_contrastive_projection.2"),
    ]
    expected = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    names = tiny_model().state_dict()
    assert {name for name in names if not name.startswith(("speech_encoder.", "text_encoder."))} == expected
    assert "speech_encoder.model.feature_extractor.conv_layers.0.layer_norm.weight" in names
    assert "text_encoder.model.embeddings.word_embeddings.weight" in names


CHECKPOINTED: list[ActivationCheckpointing] = ["cheap", "layers"]


@pytest.mark.parametrize("recompute", CHECKPOINTED)
@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_recomputing_changes_no_gradient(encoder: str, recompute: ActivationCheckpointing) -> None:
    """Dropout on, convolutions learning, and two views whose padding differs."""
    gradients = []
    settings: list[ActivationCheckpointing] = ["none", recompute]
    for recomputed in settings:
        model = tiny_model(encoder, text_train="full", freeze_feature_extractor=False).train()
        enable_activation_checkpointing(model, recomputed)
        inputs = batch(model)
        inputs["augmented_speech_attention_mask"][
            0, -len(inputs["augmented_speech_attention_mask"][0]) // 3 :
        ] = 0
        torch.manual_seed(3)
        model(**inputs).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert set(gradients[0]) == set(gradients[1])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_it_learns() -> None:
    """Ten random clips and labels are remembered in a few steps, all objectives on."""
    model = tiny_model("wav2vec2-layer", text_train="full", dropout=0.0).train()
    lengths, tokens = [4800, 8000, 6400, 5000, 7000] * 2, [3, 5, 4, 6, 2] * 2
    inputs = speech_inputs(model, lengths) | text_inputs(tokens)
    augmented = speech_inputs(model, lengths, 1) | text_inputs(tokens, 1)
    inputs |= {f"augmented_{name}": tensor for name, tensor in augmented.items()}
    inputs["labels"] = torch.arange(10) % 4
    inputs["ctc_labels"] = torch.randint(5, 32, (10, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    before = model(**inputs).objectives
    for _ in range(30):
        optimizer.zero_grad()
        model(**inputs).loss.backward()
        optimizer.step()
    model.eval()
    after = model(**inputs)
    assert (after.logits.argmax(dim=1) == inputs["labels"]).all()
    for name, loss in after.objectives.items():
        assert loss < 0.5 * before[name], name


@pytest.mark.parametrize(
    ("inputs", "message"), [({"text": True}, "needs sound"), ({"speech": True}, "needs text")]
)
def test_a_missing_modality_is_an_error(inputs: dict[str, bool], message: str) -> None:
    model = tiny_model()
    given = speech_inputs(model, LENGTHS) if inputs.get("speech") else text_inputs(TOKENS)
    with pytest.raises(ValueError, match=message):
        model(**given)


@pytest.mark.parametrize(
    ("speech", "message"),
    [
        (text_config(), "type 'roberta' is not supported; supported are data2vec-audio, hubert"),
        (speech_config("wav2vec2-group", add_adapter=True), "adapter"),
    ],
)
def test_unsupported_speech_encoders(speech: PreTrainedConfig, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        tiny_model(speech_config=speech)


def test_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="num_attention_heads = 5 does not divide the fusion's width 24"):
        MMERConfig(text_config=text_config(24), num_attention_heads=5)
    with pytest.raises(ValueError, match="leave hidden_size out"):
        tiny_model(hidden_size=48)
