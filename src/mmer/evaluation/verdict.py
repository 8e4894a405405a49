"""What the figures of a model mean, in two or three sentences: against guessing, on how much, and what to try next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rich.console import Group
from rich.text import Text

from mmer.evaluation.intervals import Interval
from mmer.evaluation.metrics import Metrics
from mmer.evaluation.modalities import ModalityFigures
from mmer.plain_text import counted
from mmer.recipe.schema import Recipe

Code = Literal[
    "nothing_learned",
    "score_rising",
    "speech_at_chance",
    "voices_differ",
    "few_speakers",
    "few_tested_speakers",
    "text_alone",
    "speech_alone",
    "few_utterances",
    "weak_emotion",
    "compare_baseline",
]
Against = Literal["better", "higher", "unclear", "no better"]

FEW_SPEAKERS = 10
"""Speakers in training below which more speakers are advised."""
FEW_TESTED = 5
"""Tested speakers below which an interval is rough."""
SEVERAL_CLIPS = 5
"""Training utterances of a speaker from which normalizing per speaker is advised."""
FEW_UTTERANCES = 30
"""Training utterances of an emotion below which more of it are advised."""

_SHOWN = 3  # advices
_LEARNED = 0.1  # by how much a model that has learned anything beats guessing on its training utterances


@dataclass(frozen=True)
class Advice:
    """One thing to try next.

    Attributes:
        code: the reason.
        text: what to try and the figures behind it, a sentence.
    """

    code: Code
    text: str


@dataclass(frozen=True)
class Training:
    """What is known of the training behind figures.

    Attributes:
        recipe: its recipe.
        speakers: how many the model was trained on.
        figures: of the training utterances; None where they were not judged.
        rising: whether the last epoch had a better score than all before it.
        epochs: passes over the training utterances; None where the folds differ.
    """

    recipe: Recipe
    speakers: int
    figures: Metrics | None
    rising: bool
    epochs: int | None


@dataclass(frozen=True)
class Verdict:
    """What figures mean.

    Attributes:
        balanced_accuracy, accuracy: of the model, 0 to 1.
        chance: balanced accuracy of guessing, 1 / emotions that occur.
        most_frequent: the most frequent emotion; its share is the accuracy of always answering it.
        most_frequent_share: 0 to 1.
        interval: of the balanced accuracy; None where speakers are not known.
        against: guessing. `better` where the interval is above `chance`, `unclear` where it includes it, `higher`
            where there is no interval and the figure is above.
        utterances, speakers: what the figures rest on; 0 speakers if not known.
        in_training: how many of the utterances the model was trained on.
        advices: most likely to help first, at most three.
    """

    balanced_accuracy: float
    accuracy: float
    chance: float
    most_frequent: str
    most_frequent_share: float
    interval: Interval | None
    against: Against
    utterances: int
    speakers: int
    in_training: int
    advices: tuple[Advice, ...]

    @property
    def sentences(self) -> list[str]:
        """The comparison with guessing, and what it rests on."""
        found = self.interval
        between = ""
        if found is not None and found.low is not None and found.high is not None:
            between = f" ({found.confidence:.0%} interval {found.low:.1%} to {found.high:.1%})"
        judged = {
            "better": f"is better than guessing, {self.chance:.1%}",
            "higher": f"is above guessing, {self.chance:.1%}, but no interval shows that this holds for other speakers",
            "unclear": f"is not shown to be better than guessing, {self.chance:.1%}, which the interval includes",
            "no better": f"is no better than guessing, {self.chance:.1%}",
        }[self.against]
        first = f"The balanced accuracy of {self.balanced_accuracy:.1%}{between} {judged}."
        if self.chance == 1:
            first = (
                f"Every utterance is {self.most_frequent}, so that the balanced accuracy of "
                f"{self.balanced_accuracy:.1%} cannot be compared with guessing."
            )
        second = (
            f"Always answering {self.most_frequent} is right for {self.most_frequent_share:.1%} of the utterances, "
            f"the model for {self.accuracy:.1%}."
        )
        who = f"of {counted(self.speakers, 'speaker')}" if self.speakers else "whose speakers are not known"
        seen = f", {self.in_training} of which the model was trained on" if self.in_training else ""
        return [first, second, f"This rests on {counted(self.utterances, 'utterance')} {who}{seen}."]


def chance_of(figures: Metrics) -> float:
    """Return the balanced accuracy of guessing: 1 / emotions that occur in the truth."""
    return 1 / sum(share is not None for share in figures.recall.values())


def judge_figures(
    figures: Metrics,
    interval: Interval | None,
    *,
    modalities: Mapping[str, ModalityFigures] | None = None,
    training: Training | None = None,
    in_training: int = 0,
    constant: bool = False,
) -> Verdict:
    """Say what figures mean.

    Args:
        figures: of the utterances that were judged.
        interval: of their balanced accuracy.
        modalities: of `by_modality`.
        training: None where it is not known, or for a baseline.
        in_training: how many of the utterances the model was trained on.
        constant: whether each fold answers all of its utterances the same, as with the baseline `majority`.
    """
    counts = dict(zip(figures.labels, map(sum, figures.confusion_matrix), strict=True))
    most_frequent = max(counts, key=lambda label: counts[label])
    chance, speakers = chance_of(figures), interval.clusters if interval is not None else 0
    against: Against = "higher" if figures.balanced_accuracy > chance else "no better"
    if against == "higher" and interval is not None and interval.low is not None:
        against = "better" if interval.low > chance else "unclear"
    advices = [
        *(_training(figures, training, modalities, chance) if training else []),
        *_tested(speakers, training),
        *_sides(modalities),
        *(_rare(training.figures) if training and training.figures else []),
        *([] if constant else _weak(figures)),
    ]
    if not advices and training and training.recipe.model.start_from is None:
        advices = [
            Advice("compare_baseline", "Compare it with the classical baseline egemaps on the same folds.")
        ]
    return Verdict(
        balanced_accuracy=figures.balanced_accuracy,
        accuracy=figures.accuracy,
        chance=chance,
        most_frequent=most_frequent,
        most_frequent_share=counts[most_frequent] / figures.utterances,
        interval=interval,
        against=against,
        utterances=figures.utterances,
        speakers=speakers,
        in_training=in_training,
        advices=tuple(advices[:_SHOWN]),
    )


def verdict_text(verdict: Verdict) -> Group:
    """Make the paragraph and the list that a terminal shows."""
    lines = [Text("Verdict", style="bold"), Text(" ".join(verdict.sentences))]
    if verdict.advices:
        lines.append(Text("To try next:"))
        lines += [Text(f"  {place}. {each.text}") for place, each in enumerate(verdict.advices, 1)]
    return Group(*lines)


def _training(
    figures: Metrics, training: Training, modalities: Mapping[str, ModalityFigures] | None, chance: float
) -> list[Advice]:
    """Advice from how training went."""
    advices, recipe, trained = list[Advice](), training.recipe, training.figures
    longer = f"Train for more epochs than {training.epochs} (training.epochs)"
    if trained is not None and trained.balanced_accuracy < chance_of(trained) + _LEARNED:
        text = f"{longer}: on its own training utterances the model has {trained.balanced_accuracy:.1%}."
        advices.append(Advice("nothing_learned", text))
    elif training.rising:
        text = f"{longer}: the last epoch was the best one."
        advices.append(Advice("score_rising", text))
    if (
        recipe.model.start_from is not None
    ):  # its features stay as they are, and it knows more speakers than these
        return advices
    speech: float | None = None
    if recipe.model.fusion == "speech":
        speech = figures.balanced_accuracy
    elif modalities is not None:
        speech = modalities["speech"].balanced_accuracy
    if speech is not None and speech <= chance and recipe.model.speech.normalization != "speaker":
        text = (
            f"Normalize the sound per speaker (model.speech.normalization=speaker): from the sound alone the model has "
            f"{speech:.1%}, which is no better than guessing."
        )
        advices.append(Advice("speech_at_chance", text))
    elif (
        recipe.model.speech.normalization == "corpus"
        and recipe.model.fusion != "text"
        and trained is not None
        and trained.utterances >= SEVERAL_CLIPS * training.speakers
        and trained.balanced_accuracy >= figures.balanced_accuracy + _LEARNED
    ):
        text = (
            f"Normalize the sound per speaker (model.speech.normalization=speaker), if each speaker will have several "
            f"clips in use too: the model has {trained.balanced_accuracy:.1%} on the speakers of training, "
            f"{figures.balanced_accuracy:.1%} on others."
        )
        advices.append(Advice("voices_differ", text))
    if training.speakers < FEW_SPEAKERS:
        gap = ""
        if trained is not None and trained.balanced_accuracy > figures.balanced_accuracy:
            gap = f", on whose utterances the balanced accuracy is {trained.balanced_accuracy:.1%}"
        text = f"Record more speakers: training had {training.speakers}{gap}."
        advices.append(Advice("few_speakers", text))
    return advices


def _tested(speakers: int, training: Training | None) -> list[Advice]:
    """Advice where few of the speakers that there are were tested."""
    if not 0 < speakers < FEW_TESTED or (training and training.speakers <= speakers):
        return []
    how = ", such as by cross-validation" if training else ""
    text = f"Test on at least {FEW_TESTED} speakers{how}: these figures are of {speakers}."
    return [Advice("few_tested_speakers", text)]


def _sides(modalities: Mapping[str, ModalityFigures] | None) -> list[Advice]:
    """Advice where one side alone does as well as both."""
    if modalities is None:
        return []
    score = {name: found.balanced_accuracy for name, found in modalities.items()}
    if score["text"] >= score["both"] and score["text"] >= score["speech"]:
        text = (
            f"Improve the speech side, such as with a pretrained speech encoder: the words alone have "
            f"{score['text']:.1%}, both together {score['both']:.1%}."
        )
        return [Advice("text_alone", text)]
    if score["speech"] >= score["both"]:
        text = (
            f"Check whether the words say anything about the emotion: the sound alone has {score['speech']:.1%}, "
            f"both together {score['both']:.1%}."
        )
        return [Advice("speech_alone", text)]
    return []


def _rare(trained: Metrics) -> list[Advice]:
    counts = dict(zip(trained.labels, map(sum, trained.confusion_matrix), strict=True))
    label = min(counts, key=lambda each: counts[each])
    if counts[label] >= FEW_UTTERANCES:
        return []
    what, of_it = f"the emotion {label}", "it"
    if len(counts) > 1 and set(counts.values()) == {counts[label]}:
        what = of_it = "each emotion"
    found = counted(counts[label], "utterance")
    return [Advice("few_utterances", f"Record more of {what}: training had {found} of {of_it}.")]


def _weak(figures: Metrics) -> list[Advice]:
    """Advice on the emotion that is found least, where it is found less often than it is taken for another one.

    Where all answers are the same, as of the baseline `majority`, its label is not what is wrong.
    """
    if sum(map(any, zip(*figures.confusion_matrix, strict=True))) == 1:
        return []
    known = {label: share for label, share in figures.recall.items() if share is not None}
    label = min(known, key=lambda each: known[each])
    row = dict(zip(figures.labels, figures.confusion_matrix[figures.labels.index(label)], strict=True))
    other = max((each for each in row if each != label), key=lambda each: row[each], default=None)
    if other is None or row[other] <= row[label]:
        return []
    found = f"{known[label]:.1%} are recognized, more are taken for {other}"
    text = f"Listen to the utterances labeled {label}: {found}."
    return [Advice("weak_emotion", text)]
