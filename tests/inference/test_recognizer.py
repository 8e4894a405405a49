"""Predictions of small random models on real recordings, alone and in any company."""

import io
import json
import random
import shutil
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, MMERError
from mmer.features.statistics import SpeakerPrior
from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.inference.reading import reading_threads
from mmer.model import FeatureStatistics, MMERProcessor

Make = Callable[..., EmotionRecognizer]
RATE = 16_000


def tone(seconds: float, rate: int = RATE, amplitude: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 220 / rate)).astype(np.float32)


def numbers(prediction: Prediction) -> list[float]:
    assert prediction.probabilities is not None, prediction
    return list(prediction.probabilities.values())


def logits_by_hand(
    recognizer: EmotionRecognizer, path: str, text: str | None, statistics: FeatureStatistics | None = None
) -> list[float]:
    """The slow way: one clip, processor and model called directly."""
    waveform = load_audio(path)
    assert isinstance(recognizer.processor, MMERProcessor)
    inputs = recognizer.processor([waveform], [text], [statistics] if statistics else None)
    with torch.no_grad():
        logits = recognizer.model(**inputs).logits[0]
    return torch.softmax(logits, -1).tolist()


@pytest.fixture(scope="module")
def per_speaker(recognizer_of: Make) -> EmotionRecognizer:
    """A model whose features are standardized per speaker."""
    return recognizer_of(speech="wav2vec2-bert", normalization="speaker")


class TestAnswers:
    def test_is_what_processor_and_model_say(self, recognizer: EmotionRecognizer, clips: list[str]) -> None:
        prediction = recognizer(clips[0], transcript="I never said that!")
        expected = logits_by_hand(recognizer, clips[0], "I never said that!")
        assert numbers(prediction) == pytest.approx(expected, abs=1e-6)
        assert prediction.label == recognizer.labels[int(np.argmax(expected))]
        assert prediction.confidence == max(numbers(prediction))
        assert sum(numbers(prediction)) == pytest.approx(1)
        assert prediction.transcript_source == "given"
        assert prediction.duration == pytest.approx(soundfile.info(clips[0]).duration, abs=0.001)
        assert prediction.warnings == []

    def test_transcript_matters(self, recognizer: EmotionRecognizer, clips: list[str]) -> None:
        said, other = (numbers(recognizer(clips[0], transcript=text)) for text in ("nie wiem", "What a day"))
        assert said != pytest.approx(other, abs=1e-3)

    @pytest.mark.parametrize("speech", ["wav2vec2-group", "wav2vec2-bert"])
    def test_same_in_any_batch_and_order(self, recognizer_of: Make, clips: list[str], speech: str) -> None:
        recognizer = recognizer_of(speech=speech)
        items = [Utterance(path, "la " * (1 + n % 7), utterance_id=str(n)) for n, path in enumerate(clips)]
        alone = [numbers(next(recognizer.predict([item]))) for item in items]
        shuffled = random.Random(1).sample(items, len(items))
        for batch_size, given_items in ((3, items), (16, shuffled)):
            together = list(recognizer.predict(given_items, batch_size=batch_size))
            assert [p.utterance_id for p in together] == [item.utterance_id for item in given_items]
            for prediction in together:
                assert numbers(prediction) == pytest.approx(alone[int(prediction.utterance_id)], abs=1e-4)

    def test_48_khz_stereo_copy_gives_the_same_label(
        self, recognizer: EmotionRecognizer, clips: list[str], tmp_path: Path
    ) -> None:
        waveform = load_audio(clips[1])
        copy = tmp_path / "studio.wav"
        stereo = np.stack([soxr.resample(waveform, RATE, 48_000)] * 2, axis=1)
        soundfile.write(copy, stereo, 48_000, subtype="FLOAT")
        assert numbers(recognizer(copy)) == pytest.approx(numbers(recognizer(clips[1])), abs=0.02)

    def test_path_bytes_file_and_samples_are_the_same(
        self, recognizer: EmotionRecognizer, clips: list[str]
    ) -> None:
        data = Path(clips[2]).read_bytes()
        samples, rate = soundfile.read(clips[2], dtype="float32")
        expected = pytest.approx(numbers(recognizer(clips[2])), abs=1e-6)
        assert numbers(recognizer(Path(clips[2]))) == expected
        assert numbers(recognizer(data)) == expected
        assert numbers(recognizer(io.BytesIO(data))) == expected
        with open(clips[2], "rb") as file:
            assert numbers(recognizer(file)) == expected
        assert numbers(recognizer(samples, sampling_rate=rate)) == expected

    def test_part_of_a_file(self, recognizer: EmotionRecognizer, tmp_path: Path) -> None:
        both = np.concatenate(
            [tone(1.0), tone(1.0, amplitude=0.02) * np.linspace(0, 1, RATE, dtype=np.float32)]
        )
        soundfile.write(tmp_path / "long.wav", both, RATE, subtype="FLOAT")
        (part,) = recognizer.predict([Utterance(tmp_path / "long.wav", start=1.0, end=2.0)])
        assert part.duration == pytest.approx(1.0)
        assert numbers(part) == pytest.approx(numbers(recognizer(both[RATE:], sampling_rate=RATE)), abs=1e-5)


class TestModelsOfOneModality:
    def test_text_only_never_opens_the_recording(self, recognizer_of: Make) -> None:
        recognizer = recognizer_of(fusion="text")
        items = [Utterance("no/such/file.wav", "I never said that!"), Utterance(None, "What a day")]
        first, second = recognizer.predict(items)
        assert first.error is None
        assert first.duration is None
        assert first.audio_path == "no/such/file.wav"
        assert numbers(first) != pytest.approx(numbers(second), abs=1e-3)

    def test_speech_only_needs_no_transcript(self, recognizer_of: Make, clips: list[str]) -> None:
        recognizer = recognizer_of(fusion="speech")
        prediction = recognizer(clips[0])
        assert prediction.warnings == []
        assert numbers(recognizer(clips[0], transcript="nie wiem")) == numbers(prediction)

    def test_a_model_that_listens_says_so_without_sound(self, recognizer: EmotionRecognizer) -> None:
        (prediction,) = recognizer.predict([Utterance(None, "What a day", utterance_id="u1")])
        assert prediction.error is not None
        assert prediction.error.startswith("u1: no recording was given, and this model listens; text alone")


class TestSpeakers:
    def test_statistics_are_of_all_clips_of_the_speaker(
        self, per_speaker: EmotionRecognizer, clips: list[str]
    ) -> None:
        chosen, speakers = clips[:12], ["a", "b", "a", "c"] * 3
        predictions = list(
            per_speaker.predict(
                (Utterance(path, "la", speaker=who) for path, who in zip(chosen, speakers, strict=True)),
                batch_size=2,
            )
        )
        for speaker in "abc":
            own = [path for path, who in zip(chosen, speakers, strict=True) if who == speaker]
            statistics = FeatureStatistics.of(
                per_speaker.processor.features(load_audio(path)) for path in own
            )
            for path, prediction in zip(chosen, predictions, strict=True):
                if path in own:
                    expected = logits_by_hand(per_speaker, path, "la", statistics)
                    assert numbers(prediction) == pytest.approx(expected, abs=1e-5)
                    assert prediction.warnings == []

    def test_a_clip_without_company_stands_for_its_speaker(
        self, per_speaker: EmotionRecognizer, clips: list[str]
    ) -> None:
        items = [
            Utterance(clips[0], "la"),
            Utterance(clips[1], "la", speaker="a"),
            Utterance("gone.wav", speaker="a"),
        ]
        unknown, single, _ = per_speaker.predict(items)
        for prediction, path in ((unknown, clips[0]), (single, clips[1])):
            assert numbers(prediction) == pytest.approx(logits_by_hand(per_speaker, path, "la"), abs=1e-5)
            assert [warning.split(":")[0] for warning in prediction.warnings] == [
                "standardized over this clip alone"
            ]

    def test_a_clip_of_an_unknown_speaker_is_answered_from_itself_and_the_prior(
        self, recognizer_of: Make, clips: list[str]
    ) -> None:
        recognizer = recognizer_of(speech="wav2vec2-bert", normalization="speaker")
        processor = recognizer.processor
        features = [processor.features(load_audio(path)) for path in clips[:12]]
        prior = SpeakerPrior.of([features[start : start + 4] for start in (0, 4, 8)])
        processor.speaker_prior = prior.to_dict()
        statistics = prior.complete(FeatureStatistics.of([features[0]]), 1)
        alone = recognizer(clips[0], "la")
        assert numbers(alone) == pytest.approx(
            logits_by_hand(recognizer, clips[0], "la", statistics), abs=1e-5
        )
        assert [warning.split(",")[0] for warning in alone.warnings] == ["speaker not known"]
        together = list(
            recognizer.predict(
                [
                    Utterance(clips[0], "la"),
                    Utterance(clips[1], "la", speaker="a"),
                    Utterance(clips[2], "la", speaker="a"),
                    Utterance(clips[0], "la", speaker="alone"),
                ]
            )
        )
        for prediction in (together[0], together[3]):
            assert numbers(prediction) == pytest.approx(numbers(alone), abs=1e-5)
        known = prior.complete(FeatureStatistics.of(features[1:3]), 2)
        expected = logits_by_hand(recognizer, clips[1], "la", known)
        assert numbers(together[1]) == pytest.approx(expected, abs=1e-5)
        assert [bool(prediction.warnings) for prediction in together] == [True, False, False, True]
        table = pd.DataFrame(
            {"utterance_id": ["a", "b"], "audio_path": clips[:2], "emotion": recognizer.labels[0]}
        )
        predictions = recognizer.predict_corpus(Corpus(table))
        assert predictions["warnings"].str.contains("speaker not known").all()


class TestDoubtfulRecordings:
    @pytest.mark.parametrize(
        ("samples", "rate", "beginning"),
        [
            (np.zeros(RATE), RATE, "silent"),
            (np.clip(tone(1.0, amplitude=3.0), -1, 1), RATE, "clipped"),
            (tone(1.0, 8000), 8000, "8000 Hz"),
            (tone(0.02), RATE, "short"),
        ],
    )
    def test_are_answered_with_a_warning(
        self, recognizer: EmotionRecognizer, tmp_path: Path, samples: np.ndarray, rate: int, beginning: str
    ) -> None:
        path = tmp_path / "clip.wav"
        soundfile.write(path, samples, rate, subtype="FLOAT")
        for prediction in (recognizer(path, "la"), recognizer(samples, "la", sampling_rate=rate)):
            assert prediction.label in recognizer.labels
            assert any(warning.startswith(beginning) for warning in prediction.warnings), prediction.warnings
            assert np.isfinite(numbers(prediction)).all()

    @pytest.mark.parametrize("transcript", [None, "", "  "])
    def test_missing_transcripts_are_the_empty_one(
        self, recognizer: EmotionRecognizer, clips: list[str], transcript: str | None
    ) -> None:
        prediction = recognizer(clips[0], transcript)
        assert numbers(prediction) == pytest.approx(logits_by_hand(recognizer, clips[0], ""), abs=1e-6)
        assert prediction.transcript_source == "none"
        assert [warning.split(":")[0] for warning in prediction.warnings] == ["no transcript"]


class TestUnusableRecordings:
    @pytest.fixture
    def bad(self, tmp_path: Path, clips: list[str]) -> dict[str, Path]:
        """Files that cannot be answered, by what is wrong with them."""
        files = {
            name: tmp_path / f"{name}.wav"
            for name in ("missing", "empty", "text", "nan", "no-samples", "corrupt")
        }
        files["empty"].touch()
        files["text"].write_text("these are only words")
        soundfile.write(files["nan"], np.array([0.1, np.nan, 0.2] * 4000), RATE, subtype="FLOAT")
        soundfile.write(files["no-samples"], np.zeros(0), RATE)
        files["corrupt"] = tmp_path / "corrupt.opus"
        data = Path(clips[0]).read_bytes()
        files["corrupt"].write_bytes(data[:200] + bytes(len(data) - 200))
        files["folder"] = tmp_path / "folder.wav"
        files["folder"].mkdir()
        files["long"] = tmp_path / "long.wav"
        with wave.open(str(files["long"]), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.setnframes(2 * 3600 * RATE)
            file.writeframesraw(b"")
        return files

    def test_give_one_line_each_and_lose_nothing(
        self, recognizer: EmotionRecognizer, clips: list[str], bad: dict[str, Path]
    ) -> None:
        paths = [path for pair in zip(clips, bad.values(), strict=False) for path in pair]
        predictions = list(recognizer.predict(paths, batch_size=4))
        assert [prediction.audio_path for prediction in predictions] == [str(path) for path in paths]
        for prediction in predictions[::2]:
            assert prediction.error is None
        for prediction, path in zip(predictions[1::2], bad.values(), strict=True):
            assert prediction.error is not None
            assert str(path) in prediction.error
            assert "\n" not in prediction.error
            assert prediction.label is prediction.probabilities is prediction.confidence is None
            json.dumps(prediction.to_dict(), allow_nan=False)

    def test_the_limit_is_named(self, recognizer: EmotionRecognizer, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "talk.wav", tone(10.5), RATE)
        (prediction,) = recognizer.predict([tmp_path / "talk.wav"])
        assert prediction.error is not None
        assert "10 s" in prediction.error
        with pytest.raises(MMERError, match="10 s"):
            recognizer(tone(10.5), sampling_rate=RATE)

    def test_one_recording_that_cannot_be_answered_raises(
        self, recognizer: EmotionRecognizer, bad: dict[str, Path]
    ) -> None:
        with pytest.raises(MMERError, match=r"text\.wav"):
            recognizer(bad["text"])

    def test_samples_need_their_rate(self, recognizer: EmotionRecognizer) -> None:
        with pytest.raises(MMERError, match="sampling_rate"):
            recognizer(tone(1.0))

    def test_too_long_a_transcript_spoils_only_its_own_answer(
        self, recognizer: EmotionRecognizer, clips: list[str]
    ) -> None:
        fine, long = recognizer.predict([Utterance(clips[0], "la"), Utterance(clips[1], "la " * 2000)])
        assert fine.error is None
        assert long.error is not None
        assert "tokens" in long.error
        assert clips[1] in long.error


class TestManyRecordings:
    def test_memory_is_bounded_by_the_batch_size(self, recognizer: EmotionRecognizer) -> None:
        taken = 0

        def endless() -> Iterator[Utterance]:
            nonlocal taken
            while True:
                taken += 1
                yield Utterance(tone(0.2), "la", RATE)

        answers = recognizer.predict(endless(), batch_size=2)
        for asked in range(1, 30):
            next(answers)
            assert taken <= asked + 2 * 2 * 4

    def test_progress_counts_every_utterance_once(
        self, recognizer: EmotionRecognizer, clips: list[str]
    ) -> None:
        seen: list[int] = []
        list(recognizer.predict(["gone.wav", *clips[:20], "gone.wav"], batch_size=3, progress=seen.append))
        assert seen == sorted(seen)
        assert len(set(seen)) > 5
        assert seen[-1] == 22

    def test_progress_counts_what_cannot_be_answered(self, recognizer: EmotionRecognizer) -> None:
        seen: list[int] = []
        list(recognizer.predict(["gone.wav"] * 3, progress=seen.append))
        assert seen[-1] == 3

    def test_nothing_asked_nothing_answered(self, recognizer: EmotionRecognizer) -> None:
        assert list(recognizer.predict([])) == []

    def test_corpus(self, recognizer: EmotionRecognizer, clips: list[str]) -> None:
        paths = [*clips[:5], "gone.wav"]
        texts = ["la la", None, "nie wiem", "la", "la", "la"]
        table = pd.DataFrame(
            {
                "utterance_id": [f"u{n}" for n in range(6)],
                "audio_path": paths,
                "transcript": texts,
            }
        )
        done: list[int] = []
        result = recognizer.predict_corpus(Corpus(table), batch_size=2, progress=done.append)
        assert list(result.columns) == [
            *("utterance_id", "predicted"),
            *(f"probability_{label}" for label in recognizer.labels),
            *("text", "transcript_source", "duration", "contribution_speech", "contribution_text"),
            *("predicted_speech_alone", "predicted_text_alone", "warnings", "error"),
        ]
        assert result["utterance_id"].tolist() == table["utterance_id"].tolist()
        assert result["transcript_source"].tolist() == ["given", "none", *["given"] * 4]
        for row, path, text in zip(result.to_dict("records"), paths[:5], texts, strict=False):
            expected = numbers(recognizer(path, text))
            assert [row[f"probability_{label}"] for label in recognizer.labels] == pytest.approx(
                expected, abs=1e-4
            )
            assert row["predicted"] == recognizer.labels[int(np.argmax(expected))]
        assert result["error"].isna().tolist() == [True] * 5 + [False]
        assert result["predicted"].isna().tolist() == [False] * 5 + [True]
        assert result["probability_sad"].dtype == np.float64
        assert done[-1] == 6

    def test_empty_corpus(self, recognizer: EmotionRecognizer) -> None:
        table = pd.DataFrame({"utterance_id": pd.Series(dtype=str), "audio_path": pd.Series(dtype=str)})
        assert len(recognizer.predict_corpus(Corpus(table))) == 0


class TestModelFolders:
    @pytest.fixture
    def copy(self, model_folder: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(model_folder, tmp_path / "run" / "model"))

    @pytest.mark.parametrize(
        "name", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"]
    )
    def test_missing_file(self, copy: Path, name: str) -> None:
        (copy / name).unlink()
        with pytest.raises(CheckpointError) as error:
            EmotionRecognizer.from_pretrained(copy)
        assert str(copy) in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "name", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"]
    )
    def test_damaged_file(self, copy: Path, name: str) -> None:
        (copy / name).write_bytes((copy / name).read_bytes()[:-20])
        with pytest.raises(CheckpointError) as error:
            EmotionRecognizer.from_pretrained(copy)
        assert str(copy) in str(error.value)
        assert "\n" not in str(error.value)

    def test_other_model(self, copy: Path) -> None:
        (copy / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(CheckpointError, match="bert"):
            EmotionRecognizer.from_pretrained(copy)

    def test_weights_of_another_model(self, copy: Path) -> None:
        config = json.loads((copy / "config.json").read_text())
        config["speech_config"]["num_hidden_layers"] = 3
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match="lacks"):
            EmotionRecognizer.from_pretrained(copy)

    def test_no_folder_and_run_folder(self, copy: Path) -> None:
        with pytest.raises(CheckpointError, match="no model folder"):
            EmotionRecognizer.from_pretrained(copy / "nowhere")
        with pytest.raises(CheckpointError, match=f"do you mean {copy}"):
            EmotionRecognizer.from_pretrained(copy.parent)

    def test_unknown_device(self, recognizer: EmotionRecognizer) -> None:
        with pytest.raises(MMERError, match="device quantum"):
            EmotionRecognizer(recognizer.model, recognizer.processor, "quantum")

    def test_loaded_model_does_not_drop_out(self, recognizer: EmotionRecognizer) -> None:
        assert not any(module.training for module in recognizer.model.modules())

    @pytest.mark.gpu
    def test_gpu_says_the_same(self, model_folder: Path, recognizer: EmotionRecognizer) -> None:
        gpu = EmotionRecognizer.from_pretrained(model_folder)
        assert gpu.model.device.type == "cuda"
        samples = tone(1.5)
        expected = numbers(recognizer(samples, "la", sampling_rate=RATE))
        assert numbers(gpu(samples, "la", sampling_rate=RATE)) == pytest.approx(expected, abs=1e-3)


@settings(max_examples=15)
@given(st.text(max_size=60))
def test_any_transcript_is_answered(recognizer: EmotionRecognizer, text: str) -> None:
    prediction = recognizer(tone(0.3), text, sampling_rate=RATE)
    assert np.isfinite(numbers(prediction)).all()
    assert prediction.transcript == text


def test_a_transcript_that_cannot_be_read_is_the_error_of_its_clip_alone(
    recognizer: EmotionRecognizer, clips: list[str]
) -> None:
    words = ["la"] * 6
    words[3] = "la " * 60_000
    asked = [Utterance(clip, transcript) for clip, transcript in zip(clips, words, strict=False)]
    answers = list(recognizer.predict(asked))
    assert [answer.error is not None for answer in answers] == [place == 3 for place in range(6)]
    found = "a transcript has 179999 characters and at most 100000 are read"
    assert str(answers[3].error).startswith(f"{clips[3]}: {found}")
    alone = recognizer(asked[0].audio, "la")
    np.testing.assert_allclose(numbers(answers[0]), numbers(alone), atol=1e-5)


def test_linear_algebra_has_one_thread_while_anybody_reads_and_its_own_again_after():
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(3, user_api="blas"):
        first, second = reading_threads(), reading_threads()
        first.__enter__()
        assert threads() == {1}
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == {3}
