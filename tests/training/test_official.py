"""What the published code does beside its losses, by numbers: `objectives.formulation: official`."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tiny import model_config
from torch import nn
from transformers import set_seed

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import read_views
from mmer.errors import CorpusError
from mmer.model import MMERForEmotionRecognition
from mmer.model.build import build_model
from mmer.recipe.schema import Recipe
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET, CTCAlphabet
from mmer.training.data.dataset import Collator, FeatureStore, SpeechEmotionDataset
from mmer.training.data.preparation import prepare
from mmer.training.run import train
from mmer.training.trainer import MMERTrainer

STILL = [
    *("model.dropout=0", "model.speech.compact.dropout=0", "model.text.compact.dropout=0"),
    "objectives={ctc_weight: 0, supervised_contrastive_weight: 0, augmented_contrastive_weight: 0}",
    *("training.order=shuffled", "training.learning_rate=1e-12", "training.epochs=1"),
]


@pytest.fixture
def make_trainer(tiny: Callable[..., Recipe], tmp_path: Path) -> Callable[..., MMERTrainer]:
    def make(*overrides: str) -> MMERTrainer:
        recipe = tiny(*overrides)
        preparation = prepare(recipe)
        set_seed(0)
        model, processor = build_model(recipe, preparation.part("train"), preparation.labels)
        data = SpeechEmotionDataset(preparation.part("train"), FeatureStore(processor), recipe, training=True)
        return MMERTrainer(model, recipe, data, None, Collator(processor), tmp_path / "run", [])

    return make


def test_layers_outside_the_encoders_start_as_pytorch_has_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MMERForEmotionRecognition(
        model_config(formulation="official", intermediate_size=3072, num_attention_heads=2)
    )
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            deviation = module.weight.std().item()
            if name.startswith("text_encoder."):
                assert deviation == pytest.approx(0.02, rel=0.2), name
                assert not module.bias.any()
            elif not name.startswith("speech_encoder."):
                bound = 1 / math.sqrt(module.in_features)
                assert deviation == pytest.approx(bound / math.sqrt(3), rel=0.2), name
                assert module.weight.abs().max() <= bound
                assert module.bias.abs().max() <= bound
                assert module.bias.any()
    # As of a network of the real size: 3072 to 768.
    output = nn.Linear(3072, 768)
    model._init_weights(output)
    assert output.weight.std().item() == pytest.approx(0.0104, abs=5e-5)
    # What was saved stays.
    model.save_pretrained(tmp_path)
    again = MMERForEmotionRecognition.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in model.state_dict().items())
    paper = MMERForEmotionRecognition(model_config())
    assert not paper.classifier.bias.any()


@pytest.mark.parametrize(("formulation", "without"), [("paper", True), ("official", False)])
def test_weight_decay_is_on_all_weights(make_trainer, formulation: str, without: bool) -> None:
    trainer = make_trainer(f"objectives.formulation={formulation}")
    decays = {group["weight_decay"] for group in trainer.create_optimizer().param_groups}
    assert decays == ({0.01, 0.0} if without else {0.01})


@pytest.mark.parametrize("micro", ["null", "2"])
def test_the_last_accumulation_is_divided_by_the_full_count(make_trainer, micro: str) -> None:
    # 18 utterances are 6 batches, of which the second step has 2 of 4.
    shape = [
        *("training.batch_size=3", "training.accumulation=4"),
        f"training.micro_batch_size={micro}",
    ]
    norms, start = [], None
    for formulation in ("paper", "official"):
        trainer = make_trainer(*STILL, *shape, f"objectives.formulation={formulation}")
        start = start or {name: value.clone() for name, value in trainer.model.state_dict().items()}
        trainer.model.load_state_dict(start)
        trainer.train()
        norms.append([log["grad_norm"] for log in trainer.state.log_history if "grad_norm" in log])
    assert norms[1][0] == pytest.approx(norms[0][0], rel=1e-4)
    assert norms[1][1] == pytest.approx(norms[0][1] / 2, rel=1e-4)


def test_ctc_learns_laughter_and_breathing_as_words(tiny: Callable[..., Recipe], tones: Path) -> None:
    table = Corpus.read(tones).table
    table["transcript"] = "Cat babies.[LAUGHTER] [breathing] {LG} [GARBAGE] no"
    corpus, targets = Corpus(table), {}
    for formulation in ("paper", "official"):
        recipe = tiny(f"objectives.formulation={formulation}")
        processor = build_model(recipe, corpus, corpus.emotions)[1]
        item = SpeechEmotionDataset(corpus, FeatureStore(processor), recipe, training=True)[0]
        assert processor.ctc_symbols is not None
        alphabet = CTCAlphabet(processor.ctc_symbols)
        assert tuple(alphabet.symbols) == WAV2VEC2_ALPHABET
        targets[formulation] = alphabet.decode(alphabet.encode(item["transcript"] or ""), collapse=False)
        assert item["text"] == table["transcript"].iloc[0]
    assert targets == {"paper": "CAT BABIES LG NO", "official": "CAT BABIES LG BR LG NO"}


def test_other_words_of_the_published_table_are_second_views(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path
) -> None:
    ids = Corpus.read(tones).table["utterance_id"].tolist()
    rows = [f'{i},{name},raw,neu,TEXT,"Other words, {i}"' for i, name in enumerate(ids)]
    rows[1] = f"1,{ids[1]},raw,neu,TEXT,"
    path = tmp_path / "iemocap.csv"
    header = ",FileName,Sentences,Label,text,AugmentedText"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    views = read_views(path)
    assert len(views) == len(ids) - 1
    assert (views[0].source_utterance, views[0].transcript) == (ids[0], "Other words, 0")
    recipe = tiny(f"augment={{views: {path}, views_use: instead}}", "training.epochs=1")
    run = train(recipe, tmp_path / "run", console=Console(quiet=True))
    assert run.metrics.views is not None
    assert run.metrics.views["used"] == 17
    assert run.metrics.views["without"] == 1
    path.write_text("\n".join([header, *rows, rows[0]]), encoding="utf-8")
    with pytest.raises(CorpusError, match=f"FileName '{ids[0]}' has more than one row"):
        read_views(path)
    path.write_text("FileName,AugmentedText\n1.50,one\n1e3,two\n", encoding="utf-8")
    assert [view.source_utterance for view in read_views(path)] == ["1.50", "1e3"]
    path.write_text('FileName,AugmentedText\n 007 ,one\nZoe\u0308,two\nb,  \nc,""\n', encoding="utf-8")
    assert [view.source_utterance for view in read_views(path)] == ["007", "Zo\xeb"]  # as a corpus has them
    path.write_text("FileName,text\na,b\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="no column AugmentedText; found FileName, text"):
        read_views(path)
