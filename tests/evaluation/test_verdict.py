"""What figures mean: each sentence and each advice only where the numbers support it."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer.display.terminal import PlainConsole
from mmer.evaluation.intervals import Interval, interval
from mmer.evaluation.metrics import Metrics, compute_metrics
from mmer.evaluation.modalities import ModalityFigures
from mmer.evaluation.verdict import Code, Training, judge_figures, verdict_text
from mmer.recipe.schema import Recipe, load_recipe

LABELS = ["angry", "happy", "sad"]


def figures(right: float, *, each: int = 40) -> Metrics:
    """Figures of utterances of three emotions, of which this share is right and the rest taken for the next one."""
    truth, answers = list[str](), list[str]()
    for place, label in enumerate(LABELS):
        hits = round(right * each)
        truth += [label] * each
        answers += [label] * hits + [LABELS[(place + 1) % 3]] * ((each - hits) // 2)
        answers += [LABELS[(place + 2) % 3]] * (each - hits - (each - hits) // 2)
    return compute_metrics(truth, answers, LABELS)


def between(low: float | None, high: float | None, clusters: int = 12) -> Interval:
    return Interval(0.5, low, high, 0.95, clusters, "speaker")


def recipe(**model: object) -> Recipe:
    return load_recipe(
        "compact",
        ["model.fusion=mmer", *(f"model.{name.replace('__', '.')}={value}" for name, value in model.items())],
    )


def training(**changes: object) -> Training:
    return replace(Training(recipe(), 20, figures(0.95), rising=False, epochs=30), **changes)  # type: ignore[arg-type]


def sides(both: float, speech: float, text: float) -> dict[str, ModalityFigures]:
    def side(score: float) -> ModalityFigures:
        return ModalityFigures(
            utterances=120,
            accuracy=score,
            balanced_accuracy=score,
            macro_f1=score,
            weighted_f1=score,
            intervals={},
        )

    return {"both": side(both), "speech": side(speech), "text": side(text)}


@pytest.mark.parametrize(
    ("right", "found", "against"),
    [
        (0.8, between(0.6, 0.9), "better"),
        (0.5, between(0.2, 0.7), "unclear"),
        (0.5, between(1 / 3, 0.7), "unclear"),
        (0.5, between(None, None, 2), "higher"),
        (0.5, None, "higher"),
        (0.2, between(0.1, 0.4), "no better"),
        (0.2, None, "no better"),
    ],
)
def test_against_guessing(right: float, found: Interval | None, against: str) -> None:
    verdict = judge_figures(figures(right), found)
    assert verdict.against == against
    assert verdict.chance == pytest.approx(1 / 3)
    assert f"{1 / 3:.1%}" in verdict.sentences[0]


@pytest.mark.parametrize(
    ("known", "modalities", "right", "codes"),
    [
        (training(), None, 0.9, ["compare_baseline"]),
        (training(speakers=9), None, 0.9, ["few_speakers"]),
        (training(speakers=10), None, 0.9, ["compare_baseline"]),
        (training(rising=True), None, 0.9, ["score_rising"]),
        (training(figures=figures(0.35), rising=True), None, 0.9, ["nothing_learned"]),
        (training(recipe=recipe(fusion="speech")), None, 0.3, ["speech_at_chance", "weak_emotion"]),
        (
            training(recipe=recipe(fusion="speech", speech__normalization="speaker")),
            None,
            0.3,
            ["weak_emotion"],
        ),
        (training(speakers=4), None, 0.6, ["voices_differ", "few_speakers"]),
        (training(speakers=4, recipe=recipe(start_from="run/model")), None, 0.6, []),
        (training(speakers=4, recipe=recipe(start_from="m", fusion="speech")), None, 0.3, ["weak_emotion"]),
        (training(recipe=recipe(speech__normalization="speaker")), None, 0.6, ["compare_baseline"]),
        (training(recipe=recipe(fusion="text")), None, 0.6, ["compare_baseline"]),
        (training(speakers=30), None, 0.6, ["compare_baseline"]),
        (training(), sides(0.9, 0.3, 0.9), 0.9, ["speech_at_chance", "text_alone"]),
        (training(), sides(0.9, 0.91, 0.6), 0.9, ["speech_alone"]),
        (training(), sides(0.9, 0.7, 0.6), 0.9, ["compare_baseline"]),
        (training(figures=figures(0.95, each=29)), None, 0.9, ["few_utterances"]),
        (training(figures=figures(0.95, each=30)), None, 0.9, ["compare_baseline"]),
        (None, None, 0.9, []),
    ],
)
def test_advice_only_where_the_numbers_support_it(
    known: Training | None, modalities: dict[str, ModalityFigures] | None, right: float, codes: list[Code]
) -> None:
    verdict = judge_figures(figures(right), between(0.4, 0.99), modalities=modalities, training=known)
    assert [advice.code for advice in verdict.advices] == codes


def test_an_emotion_found_as_often_as_taken_for_another_is_not_weak() -> None:
    even = figures(1 / 3, each=39)
    assert even.confusion_matrix[0] == [13, 13, 13]
    assert judge_figures(even, between(0.1, 0.5)).advices == ()


def test_the_emotion_to_record_is_the_rarest_one_if_there_is_one() -> None:
    rarer = compute_metrics([*LABELS * 5, LABELS[0]], [*LABELS * 5, LABELS[0]], [*LABELS[1:], LABELS[0]])
    for trained, told in (
        (figures(0.95, each=20), "Record more of each emotion: training had 20 utterances of each emotion."),
        (rarer, f"Record more of the emotion {LABELS[1]}: training had 5 utterances of it."),
    ):
        advised = judge_figures(figures(0.9), between(0.4, 0.99), training=training(figures=trained)).advices
        assert [advice.text for advice in advised] == [told]


def test_advice_tells_its_figures() -> None:
    voices, *_ = judge_figures(figures(0.6), between(0.4, 0.99), training=training(speakers=4)).advices
    assert voices.text.endswith(": the model has 95.0% on the speakers of training, 60.0% on others.")
    weak = judge_figures(figures(0.3), between(0.1, 0.5), training=training(recipe=recipe(fusion="speech")))
    assert weak.advices[-1].text == (
        f"Listen to the utterances labeled {LABELS[0]}: 30.0% are recognized, more are taken for {LABELS[1]}."
    )


def test_few_tested_speakers_and_no_known_ones() -> None:
    few = judge_figures(figures(0.9), between(None, None, 1))
    assert [advice.code for advice in few.advices] == ["few_tested_speakers"]
    assert "cross-validation" not in few.advices[0].text  # of a model whose training is not known
    trained = judge_figures(figures(0.9), between(None, None, 1), training=training())
    assert "such as by cross-validation" in trained.advices[0].text
    assert few.sentences[-1] == "This rests on 120 utterances of 1 speaker."
    unknown = judge_figures(figures(0.9), between(None, None, 0))
    assert (unknown.advices, unknown.sentences[-1]) == (
        (),
        "This rests on 120 utterances whose speakers are not known.",
    )


def test_where_all_answers_are_the_same_no_label_is_doubted() -> None:
    found = compute_metrics(["sad", "sad", "calm", "calm"], ["sad"] * 4, ["calm", "sad"])
    assert judge_figures(found, None).advices == ()


def test_a_single_emotion_is_not_compared_with_guessing() -> None:
    found = compute_metrics(["sad"] * 4, ["calm"] * 3 + ["sad"], ["calm", "sad"])
    first, *_ = judge_figures(found, None).sentences
    assert (
        first
        == "Every utterance is sad, so that the balanced accuracy of 25.0% cannot be compared with guessing."
    )


def test_figures_of_training_are_told() -> None:
    found = compute_metrics(["sad", "calm"] * 2, ["sad", "calm"] * 2, ["calm", "sad"])
    said = judge_figures(found, None, in_training=3).sentences
    assert (
        said[-1]
        == "This rests on 4 utterances whose speakers are not known, 3 of which the model was trained on."
    )


def test_a_label_is_never_markup() -> None:
    found = compute_metrics(["[red]x[/red]"] * 3 + ["y"], ["[red]x[/red]"] * 4, ["[red]x[/red]", "y"])
    file = io.StringIO()
    PlainConsole(file=file, width=300).print(verdict_text(judge_figures(found, None)))
    assert "Always answering [red]x[/red] is right for 75.0% of the utterances" in file.getvalue()


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 60))
def test_any_figures_have_a_verdict(seed: int, speakers: int, utterances: int) -> None:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "emotion": rng.choice(LABELS, utterances),
            "predicted": rng.choice(LABELS, utterances),
            "speaker": rng.integers(speakers, size=utterances).astype(str),
        }
    )
    found = compute_metrics(table["emotion"].tolist(), table["predicted"].tolist(), LABELS)
    verdict = judge_figures(found, interval(table, labels=LABELS))
    assert len(verdict.advices) <= 3
    assert len(verdict.sentences) == 3
    if verdict.against == "better":
        assert verdict.balanced_accuracy > verdict.chance
