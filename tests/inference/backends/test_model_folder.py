"""Model folders of strangers: no code is run, nothing is built that is larger than its weights, one line says why."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import BertConfig

from mmer.augment.measures import TextSimilarity
from mmer.errors import CheckpointError, EncoderError
from mmer.inference import EmotionRecognizer, Utterance
from mmer.inference.backends import model_folder
from mmer.inference.transcription import SpeechRecognizer
from mmer.model.pretrained_encoders import encoder_config, encoder_feature_extractor, encoder_tokenizer

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"


@pytest.fixture
def folder(versatile_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(versatile_folder, tmp_path / "stranger"))


def noise(words: str | None = None) -> Utterance:
    samples = 0.1 * np.random.default_rng(0).standard_normal(8000, np.float32)
    return Utterance(samples, words, sampling_rate=16_000)


def change(file: Path, *keys: str, to: Any) -> None:
    content = json.loads(file.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    file.write_text(json.dumps(content))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        EmotionRecognizer.from_pretrained(folder, "cpu")
    told = str(error.value)
    assert "\n" not in told
    assert str(folder) in told
    return told


@pytest.mark.parametrize(
    ("keys", "value", "told"),
    [
        (
            ["speech_config", "num_hidden_layers"],
            10**7,
            "config.json: num_hidden_layers is 1e+07, and at most",
        ),
        (["speech_config", "num_hidden_layers"], 10**4, "describes a larger network than there are weights"),
        (["speech_config", "hidden_size"], 10**9, "describes a larger network than there are weights"),
        (["speech_config", "conv_dim"], [32] * 5000, "config.json"),
        (["text_config", "vocab_size"], 10**9, "describes a larger network than there are weights"),
        (
            ["text_config", "intermediate_size"],
            10**11,
            "config.json: intermediate_size is 1e+11, and at most",
        ),
        (["text_config", "max_position_embeddings"], 10**9, "config.json: max_position_embeddings is 1e+09"),
        (["text_config", "num_labels"], 10**8, "config.json: num_labels is 1e+08"),
        (["intermediate_size"], 10**9, "describes a larger network than there are weights"),
        (
            ["intermediate_size"],
            49,
            "has the shape (48,) in model.safetensors, where config.json wants (49,)",
        ),
        (["speech_config", "num_hidden_layers"], 3, "lacks 16 weights, the first is speech_encoder."),
        (["speech_config", "num_hidden_layers"], 1, "holds 16 weights that config.json knows nothing of"),
        (["fusion"], "magic", "fusion 'magic' is not known; it must be mmer or naive or speech or text"),
        (
            ["id2label"],
            {"0": "a", "1": "b", "2": "c", "3": "d"},
            "config.json knows the emotions 'a', 'b', 'c', 'd'",
        ),
        (["speech_config", "model_type"], "nothing", "config.json cannot be read"),
        (["model_type"], ["mmer"], "holds a model of type ['mmer'], not mmer"),
    ],
)
def test_configurations_that_do_not_fit_their_weights(
    folder: Path, keys: list[str], value: Any, told: str
) -> None:
    change(folder / "config.json", *keys, to=value)
    assert told in refusal(folder)


@pytest.mark.parametrize(
    ("keys", "value", "told"),
    [
        (["minimum_samples"], 10**11, "minimum_samples is 100000000000; it must be a whole number from 1 to"),
        (["minimum_samples"], "400", "minimum_samples is '400'"),
        (["max_duration"], float("nan"), "max_duration is nan"),
        (["max_duration"], 1e12, "max_duration is 1000000000000.0; it must be a number from 0.1 to 86400"),
        (["labels"], [], "labels is []"),
        (["labels"], ["angry", "angry", "sad", "sad"], "give a list of different names"),
        (["normalization"], "magic", "normalization 'magic' is not known"),
        (["corpus_std"], [1.0, "x"], "corpus_std is 'x'"),
        (["feature_extractor", "sampling_rate"], 10**9, "sampling_rate is 1e+09, and at most 768000"),
        (["feature_extractor", "sampling_rate"], 0, "sampling_rate is 0"),
        (["feature_extractor", "feature_size"], 10**9, "feature_size is 1e+09, and at most 100000"),
        (["feature_extractor"], None, "processor_config.json cannot be read"),
    ],
)
def test_processors_out_of_bounds(folder: Path, keys: list[str], value: Any, told: str) -> None:
    change(folder / "processor_config.json", *keys, to=value)
    said = refusal(folder)
    assert told in said
    assert "processor_config.json" in said


@pytest.mark.parametrize(
    "file", ["config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"]
)
@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"a": ' + "1" * 5000 + "}", "\ufeff{}"])
def test_the_damaged_file_is_named(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text)
    said = refusal(folder)
    assert file in said or (file.startswith("tokenizer") and "tokenizer" in said)


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "processor_config.json", "tokenizer.json"]
)
def test_pointers_of_git_lfs(folder: Path, file: str) -> None:
    (folder / file).write_text(POINTER)
    assert refusal(folder) == (
        f"{folder / file} is a Git LFS pointer, not the file itself; fetch it with: git lfs pull"
    )


def test_ctrl_c_while_a_folder_is_read_looks_for_no_damage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_folder, "_processor_of_transformers", interrupted)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(KeyboardInterrupt):
        model_folder.read_processor(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(folder: Path, value: float) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["fusion.gate.weight"][3, 3] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert f"{folder / 'model.safetensors'} holds NaN or infinite weights in fusion.gate.weight" in refusal(
        folder
    )


def test_an_answer_that_is_no_number_is_none(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][:] = 3e38
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    (answer,) = recognizer.predict([noise()])
    assert answer.label is answer.probabilities is None
    assert answer.error is not None
    assert "the model's answer is not a number" in answer.error


def test_a_tokenizer_of_another_model(folder: Path) -> None:
    """Some of its words have numbers without an embedding: those utterances have no answer, the others do."""
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["▁x"] = 5000
    content["model"]["merges"].append(["▁", "x"])
    vocabulary.setdefault("▁", 4999)
    vocabulary.setdefault("x", 4998)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    right, wrong, last = recognizer.predict([noise(), noise("x x x"), noise()])
    assert right.error is last.error is None
    assert wrong.error is not None
    assert "the model cannot compute an answer" in wrong.error


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Puts code into a folder, that leaves a mark when it is run; whoever is asked says yes."""
    mark = tmp_path / "it was run"
    monkeypatch.setattr("builtins.input", lambda *_: "y")

    def put(folder: Path) -> Path:
        (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
        return mark

    return put


NAMES: dict[str, Any] = {
    "AutoTokenizer": ["evil.Evil", "evil.Evil"],
    **dict.fromkeys(
        (
            "AutoConfig",
            "AutoModel",
            "AutoModelForAudioClassification",
            "AutoProcessor",
            "AutoFeatureExtractor",
        ),
        "evil.Evil",
    ),
}


def test_code_in_a_model_folder_is_not_run(folder: Path, evil: Callable[[Path], Path]) -> None:
    mark = evil(folder)
    for file in ("config.json", "processor_config.json", "tokenizer_config.json"):
        change(folder / file, "auto_map", to=NAMES)
    change(folder / "config.json", "text_config", "auto_map", to=NAMES)
    assert EmotionRecognizer.from_pretrained(folder, "cpu").labels
    assert not mark.exists()
    change(folder / "processor_config.json", "feature_extractor", "auto_map", to=NAMES)
    change(folder / "processor_config.json", "feature_extractor", "feature_extractor_type", to="Evil")
    refusal(folder)
    assert not mark.exists()


def test_a_pipe_in_a_folder_is_not_waited_for(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")
    assert "tokenizer.json: is a pipe" in refusal(folder)


def test_code_in_an_encoder_is_not_run(tmp_path: Path, evil: Callable[[Path], Path]) -> None:
    mark = evil(tmp_path)
    content = {
        "model_type": "evil",
        "auto_map": NAMES,
        "tokenizer_class": "Evil",
        "feature_extractor_type": "Evil",
    }
    for file in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        (tmp_path / file).write_text(json.dumps(content))
    loads: list[Callable[[str], object]] = [encoder_config, encoder_feature_extractor]
    loads += [partial(encoder_tokenizer, config=BertConfig()), TextSimilarity, SpeechRecognizer]
    for load in loads:
        with pytest.raises(EncoderError) as error:
            load(str(tmp_path))
        assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize("begun", ["recipe.yaml", "folds.json"])
def test_a_run_without_a_model_says_what_to_do(begun: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / begun).touch()
    told = {
        "recipe.yaml": f"{run} is not finished; start it again with the same settings to go on",
        "folds.json": rf"{run} holds a model for each fold; train\({run}\) makes one of all",
    }[begun]
    for given in (run, run / "model"):
        with pytest.raises(CheckpointError, match=told):
            EmotionRecognizer.from_pretrained(given, "cpu")
