"""Encoders from checkpoints as they are found: in parts, of other heads, in half precision, of odd kinds."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import speech_config, text_config
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCTC,
    AutoModelForMaskedLM,
    BartConfig,
    BigBirdConfig,
    CanineConfig,
    ConvBertConfig,
    FNetConfig,
    GPT2Config,
    LlamaConfig,
    LongformerConfig,
    MarianConfig,
    MobileBertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Speech2TextConfig,
    T5Config,
    ViTConfig,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    XLNetConfig,
)

from mmer.corpora.corpus import Corpus
from mmer.errors import EncoderError
from mmer.inference.backends.torch_network import read_torch_network
from mmer.model import MMERForEmotionRecognition, MMERProcessor
from mmer.model.build import build_model
from mmer.model.encoders.compact import compact_tokenizer
from mmer.recipe.model import CompactText
from mmer.recipe.schema import load_recipe

SENTENCES = ["What a lovely day", "I never said that!", "Leave me alone", "Why not?"]
LABELS = ["angry", "calm"]
SMALL = [
    "model.fusion=mmer",
    "model.num_attention_heads=2",
    "model.intermediate_size=32",
    "model.speech.normalization=utterance",
    "model.speech.compact={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}",
    "model.text.compact={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}",
]


def build(*overrides: str) -> tuple[MMERForEmotionRecognition, MMERProcessor]:
    rows = [
        {"utterance_id": str(i), "audio_path": "a.wav", "transcript": text, "emotion": LABELS[i % 2]}
        for i, text in enumerate(SENTENCES)
    ]
    torch.manual_seed(0)
    return build_model(load_recipe("compact", [*SMALL, *overrides]), Corpus(pd.DataFrame(rows)), LABELS)


def spread(model: Any) -> Any:
    """The model with weights large enough that what is mixed up shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return model


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete wav2vec2 with a CTC head, its weights under `wav2vec2.`."""
    folder = tmp_path_factory.mktemp("speech")
    torch.manual_seed(1)
    spread(AutoModelForCTC.from_config(speech_config("wav2vec2-group"))).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def words(folder: Path, **special: str) -> Path:
    """Give a folder a tokenizer of whole words without special tokens but those named."""
    vocabulary = {
        word: i for i, word in enumerate([*special.values(), "<unk>", *" ".join(SENTENCES).split()])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete RoBERTa with a language model's head, its weights under `roberta.`."""
    folder = tmp_path_factory.mktemp("text")
    torch.manual_seed(2)
    spread(AutoModelForMaskedLM.from_config(text_config())).save_pretrained(folder)
    compact_tokenizer(SENTENCES, CompactText(vocabulary_size=90)).save_pretrained(folder)
    return folder


def changed(
    folder: Path, out: Path, change: Any, *, pickled: bool = False, config: dict[str, Any] | None = None
) -> Path:
    """A copy of a folder whose tensors were changed by name and value."""
    out.mkdir()
    for file in folder.iterdir():
        if file.suffix == ".json":
            (out / file.name).write_bytes(file.read_bytes())
    settings = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(settings | (config or {})))
    weights: dict[str, Tensor] = change(load_file(folder / "model.safetensors"))
    if pickled:
        torch.save(weights, out / "pytorch_model.bin")
    else:
        save_file(weights, out / "model.safetensors", {"format": "pt"})
    return out


def same(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights


@pytest.mark.parametrize("pickled", [False, True])
def test_weights_of_another_head_load_whole_and_quietly(
    speech: Path, text: Path, pickled: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also with the names that weight normalization had before PyTorch 2."""

    def older(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        new = "parametrizations.weight.original"
        return {
            name.replace(f"{new}0", "weight_g").replace(f"{new}1", "weight_v"): tensor
            for name, tensor in weights.items()
        }

    heard = changed(speech, tmp_path / "speech", older, pickled=pickled)
    read = changed(text, tmp_path / "text", same, pickled=pickled)
    model, _ = build(f"model.speech.encoder={heard}", f"model.text.encoder={read}")
    assert model.speech_encoder is not None
    assert model.text_encoder is not None
    for encoder, folder, prefix in (
        (model.speech_encoder, speech, "wav2vec2"),
        (model.text_encoder, text, "roberta"),
    ):
        saved = load_file(folder / "model.safetensors")
        for name, tensor in encoder.model.state_dict().items():
            if name not in ("masked_spec_embed", "embeddings.position_ids", "embeddings.token_type_ids"):
                assert torch.equal(tensor, saved[f"{prefix}.{name}"]), name
    shown = capfd.readouterr()
    assert "REPORT" not in shown.err + shown.out
    assert "UNEXPECTED" not in shown.err + shown.out


def test_masking_and_pooler_may_be_missing(speech: Path, text: Path, tmp_path: Path) -> None:
    heard = changed(
        speech, tmp_path / "speech", lambda all: {n: t for n, t in all.items() if "masked_spec" not in n}
    )
    build(f"model.speech.encoder={heard}", f"model.text.encoder={text}")


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("side", ["speech", "text"])
def test_missing_weights_are_named(
    side: str, pickled: bool, speech: Path, text: Path, tmp_path: Path
) -> None:
    folder = {"speech": speech, "text": text}[side]

    def half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in weights.items() if not re.search(r"layers?\.1\.", name)}

    def foreign(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"student.{name}": tensor for name, tensor in weights.items()}

    for change, told in (
        (half, r"such as encoder\.layers?\.1\."),
        (foreign, r"while student\.\S+ and \d+ others are"),
    ):
        found = changed(folder, tmp_path / change.__name__, change, pickled=pickled)
        with pytest.raises(EncoderError, match=told) as error:
            build(f"model.{side}.encoder={found}")
        assert re.match(rf"encoder '{found}' lacks \d+ of its weights", str(error.value))
        assert "\n" not in str(error.value)


def test_other_shapes_and_damaged_files_are_one_line(speech: Path, text: Path, tmp_path: Path) -> None:
    wider = changed(text, tmp_path / "wider", same, config={"intermediate_size": 64})
    with pytest.raises(
        EncoderError, match=r"have other shapes than its config\.json says, the first is encoder\."
    ) as e:
        build(f"model.text.encoder={wider}")
    assert "[48" in str(e.value)
    assert "[64" in str(e.value)
    cut = changed(speech, tmp_path / "cut", same)
    (cut / "model.safetensors").write_bytes((speech / "model.safetensors").read_bytes()[:5000])
    nothing = changed(speech, tmp_path / "nothing", same)
    (nothing / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    for folder in (cut, nothing):
        with pytest.raises(EncoderError, match="cannot be loaded") as error:
            build(f"model.speech.encoder={folder}")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_parameters_are_float32_whatever_the_encoders_were_saved_in(
    speech: Path, text: Path, key: str, precision: str, tmp_path: Path
) -> None:
    def halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(getattr(torch, precision)) for name, tensor in weights.items()}

    folders = {
        side: changed(folder, tmp_path / side, halved, config={key: precision})
        for side, folder in (("speech", speech), ("text", text))
    }
    model, processor = build(*(f"model.{side}.encoder={folder}" for side, folder in folders.items()))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    batch = processor([np.zeros(8000, np.float32)], ["What a day"])
    expected = model.eval()(**batch).logits
    model.save_pretrained(tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    settings = json.loads(file.read_text())
    for section in (settings, settings["speech_config"], settings["text_config"]):
        section.pop("dtype", None)
        section[key] = precision
    file.write_text(json.dumps(settings))
    loaded = MMERForEmotionRecognition.from_pretrained(tmp_path / "model")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(**batch).logits, expected)


SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
DECODER: dict[str, Any] = {
    "vocab_size": 60,
    "d_model": 16,
    **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")},
    "max_position_embeddings": 64,
}
WORKING: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2, head_dim=8),
    "xlnet": XLNetConfig(vocab_size=60, d_model=16, n_layer=2, n_head=2, d_inner=32),
    "t5": T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2),
    "bart": BartConfig(**DECODER),
    "marian": MarianConfig(**DECODER, pad_token_id=1, decoder_start_token_id=1),
}


@pytest.mark.parametrize("kind", WORKING)
def test_decoders_and_encoder_decoders_read_as_exactly_as_any_encoder(kind: str, tmp_path: Path) -> None:
    """Without special tokens, so that there is none to pad with and an empty text has no token."""
    torch.manual_seed(3)
    spread(AutoModel.from_config(WORKING[kind])).save_pretrained(tmp_path / "encoder")
    words(tmp_path / "encoder", **({"eos_token": "<e>"} if kind != "xlnet" else {}))
    model, processor = build(f"model.text.encoder={tmp_path / 'encoder'}", "model.text.train=last:1")
    model.eval()
    texts = ["I never said that!", None, "What a lovely day Leave me alone", "Why"]
    clips = [
        0.1 * np.random.default_rng(i).standard_normal(6000 + 900 * i).astype(np.float32) for i in range(4)
    ]
    with torch.no_grad():
        together = model(**processor(clips, texts)).logits
        for i, (clip, said) in enumerate(zip(clips, texts, strict=True)):
            torch.testing.assert_close(
                model(**processor([clip], [said])).logits[0], together[i], atol=1e-4, rtol=0
            )
        assert together.isfinite().all()
        assert together.abs().max() < 100
        model.save_pretrained(tmp_path / "model")
        processor.save_pretrained(tmp_path / "model")
        loaded = MMERForEmotionRecognition.from_pretrained(tmp_path / "model")
        again = MMERProcessor.from_pretrained(tmp_path / "model")
        torch.testing.assert_close(loaded(**again(clips, texts)).logits, together)


@pytest.mark.parametrize("kind", ["t5", "bart", "marian"])
def test_a_model_that_only_reads_with_half_of_an_encoder_decoder_is_read_from_its_folder(
    kind: str, tmp_path: Path
) -> None:
    spread(AutoModel.from_config(WORKING[kind])).save_pretrained(tmp_path / "encoder")
    words(tmp_path / "encoder", eos_token="<e>")
    model, processor = build(f"model.text.encoder={tmp_path / 'encoder'}", "model.fusion=text")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    read_torch_network(tmp_path / "model", "cpu")


LENGTHS: dict[str, PreTrainedConfig] = {
    "bigbird": BigBirdConfig(**SIZES, block_size=2, num_random_blocks=1),
    "longformer": LongformerConfig(**SIZES, attention_window=4),
}


@pytest.mark.parametrize("kind", LENGTHS)
def test_encoders_of_long_texts_answer_the_same_in_any_order_and_print_nothing(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    torch.manual_seed(5)
    spread(AutoModel.from_config(LENGTHS[kind])).save_pretrained(tmp_path)
    words(tmp_path, eos_token="<e>")
    short, long = "Why not?", " ".join(10 * SENTENCES)
    orders = [(long, short), (short, long)]
    answered: list[dict[str, Tensor]] = []
    for order in orders:
        model, processor = build(f"model.text.encoder={tmp_path}", "model.fusion=text")
        model.eval()
        with torch.no_grad():
            answered.append({text: model(**processor(None, [text])).logits for text in order})
    for text in (short, long):
        torch.testing.assert_close(answered[0][text], answered[1][text])
    assert not caplog.records


REFUSED: dict[str, tuple[PreTrainedConfig, str]] = {
    "fnet": (FNetConfig(**SIZES), "depends on the padding of its batch"),
    "convbert": (ConvBertConfig(**SIZES, embedding_size=16), "depends on the padding of its batch"),
    "mobilebert": (
        MobileBertConfig(**SIZES, embedding_size=16, intra_bottleneck_size=16),
        "depends on the padding of its batch",
    ),
    "canine": (CanineConfig(**{**SIZES, "vocab_size": 60}), "type 'canine'"),
    "vit": (
        ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32
        ),
        "a model of type 'vit' is no text encoder",
    ),
    "wav2vec2": (speech_config("wav2vec2-group"), "a model of type 'wav2vec2' is no text encoder"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_text_encoders_whose_answers_depend_on_the_batch_and_other_models_are_refused(
    kind: str, tmp_path: Path
) -> None:
    config, told = REFUSED[kind]
    torch.manual_seed(4)
    spread(AutoModel.from_config(config)).save_pretrained(tmp_path)
    words(tmp_path, eos_token="<e>")
    with pytest.raises(EncoderError, match=re.escape(told)) as error:
        build(f"model.text.encoder={tmp_path}")
    assert str(error.value).startswith(f"encoder '{tmp_path}'")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "config",
    [
        WhisperConfig(**DECODER, max_source_positions=50, max_target_positions=50),
        Speech2TextConfig(**DECODER),
        GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2),
    ],
)
def test_speech_encoders_of_other_kinds_are_refused(config: PreTrainedConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(
        EncoderError, match=f"type '{config.model_type}' is not supported; supported are data2vec"
    ):
        build(f"model.speech.encoder={tmp_path}")


def test_a_feature_extractor_of_another_encoder_is_one_line(speech: Path, tmp_path: Path) -> None:
    folder = changed(speech, tmp_path / "speech", same)
    WhisperFeatureExtractor().save_pretrained(folder)
    with pytest.raises(EncoderError, match="of type 'wav2vec2' fails on a made clip") as error:
        build(f"model.speech.encoder={folder}")
    assert "\n" not in str(error.value)


def test_a_tokenizer_that_knows_no_length_takes_that_of_its_encoder(text: Path, tmp_path: Path) -> None:
    folder = changed(text, tmp_path / "text", same)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    _, processor = build(f"model.text.encoder={folder}")
    with pytest.raises(ValueError, match=r"the text encoder reads 510"):
        processor.tokenize(["no " * 600])
