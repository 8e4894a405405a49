"""Back-translation by small MarianMT models with random weights: real classes, a real tokenizer, no language."""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sentencepiece
import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

from mmer.augment.generators.by_name import text_generator
from mmer.augment.generators.translation import BackTranslation
from mmer.augment.make import make_views
from mmer.corpora.corpus import Corpus
from mmer.corpora.synthetic.spoken import FRAMES, PERSONS, THINGS
from mmer.errors import EncoderError, MissingExtraError, MMERError

TEXTS = ["my sister had a lovely garden", "no", "the doctor called the letter terrible this morning"]


def make_model(folder: Path, seed: int) -> str:
    """A folder as those of Helsinki-NLP: two sentencepiece models, a vocabulary, weights."""
    folder.mkdir()
    sentences = [
        frame.format(person=person, thing=thing, word=word, time="today")
        for pairs, frames in FRAMES.items()
        for frame in frames
        for person in PERSONS
        for thing in THINGS
        for word in pairs[0]
    ]
    for side in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_prefix=str(folder / side), vocab_size=50, minloglevel=2
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    words = [pieces.id_to_piece(n) for n in range(len(pieces))]
    names = ["</s>", "<unk>", *[word for word in words if word not in ("<s>", "</s>", "<unk>")], "<pad>"]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({name: n for n, name in enumerate(names)}))
    tokenizer = MarianTokenizer(str(folder / "source.spm"), str(folder / "target.spm"), str(vocabulary))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = MarianConfig(
        vocab_size=len(names),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=512,
        pad_token_id=len(names) - 1,
        eos_token_id=0,
        decoder_start_token_id=len(names) - 1,
        forced_eos_token_id=0,
        init_std=0.5,
    )
    MarianMTModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("marian")
    return make_model(folder / "forward", 0), make_model(folder / "back", 1)


def by_hand(models: tuple[str, str], text: str) -> str:
    """One text at a time through both models, by beam search."""
    for name in models:
        tokenizer = MarianTokenizer.from_pretrained(name)
        model: Any = MarianMTModel.from_pretrained(name).eval()
        inputs = tokenizer([text], return_tensors="pt")
        longest = 2 * inputs["input_ids"].shape[1] + 10
        text = tokenizer.decode(
            model.generate(**inputs, num_beams=4, max_length=longest)[0], skip_special_tokens=True
        )
    return text


def test_beam_search_is_that_of_each_text_through_both_models(models):
    made = BackTranslation(*models)([TEXTS[0]], [0])
    assert made == [by_hand(models, TEXTS[0])]
    assert made[0] != TEXTS[0]
    assert made[0]


def test_seeds_decide_what_is_sampled(models):
    translate = BackTranslation(*models, sample=True)
    first = translate(TEXTS, [1, 2, 3])
    other = BackTranslation(*models, sample=True)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    assert other(TEXTS, [1, 2, 3]) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert translate(TEXTS, [1, 2, 4]) != first
    beam = BackTranslation(*models)
    assert beam(TEXTS, [1, 2, 3]) == beam(TEXTS, [4, 5, 6])


def test_annotations_are_not_translated(models):
    translate = BackTranslation(*models)
    assert translate(["[LAUGHTER] my sister had a lovely garden (sighs)"], [0]) == translate([TEXTS[0]], [0])
    assert translate(["[LAUGHTER]", TEXTS[0]], [0, 0])[0] == ""


def test_a_text_too_long_for_the_model_stays_and_is_rejected_as_unchanged(models):
    long = " ".join(["garden"] * 600)
    made = BackTranslation(*models)([long, TEXTS[0]], [0, 0])
    assert made[0] == long
    assert made[1] != TEXTS[0]


def test_views_of_a_corpus(models, tmp_path: Path):
    table = {
        "utterance_id": ["a", "b", "c", "d"],
        "audio_path": [None] * 4,
        "transcript": [*TEXTS, None],
        "speaker": ["A", "B", "A", "B"],
    }
    made = make_views(
        Corpus(pd.DataFrame(table)), tmp_path / "v", [], BackTranslation(*models, sample=True), views=3
    )
    assert [view.source_utterance for view in made] == [name for name in "abcd" for _ in range(3)]
    assert {view.text_generator for view in made} == {"marian"}
    assert len({view.transcript for view in made[:3]}) == 3
    assert [view.texts for view in made[::3]] == [("A",), ("B",), ("A",), ("B",)]
    assert all(view.transcript is None and view.rejected is None for view in made[9:])
    # What random weights say is much longer or shorter now and then: the quality filters see it.
    for view in made[:9]:
        assert view.length_ratio is not None
        assert (view.rejected is None) == (0.5 <= view.length_ratio <= 2.0)


def test_by_name(models):
    forward, back = models
    named = text_generator(f"marian:{forward},{back}", sample=True)
    assert named is not None
    assert named.settings == {"forward": forward, "back": back, "sample": True}
    for wrong in ("marian:german", "marian:a,", "marian:"):
        with pytest.raises(MMERError, match="is neither marian:en-de nor marian:FORWARD_MODEL,BACK_MODEL"):
            text_generator(wrong)
    with pytest.raises(EncoderError, match="translation model 'Helsinki-NLP/opus-mt-en-de' cannot be loaded"):
        text_generator("marian:en-de")  # tests are offline


def test_a_model_without_tokenizer(models, tmp_path):
    MarianMTModel.from_pretrained(models[0]).save_pretrained(tmp_path / "half")
    with pytest.raises(EncoderError, match=r"half' lacks source\.spm, target\.spm and vocab\.json"):
        BackTranslation(str(tmp_path / "half"), models[1])


@pytest.mark.parametrize("package", ["sentencepiece", "sacremoses"])
def test_a_missing_extra_gives_the_command(package, models, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}; install it: pip install -c .*\[augment\]"):
        BackTranslation(*models)
