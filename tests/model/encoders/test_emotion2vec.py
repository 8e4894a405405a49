"""A release of emotion2vec as the speech encoder of a model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from emotion2vec_rule import LENGTHS, RECORDED, recorded_frames, recording, write_release

from mmer.corpora.corpus import Corpus
from mmer.errors import EncoderError
from mmer.model import MMERForEmotionRecognition, MMERProcessor
from mmer.model.build import build_model
from mmer.recipe.schema import load_recipe

SMALL = [
    "model.fusion=mmer",
    "model.num_attention_heads=2",
    "model.intermediate_size=32",
    "model.speech.normalization=utterance",
    "model.text.compact={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}",
]


def build(encoder: Path, *overrides: str) -> tuple[MMERForEmotionRecognition, MMERProcessor]:
    rows = [
        {
            "utterance_id": str(i),
            "audio_path": "a.wav",
            "transcript": text,
            "emotion": ["angry", "calm"][i % 2],
        }
        for i, text in enumerate(["What a lovely day", "I never said that!"])
    ]
    recipe = load_recipe("compact", [*SMALL, f"model.speech.encoder={encoder}", *overrides])
    return build_model(recipe, Corpus(pd.DataFrame(rows)), ["angry", "calm"])


def test_frames_are_those_of_funasr(tmp_path: Path) -> None:
    model, processor = build(write_release(tmp_path, "small", None))
    batch = processor([recording(number) for number in range(len(LENGTHS))], [None] * len(LENGTHS))
    with torch.inference_mode():
        encoding = model.eval().encode_speech(batch["input_values"], batch["speech_attention_mask"])
    with np.load(RECORDED) as funasr:
        for number in range(len(LENGTHS)):
            count = int(funasr[f"small {number} count"])
            assert encoding.mask[number].sum() == count
            found = encoding.hidden[number, recorded_frames(count)].numpy()
            assert np.abs(found - funasr[f"small {number} frames"]).max() <= 1e-4


def test_a_model_that_was_saved_needs_no_release(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "release", "small")
    model, processor = build(folder, "model.speech.spec_augment=true")
    for file in folder.iterdir():
        file.unlink()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    loaded = MMERForEmotionRecognition.from_pretrained(tmp_path / "model").eval()
    batch = MMERProcessor.from_pretrained(tmp_path / "model")([recording(0), recording(2)], ["What", None])
    with torch.inference_mode():
        torch.testing.assert_close(loaded(**batch).logits, model.eval()(**batch).logits, rtol=0, atol=0)


def test_every_weight_of_an_encoder_that_is_trained_learns(tmp_path: Path) -> None:
    model, processor = build(
        write_release(tmp_path, "small"), "model.speech.freeze_feature_extractor=false", "model.fusion=speech"
    )
    assert model.speech_encoder is not None
    model.speech_encoder.model.config.layerdrop = 0.0
    batch = processor([recording(0), recording(2)], ["What a lovely day", "What a day"])
    model.train()(**batch, labels=torch.tensor([0, 1])).loss.backward()
    unused = ("k_proj.bias", "masked_spec_embed")  # which changes no attention; which serves SpecAugment
    still = {
        name
        for name, weight in model.speech_encoder.named_parameters()
        if weight.grad is None or not weight.grad.any()
    }
    assert all(name.endswith(unused) for name in still)
    scale = model.speech_encoder.model.encoder.alibi_scale
    assert torch.equal(scale.grad != 0, scale > 0)  # those below 0 count as 0


def test_damaged_releases_name_the_encoder_and_the_file(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "release", "small")
    (folder / "model.pt").write_bytes((folder / "model.pt").read_bytes()[:-2000])
    with pytest.raises(EncoderError, match=rf"encoder '{folder}': {folder}/model\.pt cannot be read"):
        build(folder)
    (folder / "config.yaml").write_text("model: Paraformer")
    with pytest.raises(EncoderError, match=rf"encoder '{folder}': {folder}/config\.yaml describes no model"):
        build(folder)
    with pytest.raises(
        EncoderError, match=r"encoder 'emotion2vec/none': there is no folder emotion2vec/none"
    ):
        build(Path("emotion2vec/none"))


def test_an_encoder_by_its_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "models--emotion2vec--emotion2vec_base"
    write_release(cached / "snapshots" / ("0" * 40), "small", None)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model, _ = build(Path("emotion2vec/emotion2vec_base"))
    assert model.config.speech_config.model_type == "emotion2vec"
