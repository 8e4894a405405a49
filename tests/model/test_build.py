"""From a recipe to a model: compact encoders, encoders from folders, and what can go wrong."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny import SPEECH_ENCODERS, speech_config, text_config
from transformers import AutoModel, BertConfig, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

from mmer.corpora.corpus import Corpus
from mmer.errors import EncoderError, RecipeError
from mmer.model.build import build_model, ctc_alphabet
from mmer.model.encoders.compact import compact_tokenizer
from mmer.recipe.model import CompactText
from mmer.recipe.schema import Recipe, load_recipe
from mmer.recipe.training import Objectives
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET

LABELS = ["angry", "happy", "sad"]
SENTENCES = ["What a lovely day", "I never said that!", "Leave me alone", "Why not?"]
SMALL = [
    "model.fusion=mmer",
    "model.speech.normalization=utterance",
    "model.num_attention_heads=2",
    "model.intermediate_size=32",
    "model.speech.compact={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}",
    "model.text.compact={hidden_size: 24, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}",
]


def small_recipe(*overrides: str) -> Recipe:
    return load_recipe("compact", [*SMALL, *overrides])


def corpus(transcripts: list[str | None]) -> Corpus:
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{i}" for i in range(len(transcripts))],
            "audio_path": [f"u{i}.wav" for i in range(len(transcripts))],
            "transcript": transcripts,
            "emotion": [["angry", "angry", "happy", "sad"][i % 4] for i in range(len(transcripts))],
        }
    )
    return Corpus(table)


TRAIN = corpus([*SENTENCES])


@pytest.fixture(scope="module")
def encoder_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of small pretrained encoders, as a user would have downloaded them."""
    torch.manual_seed(1)
    folders = {}
    for name in (*SPEECH_ENCODERS, "text"):
        folders[name] = tmp_path_factory.mktemp(name)
        config: Any = text_config(32) if name == "text" else speech_config(name)
        if name == "text":
            tokenizer = compact_tokenizer(SENTENCES, CompactText(vocabulary_size=90))
            tokenizer.save_pretrained(folders[name])
        elif name == "wav2vec2-bert":
            SeamlessM4TFeatureExtractor().save_pretrained(folders[name])
        else:
            Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folders[name])
        AutoModel.from_config(config).save_pretrained(folders[name])
    return folders


def test_compact_model_answers_and_has_the_recipes_sizes() -> None:
    model, processor = build_model(small_recipe(), TRAIN, LABELS)
    assert model.config.speech_config.hidden_size == 16
    assert model.config.hidden_size == 24
    assert model.config.id2label == {0: "angry", 1: "happy", 2: "sad"}
    batch = processor([torch.randn(8000).numpy(), torch.randn(300).numpy()], ["What a day", None])
    assert model.eval()(**batch).logits.shape == (2, 3)


@pytest.mark.parametrize("encoder", SPEECH_ENCODERS)
def test_encoders_from_a_folder_bring_their_weights(encoder: str, encoder_folders: dict[str, Path]) -> None:
    recipe = small_recipe(
        f"model.speech.encoder={encoder_folders[encoder]}",
        f"model.text.encoder={encoder_folders['text']}",
        "model.text.train=frozen",
    )
    model, processor = build_model(recipe, TRAIN, LABELS)
    assert model.speech_encoder is not None
    assert model.text_encoder is not None
    for part, name in ((model.speech_encoder, encoder), (model.text_encoder, "text")):
        saved = AutoModel.from_pretrained(encoder_folders[name]).state_dict()
        loaded = part.model.state_dict()
        assert set(loaded) - set(saved) == set()
        for key, tensor in loaded.items():
            torch.testing.assert_close(tensor, saved[key], rtol=0, atol=0)
    batch = processor([torch.randn(8000).numpy(), torch.randn(4000).numpy()], ["What a day", None])
    assert (
        batch["speech_attention_mask"].sum(dim=1).tolist()[0]
        > batch["speech_attention_mask"].sum(dim=1).tolist()[1]
    )
    assert torch.isfinite(model.eval()(**batch).logits).all()


@pytest.mark.parametrize("fusion", ["text", "speech", "naive"])
def test_baselines_have_only_what_they_use(fusion: str) -> None:
    model, processor = build_model(small_recipe(f"model.fusion={fusion}"), TRAIN, LABELS)
    assert (model.speech_encoder is None, model.text_encoder is None) == (
        fusion == "text",
        fusion == "speech",
    )
    assert (processor.uses_speech, processor.uses_text) == (fusion != "text", fusion != "speech")
    assert (model.ctc_head is None) == (fusion == "text")


def test_balanced_class_weights() -> None:
    """Two angry, one happy, one sad: weights 4/(3*2), 4/3, 4/3."""
    model, _ = build_model(small_recipe("objectives.class_weights=balanced"), TRAIN, LABELS)
    assert model.config.class_weights == pytest.approx([2 / 3, 4 / 3, 4 / 3])


def test_the_alphabet_follows_the_language() -> None:
    assert ctc_alphabet(SENTENCES).symbols == WAV2VEC2_ALPHABET
    assert "Ś" in ctc_alphabet(["Nie waśńmy się"]).symbols


def test_without_transcripts_speech_alone_can_be_trained_and_ctc_is_off() -> None:
    silent = corpus([None, None, ""])
    model, _ = build_model(small_recipe("model.fusion=speech"), silent, LABELS)
    assert model.config.ctc_weight == 0
    with pytest.raises(RecipeError, match=r"no training utterance has one; .*model.fusion=speech"):
        build_model(small_recipe(), silent, LABELS)


def test_a_network_that_listens_needs_a_recording() -> None:
    written = Corpus(TRAIN.table.assign(audio_path=None))
    with pytest.raises(RecipeError, match=r"no training utterance has a recording; .*model.fusion=text"):
        build_model(small_recipe("model.missing_modality_embeddings=true"), written, LABELS)
    assert build_model(small_recipe("model.fusion=text"), written, LABELS)[0].speech_encoder is None


def test_modality_dropout_brings_missing_modality_embeddings() -> None:
    model, processor = build_model(small_recipe("augment.missing.text=0.1"), TRAIN, LABELS)
    assert processor.missing_modality_embeddings
    assert model.missing_text.std() > 0


@pytest.mark.parametrize("side", ["speech", "text"])
def test_an_encoder_that_cannot_be_fetched_is_one_line_with_the_way_out(side: str, tmp_path: Path) -> None:
    for name in ("no-such-name/encoder", str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(EncoderError) as error:
            build_model(small_recipe(f"model.{side}.encoder={name}"), TRAIN, LABELS)
        message = str(error.value)
        assert message.startswith(f"encoder '{name}' cannot be loaded (")
        assert "local folder" in message
        assert "\n" not in message


def test_a_text_model_is_no_speech_encoder(tmp_path: Path) -> None:
    config = BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=20
    )
    AutoModel.from_config(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="type 'bert' is not supported"):
        build_model(small_recipe(f"model.speech.encoder={tmp_path}"), TRAIN, LABELS)


def test_every_weight_of_the_recipe_reaches_the_model_and_the_pictures() -> None:
    from mmer.evaluation.plots import COLORS, NAMES

    weights = [name for name in Objectives.model_fields if name.endswith("_weight")]
    chosen = {name: 0.1 * (place + 1) for place, name in enumerate(weights)}
    recipe = small_recipe(*(f"objectives.{name}={value}" for name, value in chosen.items()))
    config = build_model(recipe, TRAIN, LABELS)[0].config
    assert {name: getattr(config, name) for name in weights} == pytest.approx(chosen)
    assert [f"{name}_weight" for name in NAMES if name != "cross_entropy"] == weights
    assert COLORS.keys() == NAMES.keys()
