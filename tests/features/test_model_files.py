"""What an exported model needs of a folder is read without transformers, and is the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

from mmer.features.model_files import LogMelExtractor, WaveformExtractor, read_preprocessor
from mmer.features.preprocessor import Preprocessor
from mmer.model.encoders.compact import compact_feature_extractor, compact_tokenizer
from mmer.model.processor import MMERProcessor
from mmer.recipe.model import CompactSpeech, CompactText

TEXTS = ["I never said that", "", None, "łódź [laughs] 東京 \N{GRINNING FACE}", "</s> <pad> a" * 3]


@pytest.fixture
def processor() -> MMERProcessor:
    return MMERProcessor(
        compact_feature_extractor(CompactSpeech()),
        compact_tokenizer(["I never said that", "żółty łabędź"], CompactText(vocabulary_size=100)),
        labels=["angry", "sad"],
        minimum_samples=1520,
        adds_prosody=True,
    )


@pytest.fixture
def folder(processor: MMERProcessor, tmp_path: Path) -> Path:
    processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("embeddings", [False, True])
def test_its_arrays_are_those_of_transformers(
    processor: MMERProcessor, tmp_path: Path, embeddings: bool
) -> None:
    processor.missing_modality_embeddings = embeddings
    processor.save_pretrained(tmp_path)
    read = read_preprocessor(tmp_path)
    assert type(read) is Preprocessor
    rng = np.random.default_rng(0)
    clips = [0.1 * rng.standard_normal(length, np.float32) for length in (900, 16_000, 31_111, 5000, 2000)]
    found, wanted = (
        each.collate([each.features(clip) for clip in clips], TEXTS, return_tensors="np")
        for each in (read, processor)
    )
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("normalizes", [False, True])
def test_waveforms_are_those_of_transformers(tmp_path: Path, normalizes: bool) -> None:
    processor = MMERProcessor(
        Wav2Vec2FeatureExtractor(do_normalize=normalizes, return_attention_mask=True),
        compact_tokenizer(["I never said that"], CompactText(vocabulary_size=50)),
        labels=["angry", "sad"],
    )
    processor.save_pretrained(tmp_path)
    read = read_preprocessor(tmp_path)
    assert type(read) is Preprocessor
    rng = np.random.default_rng(0)
    clips = [0.3 + 0.1 * rng.standard_normal(length, np.float32) for length in (100, 16_000, 31_111)]
    found, wanted = (
        each.collate([each.features(clip) for clip in clips], TEXTS[:3], return_tensors="np")
        for each in (read, processor)
    )
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize(
    "changed",
    [
        {"feature_extractor_type": "Other"},
        {"sampling_rate": "16000"},
        {"do_normalize": None},
        {"feature_size": 2},
        {"unheard_of": 1},
    ],
)
def test_a_waveform_extractor_that_it_does_not_know_is_left_to_transformers(changed: dict[str, Any]) -> None:
    usual = Wav2Vec2FeatureExtractor().to_dict()
    assert WaveformExtractor.of(usual) is not None
    assert WaveformExtractor.of(usual | changed) is None


@pytest.mark.parametrize(("rate", "bins"), [(16_000, 80), (8000, 40), (44_100, 64)])
def test_windows_and_filters_are_those_of_transformers(rate: int, bins: int) -> None:
    wanted = SeamlessM4TFeatureExtractor(feature_size=bins, num_mel_bins=bins, sampling_rate=rate, stride=2)
    found = LogMelExtractor.of(wanted.to_dict())
    assert found is not None
    np.testing.assert_array_equal(found.window, wanted.window)
    np.testing.assert_array_equal(found.mel_filters, wanted.mel_filters)


def _changed(file: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return apply


@pytest.mark.parametrize(
    "change",
    [
        _changed(
            "processor_config.json", lambda it: it["feature_extractor"].update(feature_extractor_type="Other")
        ),
        _changed("processor_config.json", lambda it: it["feature_extractor"].update(stride="2")),
        _changed("processor_config.json", lambda it: it["feature_extractor"].update(padding_side="left")),
        _changed("processor_config.json", lambda it: it.pop("feature_extractor")),
        _changed("processor_config.json", lambda it: it.update(unheard_of=1)),
        _changed("processor_config.json", lambda it: it.pop("labels")),
        _changed("tokenizer_config.json", lambda it: it.update(tokenizer_class="RobertaTokenizer")),
        _changed("tokenizer_config.json", lambda it: it.update(add_prefix_space=True)),
        _changed("tokenizer_config.json", lambda it: it.update(pad_token="not there")),
        _changed("tokenizer_config.json", lambda it: it.pop("model_max_length")),
        lambda folder: (folder / "tokenizer.json").unlink(),
    ],
)
def test_what_it_does_not_know_is_left_to_transformers(folder: Path, change: Callable[[Path], None]) -> None:
    assert read_preprocessor(folder) is not None
    change(folder)
    assert read_preprocessor(folder) is None
