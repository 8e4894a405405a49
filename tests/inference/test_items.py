"""One bad item among others: each has its own answer or its own error, whatever Python hands over."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmer.errors import MMERError
from mmer.inference import EmotionRecognizer, Utterance

RATE = 16_000
NOISE = 0.1 * np.random.default_rng(0).standard_normal(RATE, np.float32)


class Unwilling:
    """An array that cannot be had."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("not now")


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "two.wav"
    soundfile.write(path, np.stack([NOISE, 0.5 * NOISE], axis=1), RATE)
    return path


def utterance(**values: Any) -> Utterance:
    return Utterance(**{"audio": NOISE, "sampling_rate": RATE, **values})


@pytest.mark.parametrize("on_gpu", [True, False])
def test_a_batch_that_memory_does_not_hold_is_answered_in_parts(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch, on_gpu: bool
) -> None:
    short = [utterance(audio=NOISE[:length]) for length in (RATE, 9000, 7000)]
    expected = [answer.probabilities for answer in recognizer.predict(short)]
    answer, sizes = recognizer.network.answer, []

    def hardly(inputs: Any, *rest: Any) -> Any:
        mask = inputs["speech_attention_mask"]
        sizes.append(len(mask))
        if len(mask) > 1 or mask.sum() > RATE:
            if on_gpu:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            torch.empty(1 << 60)
        return answer(inputs, *rest)

    monkeypatch.setattr(recognizer.network, "answer", hardly)
    answers = list(recognizer.predict([utterance(audio=np.tile(NOISE, 2), utterance_id="u"), *short]))
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    assert answers[0].error == (
        "u: there is not enough memory for 2.0 s of sound alone; split it, or use a device with more memory"
    )
    for found, alone in zip(answers[1:], expected, strict=True):
        assert found.probabilities == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"transcript": float("nan")}, {"transcript": None}),
        ({"transcript": pd.NA}, {"transcript": None}),
        ({"transcript": pd.NaT}, {"transcript": None}),
        ({"transcript": np.str_("never")}, {"transcript": "never"}),
        ({"audio": torch.tensor(NOISE, requires_grad=True)}, {}),
        ({"audio": torch.tensor(NOISE)[None]}, {}),
        ({"audio": memoryview(cast(Any, NOISE))}, {}),
        ({"audio": list(NOISE)}, {}),
        ({"audio": NOISE.astype(">f4")}, {}),
        ({"sampling_rate": np.int64(RATE)}, {}),
        ({"sampling_rate": np.float32(RATE)}, {}),
        ({"sampling_rate": torch.tensor(RATE)}, {}),
        ({"speaker": 5}, {"speaker": "5"}),
        ({"speaker": pd.NA}, {}),
        ({"utterance_id": 0}, {"utterance_id": "0"}),
        ({"utterance_id": float("nan")}, {}),
        ({"channel": None}, {}),
        ({"start": float("nan"), "end": pd.NA}, {}),
    ],
)
def test_what_is_meant_is_taken(
    recognizer: EmotionRecognizer, given: dict[str, Any], same: dict[str, Any]
) -> None:
    ours, theirs = recognizer.predict([utterance(**given)]), recognizer.predict([utterance(**same)])
    for one, other in zip(ours, theirs, strict=True):
        assert one.error is None
        assert one.probabilities == pytest.approx(other.probabilities, rel=1e-4)
        assert replace(one, probabilities=None) == replace(other, probabilities=None)


def test_files_in_memory_and_numbers_of_their_parts(recognizer: EmotionRecognizer, wav: Path) -> None:
    data = wav.read_bytes()
    named = {"sampling_rate": None, "utterance_id": "x"}
    for audio in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        (answer,) = recognizer.predict([utterance(audio=audio, **named)])
        assert answer.error is None
    for channel, same in ((1, "left"), (np.int64(2), "right")):
        ours, theirs = recognizer.predict(
            [utterance(audio=wav, channel=each, **named) for each in (channel, same)]
        )
        assert ours.probabilities == pytest.approx(theirs.probabilities, rel=1e-4)
    (part,) = recognizer.predict([utterance(audio=wav, start=np.float32(0.25), end=np.float64(0.5), **named)])
    assert part.duration == 0.25
    assert json.dumps(part.to_dict(), allow_nan=False)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "number as words": ({"transcript": 5}, "transcript is of the type int; give text or None"),
    "bytes as words": ({"transcript": b"x"}, "transcript is of the type bytes; give text or None"),
    "list as words": ({"transcript": ["x"]}, "transcript is of the type list; give text or None"),
    "rate as text": ({"sampling_rate": "16000"}, "sampling_rate is of the type str; give Hz"),
    "no rate": ({"sampling_rate": float("nan")}, "samples need their sampling_rate"),
    "endless rate": ({"sampling_rate": float("inf")}, "sampling rate inf"),
    "half a channel": ({"channel": 1.5}, "channel is of the type float; give mix"),
    "list as speaker": ({"speaker": ["anna"]}, "speaker is of the type list; give a name"),
    "part of samples": ({"start": 0.1}, "start and end say which part of a file is meant"),
    "time as text": ({"start": "0", "audio": "a.wav"}, "start is of the type str; give seconds"),
    "no array": ({"audio": Unwilling()}, "samples are no array of numbers"),
    "objects": ({"audio": NOISE.astype(object)}, "samples of type object"),
    "complex": ({"audio": NOISE.astype(complex)}, "samples of type complex128"),
    "truth values": ({"audio": NOISE > 0}, "samples of type bool"),
    "long integers": ({"audio": NOISE.astype(np.int64)}, "samples of type int64"),
    "too many axes": ({"audio": np.zeros((3, 4, 5))}, r"samples of shape (3, 4, 5)"),
    "ragged": ({"audio": [[1.0], [2.0, 3.0]]}, "samples are no array of numbers"),
    "nothing": ({"audio": np.zeros(0)}, "holds no samples"),
    "a number": ({"audio": 3}, "samples of shape ()"),
    "NaN sound": ({"audio": np.where(np.arange(RATE) == 8, np.nan, NOISE)}, "1 sample is NaN or infinite"),
    "infinite sound": ({"audio": NOISE * np.float64(1e300)}, "samples are NaN or infinite"),
    "a NUL in a path": ({"audio": "a\0.wav"}, "is no file name, it holds a NUL"),
    "no sound": ({"audio": float("nan")}, "no recording was given"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_item_has_its_own_error(recognizer: EmotionRecognizer, bad: str) -> None:
    given, told = BAD[bad]
    first, wrong, last = recognizer.predict([utterance(), utterance(**given), utterance()])
    assert wrong.error is not None
    assert told in wrong.error
    assert "\n" not in wrong.error
    assert first.error is last.error is None
    assert first.probabilities == pytest.approx(last.probabilities, rel=1e-4)
    json.dumps(wrong.to_dict(), allow_nan=False)


def test_an_open_file_is_the_file(recognizer: EmotionRecognizer, wav: Path) -> None:
    expected = recognizer.waveform(Utterance(str(wav)))
    with wav.open("rb") as file:
        np.testing.assert_array_equal(recognizer.waveform(Utterance(file)), expected)
    with wav.open("rb") as file:
        (answer,) = recognizer.predict([Utterance(file)])
    assert answer.probabilities == recognizer(wav).probabilities


def test_all_at_once_for_a_model_that_knows_speakers(
    recognizer_of: Callable[..., EmotionRecognizer], wav: Path
) -> None:
    recognizer = recognizer_of(speech="wav2vec2-bert", normalization="speaker")
    closed = wav.open("rb")
    closed.close()
    items: list[Any] = [utterance(**given) for given, _ in BAD.values()]
    items += [NOISE, None, {}, pd.NA, str(wav), io.StringIO("x"), closed, utterance(speaker=7)]
    answers = list(recognizer.predict(items))
    assert len(answers) == len(items)
    assert [answer.error is None for answer in answers[-4:]] == [True, False, False, True]
    with pytest.raises(MMERError, match="cannot be read"):
        recognizer(closed)
    assert sum(embedding is not None for embedding in recognizer.embed(items)) == sum(
        answer.error is None for answer in answers
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(
            ["transcript", "sampling_rate", "speaker", "start", "end", "utterance_id", "channel"]
        ),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-3, 10**20),
            st.floats(),
            st.text(max_size=5),
            st.binary(max_size=3),
            st.lists(st.integers(), max_size=2),
            st.sampled_from([pd.NA, pd.NaT, np.float32("nan"), np.int8(1), np.bool_(True), np.array([1, 2])]),
        ),
    )
)
def test_whatever_is_given(recognizer: EmotionRecognizer, values: dict[str, Any]) -> None:
    wrong, right = recognizer.predict([utterance(**values), utterance()])
    assert right.error is None
    assert (wrong.label is None) == (wrong.error is not None)
    json.dumps(wrong.to_dict(), allow_nan=False)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None, "4"])
def test_batch_sizes(recognizer: EmotionRecognizer, size: Any) -> None:
    with pytest.raises(MMERError, match=r"batch_size is .*; give a whole number from 1"):
        recognizer.predict([NOISE], batch_size=size)
    with pytest.raises(MMERError, match="batch_size"):
        recognizer.embed([NOISE], batch_size=size)
    assert len(list(recognizer.predict([utterance()] * 3, batch_size=np.int64(2)))) == 3  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "one",
    ["a.wav", b"x", Path("a.wav"), NOISE, torch.tensor(NOISE), utterance(), {"audio": "a.wav"}, 5, None],
)
def test_one_where_several_are_wanted(recognizer: EmotionRecognizer, one: Any) -> None:
    with pytest.raises(MMERError, match="predict answers several recordings and was given one"):
        recognizer.predict(one)


def test_several_in_other_containers(recognizer: EmotionRecognizer, wav: Path) -> None:
    for several in (pd.Series([str(wav)]), np.array([str(wav)]), iter([wav]), {wav}):
        assert [answer.error for answer in recognizer.predict(several)] == [None]
    assert list(recognizer.predict([])) == []
