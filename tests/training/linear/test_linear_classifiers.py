"""The linear classifiers of functionals and words beside the network: what they are fitted to, and what they keep."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from mmer.corpora.corpus import Corpus
from mmer.features.statistics import FeatureStatistics
from mmer.inference.backends.export import _Graph
from mmer.inference.recognizer import EmotionRecognizer
from mmer.model.build import EQUAL_SHARES, configure, functionals_share
from mmer.model.configuration import MMERConfig
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import MMERProcessor
from mmer.recipe.schema import Recipe
from mmer.training.data.feature_store import FeatureStore, TrainingUtterance
from mmer.training.linear.linear_classifiers import NEAR, STRENGTH, STRENGTH_OF_WORDS, fit_linear_classifiers
from mmer.training.linear.logistic_regression import fit_near
from mmer.training.run import train
from mmer.training.starting_model import starting_model

FUNCTIONALS = ("model.speech.compact.functionals=true", "model.speech.normalization=corpus")


def started(recipe: Recipe, corpus: Corpus) -> tuple[MMERForEmotionRecognition, MMERProcessor, FeatureStore]:
    """A new model of the recipe, its processor with the statistics of the corpus, and the features."""
    torch.manual_seed(0)
    model, processor = starting_model(recipe, corpus, sorted(corpus.table["emotion"].unique()))
    store = FeatureStore(processor)
    statistics = FeatureStatistics.of(map(store, TrainingUtterance.of(corpus)))
    processor.corpus_mean, processor.corpus_std = statistics.mean.tolist(), statistics.std.tolist()
    return model, processor, store


def standardized(store: FeatureStore, utterances: list[TrainingUtterance]) -> np.ndarray:
    """(utterances, 147) functionals, standardized by hand over the corpus."""
    of_clips = np.array([store(utterance)[0, -147:] for utterance in utterances])
    assert store.processor.corpus_mean is not None
    assert store.processor.corpus_std is not None
    mean, std = (np.array(each)[-147:] for each in (store.processor.corpus_mean, store.processor.corpus_std))
    return np.clip(np.where(np.isnan(of_clips), 0, (of_clips - mean) / std), -4, 4)


Weights = dict[str, float] | None


def expected(store: FeatureStore, corpus: Corpus, weights: Weights = None) -> LogisticRegression:
    """The same regression, without its scale."""
    functionals = standardized(store, TrainingUtterance.of(corpus))
    regression = LogisticRegression(C=STRENGTH, max_iter=1000, class_weight=weights)
    return regression.fit(functionals, corpus.table["emotion"])


def scale_of(store: FeatureStore, corpus: Corpus, weights: Weights = None) -> float:
    """The factor on the log-probabilities of such regressions that is best for the speaker whom each leaves out."""
    answers: list[tuple[np.ndarray, int, float]] = []
    emotions = sorted(corpus.table["emotion"].unique())
    for speaker in corpus.table["speaker"].unique():
        own = (corpus.table["speaker"] == speaker).to_numpy()
        regression = expected(store, corpus.select(~own), weights)
        for utterance in TrainingUtterance.of(corpus.select(own)):
            logits = regression.predict_log_proba(standardized(store, [utterance]))[0]
            weight = weights[utterance.emotion] if weights else 1
            answers.append((logits, emotions.index(utterance.emotion), weight))
    losses = {}
    for scale in np.arange(0, 3.01, 0.05):
        losses[scale] = sum(
            weight * (np.log(np.exp(scale * logits).sum()) - scale * logits[truth])
            for logits, truth, weight in answers
        )
    return min(losses, key=lambda scale: losses[scale])


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """The cosine between weights, which are scaled to voices that are left out."""
    return (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other)


@pytest.mark.parametrize("emotions", [("angry", "calm", "sad"), ("calm", "sad")])
def test_it_is_a_logistic_regression_on_standardized_functionals(
    tiny: Callable[..., Recipe], tones: Path, emotions: tuple[str, ...]
) -> None:
    corpus = Corpus.read(tones)
    corpus = corpus.select(corpus.table["emotion"].isin(emotions).to_numpy())
    assert sorted(corpus.table["emotion"].unique()) == list(emotions)
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    fit_linear_classifiers(model, store, corpus, {})
    scale = scale_of(store, corpus)
    assert scale > 1
    clips = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 147)).astype(np.float32))
    np.testing.assert_allclose(
        model.functionals_classifier(clips).softmax(dim=1).numpy(),
        softmax(scale * expected(store, corpus).predict_log_proba(clips.numpy()), axis=1),
        atol=1e-3,
    )


def test_rare_emotions_weigh_as_much_as_frequent_ones_where_the_recipe_says_so(
    tiny: Callable[..., Recipe], tones: Path
) -> None:
    corpus = Corpus.read(tones)
    corpus = corpus.select(
        (corpus.table["emotion"] != "sad").to_numpy() | corpus.table["speaker"].isin(["A", "B"]).to_numpy()
    )
    model, _, store = started(tiny(*FUNCTIONALS, "objectives.class_weights=balanced"), corpus)
    assert model.functionals_classifier is not None
    fit_linear_classifiers(model, store, corpus, {})
    found = model.functionals_classifier.weight.numpy()
    counts = corpus.table["emotion"].value_counts()
    balanced = {str(emotion): len(corpus) / 3 / count for emotion, count in counts.items()}
    scale = scale_of(store, corpus, balanced)
    np.testing.assert_allclose(found, scale * expected(store, corpus, balanced).coef_, atol=1e-3)
    assert np.abs(found - scale * expected(store, corpus).coef_).max() > 1e-2


def test_what_tells_nothing_of_new_voices_has_nothing_to_say(
    tiny: Callable[..., Recipe], tones: Path
) -> None:
    """Every speaker shows emotions in another way, so that what is learned of some is wrong for the others."""
    corpus = Corpus.read(tones)
    turned = {"A": ["angry", "calm", "sad"], "B": ["calm", "sad", "angry"], "C": ["sad", "angry", "calm"]}
    table = corpus.table[corpus.table["speaker"] != "D"]
    shown = [
        turned[speaker][turned["A"].index(emotion)]
        for speaker, emotion in zip(table["speaker"], table["emotion"], strict=True)
    ]
    corpus = Corpus(table.assign(emotion=shown).reset_index(drop=True))
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    fit_linear_classifiers(model, store, corpus, {})
    assert not model.functionals_classifier.weight.any()


@pytest.mark.parametrize("case", ["one speaker", "nobody is named", "an emotion of one speaker"])
def test_where_nobody_can_be_left_out_the_regression_stays_as_it_is(
    tiny: Callable[..., Recipe], tones: Path, case: str
) -> None:
    corpus = Corpus.read(tones)
    table = corpus.table
    if case == "one speaker":
        table = table[table["speaker"] == "A"]
    elif case == "nobody is named":
        table = table.assign(speaker=None)
    else:
        sad = table["emotion"] == "sad"
        table = table[(table["speaker"] == "B") == sad]
        table = table[table["speaker"].isin(["A", "B"])]
    corpus = Corpus(table.reset_index(drop=True))
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    fit_linear_classifiers(model, store, corpus, {})
    reference = expected(store, corpus)
    np.testing.assert_allclose(model.functionals_classifier.weight.numpy(), reference.coef_, atol=1e-3)


def test_an_emotion_that_nobody_shows_is_the_least_probable(tiny: Callable[..., Recipe], tones: Path) -> None:
    corpus = Corpus.read(tones)
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    fit_linear_classifiers(model, store, corpus.select((corpus.table["emotion"] != "calm").to_numpy()), {})
    assert not model.functionals_classifier.weight[1].any()
    assert model.functionals_classifier.bias.argmin() == 1
    one = corpus.select((corpus.table["emotion"] == "sad").to_numpy())
    fit_linear_classifiers(model, store, one, {})
    assert not any(weight.any() for weight in model.functionals_classifier.parameters())


def test_what_was_learned_before_weighs_four_times_as_much_as_what_is_new(
    tiny: Callable[..., Recipe], tones: Path
) -> None:
    corpus = Corpus.read(tones)
    is_new = (corpus.table["speaker"] == "D") & corpus.table["utterance_id"].str.endswith("_0")
    before = corpus.select((corpus.table["speaker"] != "D").to_numpy())
    new = corpus.select(is_new.to_numpy())
    assert (len(new), len(before)) == (3, 27)
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    fit_linear_classifiers(model, store, new, {}, before)
    found = model.functionals_classifier.weight.numpy()
    both = [*TrainingUtterance.of(new), *TrainingUtterance.of(before)]
    weights = [27 / (4 * 3)] * 3 + [1.0] * 27
    regression = LogisticRegression(C=STRENGTH, max_iter=1000)
    regression.fit(standardized(store, both), [each.emotion for each in both], weights)
    assert alike(found, regression.coef_) > 1 - 1e-6
    fit_linear_classifiers(model, store, before, {}, new)  # many new ones weigh as much as old ones, each
    regression.fit(standardized(store, both), [each.emotion for each in both])
    found = model.functionals_classifier.weight.numpy()
    assert alike(found, regression.coef_) > 1 - 1e-6


def test_without_it_the_weights_stay_near_those_of_before(tiny: Callable[..., Recipe], tones: Path) -> None:
    """At the minimum, what pulls a weight back is as strong as what the clips push it by."""
    corpus = Corpus.read(tones)
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    classifier = model.functionals_classifier
    assert classifier is not None
    one_voice = corpus.select((corpus.table["speaker"] == "D").to_numpy())
    fit_linear_classifiers(model, store, corpus.select((corpus.table["speaker"] != "D").to_numpy()), {})
    first = torch.column_stack([classifier.weight, classifier.bias]).numpy().copy()
    fit_linear_classifiers(model, store, one_voice, {}, near=True)
    moved = torch.column_stack([classifier.weight, classifier.bias]).numpy() - first
    inputs = np.column_stack([standardized(store, TrainingUtterance.of(one_voice)), np.ones(9)])
    shown = np.eye(3)[[store.processor.labels.index(emotion) for emotion in one_voice.table["emotion"]]]
    push = NEAR * STRENGTH * (shown - softmax(inputs @ (first + moved).T, axis=1)).T @ inputs
    np.testing.assert_allclose(moved, push, atol=1e-5)
    assert np.abs(moved).max() > 1e-4


def test_an_emotion_that_new_clips_lack_stays_known(tiny: Callable[..., Recipe], tones: Path) -> None:
    corpus = Corpus.read(tones)
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    classifier = model.functionals_classifier
    assert classifier is not None
    fit_linear_classifiers(model, store, corpus.select((corpus.table["speaker"] != "D").to_numpy()), {})
    first = classifier.weight.clone()
    few = (corpus.table["speaker"] == "D") & (corpus.table["emotion"] != "calm")
    fit_linear_classifiers(model, store, corpus.select(few.to_numpy()), {}, near=True)
    assert alike(classifier.weight.numpy(), first.numpy()) > 0.9
    assert not classifier.weight.equal(first)


def test_a_clip_of_weight_two_counts_as_two() -> None:
    random = np.random.default_rng(0)
    start, inputs, classes = random.normal(size=(3, 5)), random.normal(size=(8, 5)), np.arange(8) % 3
    twice = [*range(8), 0, 1]
    expected = fit_near(start, inputs[twice], classes[twice], 0.5)
    found = fit_near(start, inputs, classes, 0.5, np.array([2.0] * 2 + [1.0] * 6))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - fit_near(start, inputs, classes, 0.5)).max() > 0.01


def test_copies_that_sound_alike_change_nothing(tiny: Callable[..., Recipe], tones: Path) -> None:
    corpus = Corpus.read(tones)
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    fit_linear_classifiers(model, store, corpus, {})
    expected = model.functionals_classifier.weight.numpy().copy()
    utterances = TrainingUtterance.of(corpus)
    clips = standardized(store, utterances).astype(np.float32)
    versions = {each.utterance_id: np.stack([clip] * 3) for each, clip in zip(utterances, clips, strict=True)}
    fit_linear_classifiers(model, store, corpus, {}, versions=versions)
    np.testing.assert_allclose(model.functionals_classifier.weight.numpy(), expected, atol=1e-3)


def test_words_are_the_reference_where_there_is_one(tiny: Callable[..., Recipe], tones: Path) -> None:
    corpus = Corpus.read(tones)
    model, processor, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.words_classifier is not None
    fit_linear_classifiers(model, store, corpus, {})
    expected = model.words_classifier.weight.clone()
    assert expected.any()
    assert not expected[:, processor.tokenizer.all_special_ids].any()
    heard = Corpus(corpus.table.assign(recognized="so it was"))
    fit_linear_classifiers(model, store, heard, {})
    torch.testing.assert_close(model.words_classifier.weight, expected)
    fit_linear_classifiers(model, store, Corpus(heard.table.assign(transcript=None)), {})
    assert not model.words_classifier.weight.any()


@pytest.mark.filterwarnings("error")
def test_utterances_without_sound_change_nothing(tiny: Callable[..., Recipe], tones: Path) -> None:
    corpus = Corpus.read(tones)
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    fit_linear_classifiers(model, store, corpus, {})
    first = model.functionals_classifier.weight.clone()
    read_alone = Corpus(corpus.table.assign(audio_path=None))
    fit_linear_classifiers(model, store, read_alone, {}, near=True)
    torch.testing.assert_close(model.functionals_classifier.weight, first)
    fit_linear_classifiers(model, store, read_alone, {}, corpus)
    torch.testing.assert_close(model.functionals_classifier.weight, first)


def test_with_an_emotion_that_was_not_learned_before_all_are_fitted_anew(
    tiny: Callable[..., Recipe], tones: Path
) -> None:
    corpus = Corpus.read(tones)
    model, _, store = started(tiny(*FUNCTIONALS), corpus)
    classifier = model.functionals_classifier
    assert classifier is not None
    assert not classifier.weight.any()  # a model of the recipe has learned nothing
    others = (corpus.table["emotion"] != "sad") & (corpus.table["speaker"] != "D")
    fit_linear_classifiers(model, store, corpus.select(others.to_numpy()), {})
    assert not classifier.weight[2].any()
    one_voice = corpus.select((corpus.table["speaker"] == "D").to_numpy())
    fit_linear_classifiers(model, store, one_voice, {}, near=True)
    reference = expected(store, one_voice)
    np.testing.assert_allclose(classifier.weight.numpy(), reference.coef_, atol=1e-3)


def test_a_trained_model_answers_with_both_and_without_sound_with_the_network(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path
) -> None:
    recipe = tiny(
        *FUNCTIONALS,
        "training.epochs=1",
        "model.missing_modality_embeddings=true",
        "augment.missing.speech=0.2",
    )
    folder = train(recipe, tmp_path / "run", console=Console(quiet=True)).model_folder
    model = MMERForEmotionRecognition.from_pretrained(folder)
    assert model.functionals_classifier is not None
    assert model.words_classifier is not None
    for linear in (model.functionals_classifier, model.words_classifier):
        assert linear.weight.abs().max() > 0.01
        assert not any(weight.requires_grad for weight in linear.parameters())
    corpus = Corpus.read(tones)
    with_sound, store = TrainingUtterance.of(corpus)[:2], FeatureStore(MMERProcessor.from_pretrained(folder))
    processor = store.processor
    batch = processor.collate([store(with_sound[0]), None], ["yes", "no"])
    with torch.no_grad():
        output = model.eval()(**batch)
        network = model.classifier(output.fused_embedding)
        linear = model.functionals_classifier(batch["input_features"][0, 0, -processor.functionals :])
        for token in batch["input_ids"][0][batch["text_attention_mask"][0] == 1]:
            linear = linear + model.words_classifier.weight[:, token]
    share = model.config.functionals_share
    assert share == pytest.approx(10_000 / (10_000 + 18))
    expected_logits = (1 - share) * network[0] + share * linear
    torch.testing.assert_close(output.logits[0], expected_logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(output.logits[1], network[1])
    assert (linear - network[0]).abs().max() > 0.1
    graph = _Graph(model).eval()  # without a step that depends on values
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(**batch).logits.float(), output.logits, atol=0.2, rtol=0.05)
    with torch.no_grad():
        torch.testing.assert_close(graph(**batch)["logits"], output.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("recordings", "fusion", "share"),
    [
        (2, "speech", 2600 / 2602),
        (9, "speech", 2600 / 2609),
        (9, "mmer", 10_000 / 10_009),
        (9, "naive", 10_000 / 10_009),
        (0, "text", 0.0),
    ],
)
def test_the_fewer_recordings_the_more_the_functionals_have_to_say(
    tiny: Callable[..., Recipe], tones: Path, recordings: int, fusion: str, share: float
) -> None:
    corpus = Corpus.read(tones)
    corpus = Corpus(
        corpus.table.assign(audio_path=corpus.table["audio_path"].where(corpus.table.index < recordings))
    )
    objectives = () if fusion == "mmer" else ("objectives.ctc_weight=0",)
    recipe = tiny(*FUNCTIONALS, f"model.fusion={fusion}", *objectives)
    config, _ = configure(recipe, corpus, ["angry", "calm", "sad"])
    assert config.functionals_share == pytest.approx(share)


@pytest.mark.parametrize(
    ("times", "fusion", "share"), [(1, "speech", 0.5), (3, "speech", 0.25), (3, "mmer", 0.25)]
)
def test_many_recordings_teach_the_network_more(tones: Path, times: int, fusion: str, share: float) -> None:
    table = Corpus.read(tones).table
    many = pd.concat([table] * (1 + times * EQUAL_SHARES // len(table)))[: times * EQUAL_SHARES]
    many = many.assign(utterance_id=[str(i) for i in range(len(many))]).reset_index(drop=True)
    found = functionals_share(Corpus(many), uses_text=fusion == "mmer", classifies_words=False)
    assert found == pytest.approx(share)


def counts_of(processor: MMERProcessor, corpus: Corpus, size: int) -> np.ndarray:
    """(utterances, size), how often each token occurs, without special ones."""
    counts = np.zeros((len(corpus), size))
    for row, transcript in enumerate(corpus.table["transcript"].fillna("")):
        for token in processor.tokenizer.tokenize(transcript):
            counts[row, processor.tokenizer.convert_tokens_to_ids(token)] += 1
    return counts


def test_words_are_a_logistic_regression_too_and_both_are_scaled_for_speakers_who_are_left_out(
    tiny: Callable[..., Recipe], tones: Path
) -> None:
    """Words that are right in seven of ten, in sentences that differ, so that neither side has the last word."""
    table, chance = Corpus.read(tones).table, np.random.default_rng(1)
    emotions = sorted(table["emotion"].unique())
    words = {"angry": "no never", "calm": "fine well", "sad": "lost gone"}
    said = [emotion if chance.random() < 0.6 else chance.choice(emotions) for emotion in table["emotion"]]
    noise = [" ".join(chance.choice(["so", "it", "was"], 3)) for _ in said]
    shown = [emotion if chance.random() < 0.6 else chance.choice(emotions) for emotion in table["emotion"]]
    files = {emotion: list(table["audio_path"][table["emotion"] == emotion]) for emotion in emotions}
    table = table.assign(
        transcript=[f"{other} {words[each]}" for other, each in zip(noise, said, strict=True)],
        audio_path=[files[each][row % len(files[each])] for row, each in enumerate(shown)],
    )
    corpus = Corpus(table)
    model, processor, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    assert model.words_classifier is not None
    fit_linear_classifiers(model, store, corpus, {})
    counts = counts_of(processor, corpus, model.words_classifier.in_features)
    truth = corpus.table["emotion"].to_numpy()

    def regression(rows: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=STRENGTH_OF_WORDS, max_iter=1000).fit(counts[rows], truth[rows])

    logits = np.zeros((2, len(truth), 3))
    for speaker in corpus.table["speaker"].unique():
        own = (corpus.table["speaker"] == speaker).to_numpy()
        clips = standardized(store, TrainingUtterance.of(corpus.select(own)))
        logits[0, own] = expected(store, corpus.select(~own)).decision_function(clips)
        logits[1, own] = counts[own] @ regression(~own).coef_.T
    answers = np.searchsorted(emotions, truth)
    grid = np.arange(0, 3.01, 0.05)
    losses = {
        (one, other): -np.log(
            softmax(one * logits[0] + other * logits[1], axis=1)[np.arange(len(truth)), answers]
        ).mean()
        for one in grid
        for other in grid
    }
    best = min(losses, key=lambda scales: losses[scales])
    assert 0 < best[0] < 3
    assert 0 < best[1] < 3
    found = model.functionals_classifier.weight.numpy(), model.words_classifier.weight.numpy()
    coefficients = expected(store, corpus).coef_, regression(np.ones(len(truth), bool)).coef_
    for scale, one, other in zip(best, found, coefficients, strict=True):
        np.testing.assert_allclose(np.linalg.norm(one) / np.linalg.norm(other), scale, atol=0.06)
        assert alike(one, other) > 1 - 1e-5


def test_a_text_encoder_that_has_read_before_needs_no_classifier_of_words(
    tiny: Callable[..., Recipe], tones: Path, reader: Path
) -> None:
    recipe = tiny(*FUNCTIONALS, f"model.text={{encoder: {reader}, train: frozen}}")
    config, _ = configure(recipe, Corpus.read(tones), ["angry", "calm", "sad"])
    assert not config.classifies_words
    assert config.functionals_share == 0.5  # functionals know no words


def test_the_losses_of_the_published_code_go_with_a_classifier_of_words(
    tiny: Callable[..., Recipe], tones: Path
) -> None:
    """Its layers are initialized in another way, and this one has no bias."""
    model, _, _ = started(tiny(*FUNCTIONALS, "objectives.formulation=official"), Corpus.read(tones))
    assert model.words_classifier is not None
    assert not model.words_classifier.weight.any()


def test_tokens_are_not_replaced_by_cached_states_where_a_classifier_reads_them(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = [*FUNCTIONALS, "training.epochs=1"]
    start = train(tiny(*short), tmp_path / "run", console=Console(quiet=True)).model_folder
    monkeypatch.setattr("mmer.training.trainer.TextCache", None)  # nobody makes one
    again = tiny(*short, f"model.start_from={start}", "model.text.train=frozen")
    folder = train(again, tmp_path / "again", console=Console(quiet=True)).model_folder
    config = MMERConfig.from_pretrained(folder)
    assert config.text_train == "frozen"
    assert config.classifies_words


def test_a_model_that_only_listens_answers_by_its_share(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path
) -> None:
    """In every form in which a model answers."""
    recipe = tiny(*FUNCTIONALS, "training.epochs=1", "model.fusion=speech", "objectives.ctc_weight=0")
    said = Console(file=io.StringIO(), width=200)
    folder = train(recipe, tmp_path / "run", console=said).model_folder
    assert isinstance(said.file, io.StringIO)
    few = "note: with 18 recordings, 99% of the answer comes from a linear classifier of functionals\n"
    assert few in said.file.getvalue()
    recognizer = EmotionRecognizer.from_pretrained(folder, device="cpu")
    model, corpus = recognizer.model, Corpus.read(tones)
    assert isinstance(model, MMERForEmotionRecognition)
    assert model.functionals_classifier is not None
    share = 2600 / (2600 + 18)
    assert model.config.functionals_share == pytest.approx(share)
    utterance = TrainingUtterance.of(corpus)[0]
    store = FeatureStore(MMERProcessor.from_pretrained(folder))
    batch = store.processor.collate([store(utterance)], [None])
    with torch.no_grad():
        network = model.classifier(model(**batch).fused_embedding)[0]
        functionals = model.functionals_classifier(batch["input_features"][0, 0, -147:])
    expected = ((1 - share) * network + share * functionals).softmax(dim=0)
    answer = recognizer(corpus.table["audio_path"].iloc[0])
    assert answer.probabilities is not None
    found = [answer.probabilities[label] for label in recognizer.labels]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_a_model_of_the_version_before_gives_both_the_same_share() -> None:
    assert MMERConfig.from_dict({"classifies_functionals": True}).functionals_share == 0.5
    assert MMERConfig.from_dict({"classifies_functionals": False}).functionals_share == 0.0


def test_the_network_learns_to_be_right_alone(tiny: Callable[..., Recipe], tones: Path) -> None:
    """Its gradients are those of a network without the classifier."""
    corpus = Corpus.read(tones)
    model, processor, store = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    said = TrainingUtterance.of(corpus)[:6]
    batch = processor.collate([store(each) for each in said], [each.transcript for each in said])
    labels = torch.tensor([processor.labels.index(each.emotion) for each in said])
    gradients = []
    for fitted in (False, True):
        if fitted:
            fit_linear_classifiers(model, store, corpus, {})
        model.eval().zero_grad()
        model(**batch, labels=labels).loss.backward()
        assert model.classifier.weight.grad is not None
        gradients.append(model.classifier.weight.grad.clone())
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def test_a_model_trained_further_is_fitted_anew_with_the_labels_it_has_now(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path
) -> None:
    corpus = Corpus.read(tones)
    first = corpus.select((corpus.table["emotion"] != "angry").to_numpy())
    first.write(tmp_path / "first.parquet")
    recipe = tiny(*FUNCTIONALS, "training.epochs=1", corpus=tmp_path / "first.parquet")
    start = train(recipe, tmp_path / "run", console=Console(quiet=True)).model_folder
    again = tiny(
        *FUNCTIONALS, "training.epochs=1", f"model.start_from={start}", "training.average_with_start=0.5"
    )
    folder = train(again, tmp_path / "again", console=Console(quiet=True)).model_folder
    before, after = (MMERForEmotionRecognition.from_pretrained(each) for each in (start, folder))
    assert before.functionals_classifier is not None
    assert after.functionals_classifier is not None
    assert before.functionals_classifier.weight.shape == (2, 147)
    assert after.config.functionals_share == before.config.functionals_share
    assert after.functionals_classifier.weight.shape == (3, 147)
    assert after.functionals_classifier.weight[0].abs().max() > 1e-3  # angry
    recognizer = EmotionRecognizer.from_pretrained(folder, device="cpu")
    assert recognizer.labels == ["angry", "calm", "sad"]


@pytest.mark.parametrize("rehearses", [True, False])
def test_a_model_that_learns_one_more_voice_keeps_what_others_taught(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path, rehearses: bool
) -> None:
    corpus = Corpus.read(tones)
    is_new = (corpus.table["speaker"] == "D").to_numpy()
    first, one_voice = tmp_path / "first.parquet", tmp_path / "voice.parquet"
    corpus.select(~is_new).write(first)
    corpus.select(is_new).write(one_voice)
    short = [*FUNCTIONALS, "training.epochs=1", "protocol.no_test=true", "protocol.test=[]"]
    short += ["protocol.validation=0", "protocol.selection=last"]
    short += ["model.fusion=speech", "objectives.ctc_weight=0"]
    start = train(tiny(*short, corpus=first), tmp_path / "run", console=Console(quiet=True)).model_folder
    settings = [*short, f"model.start_from={start}", "training.average_with_start=0.5"]
    if rehearses:
        settings.append(f"data.rehearsal={first}")
    said = Console(file=io.StringIO())
    again = train(tiny(*settings, corpus=one_voice), tmp_path / "again", console=said)
    assert isinstance(said.file, io.StringIO)
    assert "of the answer comes from" not in said.file.getvalue()  # the share is that of the first training
    before, after = (
        MMERForEmotionRecognition.from_pretrained(each).functionals_classifier.weight.numpy()
        for each in (start, again.model_folder)
    )
    store = FeatureStore(MMERProcessor.from_pretrained(again.model_folder))
    together, alone = (expected(store, each).coef_ for each in (corpus, corpus.select(is_new)))
    if rehearses:  # 27 of before weigh less than four times as much as 9
        assert alike(after, together) > 1 - 1e-6
    else:
        assert 1e-3 < np.linalg.norm(after - before) < np.linalg.norm(before) / 2
        assert alike(after, before) > alike(after, alone)
