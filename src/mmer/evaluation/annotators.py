"""Comparison of predictions with the votes of annotators, and of annotators with each other.

Raters often perceive different emotions in one utterance. Here a vote is a distribution: a rater who gives several
labels splits the vote among them, and the annotators' distribution is the mean of the votes. A model is judged by the
distance of its probabilities from that distribution. For the human ceiling, each rater is judged against the other
raters; for a fair comparison, the model is also judged against the same other raters.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import entropy

from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import canonical
from mmer.display.terminal import Table
from mmer.errors import CorpusError, MMERError
from mmer.plain_text import counted
from mmer.text.names import meant

Floats = NDArray[np.float64]

_CREMA_D = {"A": "angry", "D": "disgusted", "F": "fearful", "H": "happy", "N": "neutral", "S": "sad"}
_SELF_REPORT = re.compile(r"[FM]\d+")  # actors among the raters of IEMOCAP
_LEAST = 1e-12  # lower bound of a probability, so that its logarithm is finite


@dataclass(frozen=True)
class SoftLabels:
    """Votes of annotators as distributions over classes.

    Attributes:
        utterance_ids: every utterance of the corpus.
        labels: the classes.
        distributions: (utterances, classes), mean vote of the raters, adding up to 1; NaN where nobody voted.
        votes: (votes, classes), each adding up to 1.
        utterance_of_vote: (votes,) row of `distributions`.
        left_out: each label outside the classes, as released -> how often it was given.
        without_vote: number of raters who gave only such labels; they do not count.
    """

    utterance_ids: list[str]
    labels: list[str]
    distributions: Floats
    votes: Floats
    utterance_of_vote: NDArray[np.intp]
    left_out: dict[str, int]
    without_vote: int


def soft_labels(
    corpus: Corpus, labels: Sequence[str], label_map: Mapping[str, str] | None = None
) -> SoftLabels:
    """Read the column `votes`.

    Args:
        corpus: `votes` holds JSON, rater -> labels as released.
        labels: the classes; other labels do not count. A vote is for the class of its name, or for the canonical
            emotion that it is another name of.
        label_map: new name of an emotion, by its canonical name or as released, as `{"excited": "happy"}`.

    Raises:
        CorpusError: there are no votes, votes are not such JSON, or no vote is for any of the classes.
    """
    votes_column = corpus.table["votes"] if "votes" in corpus.table else pd.Series(dtype=object)
    if votes_column.isna().all():
        raise CorpusError(
            f"{corpus.source}: has no votes of annotators; the column votes is missing or empty"
        )
    places = {label: place for place, label in enumerate(labels)}
    votes: list[Floats] = []
    owners: list[int] = []
    left_out: Counter[str] = Counter()
    without_vote = 0
    released_as = corpus.table["corpus"].tolist()
    for row, text in enumerate(votes_column):
        if pd.isna(text):
            continue
        codes = _CREMA_D if released_as[row] == "crema-d" else {}
        for rater, given in _parsed(text, corpus, row).items():
            if released_as[row] == "iemocap" and _SELF_REPORT.fullmatch(rater):
                continue
            vote = np.zeros(len(labels))
            for label in given:
                place = places.get(_emotion(label, labels, codes, label_map or {}) or "")
                if place is None:
                    left_out[label] += 1
                else:
                    vote[place] += 1
            if vote.any():
                votes.append(vote / vote.sum())
                owners.append(row)
            else:
                without_vote += 1
    if not votes:
        found = ", ".join(sorted(left_out)) or "none"
        raise CorpusError(f"{corpus.source}: no vote is for {', '.join(labels)}; its labels are {found}")
    matrix, utterance_of_vote = np.array(votes), np.array(owners)
    totals, counts = (
        np.zeros((len(corpus), len(labels))),
        np.bincount(utterance_of_vote, minlength=len(corpus)),
    )
    np.add.at(totals, utterance_of_vote, matrix)
    with np.errstate(invalid="ignore"):
        distributions = totals / counts[:, None]
    return SoftLabels(
        utterance_ids=corpus.table["utterance_id"].tolist(),
        labels=list(labels),
        distributions=distributions,
        votes=matrix,
        utterance_of_vote=utterance_of_vote,
        left_out=dict(left_out.most_common()),
        without_vote=without_vote,
    )


@dataclass(frozen=True, kw_only=True)
class AnnotatorFigures:
    """Distances of a model from the annotators, and of annotators from each other.

    Attributes:
        model: over the utterances with a vote, `cross_entropy` (nats), `jensen_shannon` (divergence, bits, 0 to 1),
            `soft_accuracy` (how often a random rater agrees with the most probable emotion), `brier` (squared
            distance, 0 to 2), and `entropy` of the annotators (nats), the lower bound of the cross-entropy.
        human: over the utterances with two or more raters, each rater against the others: `jensen_shannon`,
            `soft_accuracy`, `brier`, `accuracy` and `balanced_accuracy` against the label most of the others gave (tied
            labels share). An utterance counts once, however many raters it has. None where no utterance has two.
        model_against_others: the same figures for the model, against the same other raters.
        utterances, votes: numbers of judged utterances and of votes.
        rated_twice: number of utterances with two or more raters.
        left_out, without_vote: of `SoftLabels`.
    """

    model: Mapping[str, float]
    human: Mapping[str, float] | None
    model_against_others: Mapping[str, float] | None
    utterances: int
    rated_twice: int
    votes: int
    left_out: Mapping[str, int]
    without_vote: int


def judge_by_annotators(predictions: pd.DataFrame, soft: SoftLabels) -> AnnotatorFigures | None:
    """Judge probabilities against the annotators, and each annotator against the others.

    Args:
        predictions: columns `utterance_id`, `predicted` and `probability_<emotion>` for each of `soft.labels`; rows
            without an answer are skipped.
        soft: the votes.

    Returns:
        The figures; None where no answered utterance has a vote.

    Raises:
        MMERError: the predictions have no probabilities of a class.
    """
    columns = [f"probability_{label}" for label in soft.labels]
    if missing := [name for name in columns if name not in predictions]:
        raise MMERError(
            f"the predictions have no column {missing[0]}, so they cannot be held against annotators"
        )
    answered = predictions.dropna(subset=["predicted"]).set_index("utterance_id")
    rows = answered.index.get_indexer(pd.Index(soft.utterance_ids))
    judged = (rows >= 0) & ~np.isnan(soft.distributions[:, 0])
    if not judged.any():
        return None
    probabilities = np.full(soft.distributions.shape, np.nan)
    probabilities[judged] = answered[columns].to_numpy(float)[rows[judged]]
    truth, answer = soft.distributions[judged], probabilities[judged]
    even = np.full(len(truth), 1 / len(truth))
    model = {
        "cross_entropy": float(-(truth * np.log(np.maximum(answer, _LEAST))).sum(axis=1).mean()),
        **_distances(truth, answer, even),
        "entropy": float(np.mean(entropy(truth, axis=1))),
    }
    counts = np.bincount(soft.utterance_of_vote, minlength=len(judged))
    owner = soft.utterance_of_vote
    kept = (judged & (counts > 1))[owner]
    owner, votes = owner[kept], soft.votes[kept]
    human = against = None
    if len(owner):
        raters = counts[owner][:, None]
        others = (soft.distributions[owner] * raters - votes) / (raters - 1)
        others = np.maximum(others, 0)  # rounding
        weights = 1 / counts[owner]
        weights /= weights.sum()
        human = _distances(others, votes, weights) | _majority(others, votes, weights)
        certain = _most(probabilities[owner])
        against = _distances(others, probabilities[owner], weights) | _majority(others, certain, weights)
    return AnnotatorFigures(
        model=model,
        human=human,
        model_against_others=against,
        utterances=int(judged.sum()),
        rated_twice=int((judged & (counts > 1)).sum()),
        votes=int(counts[judged].sum()),
        left_out=soft.left_out,
        without_vote=soft.without_vote,
    )


def annotator_table(judged: AnnotatorFigures) -> Table:
    """Return a table of the figures."""
    table = Table(
        title=f"Against {counted(judged.votes, 'vote')} of annotators on {counted(judged.utterances, 'utterance')}",
        title_justify="left",
    )
    table.add_column("")
    model, human, against = judged.model, judged.human, judged.model_against_others
    table.add_column("model, all raters", justify="right")
    if human:
        table.add_column("model, one rater left out", justify="right")
        table.add_column("that rater", justify="right")
    for name, heading, form in _SHOWN:
        systems = (model, against, human) if human and against else (model,)
        cells = [form.format(system[name]) if name in system else "" for system in systems]
        table.add_row(heading, *cells)
    return table


_SHOWN = (
    ("soft_accuracy", "agrees with a random rater", "{:.1%}"),
    ("accuracy", "agrees with most raters", "{:.1%}"),
    ("balanced_accuracy", "the same, mean of emotions", "{:.1%}"),
    ("jensen_shannon", "Jensen-Shannon divergence (bits)", "{:z.3f}"),
    ("brier", "Brier score", "{:z.3f}"),
    ("cross_entropy", "cross-entropy (nats)", "{:z.3f}"),
    ("entropy", "entropy of the raters (nats)", "{:z.3f}"),
)


def _parsed(text: str, corpus: Corpus, row: int) -> dict[str, list[str]]:
    try:
        votes = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        votes = None
    if not isinstance(votes, dict) or not all(
        isinstance(given, list) and all(isinstance(label, str) for label in given) for given in votes.values()
    ):
        name = corpus.table["utterance_id"].iloc[row]
        raise CorpusError(f'{corpus.source}: votes of {name!r} are not of the form {{"rater": ["label"]}}')
    return votes


def _emotion(
    label: str, classes: Sequence[str], codes: Mapping[str, str], label_map: Mapping[str, str]
) -> str | None:
    """Map a released label to its class."""
    if label in label_map:
        return label_map[label]
    try:
        name = codes.get(label) or meant(label, classes) or canonical(label)
    except CorpusError:  # not known, so none of the classes
        return None
    return label_map.get(name, name) if name else None


def _distances(truth: Floats, answer: Floats, weights: Floats) -> dict[str, float]:
    """Compare distributions, both (rows, classes), with the weight of each row."""
    shared = entropy((truth + answer) / 2, base=2, axis=1)
    divergence = shared - (entropy(truth, base=2, axis=1) + entropy(answer, base=2, axis=1)) / 2
    agreed = truth * _most(answer)
    return {
        "jensen_shannon": float(weights @ np.maximum(divergence, 0)),
        "soft_accuracy": float(weights @ agreed.sum(axis=1)),
        "brier": float(weights @ ((truth - answer) ** 2).sum(axis=1)),
    }


def _majority(truth: Floats, answer: Floats, weights: Floats) -> dict[str, float]:
    """Compare answers with the most frequent class, both (rows, classes), with the weight of each row."""
    truth = weights[:, None] * _most(truth)
    right, total = (truth * answer).sum(axis=0), truth.sum(axis=0)
    present = total > 0
    return {
        "accuracy": float(right.sum()),
        "balanced_accuracy": float((right[present] / total[present]).mean()),
    }


def _most(distributions: Floats) -> Floats:
    """Return one-hot rows of the most probable class; tied classes share equally."""
    tied = distributions >= distributions.max(axis=1, keepdims=True) - 1e-9
    return tied / tied.sum(axis=1, keepdims=True)
