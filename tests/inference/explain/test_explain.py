"""Explanations: attributions against the answers themselves, attention against the layer, files and errors."""

import json
from collections.abc import Callable, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import torch.nn.functional as F
from commands import run
from matplotlib.text import Text
from PIL import Image
from tiny import model_config, text_config, tiny_model
from transformers import ByT5Tokenizer, CLIPTextConfig, Wav2Vec2FeatureExtractor

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.display.picture import Picture
from mmer.display.terminal import PlainConsole
from mmer.errors import MissingExtraError, MMERError
from mmer.features.functionals import COUNT, KIND_OF, functionals
from mmer.features.log_mel import MEL_BINS
from mmer.features.statistics import FeatureStatistics
from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.inference.backends.torch_network import TorchNetwork
from mmer.inference.explain import attribution as attribution_module
from mmer.inference.explain import explanation as explanation_module
from mmer.inference.explain.alignment import Alignment, attention_weights
from mmer.inference.explain.attribution import Completeness, Inputs, evidence, integrated_gradients, log_odds
from mmer.inference.explain.contributions import Moment, Word
from mmer.inference.explain.explain import explain
from mmer.inference.explain.explanation import Counterfactual, Explanation, explanation_tables
from mmer.inference.explain.neutral_sentences import ENGLISH, SENTENCES
from mmer.model import MMERProcessor
from mmer.model.build import build_model
from mmer.model.fusion import CrossModalEncoder
from mmer.recipe.schema import load_recipe

WORDS = "What a day,  what a DAY."


@pytest.fixture(scope="module")
def voice(clips: Sequence[str]) -> np.ndarray:
    """(8000,) half a second of a recording, which is quick to explain."""
    return load_audio(clips[0], start=0.5, end=1.0)


def odds(prediction: Prediction, label: str) -> float:
    assert prediction.probabilities is not None
    return float(np.log(prediction.probabilities[label]) - np.log1p(-prediction.probabilities[label]))


def test_log_odds_by_hand():
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]])
    found = log_odds(probabilities.log() + 7.0, 1)
    assert found.tolist() == pytest.approx([np.log(0.5 / 0.5), np.log(0.05 / 0.95)], abs=1e-5)


def test_attention_is_that_of_the_layer():
    torch.manual_seed(0)
    block = CrossModalEncoder(model_config(hidden_size=24)).eval()
    queries, keys = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    weights = attention_weights(block, queries, keys, mask).detach()
    assert weights.sum(dim=-1).numpy() == pytest.approx(np.ones((2, block.num_heads, 5)), abs=1e-6)
    assert weights[1, :, :, 4:].abs().max() == 0
    values = block.value(keys).unflatten(-1, (block.num_heads, -1)).transpose(1, 2)
    attended = block.attention_output((weights @ values).transpose(1, 2).flatten(2))
    hidden = block.attention_norm(queries + attended)
    made = block.output_norm(hidden + block.output(F.gelu(block.intermediate(hidden))))
    assert made.detach().numpy() == pytest.approx(block(queries, keys, mask).detach().numpy(), abs=1e-5)


@pytest.fixture
def rough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of one step, where they are no matter."""
    monkeypatch.setattr(attribution_module, "STEPS", (1,))


@pytest.mark.parametrize(
    ("languages", "said", "noted"),
    [
        ([], ENGLISH, None),
        (["pl"], SENTENCES["pl"], None),
        (["pl-PL", "en"], SENTENCES["pl"], None),
        (["tlh", "de_AT"], SENTENCES["de"], None),
        (["tlh"], ENGLISH, "no sentence in the language of the training (tlh)"),
    ],
)
def test_other_words_are_in_the_language_of_the_training(
    languages: list[str],
    said: str,
    noted: str | None,
    recognizer: EmotionRecognizer,
    voice: np.ndarray,
    rough: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recognizer.model.config, "languages", languages)
    told = explain(recognizer, Utterance(voice, WORDS, 16_000))
    assert told.counterfactuals["other words, same voice"].transcript == said
    assert any((noted or "no sentence") in note for note in told.notes) == (noted is not None)
    own = explain(recognizer, Utterance(voice, WORDS, 16_000), other_words="yes")
    assert own.counterfactuals["other words, same voice"].transcript == "yes"
    assert not any("no sentence" in note for note in own.notes)


@pytest.mark.parametrize("speech", ["wav2vec2-group", "wav2vec2-bert"])
def test_shares_and_drops(speech: str, recognizer_of: Callable[..., EmotionRecognizer], voice: np.ndarray):
    recognizer = recognizer_of(speech=speech)
    told = explain(recognizer, Utterance(voice, WORDS, 16_000))
    label = told.prediction.label
    assert label is not None
    found = told.completeness
    assert found.holds
    assert found.answer == pytest.approx(odds(told.prediction, label), abs=1e-3)
    assert abs(found.shared_out - (found.answer - found.baseline)) <= found.tolerance
    shares = [word.share for word in told.words], [moment.share for moment in told.moments]
    assert told.sound_share is not None
    assert told.text_share is not None
    assert sum(shares[0]) == pytest.approx(told.text_share, abs=1e-4)
    assert sum(shares[1]) == pytest.approx(told.sound_share, abs=1e-4)
    assert told.sound_share + told.text_share == pytest.approx(found.shared_out, abs=1e-4)
    assert [word.word for word in told.words] == ["What", "a", "day,", "what", "a", "DAY."]
    without = recognizer(voice, "What a what a DAY.", sampling_rate=16_000)
    assert told.words[2].drop == pytest.approx(found.answer - odds(without, label), abs=2e-3)
    assert told.moments[0].start == 0
    assert told.prediction.duration is not None
    assert told.moments[-1].end == pytest.approx(told.prediction.duration)
    assert all(a.end == b.start for a, b in zip(told.moments, told.moments[1:], strict=False))
    assert told.alignment is not None
    assert told.alignment.to_frames is not None
    assert told.alignment.to_tokens is not None
    assert told.alignment.to_frames.shape == told.alignment.to_tokens.T.shape
    assert told.alignment.to_frames.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert len(told.alignment.tokens) == len(told.alignment.to_frames)
    other = told.counterfactuals["other words, same voice"]
    assert other.transcript == ENGLISH
    neutral = recognizer(voice, ENGLISH, sampling_rate=16_000)
    assert other.probabilities == pytest.approx(neutral.probabilities, abs=1e-5)
    assert set(told.counterfactuals) == {
        "other words, same voice",
        "same words, monotone",
        "same words, flat voice",
    }


def test_shares_of_a_blank_moment_and_of_an_average_word_are_nothing(
    recognizer_of: Callable[..., EmotionRecognizer],
):
    """Where the input is what the baseline is, there is nothing to share out; elsewhere there is."""
    model = recognizer_of(speech="wav2vec2-bert").model
    torch.manual_seed(0)
    sound = torch.randn(1, 40, 160)
    sound[:, 10:20] = 0
    tokens = torch.tensor([[1, 7, 8, 2]])
    inputs = Inputs(sound, tokens, np.array([True, False, False, True]))
    shares = integrated_gradients(model, inputs, 0)
    heard, read, told = shares.frames, shares.tokens, shares.completeness
    assert heard is not None
    assert read is not None
    assert np.abs(heard[10:20]).max() == 0
    assert np.abs(heard[20:]).min() > 0
    assert (read[[0, 3]] == 0).all()
    assert np.abs(read[1:3]).min() > 0
    assert told.answer == pytest.approx(evidence(model, [inputs], 0)[0], abs=1e-4)


@pytest.fixture(scope="module")
def compact() -> Callable[[str], EmotionRecognizer]:
    """Makes a random model of the recipe `compact`, given its normalization; functionals and words have half a say."""

    def make(normalization: str) -> EmotionRecognizer:
        recipe = load_recipe("compact", ["model.fusion=mmer", f"model.speech.normalization={normalization}"])
        rows = [
            {"utterance_id": str(n), "audio_path": f"{n}.wav", "transcript": WORDS, "emotion": emotion}
            for n, emotion in enumerate(("angry", "sad"))
        ]
        torch.manual_seed(0)
        model, processor = build_model(recipe, Corpus(pd.DataFrame(rows)), ["angry", "happy", "sad"])
        assert model.functionals_classifier is not None
        assert model.words_classifier is not None
        model.config.functionals_share = 0.5
        with torch.no_grad():
            model.functionals_classifier.weight.normal_(std=0.1)
            model.words_classifier.weight.normal_()
        bins = processor.features(np.zeros(900, np.float32)).shape[1]
        processor.corpus_mean, processor.corpus_std = [0.5] * bins, [3.0] * bins
        return EmotionRecognizer(TorchNetwork(model.eval(), "cpu"), processor)

    return make


def test_traits_of_the_voice(compact: Callable[[str], EmotionRecognizer], voice: np.ndarray) -> None:
    """Shares add up, and drops are those of an answer to inputs changed by hand."""
    recognizer = compact("corpus")
    told = explain(recognizer, Utterance(voice, WORDS, 16_000))
    assert [trait.kind for trait in told.traits] == ["pitch", "loudness", "timbre", "rhythm"]
    assert told.completeness.holds
    shares = [each.share for each in (*told.traits, *told.moments)]
    assert told.sound_share == pytest.approx(sum(shares), abs=1e-4)
    assert np.abs([trait.share for trait in told.traits]).max() > 0.05
    assert np.abs([word.share for word in told.words]).max() > 0.05

    processor, label = recognizer.processor, told.prediction.label
    assert label is not None
    features = processor.features(voice)

    def answer(standardized: np.ndarray) -> float:
        batch = processor.pad([standardized], [WORDS])
        with torch.inference_mode():
            logits = recognizer.model(**batch).logits
        return float(log_odds(logits, recognizer.labels.index(label)))

    whole = processor.standardize(features)
    assert answer(whole) == pytest.approx(told.completeness.answer, abs=1e-4)
    average = whole.copy()
    average[:, -COUNT:][:, KIND_OF == "timbre"] = 0
    assert told.traits[2].drop == pytest.approx(answer(whole) - answer(average), abs=1e-4)

    first = round(told.moments[0].end / told.moments[-1].end * len(features))
    rest = features[first:].copy()
    rest[:, -COUNT:] = functionals(features[first:, :-COUNT].reshape(-1, MEL_BINS + 3))  # frames are stacked
    blank = whole.copy()
    blank[:first] = 0
    blank[:, -COUNT:] = processor.standardize(rest)[0, -COUNT:]
    assert told.moments[0].drop == pytest.approx(answer(whole) - answer(blank), abs=1e-4)
    assert "voice" in told.sentence


@pytest.mark.usefixtures("rough")
def test_a_known_speaker_is_explained_as_answered(
    compact: Callable[[str], EmotionRecognizer], voice: np.ndarray
) -> None:
    recognizer = compact("speaker")
    features = recognizer.processor.features(voice)
    own = FeatureStatistics.of([features])
    recognizer.speakers = {"ben": FeatureStatistics(own.mean + 0.5, own.std + 1)}
    odds_of = {}
    for speaker in ("ben", "ann"):
        told = explain(recognizer, Utterance(voice, WORDS, 16_000, speaker=speaker))
        label = told.prediction.label
        assert label is not None
        assert told.completeness.answer == pytest.approx(odds(told.prediction, label), abs=1e-3)
        odds_of[speaker] = told.completeness.answer
    assert odds_of["ben"] != pytest.approx(odds_of["ann"], abs=1e-2)


@pytest.mark.usefixtures("rough")
def test_moments_are_those_of_the_recording_where_silence_is_not_read(
    compact: Callable[[str], EmotionRecognizer], voice: np.ndarray, tmp_path: Path
) -> None:
    recognizer = compact("corpus")
    quiet = np.zeros(16_000, np.float32)
    told = explain(recognizer, Utterance(np.concatenate([quiet, voice, quiet]), WORDS, 16_000))
    alone = explain(recognizer, Utterance(voice, WORDS, 16_000))
    assert told.moments[0].start == pytest.approx(1 + alone.moments[0].start, abs=0.04)
    assert told.moments[-1].end == pytest.approx(1 + alone.moments[-1].end, abs=0.04)
    assert told.alignment is not None
    assert told.alignment.times[0] > 0.95
    assert told.completeness.answer == pytest.approx(alone.completeness.answer, abs=0.3)
    told.plot(tmp_path / "why.png")


@pytest.mark.usefixtures("rough")
def test_a_clip_of_few_frames_has_traits(
    compact: Callable[[str], EmotionRecognizer], voice: np.ndarray, tmp_path: Path
) -> None:
    told = explain(compact("corpus"), Utterance(voice[:900], WORDS, 16_000))
    assert len(told.moments) == 1
    told.plot(tmp_path / "why.png")
    assert Image.open(tmp_path / "why.png").height > 500
    assert json.loads(json.dumps(told.to_dict()))["traits"][0]["kind"] == "pitch"


def test_frozen_encoders_are_explained_and_left_as_they_were(recognizer: EmotionRecognizer):
    model = recognizer.model
    assert model.speech_encoder is not None
    assert model.text_encoder is not None
    learning = [weight.requires_grad for weight in model.parameters()]
    before = model.text_encoder.trained
    torch.manual_seed(0)
    inputs = Inputs(torch.randn(1, 4000), torch.tensor([[1, 7, 8, 2]]), np.array([True, False, False, True]))
    free = integrated_gradients(model, inputs, 1)
    model.text_encoder.trained = model.speech_encoder.trained = "frozen"
    try:
        frozen = integrated_gradients(model, inputs, 1)
        assert model.text_encoder.trained == "frozen"
    finally:
        model.text_encoder.trained = model.speech_encoder.trained = before
    assert frozen.frames == pytest.approx(free.frames)
    assert frozen.tokens == pytest.approx(free.tokens)
    assert [weight.requires_grad for weight in model.parameters()] == learning
    assert all(weight.grad is None for weight in model.parameters())


def test_one_side_alone(versatile: EmotionRecognizer, voice: np.ndarray):
    heard = explain(versatile, Utterance(voice, None, 16_000))
    assert heard.words == []
    assert heard.text_share is None
    assert heard.alignment is None
    assert set(heard.counterfactuals) == {"same words, monotone", "same words, flat voice"}
    read = explain(versatile, Utterance(None, "day"))
    assert read.moments == []
    assert read.sound_share is None
    assert set(read.counterfactuals) == {"other words, same voice"}
    # Nothing is left to be read without the only word, which the network then knows to be missing.
    assert read.words[0].drop != 0


def test_what_does_not_add_up_is_said(
    recognizer: EmotionRecognizer, voice: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attribution_module, "TOLERANCE", 1e-9)
    monkeypatch.setattr(attribution_module, "STEPS", (1,))
    told = explain(recognizer, Utterance(voice, WORDS, 16_000))
    assert not told.completeness.holds
    assert any(note.startswith("shares miss the difference they should add up to by") for note in told.notes)


def test_files(
    model_folder: Path,
    voice: np.ndarray,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, voice, 16_000)
    asked = ["explain", model_folder, clip, "--transcript", "what a $day$", "--device", "cpu"]
    shown = run(capfd, monkeypatch, asked)
    assert shown.code == 0, shown.err
    assert "other words, same voice" in shown.out
    assert " rather than " in shown.out.splitlines()[0]
    assert f'read instead: "{ENGLISH}"' in shown.out
    monkeypatch.setattr(attribution_module, "STEPS", (1,))  # the same shares again are no matter
    done = run(
        capfd, monkeypatch, [*asked, "--other-words", "I never said that!", "-o", tmp_path / "why.json"]
    )
    assert done.code == 0
    told = json.loads((tmp_path / "why.json").read_text())
    assert told["counterfactuals"]["other words, same voice"]["transcript"] == "I never said that!"
    assert len(told["alignment"]["to_frames"]) == len(told["alignment"]["tokens"])
    assert "waveform" not in told
    assert told["sentence"].startswith(f"Answer: {told['prediction']['label']} (")
    assert sum(told["alignment"]["special"]) == 2
    assert run(capfd, monkeypatch, [*asked, "-o", tmp_path / "why.png"]).code == 0
    assert Image.open(tmp_path / "why.png").width >= 800


def test_many_emotions_and_long_names_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    labels = [f"disappointed and resigned, almost despairing {n}" for n in range(12)]
    shares = {label: (n + 1) / 78 for n, label in enumerate(labels)}
    changes = ("other words, same voice", "same words, monotone", "same words, flat voice")
    explanation = Explanation(
        prediction=Prediction(utterance_id="u", label=labels[-1], probabilities=shares),
        words=[Word("Donaudampfschifffahrtsgesellschaft" * 2, 0.1, 0.1), Word("no", -0.1, -0.1)],
        moments=[Moment(0.0, 0.5, 0.1, 0.1)],
        traits=[],
        sound_share=0.1,
        text_share=0.0,
        completeness=Completeness(0.1, 0.0, 0.1, 0.1, 1, True),
        alignment=None,
        counterfactuals={name: Counterfactual("changed", None, labels[0], shares) for name in changes},
        waveform=np.ones(8000, np.float32),
    )
    kept: list[Picture] = []
    monkeypatch.setattr(
        explanation_module, "Picture", lambda **named: kept.append(Picture(**named)) or kept[-1]
    )
    explanation.plot(tmp_path / "why.png")
    (figure,) = kept
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in figure.findobj(Text))
    for axes in figure.axes:
        assert axes.get_legend() is None  # it would stand on the bars
        assert axes.get_window_extent().x0 < figure.bbox.x1 / 3
        for axis in (axes.xaxis, axes.yaxis):
            boxes = [name.get_window_extent() for name in axis.get_majorticklabels() if name.get_text()]
            assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    shown = StringIO()
    PlainConsole(file=shown, width=80).print(explanation_tables(explanation))
    for share in shares.values():
        assert shown.getvalue().count(f"{share:.1%} ") >= 4


def test_attention_is_shown_for_words_where_it_is_not_flat():
    frames = np.full((4, 10), 0.1, np.float32)
    tokens, special = ["<s>", "what", "a", "</s>"], [True, False, False, True]
    frames[0, 3] = 0.9  # of a mark, which is not shown
    alignment = Alignment(tokens, special, np.arange(10, dtype=np.float32), frames, None)
    assert alignment.shown_rows() is None
    frames[2, 5] = 0.4
    rows = alignment.shown_rows()
    assert rows is not None
    assert rows[0] == ["what", "a"]
    assert rows[1] == pytest.approx(10 * frames[1:3])
    assert Alignment([], [], frames[0], frames[:0], None).shown_rows() is None


def test_what_a_user_can_get_wrong(
    model_folder: Path,
    clips: Sequence[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    nothing = run(capfd, monkeypatch, ["explain", model_folder])
    assert nothing.code == 2
    assert (
        nothing.err == "mmer: nothing to explain; name a recording, or give what is said with --transcript\n"
    )
    suffix = run(capfd, monkeypatch, ["explain", model_folder, clips[0], "-o", tmp_path / "why.pdf"])
    assert suffix.code == 2
    assert "its name must end in .png or .json" in suffix.err
    folder = run(capfd, monkeypatch, ["explain", model_folder, clips[0], "-o", tmp_path / "no" / "why.png"])
    assert folder.code == 2
    assert "there is no folder" in folder.err


def test_text_encoders_that_read_no_embeddings_are_refused_before_the_work(
    recognizer: EmotionRecognizer, voice: np.ndarray
):
    clip = CLIPTextConfig(
        vocab_size=100, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    network = TorchNetwork(tiny_model(text_config=clip), "cpu")
    utterance = Utterance(voice, "day", 16_000)
    reading_clip = EmotionRecognizer(network, recognizer.processor)
    assert reading_clip.predict([utterance])
    with pytest.raises(MMERError, match="text encoder is of type 'clip_text_model': it reads token numbers"):
        explain(reading_clip, utterance)


def test_tokenizers_that_do_not_say_which_word_a_token_is_of_are_refused_before_the_work(voice: np.ndarray):
    reader = text_config()
    reader.vocab_size = 400
    labels = ["a", "b", "c", "d"]
    processor = MMERProcessor(Wav2Vec2FeatureExtractor(return_attention_mask=True), ByT5Tokenizer(), labels)
    by_bytes = EmotionRecognizer(
        tiny_model(text_config=reader, id2label=dict(enumerate(labels))), processor, "cpu"
    )
    utterance = Utterance(voice, "day", 16_000)
    assert by_bytes(voice, "day", sampling_rate=16_000).label in labels
    with pytest.raises(
        MMERError, match="tokenizer is a ByT5Tokenizer: it does not say which word a token is of"
    ):
        explain(by_bytes, utterance)


@pytest.mark.usefixtures("rough")
def test_moments_are_in_seconds_of_the_recording_whatever_rate_the_model_hears(
    recognizer_of: Callable[..., EmotionRecognizer], clips: Sequence[str]
):
    telephone = recognizer_of()
    telephone.processor.feature_extractor.sampling_rate = 8000
    found = explain(telephone, Utterance(clips[0], "day", start=0.5, end=1.0))
    assert found.moments[-1].end == pytest.approx(0.5)
    assert found.waveform is not None
    assert len(found.waveform) == 8000  # at 16 kHz


def test_no_answer_and_no_captum(
    recognizer: EmotionRecognizer, voice: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(MMERError, match="no such file"):
        explain(recognizer, Utterance("missing.wav", "day"))
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(
        MissingExtraError,
        match=r"integrated gradients needs captum.attr; install it: .*\[ex",
    ):
        explain(recognizer, Utterance(voice, "day", 16_000))
