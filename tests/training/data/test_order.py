"""Which utterances share a batch."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmer.recipe.values import Order
from mmer.training.data.order import EpochSampler

LENGTHS = [7, 1, 5, 3, 9, 2, 8, 4, 6, 10] * 4
EMOTIONS = ["angry", "sad"] * 20
SPEAKERS = [f"s{i // 10}" for i in range(40)]


def sampler(order: Order, seed: int = 0) -> EpochSampler:
    return EpochSampler(order, emotions=EMOTIONS, speakers=SPEAKERS, lengths=LENGTHS, batch_size=4, seed=seed)


@pytest.mark.parametrize("order", ["shuffled", "by_length", "balanced"])
def test_an_order_is_a_permutation_that_changes_with_epoch_and_seed(order: Order) -> None:
    made = sampler(order)
    first = list(made)
    assert sorted(first) == list(range(40))
    assert list(made) == first
    made.set_epoch(1)
    assert list(made) != first
    assert list(sampler(order, seed=1)) != first


@pytest.mark.parametrize("order", ["shuffled", "by_length"])
def test_emotions_of_odd_numbers_add_nothing(order: Order) -> None:
    made = EpochSampler(
        order,
        emotions=["a", "a", "a", "b", "c"],
        speakers=[None] * 5,
        lengths=[3, 1, 2, 5, 4],
        batch_size=2,
        seed=0,
    )
    assert len(made) == 5
    assert sorted(made) == list(range(5))


@pytest.mark.parametrize(
    ("order", "drawn"),
    [
        ("shuffled", [2, 1, 3, 0, 4, 5]),
        ("by_length", [3, 1, 2, 0, 4, 5]),
        ("balanced", [1, 5, 0, 4, 3, 1, 4, 2]),
    ],
)
def test_an_order_stays_that_of_recorded_runs(order: Order, drawn: list[int]) -> None:
    made = EpochSampler(
        order,
        emotions=["sad", "angry"] * 3,
        speakers=["A", "A", "B", "B", "A", "B"],
        lengths=[3, 1, 2, 6, 5, 4],
        batch_size=2,
        seed=3,
    )
    made.set_epoch(2)
    assert list(made) == drawn


def test_a_balanced_order_depends_on_nothing_but_the_alphabetical_order_of_the_emotions() -> None:
    emotions = [chr(ord("a") + number) for number in range(26)] * 2  # a set of them has an order by chance
    drawn = [
        list(
            EpochSampler(
                "balanced", emotions=names, speakers=[None] * 52, lengths=[1] * 52, batch_size=4, seed=0
            )
        )
        for names in (emotions, [f"{name}{name}" for name in emotions])
    ]
    assert drawn[0] == drawn[1]


def test_order_by_length_saves_padding() -> None:
    lengths = torch.randint(10, 100, (256,), generator=torch.Generator().manual_seed(0)).tolist()

    def padded(order: Order) -> int:
        made = EpochSampler(
            order, emotions=["sad"] * 256, speakers=[None] * 256, lengths=lengths, batch_size=8, seed=0
        )
        drawn = list(made)
        batches = [[lengths[i] for i in drawn[start : start + 8]] for start in range(0, 256, 8)]
        return sum(max(batch) * len(batch) for batch in batches)

    assert padded("by_length") < 1.15 * sum(lengths) < padded("shuffled")


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", "z", None])), min_size=1, max_size=60
    ),
    st.integers(0, 5),
    st.sampled_from([2, 4, 16]),
)
def test_balanced_gives_every_utterance_a_positive(
    rows: list[tuple[str, str | None]], epoch: int, size: int
) -> None:
    emotions, speakers = [row[0] for row in rows], [row[1] for row in rows]
    made = EpochSampler(
        "balanced", emotions=emotions, speakers=speakers, lengths=[1] * len(rows), batch_size=size, seed=0
    )
    made.set_epoch(epoch)
    drawn = list(made)
    assert len(drawn) == len(made)
    counts = Counter(drawn)
    assert set(counts) == set(range(len(rows)))
    for emotion, members in Counter(emotions).items():
        twice = sum(counts[i] - 1 for i in range(len(rows)) if emotions[i] == emotion)
        assert twice == members % 2
    for start in range(0, len(drawn), size):
        found = Counter(emotions[i] for i in drawn[start : start + size])
        assert min(found.values()) > 1
    for emotion in set(emotions):
        said = Counter(speaker or "" for each, speaker in rows if each == emotion)
        if 2 * max(said.values()) <= said.total():
            for first, second in zip(drawn[::2], drawn[1::2], strict=True):
                if emotions[first] == emotion:
                    assert speakers[first] != speakers[second]


def test_balanced_keeps_the_shares_of_the_emotions() -> None:
    emotions = ["a"] * 600 + ["b"] * 300 + ["c"] * 60
    made = EpochSampler(
        "balanced", emotions=emotions, speakers=[None] * 960, lengths=[1] * 960, batch_size=32, seed=0
    )
    drawn = np.array([emotions[i] for i in made]).reshape(-1, 32)
    assert (np.abs((drawn == "a").sum(axis=1) - 20) <= 2).all()
    assert (np.abs((drawn == "b").sum(axis=1) - 10) <= 2).all()
    assert (np.abs((drawn == "c").sum(axis=1) - 2) <= 2).all()
