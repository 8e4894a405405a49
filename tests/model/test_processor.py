"""What the network is given to read."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from transformers import AutoProcessor, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

from mmer.errors import MMERError
from mmer.features.preprocessor import Preprocessor
from mmer.model import FeatureStatistics, MMERProcessor
from mmer.model.encoders.compact import compact_feature_extractor, compact_tokenizer
from mmer.recipe.model import CompactSpeech, CompactText
from mmer.text.ctc_alphabet import CTCAlphabet

LABELS = ["angry", "calm", "happy", "sad"]
SENTENCES = ["What a lovely day", "I never said that!", "Nie waśńmy się ze sobą."]


def make_processor(kind: str = "waveform", **settings: Any) -> MMERProcessor:
    tokenizer = compact_tokenizer(SENTENCES, CompactText(vocabulary_size=200))
    if kind == "waveform":
        extractor, shortest = Wav2Vec2FeatureExtractor(return_attention_mask=True), 400
    else:
        extractor, shortest = compact_feature_extractor(CompactSpeech()), 1520
        settings = {"adds_prosody": True, "normalization": "speaker", **settings}
    alphabet = CTCAlphabet.from_transcripts(SENTENCES)
    return MMERProcessor(
        extractor,
        tokenizer,
        labels=LABELS,
        ctc_symbols=alphabet.symbols,
        minimum_samples=shortest,
        **settings,
    )


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


@pytest.mark.parametrize("kind", ["waveform", "log-mel"])
def test_a_batch_holds_each_clip_as_it_is_alone(kind: str) -> None:
    processor = make_processor(kind)
    clips = [noise(16_000), noise(4000, 1), noise(50, 2)]
    batch = processor(clips, [SENTENCES[0], None, ""])
    name = "input_values" if kind == "waveform" else "input_features"
    assert set(batch) == {name, "speech_attention_mask", "input_ids", "text_attention_mask"}
    for i, clip in enumerate(clips):
        features = processor.standardize(processor.features(clip))
        length = int(batch["speech_attention_mask"][i].sum())
        assert length == len(features)
        np.testing.assert_array_equal(batch[name][i, :length], features)
        assert (batch[name][i, length:] == 0).all()


@pytest.mark.parametrize("kind", ["waveform", "log-mel"])
@pytest.mark.parametrize("samples", [1, 399, 400, 401, 1519])
def test_clips_shorter_than_the_receptive_field_are_padded_to_it(kind: str, samples: int) -> None:
    processor = make_processor(kind)
    features = processor.standardize(processor.features(noise(samples)))
    assert np.isfinite(features).all()
    assert len(features) == (max(samples, 400) if kind == "waveform" else 2)
    assert processor.min_duration == (400 if kind == "waveform" else 1520) / 16_000


def test_a_missing_transcript_is_read_as_the_empty_one() -> None:
    processor = make_processor()
    tokens = processor.tokenize([None, "", "[LAUGHTER]", "  "])
    ids = tokens["input_ids"].tolist()
    assert ids == [[1, 2]] * 4  # the special tokens alone
    assert tokens["text_attention_mask"].all()


def test_annotations_are_not_read() -> None:
    processor = make_processor()
    tokens = processor.tokenize(["What a [LAUGHTER] lovely day", "What a lovely day"])["input_ids"]
    assert tokens[0].tolist() == tokens[1].tolist()


def test_a_transcript_too_long_for_the_text_encoder_is_an_error_not_a_cut() -> None:
    processor = make_processor()
    with pytest.raises(
        MMERError, match=r"tokens and the text encoder reads 512: 'day day .*split the recording"
    ):
        processor.tokenize(["day " * 600])


def test_a_transcript_as_long_as_the_text_encoder_reads_is_whole() -> None:
    processor = make_processor()
    longest = processor.tokenize(["day"])["input_ids"].shape[1]
    processor.tokenizer.model_max_length = longest
    assert processor.tokenize(["day"])["input_ids"].shape[1] == longest
    processor.tokenizer.model_max_length = longest - 1
    with pytest.raises(MMERError, match=f"has {longest} tokens and the text encoder reads {longest - 1}"):
        processor.tokenize(["day"])


@pytest.mark.parametrize("stated", [10**9, 10**30])
def test_a_tokenizer_without_a_limit_has_one(stated: int) -> None:
    processor = make_processor()
    processor.tokenizer.model_max_length = stated
    assert processor.tokenize(["day " * 4000])["input_ids"].shape[1] > 4000
    with pytest.raises(MMERError, match=r"tokens and the text encoder reads 4096: .*split the recording"):
        processor.tokenize(["yes", "day " * 4200])
    with pytest.raises(
        MMERError, match=r"a transcript has 3999999 characters and at most 100000 are read: 'day "
    ):
        processor.tokenize(["day " * 1_000_000])


def test_ctc_targets() -> None:
    processor = make_processor()
    alphabet = processor.ctc_alphabet
    assert alphabet is not None
    targets = processor.encode_ctc(["I never said that!", None, "What"])
    assert alphabet.decode(targets[0][targets[0] >= 0].tolist(), collapse=False) == "I NEVER SAID THAT"
    assert (targets[1] == -100).all()
    assert (targets[2] >= 0).sum() == 4
    assert processor.encode_ctc([None, ""]).tolist() == [[-100], [-100]]


def test_speaker_normalization_gives_every_channel_of_a_speaker_mean_0_and_deviation_1() -> None:
    processor = make_processor("log-mel")
    clips = [
        processor.features(noise(samples, samples) * np.float32(gain))
        for samples, gain in ((16_000, 1), (9000, 3))
    ]
    statistics = FeatureStatistics.of(clips)
    batch = processor.collate(clips, [None, None], [statistics, statistics])
    frames = batch["input_features"][batch["speech_attention_mask"].bool()]
    known = torch.from_numpy(np.isfinite(np.concatenate(clips)).all(axis=0))
    assert known.sum() >= 320  # the log-mel bins; noise has no pitch
    assert frames.mean(dim=0)[known].abs().max() < 0.02  # values beyond 4 deviations are cut
    assert (frames.std(dim=0, correction=0)[known] - 1).abs().max() < 0.05
    assert frames.abs().max() <= 4


def test_where_there_is_no_pitch_the_channel_is_the_speakers_mean() -> None:
    processor = make_processor("log-mel")
    features = processor.features(noise(16_000))
    pitch = np.isnan(features)
    assert pitch.any()
    statistics = FeatureStatistics.of([np.nan_to_num(features, nan=7.0) + 1])
    assert (processor.standardize(features, statistics)[pitch] == 0).all()


def test_half_of_a_clips_level_is_removed() -> None:
    """Ten times the amplitude is 20 dB, log(100) in energy; half of it is left."""
    processor = make_processor("log-mel")
    soft, loud = (processor.features(noise(16_000) * np.float32(gain)) for gain in (1, 10))
    difference = (loud - soft).reshape(-1, 83)
    np.testing.assert_allclose(difference[:, :80], np.log(100) / 2, atol=0.01)
    np.testing.assert_allclose(difference[:, 82], np.log(100) / 2, atol=0.01)


def test_digital_silence_is_as_quiet_as_what_is_just_above_it() -> None:
    processor = make_processor("log-mel")
    silent, faint = noise(16_000), noise(16_000)
    silent[6000:10_000] = 0
    faint[6000:10_000] *= np.float32(1e-7)
    of_silence, of_noise = (processor.features(clip).reshape(-1, 83)[:, :80] for clip in (silent, faint))
    np.testing.assert_allclose(of_silence, of_noise, atol=1e-3)


def test_without_a_speaker_a_clip_is_standardized_over_itself() -> None:
    processor = make_processor("log-mel")
    clip = processor.features(noise(16_000))
    alone = processor.collate([clip], [None])["input_features"]
    known = processor.collate([clip], [None], [FeatureStatistics.of([clip])])["input_features"]
    torch.testing.assert_close(alone, known)


def test_a_clip_of_a_known_speaker_is_standardized_over_the_speaker() -> None:
    processor = make_processor("log-mel")
    clip, other = (processor.features(noise(16_000, seed)) for seed in (0, 1))
    statistics = FeatureStatistics.of([clip, other + 1])
    first, second = processor.collate([clip, other], [None, None], [statistics, None])["input_features"]
    np.testing.assert_array_equal(first, processor.standardize(clip, statistics))
    np.testing.assert_array_equal(second, processor.standardize(other))
    known = np.isfinite(clip).all(axis=0)
    distance = (clip - statistics.mean) / statistics.std
    np.testing.assert_allclose(first.numpy()[:, known], np.clip(distance, -4, 4)[:, known], rtol=1e-5)


def test_corpus_normalization_uses_the_saved_statistics() -> None:
    mean, std = np.full(332, -3.0), np.full(332, 20.0)
    processor = make_processor(
        "log-mel", normalization="corpus", corpus_mean=mean.tolist(), corpus_std=std.tolist()
    )
    clip = processor.features(noise(16_000))
    np.testing.assert_allclose(processor.standardize(clip), np.nan_to_num((clip + 3) / 20), rtol=1e-5)


def test_a_pretrained_w2v_bert_gets_the_features_of_its_own_extractor() -> None:
    extractor = SeamlessM4TFeatureExtractor()
    processor = make_processor("log-mel", adds_prosody=False, normalization="utterance")
    processor.feature_extractor = extractor
    clip = noise(16_000)
    expected = extractor(clip, sampling_rate=16_000, return_tensors="np")
    frames = int(expected["attention_mask"].sum())
    features = processor.standardize(processor.features(clip))
    np.testing.assert_allclose(features, expected["input_features"][0, :frames], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        *(({"labels": labels}, "labels is ") for labels in ([], "sad", None, ["sad", ""], ["sad", 1])),
        *(({"labels": labels}, "labels is ") for labels in (["sad", "sad"], [["sad"]])),
        ({"rate": 999}, "sampling_rate is 999; it must be a whole number from 1000 to 768000"),
        ({"rate": 768_001}, "sampling_rate is 768001"),
        ({"rate": 16_000.5}, "sampling_rate is 16000.5"),
        ({"max_duration": 0.05}, "max_duration is 0.05; it must be a number from 0.1 to 86400"),
        ({"max_duration": True}, "max_duration is True"),
        ({"minimum_samples": 0}, "minimum_samples is 0; it must be a whole number from 1 to 480000"),
        ({"minimum_samples": 400.0}, "minimum_samples is 400.0"),
        ({"minimum_samples": 480_001}, "minimum_samples is 480001"),
        ({"normalization": "clip"}, "normalization 'clip' is not known"),
        ({"corpus_mean": [0.0, float("nan")]}, "corpus_mean is nan"),
        ({"corpus_std": [float("inf")]}, "corpus_std is inf"),
    ],
)
def test_settings_out_of_their_range_are_refused(settings: dict[str, Any], said: str) -> None:
    rate = settings.pop("rate", 16_000)
    with pytest.raises(MMERError, match=f"^{re.escape(said)}"):
        Preprocessor(Wav2Vec2FeatureExtractor(sampling_rate=rate), None, **{"labels": LABELS, **settings})


@pytest.mark.parametrize("settings", [{"minimum_samples": 1}, {"minimum_samples": 480_000}])
@pytest.mark.parametrize("rate", [1000, 768_000])
def test_settings_at_the_ends_of_their_range(settings: dict[str, Any], rate: int) -> None:
    duration = 480_000 / rate
    made = Preprocessor(
        Wav2Vec2FeatureExtractor(sampling_rate=rate), None, LABELS, max_duration=duration, **settings
    )
    assert (made.sampling_rate, made.minimum_samples) == (rate, settings["minimum_samples"])


def test_per_speaker_normalization_of_waveforms_is_refused() -> None:
    with pytest.raises(MMERError, match="needs a speech encoder of log-mel features"):
        make_processor("waveform", normalization="speaker")


@given(
    clips=st.lists(
        arrays(
            np.float32,
            st.tuples(st.integers(1, 6), st.just(3)),
            elements=st.floats(-50, 50, width=32) | st.just(np.nan),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_feature_statistics_are_those_of_all_known_values(clips: list[NDArray[np.float32]]) -> None:
    statistics = FeatureStatistics.of(clips)
    frames = np.concatenate(clips).astype(np.float64)
    for channel, values in enumerate(frames.T):
        values = values[np.isfinite(values)]
        mean, variance = (values.mean(), values.var()) if len(values) else (0.0, 0.0)
        np.testing.assert_allclose(statistics.mean[channel], mean, atol=1e-4)
        np.testing.assert_allclose(statistics.std[channel], np.sqrt(variance + 1e-5), atol=2e-3)


@pytest.mark.parametrize("kind", ["waveform", "log-mel"])
def test_a_saved_processor_is_the_same_processor(kind: str, tmp_path: Path) -> None:
    processor = make_processor(kind, max_duration=12.5, uses_text=kind == "waveform")
    processor.save_pretrained(tmp_path)
    loaded = MMERProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, MMERProcessor)
    for name in ("labels", "ctc_symbols", "minimum_samples", "max_duration", "uses_text", "normalization"):
        assert getattr(loaded, name) == getattr(processor, name), name
    clips, transcripts = [noise(16_000), noise(100)], ["I never said that!", None]
    ours, theirs = processor(clips, transcripts), loaded(clips, transcripts)
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=0)


def test_older_folders_have_other_names(tmp_path: Path) -> None:
    make_processor(missing_modality_embeddings=True).save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    content = file.read_text()
    assert '"missing_modality_embeddings"' in content
    file.write_text(content.replace("missing_modality_embeddings", "stand_ins"))
    assert MMERProcessor.from_pretrained(tmp_path).missing_modality_embeddings


def test_the_auto_class_finds_it(tmp_path: Path) -> None:
    make_processor().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mmer"}')
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), MMERProcessor)


@pytest.mark.parametrize("kind", ["waveform", "log-mel"])
def test_batches_of_numpy_are_those_of_torch(kind: str) -> None:
    processor = make_processor(kind, missing_modality_embeddings=True)
    clips, texts = [processor.features(np.ones(length, np.float32)) for length in (4000, 1500)], ["day", None]
    arrays = processor.collate([clips[0], None, clips[1]], [*texts, ""], return_tensors="np")
    tensors = processor.collate([clips[0], None, clips[1]], [*texts, ""])
    assert arrays.keys() == tensors.keys()
    for name, array in arrays.items():
        assert isinstance(array, np.ndarray)
        assert torch.equal(tensors[name], torch.from_numpy(array))
    assert arrays["speech_attention_mask"].sum(axis=1).tolist() == [len(clips[0]), 0, len(clips[1])]
    assert arrays["text_attention_mask"].any(axis=1).tolist() == [True, False, False]
