"""Tokenizer and CTC alphabet follow the corpus: Polish as it was recorded, and scripts that are not Latin."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.corpora.readers.nemo import read_nemo
from mmer.model.build import build_model
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import MMERProcessor
from mmer.recipe.schema import load_recipe
from mmer.text.transcripts import normalize_transcript

SMALL = [
    "model.fusion=mmer",
    "model.speech.normalization=utterance",
    "model.num_attention_heads=2",
    "model.intermediate_size=32",
    "model.speech.compact={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, stacked: 2}",
    "model.text.compact={hidden_size: 24, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}",
    "objectives.ctc_weight=0.1",
]
SCRIPTS = {
    "Persian": ["من خیلی خوشحالم.", "چرا این کار را کردی؟", "دلم برای تو تنگ شده است!"],
    "Chinese": ["我今天很高兴。", "你为什么这样做?", "别管我!"],
    "Hindi": ["मैं बहुत खुश हूँ।", "तुमने ऐसा क्यों किया?", "मुझे अकेला छोड़ दो!"],
    "Greek": ["Είμαι πολύ χαρούμενος.", "Γιατί το έκανες αυτό;", "Άφησέ με ήσυχο!"],
}


def corpus(transcripts: list[str]) -> Corpus:
    table = pd.DataFrame(
        {
            "utterance_id": [str(number) for number in range(len(transcripts))],
            "audio_path": [f"{number}.wav" for number in range(len(transcripts))],
            "transcript": transcripts,
            "emotion": [("angry", "happy", "sad")[number % 3] for number in range(len(transcripts))],
        }
    )
    return Corpus(table)


def check_alphabet(processor: MMERProcessor, texts: list[str]) -> None:
    """Every letter is heard, and read: nothing is unknown, and nothing is lost."""
    alphabet, tokenizer = processor.ctc_alphabet, processor.tokenizer
    assert alphabet is not None
    for text in texts:
        said = normalize_transcript(text)
        assert alphabet.decode(alphabet.encode(text), collapse=False) == said.upper()
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert normalize_transcript(tokenizer.decode(ids, skip_special_tokens=True)) == said


def check_step(
    model: MMERForEmotionRecognition, processor: MMERProcessor, clips: list, texts: list[str]
) -> None:
    """All of it learns: a finite loss, in which every transcript has a CTC alignment."""
    batch = processor(clips, texts)
    output = model(**batch, labels=torch.tensor([0, 1, 2]), ctc_labels=processor.encode_ctc(texts))
    assert output.loss.isfinite()
    assert set(output.objectives) >= {"cross_entropy", "ctc"}
    assert output.infinite_ctc == 0
    output.loss.backward()
    assert model.ctc_head is not None
    gradient = model.ctc_head.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_polish_recordings(nemo_samples: Path) -> None:
    """The alphabet of some speakers' sentences holds those of the others."""
    nemo = read_nemo(nemo_samples.parent)
    speakers = sorted(set(nemo.table["speaker"]))
    heard = nemo.table["speaker"].isin(speakers[:-1])
    train, unheard = nemo.select(heard), nemo.select(~heard)
    model, processor = build_model(load_recipe("compact", SMALL), train, ["angry", "happy", "sad"])
    assert processor.ctc_symbols is not None
    assert set("ĄĆĘŁŃÓŚŹŻ") < set(processor.ctc_symbols)
    assert not set("QVX") & set(processor.ctc_symbols)
    check_alphabet(processor, sorted(set(unheard.table["transcript"])))
    rows = unheard.table[unheard.table["duration"] > 2].head(3)
    clips = [load_audio(path, sampling_rate=16_000) for path in rows["audio_path"]]
    check_step(model, processor, clips, list(rows["transcript"]))


@pytest.mark.parametrize("language", SCRIPTS)
def test_other_scripts(language: str) -> None:
    texts = SCRIPTS[language]
    model, processor = build_model(load_recipe("compact", SMALL), corpus(texts), ["angry", "happy", "sad"])
    check_alphabet(processor, texts)
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(48_000, generator=generator).numpy() for _ in texts]
    check_step(model, processor, clips, texts)
