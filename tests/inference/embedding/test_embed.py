"""Embeddings are those of the encoder alone on the clip alone, and a file of them is complete whatever interrupts."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from commands import Outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from inference.conftest import SENTENCES, save_model
from processes import Process
from published_models import LABELS, TEXT_SIZES, save_audio_classifier, save_text_classifier
from safetensors.numpy import load_file, save_file
from tiny import speech_config
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoTokenizer,
    RobertaConfig,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
)

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, CorpusError, EncoderError, MMERError
from mmer.evaluation.reference_systems import predict_linear
from mmer.features.functionals import COUNT
from mmer.files.writing import write_bytes
from mmer.inference import EmotionRecognizer
from mmer.inference.embedding.embed import ROWS, embed
from mmer.inference.embedding.files import read_embeddings
from mmer.inference.inputs import corpus_utterances
from mmer.inference.trust.trained_on import TrainedOn
from mmer.model.build import build_model
from mmer.model.encoders.compact import compact_tokenizer
from mmer.recipe.model import CompactText
from mmer.recipe.schema import load_recipe

EMOTIONS = ("angry", "calm", "sad")


@pytest.fixture(scope="module")
def corpus(clips: list[str]) -> Corpus:
    """Twelve recordings of different lengths, one of them twice in parts, with words."""
    rows = [
        {
            "utterance_id": f"u{n}",
            "audio_path": clip,
            "transcript": SENTENCES[n % 3] + " la" * (n % 5),
            "speaker": f"S{n % 4}",
            "emotion": EMOTIONS[n % 3],
        }
        for n, clip in enumerate(clips[::4])
    ]
    rows += [
        {**rows[0], "utterance_id": "begins", "end": 0.5},
        {**rows[0], "utterance_id": "ends", "start": 0.5},
    ]
    return Corpus(pd.DataFrame(rows))


def save_encoder(folder: Path, kind: str) -> Path:
    """A small random encoder, as its authors would publish it."""
    torch.manual_seed(3)
    if kind == "roberta":
        tokenizer = compact_tokenizer(SENTENCES, CompactText(vocabulary_size=60))
        tokenizer.save_pretrained(folder)
        config: Any = RobertaConfig(vocab_size=len(tokenizer), pad_token_id=0, **TEXT_SIZES)
    else:
        config = speech_config(kind)
        is_log_mel = kind == "wav2vec2-bert"
        extractor = SeamlessM4TFeatureExtractor() if is_log_mel else Wav2Vec2FeatureExtractor()
        extractor.save_pretrained(folder)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of `save_encoder`, made once."""
    base, made = tmp_path_factory.mktemp("encoders"), dict[str, Path]()

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = save_encoder(base / kind, kind)
        return made[kind]

    return make


def stacked(table: pd.DataFrame, column: str) -> np.ndarray:
    """(utterances, size)."""
    return np.stack(table[column].tolist())


@torch.no_grad()
def states_of_transformers(folder: Path, utterance: Any) -> list[np.ndarray]:
    """Hidden states, (positions, size) each, of one utterance alone, those of the last layer normalized."""
    if (folder / "preprocessor_config.json").exists():
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        sound = load_audio(utterance.audio, start=utterance.start, end=utterance.end)
        inputs = extractor(sound, sampling_rate=16_000, return_tensors="pt")
    else:
        inputs = AutoTokenizer.from_pretrained(folder)([utterance.transcript], return_tensors="pt")
    output = AutoModel.from_pretrained(folder)(**inputs, output_hidden_states=True)
    # The extractor of w2v-BERT adds a frame of padding, which it masks.
    valid = int(inputs["attention_mask"].sum()) if "input_features" in inputs else None
    return [state[0, :valid].numpy() for state in (*output.hidden_states[:-1], output.last_hidden_state)]


@pytest.mark.parametrize("kind", ["wavlm-group", "hubert-layer", "wav2vec2-bert", "roberta"])
def test_an_encoder_gives_the_pooled_hidden_states_that_transformers_computes_of_a_clip_alone(
    kind: str, encoder: Callable[[str], Path], corpus: Corpus, tmp_path: Path
) -> None:
    folder, side = encoder(kind), "text" if kind == "roberta" else "speech"
    out = tmp_path / "embeddings.parquet"
    done = embed(folder, corpus, out, batch_size=5, device="cpu")
    assert (done.rows, done.errors, done.columns) == (12, [], (side,))
    last = pd.read_parquet(out)
    assert last["utterance_id"].tolist() == corpus.table["utterance_id"].tolist()
    assert last["emotion"].tolist() == corpus.table["emotion"].tolist()
    assert last["speaker"].tolist() == corpus.table["speaker"].tolist()
    close: dict[str, Any] = {"atol": 1e-4 if kind == "wav2vec2-bert" else 1e-5}  # as its log-mel features
    other = tmp_path / "mixed.parquet"
    embed(folder, corpus, other, layers=[0, 2], pooling="max", device="cpu")
    mixed = pd.read_parquet(other)
    for row, utterance in enumerate(corpus_utterances(corpus)):
        states = states_of_transformers(folder, utterance)
        np.testing.assert_allclose(last[side][row], states[-1].mean(axis=0), **close)
        np.testing.assert_allclose(mixed[side][row], ((states[0] + states[2]) / 2).max(axis=0), **close)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, other.name]


@given(order=st.permutations(range(10)), batch_size=st.integers(1, 10))
@settings(max_examples=3)
def test_an_embedding_does_not_depend_on_its_company(
    order: list[int],
    batch_size: int,
    model_folder: Path,
    corpus: Corpus,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tmp_path = tmp_path_factory.mktemp("company")
    some = Corpus(corpus.table.iloc[order[: 1 + batch_size]].reset_index(drop=True))
    embed(model_folder, some, tmp_path / "some.parquet", batch_size=batch_size, device="cpu")
    found = pd.read_parquet(tmp_path / "some.parquet")
    alone = tmp_path / "alone.parquet"
    last = Corpus(some.table.iloc[[-1]].reset_index(drop=True))
    embed(model_folder, last, alone, device="cpu")
    for column in ("fused", "speech", "text"):
        np.testing.assert_allclose(found[column].iloc[-1], pd.read_parquet(alone)[column][0], atol=1e-5)


def test_a_model_gives_what_its_answer_is_computed_from_and_what_its_fusion_reads(
    model_folder: Path, recognizer: EmotionRecognizer, corpus: Corpus, tmp_path: Path
) -> None:
    out = tmp_path / "embeddings.parquet"
    done = embed(model_folder, corpus, out, device="cpu")
    assert done.columns == ("fused", "speech", "text")
    table = pd.read_parquet(out)
    fused = np.stack(
        [np.zeros(0) if each is None else each for each in recognizer.embed(corpus_utterances(corpus))]
    )
    np.testing.assert_allclose(stacked(table, "fused"), fused, atol=1e-5)
    # The fusion of the paper begins with the maximum over the frames.
    done = embed(model_folder, corpus, tmp_path / "max.parquet", pooling="max", device="cpu")
    speech = stacked(pd.read_parquet(done.path), "speech")
    np.testing.assert_allclose(speech, fused[:, : speech.shape[1]], atol=1e-5)


def test_frames_are_the_hidden_states_before_pooling(
    model_folder: Path, corpus: Corpus, tmp_path: Path
) -> None:
    embed(model_folder, corpus, tmp_path / "frames.parquet", level="frame", device="cpu")
    embed(model_folder, corpus, tmp_path / "pooled.parquet", device="cpu")
    frames, pooled = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("frames", "pooled"))
    assert "fused" not in frames
    for side in ("speech", "text"):
        for row in range(len(frames)):
            states = np.stack(frames[side][row])
            assert states.ndim == 2
            np.testing.assert_allclose(states.mean(axis=0), pooled[side][row], atol=1e-5)
    lengths = frames["speech"].map(len) / frames["duration"]
    assert lengths.between(45, 50).all()  # 50 frames a second, less the edges


@pytest.mark.parametrize(
    ("save", "columns"),
    [
        (lambda folder: save_audio_classifier(folder, "wav2vec2-layer"), ("speech",)),
        (lambda folder: save_audio_classifier(folder, "sew"), ("fused",)),
        (save_text_classifier, ("text",)),
        (lambda folder: save_model(folder, fusion="speech"), ("fused", "speech")),
    ],
)
def test_every_kind_of_model_gives_embeddings(
    save: Callable[[Path], Path], columns: tuple[str, ...], corpus: Corpus, tmp_path: Path
) -> None:
    model = save(tmp_path / "model")
    done = embed(model, corpus, tmp_path / "embeddings.parquet", device="cpu")
    assert (done.columns, done.errors) == (columns, [])
    for column in columns:
        assert np.isfinite(read_embeddings(done.path, corpus, column)).all()


def test_an_exported_model_gives_what_the_model_gives(
    exportable: Path, exported: Path, corpus: Corpus, tmp_path: Path
) -> None:
    rows = []
    for model in (exportable, exported):
        done = embed(model, corpus, tmp_path / f"{len(rows)}.parquet", device="cpu")
        rows.append(read_embeddings(done.path, corpus, "fused"))
    assert done.columns == ("fused",)
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-4)


@pytest.mark.filterwarnings("ignore:speech and text count equally")
def test_joined_models_give_the_probabilities_of_both(corpus: Corpus, tmp_path: Path) -> None:
    speech = save_audio_classifier(tmp_path / "speech", "hubert")
    text = save_text_classifier(tmp_path / "text", labels=LABELS)
    out = tmp_path / "embeddings.parquet"
    done = embed(f"{speech}+{text}", corpus, out, device="cpu")
    assert (done.columns, done.errors) == (("fused",), [])
    rows = read_embeddings(out, corpus)
    assert rows.shape == (len(corpus), 2 * len(LABELS))
    np.testing.assert_allclose(np.exp(rows).reshape(len(corpus), 2, -1).sum(axis=2), 1.0, atol=1e-5)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"level": "frame"}, "one embedding of each utterance"),
        ({"layers": [1]}, "leave out layers"),
    ]
    for asked, said in refused:
        with pytest.raises(MMERError, match=said) as raised:
            embed(f"{speech}+{text}", corpus, out, **asked, device="cpu")
        assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:speech and text count equally")
@pytest.mark.parametrize("trained", ["speech", "text"])
def test_what_a_joined_model_met_is_what_either_of_its_models_met(
    trained: str, corpus: Corpus, tmp_path: Path
) -> None:
    save_audio_classifier(tmp_path / "speech", "hubert")
    save_text_classifier(tmp_path / "text", labels=LABELS)
    table = corpus.table.assign(split=pd.Series(["train"] * 4))
    TrainedOn.of(Corpus(table)).write(tmp_path / trained)
    embed(f"{tmp_path}/speech+{tmp_path}/text", corpus, tmp_path / "e.parquet", device="cpu")
    met = pd.read_parquet(tmp_path / "e.parquet")["trained_on"]
    assert met.fillna("").tolist() == table["split"].fillna("").tolist()


def test_the_command_says_in_a_line_how_models_are_joined(
    corpus: Corpus, tmp_path: Path, mmer: Callable[..., Outcome]
) -> None:
    speech, text = (
        save_audio_classifier(tmp_path / "speech", "hubert"),
        save_text_classifier(tmp_path / "text"),
    )
    corpus.write(tmp_path / "clips.parquet")
    asked = ["embed", f"{speech}+{text}", tmp_path / "clips.parquet", "--out", tmp_path / "e.parquet"]
    done = mmer(*asked, "--device", "cpu")
    assert done.code == 0
    (line,) = [line for line in done.err.splitlines() if "count equally" in line]
    assert line == "note: speech and text count equally until their weight is fitted on labeled utterances"
    assert "UserWarning" not in done.err


def test_what_a_clip_lacks_is_null_and_what_cannot_be_embedded_says_why(
    versatile_folder: Path, encoder: Callable[[str], Path], clips: list[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_text("no recording")
    rows = [
        {"utterance_id": "[bold]both", "audio_path": clips[0], "transcript": "Nothing."},
        {"utterance_id": "sound", "audio_path": clips[1], "transcript": None},
        {"utterance_id": "words", "audio_path": None, "transcript": "I never said that!"},
        {"utterance_id": "broken", "audio_path": str(tmp_path / "broken.wav"), "transcript": "la"},
    ]
    corpus, out = Corpus(pd.DataFrame(rows)), tmp_path / "embeddings.parquet"
    done = embed(versatile_folder, corpus, out, device="cpu")
    table = pd.read_parquet(out).set_index("utterance_id")
    assert table["fused"].isna().tolist() == [False, False, False, True]
    assert table["speech"].isna().tolist() == [False, False, True, True]
    assert table["text"].isna().tolist() == [False, True, False, True]
    assert len(done.errors) == 1
    assert "broken.wav" in done.errors[0]
    assert table["error"]["broken"] == done.errors[0]
    assert table["emotion"].isna().all()
    done = embed(encoder("roberta"), corpus, tmp_path / "text.npy", device="cpu")
    assert done.errors == ["sound: no transcript was given, and the encoder reads text"]
    matrix = np.load(tmp_path / "text.npy", mmap_mode="r")
    assert np.isfinite(matrix).all(axis=1).tolist() == [True, False, True, True]
    with pytest.raises(MMERError, match=r"no utterance can be embedded, the first since .*broken\.wav"):
        embed(encoder("wavlm-group"), corpus.select(np.arange(4) == 3), tmp_path / "none.npy", device="cpu")


def test_no_words_have_no_embedding_even_of_a_model_that_must_read(
    model_folder: Path, clips: list[str], tmp_path: Path
) -> None:
    corpus = Corpus(pd.DataFrame({"utterance_id": ["u"], "audio_path": clips[:1], "transcript": [None]}))
    done = embed(model_folder, corpus, tmp_path / "e.parquet", device="cpu")
    table = pd.read_parquet(done.path)
    assert table[["text", "error"]].isna().all().all()
    assert len(table["fused"][0]) == 56
    assert "no transcript: this model reads, and was given an empty text" in table["warnings"][0]


def test_a_model_that_standardizes_per_speaker_takes_all_clips_of_the_speaker(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(tmp_path / "model", speech="wav2vec2-bert", normalization="speaker")
    recognizer = EmotionRecognizer.from_pretrained(model, device="cpu")
    expected = list(recognizer.embed(corpus_utterances(corpus)))
    monkeypatch.setitem(ROWS, "utterance", 5)  # so that the clips of a speaker are in several parts
    embed(model, corpus, tmp_path / "e.parquet", device="cpu")
    for found, wanted in zip(pd.read_parquet(tmp_path / "e.parquet")["fused"], expected, strict=True):
        assert wanted is not None
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_matrix_holds_the_embedding_of_the_answer_with_its_ids_beside_it(
    model_folder: Path, corpus: Corpus, tmp_path: Path
) -> None:
    named = Corpus(corpus.table.assign(utterance_id=[f"00{n}" for n in range(12)], emotion="=1+1, [red]"))
    embed(model_folder, named, tmp_path / "e.npy", device="cpu")
    embed(model_folder, named, tmp_path / "e.parquet", device="cpu")
    matrix = np.load(tmp_path / "e.npy", mmap_mode="r")
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, stacked(pd.read_parquet(tmp_path / "e.parquet"), "fused"), atol=1e-5)
    ids = pd.read_csv(tmp_path / "e.csv", dtype=str)
    assert ids["utterance_id"].tolist() == named.table["utterance_id"].tolist()
    assert set(ids["emotion"]) == {"=1+1, [red]"}
    shuffled = Corpus(named.table.sample(frac=1, random_state=0).reset_index(drop=True))
    both = [read_embeddings(tmp_path / f"e.{suffix}", shuffled) for suffix in ("npy", "parquet")]
    np.testing.assert_allclose(both[0], both[1], atol=1e-5)
    np.testing.assert_array_equal(both[0], matrix[shuffled.table["utterance_id"].map(int).to_numpy()])


@pytest.mark.parametrize("name", ["e.parquet", "e.npy"])
def test_a_file_is_replaced_by_what_the_same_model_gives_with_the_same_settings_alone(
    name: str, encoder: Callable[[str], Path], corpus: Corpus, tmp_path: Path
) -> None:
    out, model, few = tmp_path / name, encoder("hubert-layer"), corpus.select(np.arange(12) < 2)
    embed(model, few, out, layers=[1, 2], device="cpu")
    embed(model, corpus, out, layers="1,2", pooling="mean", device="cpu")
    before = out.read_bytes()
    others: list[tuple[Path, dict[str, Any]]] = [
        (model, {"pooling": "max"}),
        (encoder("wavlm-group"), {"layers": "1,2"}),
    ]
    for other, asked in others:
        with pytest.raises(
            MMERError, match=rf"{name} is there, and is not what .* with these settings; name"
        ):
            embed(other, corpus, out, **asked, device="cpu")
    assert out.read_bytes() == before
    about = out.with_suffix(".csv") if name == "e.npy" else out
    for content in (b"", b"utterance_id\nu1\n", about.read_bytes()[:300]):
        about.write_bytes(content)
        with pytest.raises(MMERError, match="name another file, or remove this one"):
            embed(model, corpus, out, layers="1,2", device="cpu")


def test_a_killed_call_is_continued_with_the_parts_that_are_there(
    model_folder: Path, clips: list[str], tmp_path: Path
) -> None:
    rows = [{"utterance_id": f"u{n}", "audio_path": clips[n % 40], "transcript": "la"} for n in range(80)]
    table, out = tmp_path / "corpus.parquet", tmp_path / "frames.parquet"
    Corpus(pd.DataFrame(rows)).write(table)
    process = Process("embed", model_folder, table, "-o", out, "--level", "frame", "--device", "cpu")
    parts = tmp_path / "frames.parquet.parts"
    while not list(parts.glob("[!.]*.parquet")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = sorted(parts.glob("[!.]*.parquet"))
    assert 1 <= len(kept) < 3
    marked = pq.read_table(kept[0])
    place = marked.schema.get_field_index("warnings")
    pq.write_table(marked.set_column(place, "warnings", [["kept"] * len(marked)]), kept[0])
    embed(model_folder, Corpus.read(table), out, level="frame", device="cpu")
    found = pd.read_parquet(out)
    assert found["utterance_id"].tolist() == [f"u{n}" for n in range(80)]
    assert (found["warnings"] == "kept").sum() == 32
    assert not parts.exists()


@pytest.mark.parametrize("kept", [0, 1])
def test_an_interruption_says_what_is_done(
    kept: int, model_folder: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, left = tmp_path / "e.parquet", kept

    def interrupted(path: Path, content: bytes) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        write_bytes(path, content)

    monkeypatch.setitem(ROWS, "utterance", 8)
    monkeypatch.setattr("mmer.inference.embedding.embed.write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt) as raised:
        embed(model_folder, corpus, out, batch_size=1, device="cpu")
    where = f" in {out}.parts" if kept else ""
    said = f"interrupted: {8 * kept} of 12 utterances are done{where}; the same command goes on from there"
    assert str(raised.value) == said
    assert Path(f"{out}.parts").exists() == bool(kept)


@pytest.mark.parametrize("name", ["e.parquet", "e.npy"])
@pytest.mark.parametrize("place", ["beginning", "middle", "end"])
def test_a_damaged_part_is_named(
    name: str,
    place: str,
    model_folder: Path,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, parts = tmp_path / name, tmp_path / f"{name}.parts"
    with monkeypatch.context() as context:
        context.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if the call had been killed before
        embed(model_folder, corpus, out, device="cpu")
    out.unlink()
    (part,) = parts.glob("[!.]*")
    content = part.read_bytes()
    where = {"beginning": 0, "middle": pq.ParquetFile(part).metadata.row_group(0).column(14).data_page_offset}
    start = where.get(place, len(content) - 40)
    part.write_bytes(content[:start] + b"\xff" * 40 + content[start + 40 :])
    with pytest.raises(CheckpointError, match="delete it, and the same command makes it again") as raised:
        embed(model_folder, corpus, out, device="cpu")
    assert str(raised.value).startswith(f"{part} cannot be read")
    part.unlink()
    assert embed(model_folder, corpus, out, device="cpu").rows == 12


@pytest.mark.parametrize("change", ["nothing", "layers", "pooling", "label", "recording", "model"])
def test_parts_are_used_again_by_a_call_that_asks_for_the_same_alone(
    change: str,
    encoder: Callable[[str], Path],
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording, model = tmp_path / "clip.wav", shutil.copytree(encoder("hubert-layer"), tmp_path / "model")
    soundfile.write(recording, 0.5 * np.sin(np.arange(8000) / 9), 16_000)
    table = corpus.table.iloc[:3].assign(audio_path=str(recording), start=np.nan, end=np.nan)
    asked: dict[str, Any] = {"device": "cpu"}
    out, parts = tmp_path / "e.parquet", tmp_path / "e.parquet.parts"
    with monkeypatch.context() as context:
        context.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if the call had been killed before
        embed(model, Corpus(table), out, **asked)
    before, (part,) = pd.read_parquet(out), parts.glob("[!.]*")
    marked = pq.read_table(part)
    place = marked.schema.get_field_index("warnings")
    pq.write_table(marked.set_column(place, "warnings", [["kept"] * 3]), part)
    if change == "layers":
        asked["layers"] = "1"
    elif change == "pooling":
        asked["pooling"] = "max"
    elif change == "label":
        table["emotion"] = "other"
    elif change == "recording":
        soundfile.write(recording, 0.5 * np.sin(np.arange(9000) / 5), 16_000)
    elif change == "model":
        weights = load_file(model / "model.safetensors")
        save_file(
            {name: 2 * value for name, value in weights.items()},
            model / "model.safetensors",
            {"format": "pt"},
        )
    out.unlink()
    embed(model, Corpus(table), out, **asked)
    after = pd.read_parquet(out)
    assert set(after["warnings"]) == {"kept" if change == "nothing" else ""}
    same = np.allclose(stacked(before, "speech"), stacked(after, "speech"), atol=1e-6)
    assert same == (change in ("nothing", "label"))
    assert not parts.exists()


def test_a_part_is_not_used_again_where_a_speaker_has_other_clips_since(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(tmp_path / "model", speech="wav2vec2-bert", normalization="speaker")
    monkeypatch.setitem(ROWS, "utterance", 5)
    with monkeypatch.context() as context:
        context.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if the call had been killed before
        embed(model, Corpus(corpus.table.iloc[:10]), tmp_path / "e.parquet", device="cpu")
    for name in ("e", "new"):
        embed(model, corpus, tmp_path / f"{name}.parquet", device="cpu")
    continued, new = (
        stacked(pd.read_parquet(tmp_path / f"{name}.parquet"), "fused") for name in ("e", "new")
    )
    np.testing.assert_allclose(continued, new, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"out": "e.csv"}, MMERError, r"e\.csv: embeddings are written to a \.parquet or \.npy file"),
        ({"out": "e.npy", "level": "frame"}, MMERError, "one matrix cannot hold frames"),
        ({"level": "word"}, MMERError, "level is 'word'; it must be utterance or frame"),
        ({"pooling": "attentive-statistics"}, MMERError, "pooling is 'attentive-.*it must be mean or max"),
        ({"layers": "weighted"}, MMERError, "weights that a model learns"),
        ({"layers": [3]}, EncoderError, "names 3, but the encoder has 2 layers"),
        ({"layers": "first"}, MMERError, "it must be last, weighted, or different layer numbers"),
        ({"model": "mmer", "layers": [1]}, MMERError, "is a model, which gives the hidden states"),
        (
            {"level": "frame", "pooling": "max"},
            MMERError,
            "frames are given as they are, .* leave out pooling",
        ),
        ({"model": "whisper", "pooling": "max"}, MMERError, "gives one embedding of each utterance"),
        ({"model": "whisper", "level": "frame"}, MMERError, "leave out level"),
        (
            {"model": "functionals", "level": "frame"},
            MMERError,
            "one vector of each recording; leave out level",
        ),
        ({"model": "functionals", "layers": [1]}, MMERError, "leave out layers"),
        ({"model": "functionals", "pooling": "max"}, MMERError, "leave out pooling"),
        ({"model": "functionals", "transcription": "ctc"}, MMERError, "this model does not read"),
        ({"model": "no/such/model"}, CheckpointError, "there is no folder no/such/model"),
        ({"rows": 0}, CorpusError, "made here: holds no utterances"),
    ],
)
def test_what_cannot_be_given_is_refused_in_one_line_before_anything_is_written(
    asked: dict[str, Any],
    error: type[MMERError],
    said: str,
    model_folder: Path,
    encoder: Callable[[str], Path],
    corpus: Corpus,
    tmp_path: Path,
) -> None:
    models = {
        None: lambda: encoder("hubert-layer"),
        "mmer": lambda: model_folder,
        "whisper": lambda: save_audio_classifier(tmp_path / "whisper", "whisper"),
    }
    name = asked.pop("model", None)
    model = models[name]() if name in models else name
    out = tmp_path / "out" / asked.pop("out", "e.parquet")
    out.parent.mkdir()
    corpus = Corpus(corpus.table.head(asked.pop("rows", len(corpus))), source="made here")
    with pytest.raises(error, match=said) as raised:
        embed(model, corpus, out, **asked, device="cpu")
    assert "\n" not in str(raised.value)
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize("name", ["functionals", "egemaps"])
def test_functionals_are_those_of_each_clip_alone(name: str, corpus: Corpus, tmp_path: Path) -> None:
    if name == "egemaps":
        opensmile = pytest.importorskip("opensmile")
        smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)

        def expected(waveform: np.ndarray) -> np.ndarray:
            return smile.process_signal(waveform, 16_000).to_numpy()[0]
    else:
        recipe = load_recipe("compact", ["model.fusion=speech"])
        processor = build_model(recipe, corpus, [*EMOTIONS])[1]

        def expected(waveform: np.ndarray) -> np.ndarray:
            return processor.features(waveform)[0, -COUNT:]

    done = embed(name, corpus, tmp_path / "e.parquet")
    assert (done.columns, done.errors) == (("functionals",), [])
    found = pd.read_parquet(done.path)
    for row, utterance in enumerate(corpus_utterances(corpus)):
        clip = load_audio(utterance.path or "", start=utterance.start, end=utterance.end)
        np.testing.assert_array_equal(found["functionals"][row], expected(clip))
    assert read_embeddings(done.path, corpus).shape == (12, len(found["functionals"][0]))
    matrix = embed(name, corpus, tmp_path / "e.npy", batch_size=1).path
    np.testing.assert_array_equal(np.load(matrix), stacked(found, "functionals"))


def test_functionals_of_silence_are_not_defined_and_count_as_the_mean(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        voice = np.sin(np.arange(16_000) * (0.1, 0.2)[number % 2]) * (number < 10)
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * voice, 16_000)
        rows.append(
            {
                "utterance_id": str(number),
                "audio_path": str(tmp_path / f"{number}.wav"),
                "emotion": EMOTIONS[number % 2],
                "speaker": str(number % 4),
            }
        )
    corpus = Corpus(pd.DataFrame(rows))
    numbers = read_embeddings(embed("functionals", corpus, tmp_path / "e.parquet").path, corpus)
    assert np.isnan(numbers).any(axis=1).tolist() == [False] * 10 + [True] * 2
    features = pd.DataFrame(numbers, index=pd.Index(corpus.table["utterance_id"]))
    predicted, _ = predict_linear("logistic regression", corpus, corpus, EMOTIONS[:2], features)
    assert (predicted["predicted"] == predicted["emotion"])[:10].all()


class TestReading:
    """A file of embeddings, for the utterances of a corpus."""

    @pytest.fixture
    def made(self, model_folder: Path, corpus: Corpus, tmp_path: Path) -> tuple[Path, pd.DataFrame]:
        """A file of a model, and its content."""
        path = tmp_path / "e.parquet"
        embed(model_folder, corpus, path, device="cpu")
        return path, pd.read_parquet(path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda t: t.iloc[2:], r"has no embedding of 2 of 12 utterances \(u0, u1\)"),
            (
                lambda t: t.assign(fused=[None, *t["fused"][1:]]),
                r"has no embedding of 1 of 12 utterances \(u0\)",
            ),
            (
                lambda t: t.assign(fused=[t["fused"][0] * np.nan, *t["fused"][1:]]),
                r"has numbers that are not finite for 1 of 12 utterances \(u0\)",
            ),
            (
                lambda t: t.assign(fused=[t["fused"][0], t["fused"][1][:5], *t["fused"][2:]]),
                r"has not 56 numbers, as for the first, for 1 of 12 utterances \(u1\)",
            ),
            (
                lambda t: t.assign(audio_sha256=["0" * 64, *t["audio_sha256"][1:]]),
                r"was made of other recordings than those of 1 of 12 utterances \(u0\)",
            ),
            (lambda t: t.assign(end=t["end"] + 1), r"other recordings than those of 1 .*\(begins\)"),
            (lambda t: t.assign(transcript="other"), "was made of other words than those of 12 of 12"),
            (lambda t: t.assign(fused=[[[0.0, 1.0]]] * 12), "fused holds frames"),
            (
                lambda t: t.assign(fused=[["a", "b"]] * 12),
                r"has something else than a list of numbers for 12 of 12 utterances",
            ),
            (lambda t: t.drop(columns="fused"), "no column of embeddings 'fused'; it has speech, text"),
            (lambda t: t.assign(utterance_id="u0"), "1 utterance id is not unique"),
        ],
    )
    def test_a_file_that_does_not_fit_is_refused(
        self, change: Callable[[pd.DataFrame], pd.DataFrame], said: str, made: Any, corpus: Corpus
    ) -> None:
        path, table = made
        assert read_embeddings(path, corpus).shape == (12, 56)
        assert read_embeddings(path, corpus, "speech").shape == (12, 32)
        change(table).to_parquet(path)
        with pytest.raises(CorpusError, match=said) as raised:
            read_embeddings(path, corpus)
        assert str(path) in str(raised.value)

    def test_embeddings_of_a_model_that_was_trained_on_the_utterances_are_refused(
        self, model_folder: Path, corpus: Corpus, tmp_path: Path
    ) -> None:
        model, out = shutil.copytree(model_folder, tmp_path / "model"), tmp_path / "e.parquet"
        split = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
        TrainedOn.of(Corpus(corpus.table.assign(split=split))).write(model)
        embed(model, corpus, out, device="cpu")
        assert pd.read_parquet(out)["trained_on"].fillna("").tolist()[:8] == split[:8]
        with pytest.raises(CorpusError, match="was trained on 8 of 12 utterances"):
            read_embeddings(out, corpus)
        others = Corpus(corpus.table.iloc[8:10].reset_index(drop=True))
        assert len(read_embeddings(out, others)) == 2

    def test_a_row_that_is_no_list_of_numbers_is_named(self, corpus: Corpus, tmp_path: Path) -> None:
        path, ids = tmp_path / "e.jsonl", corpus.table["utterance_id"]
        for wrong in (7.5, "one", {"x": 1.0}, [1.0, "two"]):
            rows = [{"utterance_id": name, "mine": [1.0, 2.0]} for name in ids]
            rows[3]["mine"] = wrong
            path.write_text("\n".join(map(json.dumps, rows)))
            with pytest.raises(
                CorpusError, match=r"something else than a list of numbers for 1 of 12 .*\(u3\)"
            ):
                read_embeddings(path, corpus)

    @pytest.mark.parametrize("name", ["text.npy", "speech.npy", "functionals.npy"])
    def test_the_name_of_a_matrix_changes_nothing(
        self, name: str, model_folder: Path, corpus: Corpus, tmp_path: Path
    ) -> None:
        path = tmp_path / name
        embed(model_folder, corpus, path, device="cpu")
        others = Corpus(corpus.table.assign(audio_path=np.roll(corpus.table["audio_path"], 1)))
        with pytest.raises(CorpusError, match="was made of other recordings than those of"):
            read_embeddings(path, others)
        with pytest.raises(CorpusError, match="was made of other words than those of 12 of 12"):
            read_embeddings(path, Corpus(corpus.table.assign(transcript="other")))
        matrix = np.load(path)
        matrix[2, 1] = np.nan
        np.save(path, matrix)
        with pytest.raises(CorpusError, match=r"not finite for 1 of 12 utterances \(u2\)"):
            read_embeddings(path, corpus)

    def test_a_matrix_that_is_no_matrix_of_these_utterances_is_refused(
        self, corpus: Corpus, tmp_path: Path
    ) -> None:
        path, ids = tmp_path / "e.npy", tmp_path / "e.csv"
        corpus.table[["utterance_id"]].to_csv(ids, index=False)
        np.save(path, np.zeros((12, 3), np.float32))
        assert read_embeddings(path, corpus).shape == (12, 3)
        with pytest.raises(CorpusError, match="one matrix has no columns"):
            read_embeddings(path, corpus, "speech")
        np.save(path, np.zeros((11, 3), np.float32))
        with pytest.raises(CorpusError, match=r"e\.csv: names 12 utterances, and .*e\.npy has 11 rows"):
            read_embeddings(path, corpus)
        for content in (np.zeros(12), np.array([[{}]] * 12, object)):
            np.save(path, content, allow_pickle=True)
            with pytest.raises(CorpusError, match=r"e\.npy: cannot be read as a matrix of NumPy"):
                read_embeddings(path, corpus)
        path.write_bytes(b"\x93NUMPY")
        with pytest.raises(CorpusError, match="cannot be read as a matrix of NumPy"):
            read_embeddings(path, corpus)
        ids.unlink()
        np.save(path, np.zeros((12, 3), np.float32))
        with pytest.raises(
            CorpusError, match=r"e\.csv: no such file; it names the utterance of each row of .*e\.npy"
        ):
            read_embeddings(path, corpus)
