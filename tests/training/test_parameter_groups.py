"""Learning rates of encoders, their layers, and the rest, against groups worked out by hand."""

from typing import Any

import pytest
from tiny import model_config

from mmer.errors import RecipeError
from mmer.model import MMERForEmotionRecognition
from mmer.recipe.training import Training
from mmer.training.parameter_groups import parameter_groups

SETTINGS = {"learning_rate": 1e-3, "weight_decay": 0.1}


def rates(training: dict[str, Any], **settings: Any) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each weight that learns; matrices decay."""
    model = MMERForEmotionRecognition(model_config(freeze_feature_extractor=False, **settings))
    decayed = {name for name, weight in model.named_parameters() if weight.ndim > 1}
    groups = parameter_groups(model, Training(**SETTINGS, **training), decayed)
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert groups[0]["lr"] == 1e-3
    assert len({(group["lr"], group["weight_decay"]) for group in groups}) == len(groups)
    found = {
        names[id(weight)]: (group["lr"], group["weight_decay"])
        for group in groups
        for weight in group["params"]
    }
    assert set(found) == {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(found) == sum(len(group["params"]) for group in groups)
    return found


def test_one_rate_for_all_is_two_groups() -> None:
    found = rates({}, text_train="full")
    assert set(found.values()) == {(1e-3, 0.1), (1e-3, 0.0)}
    assert found["classifier.weight"] == (1e-3, 0.1)
    assert found["text_encoder.model.embeddings.LayerNorm.weight"] == (1e-3, 0.0)


def test_encoders_have_rates_of_their_own() -> None:
    found = rates({"speech_learning_rate": 1e-5, "text_learning_rate": 2e-5}, text_train="full")
    for name, (rate, _) in found.items():
        side = name.split(".")[0]
        assert rate == {"speech_encoder": 1e-5, "text_encoder": 2e-5}.get(side, 1e-3), name


def test_layers_learn_the_slower_the_lower_they_are() -> None:
    """Two layers each: 1 and 1/2 of the encoder's rate, what is below them 1/4."""
    found = rates({"text_learning_rate": 4e-4, "layer_decay": 0.5}, text_train="full")
    expected = {
        "text_encoder.model.encoder.layer.1.output.dense.weight": (4e-4, 0.1),
        "text_encoder.model.encoder.layer.0.output.dense.bias": (2e-4, 0.0),
        "text_encoder.model.embeddings.word_embeddings.weight": (1e-4, 0.1),
        "speech_encoder.model.encoder.layers.1.feed_forward.output_dense.weight": (1e-3, 0.1),
        "speech_encoder.model.encoder.layers.0.attention.q_proj.bias": (5e-4, 0.0),
        "speech_encoder.model.feature_extractor.conv_layers.0.conv.weight": (2.5e-4, 0.1),
        "speech_encoder.model.feature_projection.projection.weight": (2.5e-4, 0.1),
        "fusion.gate.weight": (1e-3, 0.1),
        "ctc_head.bias": (1e-3, 0.0),
    }
    assert {name: found[name] for name in expected} == {
        name: pytest.approx(values) for name, values in expected.items()
    }
    assert len({rate for rate, _ in found.values()}) == 6  # 1e-3, 5e-4, 2.5e-4; 4e-4, 2e-4, 1e-4


def test_the_rate_of_what_is_no_encoder_is_logged_where_an_encoder_learns_faster() -> None:
    found = rates({"text_learning_rate": 1e-2}, text_train="full")  # it checks the first group
    assert found["text_encoder.model.embeddings.word_embeddings.weight"] == (1e-2, 0.1)


def test_weights_of_lora_learn_at_the_rate_of_their_encoder() -> None:
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.0}
    found = rates({"text_learning_rate": 3e-4, "layer_decay": 0.5}, text_train="lora", lora=lora)
    text = {name: rate for name, (rate, _) in found.items() if name.startswith("text_encoder.")}
    assert text
    assert all(rate == (3e-4 if ".layer.1." in name else 1.5e-4) for name, rate in text.items())


@pytest.mark.parametrize("side", ["speech", "text"])
def test_a_rate_for_what_does_not_learn(side: str) -> None:
    with pytest.raises(RecipeError) as error:
        rates({f"{side}_learning_rate": 1e-5}, **{f"{side}_train": "frozen"})
    found = f"training.{side}_learning_rate is 1e-05, but model.{side}.train is frozen"
    assert str(error.value) == f"{found}; set one of them otherwise"
