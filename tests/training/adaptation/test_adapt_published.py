"""The last layer of a published model is fitted to the voices and labels of a corpus."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Outcome, drawn
from consoles import quiet, told_by
from emotion2vec_rule import write_release
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from published_models import (
    save_audio_classifier,
    save_short_window,
    save_speech_head,
    save_text_classifier,
)
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.metrics import balanced_accuracy_score
from transformers import pipeline

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, CorpusError, MMERError, RecipeError
from mmer.evaluation.calibration.calibrate import calibrate
from mmer.evaluation.calibration.plots import PICTURE
from mmer.evaluation.comparison import compare
from mmer.evaluation.prediction_files import read_predictions
from mmer.evaluation.reference_systems import STRENGTHS
from mmer.files.funasr_folder import TOKENS
from mmer.inference.inputs import corpus_utterances
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.trained_on import TrainedOn
from mmer.training.adaptation import adapt_published as module
from mmer.training.adaptation.adapt_published import adapt_published
from mmer.training.adaptation.last_layer import AS_PUBLISHED, LastLayer
from mmer.training.adaptation.published_adaptation import PublishedAdaptation
from mmer.training.linear.logistic_regression import fit_near

MODELS: dict[str, Callable[[Path], Path]] = {
    "equal lengths": lambda folder: save_audio_classifier(folder, "unispeech"),
    "several labels": lambda folder: save_audio_classifier(
        folder, "wavlm", problem_type="multi_label_classification"
    ),
    "window": save_short_window,
    "dimensions": lambda folder: save_speech_head(folder, ["arousal", "dominance", "valence"]),
    "words, no bias": lambda folder: save_text_classifier(folder, "GPT2"),
    "emotion2vec": lambda folder: write_release(folder, "small"),
}


def own(tones: Path, folder: Path, **columns: Any) -> Path:
    """A corpus of the tones, with other columns."""
    Corpus(Corpus.read(tones).table.assign(**columns)).write(folder / "own.parquet")
    return folder / "own.parquet"


def embeddings_of(recognizer: EmotionRecognizer, corpus: Path) -> NDArray[Any]:
    return np.array(list(recognizer.embed(corpus_utterances(Corpus.read(corpus)))))


@pytest.mark.parametrize("kind", MODELS)
def test_what_tells_labels_apart_is_learned_and_written(kind: str, tones: Path, tmp_path: Path) -> None:
    """Two new labels differ in the direction in which the embeddings vary most."""
    folder, out = MODELS[kind](tmp_path / "published"), tmp_path / "out"
    found = embeddings_of(EmotionRecognizer.from_pretrained(folder, "cpu"), tones)
    along = (found - found.mean(axis=0)) @ np.linalg.svd(found - found.mean(axis=0))[2][0]
    corpus = own(tones, tmp_path, emotion=np.where(along > np.median(along), "tense", "loose"), speaker=None)

    adapted = EmotionRecognizer.from_pretrained(adapt_published(folder, corpus, out, console=quiet()), "cpu")

    assert adapted.labels == ["loose", "tense"]
    np.testing.assert_allclose(embeddings_of(adapted, corpus), found, atol=1e-5)
    about = PublishedAdaptation.read(out / "adaptation.json")
    assert about.adapted is not None
    assert about.adapted.estimate > 0.7
    assert (about.published, about.utterances, about.speakers) == (None, 36, 0)
    rows = read_predictions(out / "predictions.parquet")
    assert balanced_accuracy_score(rows["emotion"], rows["predicted"]) == pytest.approx(
        about.adapted.estimate
    )


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_audio_classifier(tmp_path_factory.mktemp("hubert"), "hubert")


@pytest.fixture(scope="module")
def adapted(hubert: Path, tones: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of an adaptation to the tones, and what was printed."""
    out, console = tmp_path_factory.mktemp("adapted") / "out", quiet()
    adapt_published(hubert, tones, out, console=console)
    return out, told_by(console)


def test_the_adapted_model_is_one_of_transformers(adapted: tuple[Path, str], tones: Path) -> None:
    clip = Corpus.read(tones).table["audio_path"][0]
    ask = pipeline("audio-classification", model=str(adapted[0] / "model"))
    theirs = ask({"raw": load_audio(clip), "sampling_rate": 16_000}, top_k=None)
    ours = EmotionRecognizer.from_pretrained(adapted[0] / "model", "cpu", calibrated=False)(
        clip
    ).probabilities
    assert ours == pytest.approx({each["label"]: each["score"] for each in theirs}, abs=1e-5)


def test_labels_that_the_model_knows_come_first_under_the_names_of_the_corpus(
    adapted: tuple[Path, str],
) -> None:
    out, told = adapted
    assert EmotionRecognizer.from_pretrained(out / "model", "cpu").labels == ["angry", "sad", "calm"]
    assert "new labels, learned from these clips alone: calm" in told
    assert "no clip is hap or neu or fru" in told
    assert "of one speaker alone" not in told


@pytest.mark.parametrize("published", ["angry", "ang", "Anger"])
def test_a_label_is_known_however_model_and_corpus_spell_it(
    published: str, tones: Path, tmp_path: Path
) -> None:
    folder = save_audio_classifier(tmp_path / "published", "hubert", labels=[published, "sad", "joy"])
    spelled = Corpus.read(tones).table["emotion"].replace("angry", "anger")
    console = quiet()
    adapted = adapt_published(
        folder, own(tones, tmp_path, emotion=spelled), tmp_path / "out", console=console
    )
    assert EmotionRecognizer.from_pretrained(adapted, "cpu").labels == ["anger", "sad", "calm"]
    assert "new labels, learned from these clips alone: calm" in told_by(console)
    assert "no clip is joy, so" in told_by(console)


def test_what_it_is_worth_is_told_beside_what_was_published(
    adapted: tuple[Path, str], hubert: Path, tones: Path
) -> None:
    out, told = adapted
    about = PublishedAdaptation.read(out / "adaptation.json")
    assert about.adapted is not None
    assert about.published is not None
    assert f"balanced accuracy {about.adapted.estimate:.1%}" in told
    assert f"as published {about.published.estimate:.1%}, of 4 speakers, each answered by a model" in told
    names = {"ang": "angry", "sad": "sad"}
    answers = EmotionRecognizer.from_pretrained(hubert, "cpu").predict(corpus_utterances(Corpus.read(tones)))
    best = [names[max(names, key=(each.probabilities or {}).__getitem__)] for each in answers]
    assert read_predictions(out / "published.parquet")["predicted"].tolist() == best
    files = {name: read_predictions(out / f"{name}.parquet") for name in ("published", "predictions")}
    assert compare(files).runs["predictions"].balanced_accuracy == about.adapted.estimate


def test_its_card_says_what_it_must_not_be_used_for(adapted: tuple[Path, str]) -> None:
    card = (adapted[0] / "model" / "README.md").read_text()
    assert "Scores are not feelings" in card
    assert "Article 5(1)(f)" in card
    assert "36 utterances of 4 named speakers" in card
    assert "| as published |" in card


def test_what_it_learned_from_is_no_test_of_it(adapted: tuple[Path, str], tones: Path) -> None:
    record = TrainedOn.read(adapted[0] / "model")
    assert record is not None
    assert set(record.splits_of(Corpus.read(tones))) == {"train"}


def test_an_adapted_model_that_is_adapted_again_remembers_both(
    adapted: tuple[Path, str], tones: Path, tmp_path: Path
) -> None:
    table, console = Corpus.read(tones).table, quiet()
    Corpus(table[table["speaker"].isin(["A", "B"])].reset_index(drop=True)).write(tmp_path / "two.parquet")
    again = adapt_published(adapted[0] / "model", tmp_path / "two.parquet", tmp_path / "out", console=console)
    assert "18 of 18 utterances were in the training of the model" in told_by(console)
    record = TrainedOn.read(again)
    assert record is not None
    assert set(record.splits_of(Corpus.read(tones))) == {"train"}


def test_the_calibration_is_that_of_answers_to_left_out_speakers(tones: Path, tmp_path: Path) -> None:
    folder, console = (
        save_audio_classifier(tmp_path / "published", "hubert", labels=["angry", "sad", "calm"]),
        quiet(),
    )
    corpus = Corpus.read(tones)
    calibrate(folder, corpus, None, methods=("temperature",))
    with drawn():
        adapted = adapt_published(folder, tones, tmp_path / "out", console=console)
    assert Image.open(adapted / PICTURE).width >= 800
    found = EmotionRecognizer.from_pretrained(adapted, "cpu").calibration
    assert found is not None
    assert (found.speakers, list(found.conditions)) == (["A", "B", "C", "D"], ["speech"])
    left_out = read_predictions(tmp_path / "out" / "predictions.parquet")
    probabilities = left_out[[f"probability_{label}" for label in found.labels]].to_numpy()
    right = [list(found.labels).index(emotion) for emotion in left_out["emotion"]]
    speech = found.conditions["speech"]
    assert speech.utterances == 36
    assert speech.before["log_loss"] == pytest.approx(-np.log(probabilities[np.arange(36), right]).mean())
    assert "the probabilities are calibrated" in told_by(console)
    assert "Probabilities are calibrated by mmer" in (adapted / "README.md").read_text()


@pytest.mark.parametrize("few", ["speakers", "labels of a speaker", "utterances"])
def test_what_is_not_calibrated(few: str, hubert: Path, tones: Path, tmp_path: Path) -> None:
    table, console = Corpus.read(tones).table, quiet()
    if few == "speakers":
        table["speaker"] = table["speaker"].replace({"C": "A", "D": "B"})
    elif few == "utterances":
        table = table.groupby(["speaker", "emotion"]).head(1).reset_index(drop=True)
    else:
        table["emotion"] = table["emotion"].mask(table["speaker"] == "A", "tense")
    Corpus(table).write(tmp_path / "own.parquet")
    adapted = adapt_published(hubert, tmp_path / "own.parquet", tmp_path / "out", console=console)
    assert not list(adapted.glob("calibration*"))
    assert "the probabilities are not calibrated" in told_by(console)
    assert "Probabilities are not calibrated" in (adapted / "README.md").read_text()


def test_the_same_call_does_nothing_more_and_another_is_refused(
    adapted: tuple[Path, str], hubert: Path, tones: Path, tmp_path: Path
) -> None:
    console = quiet()
    assert adapt_published(hubert, tones, adapted[0], console=console) == adapted[0] / "model"
    assert "is complete; nothing is left to do" in told_by(console)
    with pytest.raises(MMERError, match="holds another adaptation, different in the corpus"):
        adapt_published(hubert, own(tones, tmp_path, speaker="D"), adapted[0], console=quiet())
    other = save_audio_classifier(tmp_path / "other", "wavlm")
    with pytest.raises(MMERError, match="holds another adaptation, different in the model"):
        adapt_published(other, tones, adapted[0], console=quiet())


def test_an_interrupted_one_does_not_listen_again(
    hubert: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LastLayer, "choose", interrupt)
        with pytest.raises(KeyboardInterrupt):
            adapt_published(hubert, tones, tmp_path / "out", console=quiet())
    assert not (tmp_path / "out" / "model").exists()
    monkeypatch.setattr(module, "embed_for_last_layer", interrupt)
    assert adapt_published(hubert, tones, tmp_path / "out", console=quiet()).is_dir()


@pytest.mark.parametrize("named", [True, False])
def test_clips_of_few_speakers_say_nothing_of_other_voices(
    named: bool, hubert: Path, tones: Path, tmp_path: Path
) -> None:
    console = quiet()
    corpus = own(tones, tmp_path, speaker="anna" if named else None)
    adapt_published(hubert, corpus, tmp_path / "out", console=console)
    whose = "1 speaker" if named else "speakers without a name"
    assert f"of utterances of {whose}, answered by models that learned from others of them" in told_by(
        console
    )
    assert "for other voices is not measured" in told_by(console)
    assert PublishedAdaptation.read(tmp_path / "out" / "adaptation.json").group == "utterance_id"


def test_a_label_of_one_speaker_alone_is_told(hubert: Path, tones: Path, tmp_path: Path) -> None:
    table, console = Corpus.read(tones).table, quiet()
    emotion = table["emotion"].mask(table["speaker"] == table["speaker"][0], "tense")
    adapt_published(hubert, own(tones, tmp_path, emotion=emotion), tmp_path / "out", console=console)
    assert "note: tense: of one speaker alone, so the figures are of models that did not learn it" in told_by(
        console
    )


def test_what_cannot_be_heard_is_left_out_and_told(hubert: Path, tones: Path, tmp_path: Path) -> None:
    table = Corpus.read(tones).table
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    corpus, console = own(tones, tmp_path, audio_path=[str(bad), *table["audio_path"][1:]]), quiet()
    adapt_published(hubert, corpus, tmp_path / "out", console=console)
    assert "1 of 36 utterances is left out, the first since" in told_by(console)
    assert len(read_predictions(tmp_path / "out" / "predictions.parquet")) == 35


def test_utterances_without_emotion_or_words_are_told(tones: Path, tmp_path: Path) -> None:
    reader, table, console = (
        save_text_classifier(tmp_path / "reader", "Bert"),
        Corpus.read(tones).table,
        quiet(),
    )
    emotions, words = (
        table["emotion"].where(table.index >= 5, None),
        table["transcript"].where(table.index < 30),
    )
    corpus = own(tones, tmp_path, emotion=emotions, transcript=words.where(words.notna(), None))
    adapt_published(reader, corpus, tmp_path / "out", ["data.label_map={calmm: calm}"], console=console)
    told = told_by(console)
    assert "5 of 36 utterances are left out, the first since the column emotion is empty or missing" in told
    assert "6 of 31 utterances are left out, the first since it has no transcript" in told
    assert "no utterance is 'calmm'" in told
    assert "the last layer is fitted to 25 utterances" in told
    silent = own(tones, tmp_path, transcript=None)
    with pytest.raises(CorpusError, match=r"none of 36 utterances can be used, .* it has no transcript"):
        adapt_published(reader, silent, tmp_path / "nothing", console=quiet())


def test_a_label_that_the_format_cannot_name(tones: Path, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", "small")
    corpus = own(tones, tmp_path, emotion=["up/down", "level"] * 18)
    with pytest.raises(CheckpointError, match=r"cannot name a label 'up/down'.*data\.label_map"):
        adapt_published(release, corpus, tmp_path / "out", console=quiet())
    assert not (tmp_path / "out").exists()
    renamed = ["data.label_map={up/down: steep}"]
    made = adapt_published(release, corpus, tmp_path / "out", renamed, console=quiet())
    assert (made / TOKENS).read_text() == "level\nsteep"


def test_what_cannot_be_adapted(hubert: Path, tones: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"training\.epochs is for training a network above an encoder"):
        adapt_published(hubert, tones, tmp_path / "out", ["training.epochs=3"], console=quiet())
    with pytest.raises(CorpusError, match="every utterance that can be used is 'sad'"):
        adapt_published(hubert, own(tones, tmp_path, emotion="sad"), tmp_path / "out", console=quiet())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(MMERError, match="neither a folder of an adapted model nor an empty folder"):
        adapt_published(hubert, tones, tmp_path / "full", console=quiet())


def test_the_command(mmer: Callable[..., Outcome], hubert: Path, tones: Path, tmp_path: Path) -> None:
    done = mmer("adapt", hubert, tones, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "the last layer is fitted to 36 utterances" in done.err
    answered = mmer("evaluate", tmp_path / "out" / "model", tones, "--out", tmp_path / "judged")
    assert answered.code == 0, answered.err
    assert "36 of 36 utterances were in the training of the model" in " ".join(answered.out.split())
    unlabeled = mmer("adapt", hubert, own(tones, tmp_path, emotion=None), "--out", tmp_path / "enrolled")
    assert unlabeled.code == 2
    assert "fill in the emotions of some clips" in unlabeled.err
    assert "normalization=speaker" not in unlabeled.err


def layer(seed: int, groups: int = 4, has_bias: bool = True) -> LastLayer:
    generator = np.random.default_rng(seed)
    classes = np.tile(np.arange(3), 8)
    return LastLayer(
        start=generator.normal(size=(3, 6)) * [1, 1, 1, 1, 1, has_bias],
        inputs=generator.normal(size=(24, 5)) * [1, 2, 3, 4, 0] + classes[:, None],
        classes=classes,
        group="speaker",
        groups=np.arange(24).astype(str)
        if groups == 24
        else np.repeat(np.arange(groups), 24 // groups).astype(str),
        has_bias=has_bias,
    )


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_weak_fit_stays_at_the_published_layer(has_bias: bool) -> None:
    fit, rows = layer(0, has_bias=has_bias), np.arange(24)
    np.testing.assert_allclose(fit.fit(rows, 1e-9), fit.start, atol=1e-6)
    assert fit.fit(rows, AS_PUBLISHED) is fit.start
    moved = fit.fit(rows, 1.0)
    assert np.abs(moved - fit.start).max() > 0.1
    if not has_bias:
        np.testing.assert_array_equal(moved[:, -1], 0)


def test_a_left_out_speaker_tells_nothing_of_the_own_answer() -> None:
    fit = layer(1)
    before = fit.held_out(lambda done: None)
    own = fit.groups == "2"
    turned = replace(fit, classes=np.where(own, (fit.classes + 1) % 3, fit.classes))
    after = turned.held_out(lambda done: None)
    np.testing.assert_array_equal(after[own], before[own])
    assert (after[~own] != before[~own]).any()


def test_a_left_out_speaker_does_not_choose_the_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, left_out, choose = layer(1), list[str](), LastLayer.choose

    def noted(self: LastLayer, rows: NDArray[np.int_]) -> float:
        left_out.extend(set(self.groups) - set(self.groups[rows]))
        return choose(self, rows)

    monkeypatch.setattr(LastLayer, "choose", noted)
    fit.held_out(lambda done: None)
    assert sorted(left_out) == ["0", "1", "2", "3"]


def test_a_useful_layer_is_kept_where_clips_tell_nothing() -> None:
    fit = layer(2, groups=24)
    right = np.column_stack([20 * np.eye(3), np.zeros((3, 3))])
    told = replace(fit, start=right, inputs=np.column_stack([np.eye(3)[fit.classes], np.zeros((24, 2))]))
    assert told.choose(np.arange(24)) == AS_PUBLISHED


def test_a_new_label_is_learned_even_where_clips_tell_nothing() -> None:
    fit = layer(3, groups=24)
    generator = np.random.default_rng(4)
    start = 1e-3 * generator.normal(size=(3, 6)) * [[1], [1], [0]]
    nothing = replace(fit, start=start, inputs=generator.normal(size=(24, 5)))
    assert nothing.choose(np.arange(24)) == STRENGTHS[0]
    assert replace(nothing, start=start + 1e-6).choose(np.arange(24)) == AS_PUBLISHED


@given(seed=st.integers(0, 10_000), strength=st.sampled_from([1e-3, 0.1, 1.0]))
@settings(max_examples=15)
def test_fit_near_finds_the_minimum(seed: int, strength: float) -> None:
    generator = np.random.default_rng(seed)
    start, inputs = generator.normal(size=(3, 4)), generator.normal(size=(20, 4))
    classes, weights = generator.integers(0, 3, 20), generator.uniform(0.1, 2, 20)

    def loss(flat: NDArray[Any]) -> float:
        fitted = flat.reshape(3, 4)
        surprise = -log_softmax(inputs @ fitted.T, axis=1)[np.arange(20), classes]
        return strength * (weights * surprise).sum() + np.square(fitted - start).sum() / 2

    found = fit_near(start, inputs, classes, strength, weights)
    best = minimize(loss, start.ravel(), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(found.ravel(), best.x, atol=1e-4)
