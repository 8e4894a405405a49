"""Sound that is kept until it is answered: no recording is decoded twice, and the answers stay the same."""

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inference.conftest import save_model

from mmer.corpora.corpus import Corpus
from mmer.evaluation.evaluate import evaluate
from mmer.inference import EmotionRecognizer, Utterance
from mmer.inference.archive.score import score
from mmer.inference.kept_sound import KeptSound, Sound
from mmer.inference.reading import ClipReader


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose features are standardized per speaker."""
    return save_model(tmp_path_factory.mktemp("kept"), speech="wav2vec2-bert", normalization="speaker")


@pytest.fixture
def utterances(clips: list[str], tmp_path: Path) -> list[Utterance]:
    """Copies of recordings, of two speakers, one of them in two parts."""
    paths = [
        Path(shutil.copy(clip, tmp_path / f"{n}{Path(clip).suffix}")) for n, clip in enumerate(clips[:5])
    ]
    said = [Utterance(str(path), "la", speaker="ab"[n % 2]) for n, path in enumerate(paths)]
    parts = [
        Utterance(str(paths[0]), "la", speaker="a", start=start, end=start + 0.4) for start in (0.0, 0.4)
    ]
    return [*said, *parts]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[object]:
    """How often each part of a recording is decoded."""
    found: Counter[object] = Counter()
    load = ClipReader.load

    def counting(self: ClipReader, utterance: Utterance, name: str) -> Any:
        found[str(utterance.path), utterance.start] += 1
        return load(self, utterance, name)

    monkeypatch.setattr(ClipReader, "load", counting)
    return found


def test_recordings_that_are_gone_after_the_statistics_are_answered_as_before(
    model: Path, utterances: list[Utterance]
) -> None:
    recognizer = EmotionRecognizer.from_pretrained(model, device="cpu")
    expected = list(recognizer.predict(utterances, speakers=recognizer.speaker_statistics(utterances)))
    with KeptSound() as kept:
        speakers = recognizer.speaker_statistics(utterances, kept)
        for path in {str(utterance.path) for utterance in utterances}:
            Path(path).unlink()
        assert list(recognizer.predict(utterances, speakers=speakers, kept=kept)) == expected
    assert all(answer.error is None for answer in expected)


def test_sounds_are_told_apart_by_all_that_is_read_of_a_recording() -> None:
    part = Utterance("a.wav", start=1.0, end=2.0, channel="left")
    others = {"audio": "b.wav", "start": 0.5, "end": 3.0, "channel": "right"}
    given = [part, *(replace(part, **{name: value}) for name, value in others.items())]
    given += [
        Utterance(samples, sampling_rate=rate) for samples in np.zeros((2, 4)) for rate in (8000, 16_000)
    ]
    with KeptSound() as kept:
        for number, each in enumerate(given):
            kept.keep(each, Sound(1.0, [], features=np.full(3, number, np.float32)))
        found = [kept.find(each) for each in given]
        assert kept.find(replace(part, start=None)) is None
    assert [each and each.features is not None and each.features.tolist() for each in found] == [
        [number] * 3 for number in range(len(given))
    ]


def test_memory_holds_the_given_samples_and_not_what_was_computed() -> None:
    samples, features = np.zeros(4), np.zeros(3, np.float32)
    given, computed = weakref.ref(samples), weakref.ref(features)
    with KeptSound(features.nbytes) as kept:
        kept.keep(Utterance(samples, sampling_rate=8000), Sound(1.0, [], features))
        other = Utterance("a.wav")
        kept.keep(other, Sound(1.0, [], features))
        assert kept.find(other) is None
        del samples, features
        assert given() is not None
        assert computed() is None


def test_sound_beyond_the_limit_is_read_again(
    model: Path, utterances: list[Utterance], decoded: Counter[object]
) -> None:
    recognizer = EmotionRecognizer.from_pretrained(model, device="cpu")
    expected = list(recognizer.predict(utterances))
    decoded.clear()
    size = recognizer.processor.features(recognizer.waveform(utterances[0])).nbytes
    with KeptSound(2 * size) as kept:
        speakers = recognizer.speaker_statistics(utterances, kept)
        decoded.clear()
        assert list(recognizer.predict(utterances, speakers=speakers, kept=kept)) == expected
    assert 0 < sum(decoded.values()) < len(utterances)


@pytest.mark.parametrize("entrance", ["predict", "samples", "score", "evaluate"])
def test_every_recording_is_decoded_once(
    entrance: str, model: Path, utterances: list[Utterance], decoded: Counter[object], tmp_path: Path
) -> None:
    entrances: dict[str, Callable[[], object]] = {
        "predict": lambda: list(recognizer.predict(utterances)),
        "samples": lambda: list(recognizer.predict(samples)),
        "score": lambda: score(model, str(table), tmp_path / "out", shard_rows=2, device="cpu"),
        "evaluate": lambda: evaluate(model, Corpus.read(table), device="cpu"),
    }
    recognizer = EmotionRecognizer.from_pretrained(model, device="cpu")
    samples = [
        Utterance(recognizer.waveform(each), "la", 16_000, speaker=each.speaker) for each in utterances
    ]
    rows = [
        {
            "utterance_id": f"u{n}",
            "audio_path": each.path,
            "transcript": "la",
            "speaker": each.speaker,
            "start": each.start,
            "end": each.end,
            "emotion": recognizer.labels[n % len(recognizer.labels)],
        }
        for n, each in enumerate(utterances)
    ]
    table = tmp_path / "corpus.parquet"
    pd.DataFrame(rows).to_parquet(table)
    decoded.clear()
    entrances[entrance]()
    assert sum(decoded.values()) == len(utterances)
    assert entrance == "samples" or set(decoded.values()) == {1}


def test_samples_are_told_apart_by_their_object_and_a_full_disk_leaves_what_is_kept() -> None:
    resource = pytest.importorskip("resource", reason="limits of a process")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    one, other = (np.full(8, value, np.float32) for value in (1, 2))
    with KeptSound() as kept:
        for samples in (one, other):
            kept.keep(Utterance(samples), Sound(0.5, [], samples, samples))
        for samples in (one, other):
            found = kept.find(Utterance(samples))
            assert found is not None
            for array in (found.features, found.waveform):
                np.testing.assert_array_equal(array, samples)
        assert kept.find(Utterance(one.copy())) is None
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            kept.keep(Utterance("a.wav"), Sound(0.5, [], np.ones(1 << 16, np.float32)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert kept.find(Utterance("a.wav")) is None
        found = kept.find(Utterance(other))
        assert found is not None
        np.testing.assert_array_equal(found.features, other)


def test_without_a_folder_for_temporary_files_recordings_are_read_again(
    model: Path, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recognizer = EmotionRecognizer.from_pretrained(model, device="cpu")
    expected = list(recognizer.predict(utterances))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert list(recognizer.predict(utterances)) == expected
