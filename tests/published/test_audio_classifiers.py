"""Audio classifiers of transformers give the values of its pipeline, and one answer in any batch."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from published_models import AUDIO, LABELS, as_bin, assert_refused, save_audio_classifier
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2ForSequenceClassification, pipeline

from mmer.errors import MMERError
from mmer.inference import EmotionRecognizer
from mmer.inference.inputs import Utterance

RATE = 16000


@pytest.fixture(scope="module")
def clips() -> list[NDArray[np.float32]]:
    """Noise of several lengths and levels."""
    noise = np.random.default_rng(0)
    return [
        (0.1 * k * noise.standard_normal(n)).astype(np.float32) for k, n in ((1, 9100), (3, 21000), (2, 4001))
    ]


def by_pipeline(folder: Path, clips: list[NDArray[np.float32]]) -> list[dict[str, float]]:
    # The overloads of `pipeline` do not know that a folder may be given.
    made: Any = pipeline("audio-classification", model=str(folder), device="cpu")
    return [{each["label"]: each["score"] for each in made(clip.copy(), top_k=None)} for clip in clips]


def apart(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> float:
    assert [set(each) for each in ours] == [set(each) for each in theirs]
    return max(abs(a[label] - b[label]) for a, b in zip(ours, theirs, strict=True) for label in a)


def answers(
    recognizer: EmotionRecognizer, clips: list[NDArray[np.float32]], batch: int
) -> list[dict[str, float]]:
    utterances = [Utterance(clip, sampling_rate=RATE) for clip in clips]
    found = list(recognizer.predict(utterances, batch_size=batch))
    assert [each.error for each in found] == [None] * len(found)
    return [each.probabilities or {} for each in found]


@pytest.mark.parametrize("kind", AUDIO)
def test_values_are_those_of_the_pipeline_alone_and_in_a_batch(
    kind: str, tmp_path: Path, clips: list[NDArray[np.float32]]
) -> None:
    folder = save_audio_classifier(tmp_path, kind)
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    theirs = by_pipeline(folder, clips)
    alone = answers(recognizer, clips, 1)
    assert apart(alone, theirs) <= 1e-5
    assert apart(answers(recognizer, clips, 3), alone) <= 1e-4
    assert max(max(each.values()) - min(each.values()) for each in theirs) > 0.01  # differences would show


def test_another_layer_with_as_many_outputs_as_labels_is_not_the_last(
    tmp_path: Path, clips: list[NDArray[np.float32]]
) -> None:
    folder = save_audio_classifier(tmp_path, "unispeech", classifier_proj_size=len(LABELS))
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    assert apart(answers(recognizer, clips, 3), by_pipeline(folder, clips)) <= 1e-5


@pytest.mark.parametrize("kind", AUDIO)
def test_the_shortest_clip_is_answered(kind: str, tmp_path: Path) -> None:
    recognizer = EmotionRecognizer.from_pretrained(save_audio_classifier(tmp_path, kind), "cpu")
    prediction = recognizer(np.full(40, 0.1, np.float32), sampling_rate=RATE)
    assert "padded with silence" in " ".join(prediction.warnings)
    assert abs(sum((prediction.probabilities or {}).values()) - 1) < 1e-5


@pytest.mark.parametrize("kind", ["whisper", "spectrogram-transformer", "wav2vec2-group"])
def test_what_is_longer_than_the_window_is_refused_not_cut(kind: str, tmp_path: Path) -> None:
    recognizer = EmotionRecognizer.from_pretrained(save_audio_classifier(tmp_path, kind), "cpu")
    longest = recognizer.processor.max_duration
    assert longest == pytest.approx(10.255 if kind == "spectrogram-transformer" else 30.0)
    with pytest.raises(MMERError, match="s long, at most"):
        recognizer(np.zeros(round((longest + 0.1) * RATE), np.float32), sampling_rate=RATE)


def test_the_last_moment_of_the_window_is_heard(tmp_path: Path) -> None:
    recognizer = EmotionRecognizer.from_pretrained(
        save_audio_classifier(tmp_path, "spectrogram-transformer"), "cpu"
    )
    samples = np.zeros(round(recognizer.processor.max_duration * RATE), np.float32)
    silent = recognizer.processor.features(samples)
    samples[-50:] = 1.0
    assert np.abs(recognizer.processor.features(samples) - silent).max() > 1


@pytest.mark.parametrize("old_names", [False, True])
def test_pickled_weights_of_old_and_new_names_are_read(
    old_names: bool, tmp_path: Path, clips: list[NDArray[np.float32]]
) -> None:
    folder = save_audio_classifier(tmp_path, "hubert")
    before = answers(EmotionRecognizer.from_pretrained(folder, "cpu"), clips, 3)
    as_bin(folder, old_names=old_names)
    assert apart(answers(EmotionRecognizer.from_pretrained(folder, "cpu"), clips, 3), before) == 0


def test_without_normalization_levels_matter(tmp_path: Path, clips: list[NDArray[np.float32]]) -> None:
    folder = save_audio_classifier(tmp_path, "wav2vec2-layer", do_normalize=False)
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu")
    assert apart(answers(recognizer, clips, 3), by_pipeline(folder, clips)) <= 1e-5


def pickled_code(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return (Path(folder / "executed").write_text, ("x",))

    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": Evil()}, folder / "pytorch_model.bin")


def without_head(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["classifier.dense.weight"] = weights.pop("classifier.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def renumbered(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    for number, label in enumerate(["ang", "hap", "neu", "sad", "fru"]):
        text = text.replace(f'"{label}"', f'"LABEL_{number}"')
    (folder / "config.json").write_text(text)


def sharded_with_gap(folder: Path) -> None:
    """Weights in several files, as of large models, of which one is missing."""
    model = Wav2Vec2ForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def processor_without_sound(folder: Path) -> None:
    """What is left of a processor's files where that of the feature extractor was not copied."""
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text('{"processor_class": "Wav2Vec2Processor"}')


def enlarged(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 9000'))


def changed(file: str = "config.json", **values: Any) -> Callable[[Path], Any]:
    """Set values of a JSON file of a folder; None takes one out."""

    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text()) | values
        kept = {name: value for name, value in content.items() if value is not None}
        (folder / file).write_text(json.dumps(kept))

    return change


def adapter_alone(folder: Path) -> None:
    """What peft saves of a fine-tuned model."""
    for file in folder.iterdir():
        file.unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "facebook/wav2vec2-base"}')
    (folder / "adapter_model.safetensors").write_bytes(b"")


@pytest.mark.parametrize("kind", ["whisper", "spectrogram-transformer"])
def test_features_are_the_same_where_the_network_computes_in_half_precision(
    kind: str, clips: list[NDArray[np.float32]], tmp_path: Path
) -> None:
    processor = EmotionRecognizer.from_pretrained(
        save_audio_classifier(tmp_path / "model", kind), "cpu"
    ).processor
    with torch.autocast("cpu", torch.bfloat16):
        half = processor.features(clips[0])
    assert np.array_equal(half, processor.features(clips[0]))


@pytest.mark.parametrize("kind", ["wav2vec2-layer", "wav2vec2-bert", "whisper", "spectrogram-transformer"])
def test_what_transformers_saves_of_a_processor_says_how_sound_is_read(
    kind: str, tmp_path: Path, clips: list[NDArray[np.float32]]
) -> None:
    folder = save_audio_classifier(tmp_path, kind)
    extractor = folder / "preprocessor_config.json"
    content = {"feature_extractor": json.loads(extractor.read_text()), "processor_class": "Wav2Vec2Processor"}
    extractor.unlink()
    (folder / "processor_config.json").write_text(json.dumps(content))
    theirs = by_pipeline(folder, clips)
    assert apart(answers(EmotionRecognizer.from_pretrained(folder, "cpu"), clips, 3), theirs) <= 1e-5


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("whisper", {"nb_max_frames": 1000, "chunk_length": 10}, "spectrograms of 1000 frames.*reads 3000"),
        ("whisper", {"feature_size": 128}, "spectrograms of 128 mel bins.*reads 80"),
        ("spectrogram-transformer", {"max_length": 512}, "spectrograms of 512 frames.*reads 1024"),
    ],
)
def test_spectrograms_of_another_size_are_refused(
    kind: str, change: dict[str, int], told: str, tmp_path: Path
) -> None:
    folder = save_audio_classifier(tmp_path, kind)
    changed("preprocessor_config.json", **change)(folder)
    assert_refused(folder, told)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            changed(id2label=None, label2id=None),
            r"safetensors has 5 classes, and config.json .* names 2; name each",
        ),
        (
            changed(id2label={"0": "ang", "1": "hap"}),
            r"has 5 classes, and config.json beside it names 2; name each",
        ),
        (changed(id2label=None, label2id=None, num_labels=5), "calls 5 of its labels LABEL_0 to LABEL_4"),
        (
            changed(id2label={"1": "ang", "2": "hap"}),
            "config.json cannot be read.*; number the labels .* from 0",
        ),
        (
            changed(id2label={"0": "", "1": "hap"}),
            "config.json has labels without a name; name each in id2label",
        ),
        (
            changed(id2label={"0": "ang", "1": None}),
            "config.json has labels without a name; name each in id2label",
        ),
        (
            changed(id2label={"0": "ang", "1": " ang"}),
            "gives two classes the name 'ang'; give each its own in id2label",
        ),
        (
            changed(id2label=dict(enumerate(["LABEL_0", "hap", "neu", "sad", "fru"]))),
            "calls 1 of its labels LABEL_0, which",
        ),
        (
            changed("preprocessor_config.json", sampling_rate="16000"),
            r"^model folder .*: sampling_rate is '16000'; it must be a whole number",
        ),
        (sharded_with_gap, "holds no model-00002-of-.*, which model.safetensors.index.json lists"),
        (processor_without_sound, "holds no preprocessor_config.json, which says how sound is read"),
        (
            changed(id2label={"0": "ang"}),
            "config.json names a single label, 'ang'.*; give a classifier of two",
        ),
        (
            changed(quantization_config={"quant_method": "gptq"}),
            r"weights are quantized \('gptq'\).*that was quantized",
        ),
        (changed(architectures=None), "'wav2vec2', not mmer.* config.json names no class in architectures"),
        (
            changed(architectures=["Wav2Vec2ForAudioFrameClassification"]),
            r"names the class Wav2Vec2ForAudioFrameClassification; known .*; an encoder can be model.speech.encoder",
        ),
        (
            changed(architectures=["OursForSequenceClassification"]),
            "the class Ours.*, which transformers .* not have",
        ),
        (adapter_alone, "holds adapter_config.json, an adapter to other weights.*merge_and_unload of peft"),
        (without_head, r"model.safetensors lacks classifier.weight, while it holds classifier.dense.weight"),
        (
            changed(num_hidden_layers=1),
            r"safetensors holds wav2vec2.encoder.layers.1.attention.* more, of layers that config.json does not",
        ),
        (
            changed(hidden_size=33),
            r"\d cannot be read, it may be damaged \(ValueError: in_channels",
        ),
        (renumbered, r"calls 5 of its labels LABEL_0 to LABEL_4"),
        (enlarged, r"describes a larger network than there are weights"),
        (pickled_code, r"pytorch_model.bin cannot be read"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "holds no preprocessor_config.json"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "holds no model.safetensors or pytorch_model.bin",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x00" * 80),
            "model.safetensors cannot be read",
        ),
    ],
)
def test_what_cannot_answer_is_refused_in_one_line(
    damage: Callable[[Path], Any], told: str, tmp_path: Path
) -> None:
    folder = save_audio_classifier(tmp_path, "wav2vec2-group")
    damage(folder)
    assert_refused(folder, told)


def test_transformers_logs_nothing_beside_the_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    folder = save_audio_classifier(tmp_path, "wav2vec2-group")
    changed(use_return_dict=True)(folder)  # an attribute that cannot be set
    caplog.clear()
    assert_refused(folder, "config.json cannot be read.*use_return_dict")
    assert not caplog.records


def test_labels_have_no_blanks_around_them_and_their_number_counts_whatever_num_labels_says(
    tmp_path: Path, clips: list[NDArray[np.float32]]
) -> None:
    folder = save_audio_classifier(tmp_path, "wav2vec2-group")
    before = answers(EmotionRecognizer.from_pretrained(folder, "cpu"), clips, 3)
    changed(num_labels=7, id2label=dict(enumerate([" ang", "hap ", "neu\n", "sad", "fru"])))(folder)
    assert apart(answers(EmotionRecognizer.from_pretrained(folder, "cpu"), clips, 3), before) == 0


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_the_attention_kernel_of_the_training_is_not_asked_for(
    name: str, tmp_path: Path, clips: list[NDArray[np.float32]]
) -> None:
    folder = save_audio_classifier(tmp_path, "wav2vec2-group")
    before = answers(EmotionRecognizer.from_pretrained(folder, "cpu"), clips, 3)
    changed(**{name: "flash_attention_2"})(folder)
    assert apart(answers(EmotionRecognizer.from_pretrained(folder, "cpu"), clips, 3), before) == 0
