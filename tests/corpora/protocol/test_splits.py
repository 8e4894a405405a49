"""Splits keep speakers apart, or say why they cannot."""

import csv
from difflib import SequenceMatcher
from pathlib import Path

import pandas as pd
import pytest
from corpora.speaker_tables import SESSIONS, corpus
from hypothesis import example, given
from hypothesis import strategies as st

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.splits import (
    assign_splits,
    groups_of,
    said_in_test,
    shared_speakers,
    shared_transcripts,
)
from mmer.corpora.tables import read_table, write_table
from mmer.errors import CorpusError


def splits(corpus: Corpus) -> dict[str, set[str]]:
    return {str(split): set(rows) for split, rows in corpus.table.groupby("split")["speaker"]}


def test_groups_are_named_alike_in_every_format() -> None:
    table = corpus("abcdef").table
    values = {
        "batch": [1.0, 2.0, None, 0.5, 1.0, 2.0],
        "tags": [["x"], ["x"], None, ["y", "z"], ["x"], ["x"]],
    }
    named = Corpus(table.assign(**values))
    assert groups_of(named, "batch").tolist() == ["1", "2", None, "0.5", "1", "2"]
    assert groups_of(named, "tags").tolist() == ["['x']", "['x']", None, "['y', 'z']", "['x']", "['x']"]


@given(
    speakers=st.lists(st.sampled_from("abcdefg"), min_size=20, max_size=40),
    test=st.sets(st.sampled_from("abcdefg"), min_size=1, max_size=3),
    validation=st.integers(0, 2),
    seed=st.integers(0, 5),
)
def test_every_speaker_is_on_one_side(
    speakers: list[str], test: set[str], validation: int, seed: int
) -> None:
    present = set(speakers)
    test &= present
    if not test or len(present) - len(test) <= validation:
        return
    table = corpus(speakers)
    sides = splits(assign_splits(table, test=sorted(test), validation=validation, seed=seed))
    assert sides["test"] == test
    assert len(sides.get("validation", ())) == validation
    assert set.union(*sides.values()) == present
    assert sum(map(len, sides.values())) == len(present)
    again = splits(assign_splits(table, test=sorted(test), validation=validation, seed=seed))
    assert again == sides
    assert table.table["split"].isna().all()


def test_the_seed_draws_the_validation_groups() -> None:
    table = corpus(list("abcdefgh"))
    drawn = {
        tuple(splits(assign_splits(table, test=["a"], validation=2, seed=i))["validation"]) for i in range(9)
    }
    assert len(drawn) > 3


def test_a_draw_stays_that_of_recorded_runs() -> None:
    names = [chr(ord("a") + number) for number in range(26)]  # a set of them has an order by chance
    drawn = splits(assign_splits(corpus(names[::-1]), test=["a"], validation=2, seed=3))["validation"]
    assert drawn == {"d", "u"}


def test_a_group_that_is_tested_in_part_does_not_validate() -> None:
    table = corpus(list("abcd"), split=["train", "test", "train", "train"], session=list("1123"))
    drawn = [splits(assign_splits(table, group="session", seed=seed))["validation"] for seed in range(20)]
    assert set().union(*drawn) == {"c", "d"}


def test_sessions_and_named_groups() -> None:
    table = corpus(["1F", "1M", "2F", "2M", "3F"], session=["1", "1", "2", "2", "3"])
    assigned = assign_splits(table, group="session", test=["1"], validation=["3"])
    assert splits(assigned) == {"test": {"1F", "1M"}, "train": {"2F", "2M"}, "validation": {"3F"}}


def test_speakers_of_training_sessions_validate_without_their_session() -> None:
    table = corpus(SESSIONS["speakers"], session=SESSIONS["session"])
    drawn = set()
    for seed in range(20):
        assigned = assign_splits(
            table, group="session", test=["1"], validation=1, validation_group="speaker", seed=seed
        )
        found = splits(assigned)
        assert found["test"] == {"1F", "1M"}
        assert len(found["train"]) == 3
        drawn |= found["validation"]
    assert drawn == {"2F", "2M", "3F", "3M"}
    named = assign_splits(table, group="session", test=["1"], validation=["3M"], validation_group="speaker")
    assert splits(named) == {"test": {"1F", "1M"}, "train": {"2F", "2M", "3F"}, "validation": {"3M"}}
    with pytest.raises(CorpusError, match="speaker 1F is named for both validation and test"):
        assign_splits(table, group="session", test=["1"], validation=["1F"], validation_group="speaker")


def test_one_message_says_what_two_speakers_allow() -> None:
    with pytest.raises(CorpusError) as caught:
        assign_splits(corpus(["a", "b"]), test=["a"], validation=1)
    assert str(caught.value) == (
        "table: has 1 speaker besides the tested, too few for 1 to validate and one to train; "
        "keep the last epoch without validation: protocol.validation=0 and protocol.selection=last"
    )


class TestCopies:
    """Augmented copies, which `source_utterance` names, stay on the side of their original."""

    speakers: tuple[str, ...] = ("a", "a", "b", "b higher")

    def test_a_copy_under_another_name_is_refused(self) -> None:
        table = corpus(self.speakers, source_utterance=[None, "u0", None, "u2"])
        assert splits(assign_splits(table, test=["a"], validation=0))["test"] == {"a"}
        with pytest.raises(CorpusError) as caught:
            assign_splits(table, test=["b"], validation=0)
        assert str(caught.value) == (
            "table: u3 and u2 are copies of one utterance (source_utterance) and in test and train "
            "(1 such utterance); give copies the speaker and the split of their original"
        )

    def test_two_copies_of_a_recording_that_is_not_there(self) -> None:
        table = corpus(["a", "b"], split=["train", "test"], source_utterance=["x", "x"])
        with pytest.raises(CorpusError, match="u1 and u0 are copies of one utterance"):
            assign_splits(table, validation=0, speakers_apart=False)

    @pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
    def test_ids_that_are_numbers(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"table.{suffix}"
        corpus(["a", "b"], split=["train", "test"]).write(path)
        table = read_table(path).assign(
            utterance_id=["12", "13"], source_utterance=pd.Series([None, 12], dtype="Int64")
        )
        write_table(table, path)
        with pytest.raises(CorpusError, match="13 and 12 are copies of one utterance"):
            assign_splits(Corpus.read(path), validation=0)

    def test_copies_in_no_split(self) -> None:
        table = corpus(["a", "b", "c"], split=["train", None, "test"], source_utterance=[None, "u0", None])
        assert assign_splits(table, validation=0).table["split"].tolist() == ["train", None, "test"]


class TestOwnSplits:
    speakers: tuple[str, ...] = ("a", "b", "c", "d")

    def test_are_used_as_they_are(self) -> None:
        table = corpus(self.speakers, split=["train", "validation", "test", None])
        assigned = assign_splits(table, validation=2)
        assert assigned.table["split"].tolist() == ["train", "validation", "test", None]

    def test_without_validation_some_is_drawn(self) -> None:
        table = corpus(self.speakers, split=["train", "train", "test", None])
        sides = splits(assign_splits(table, validation=1, seed=3))
        assert sides["test"] == {"c"}
        assert len(sides["validation"]) == len(sides["train"]) == 1

    def test_validation_is_drawn_without_a_test_split(self) -> None:
        sides = splits(assign_splits(corpus(self.speakers, split=["train"] * 4), validation=1))
        assert {name: len(speakers) for name, speakers in sides.items()} == {"train": 3, "validation": 1}

    def test_nothing_is_drawn_where_nothing_trains(self) -> None:
        table = corpus(self.speakers, split=["test", "test", None, None])
        assert assign_splits(table, validation=1).table["split"].tolist() == ["test", "test", None, None]

    def test_validation_may_be_named(self) -> None:
        table = corpus(self.speakers, split=["train", "train", "test", None])
        sides = splits(assign_splits(table, validation=["b"]))
        assert sides == {"train": {"a"}, "validation": {"b"}, "test": {"c"}}

    def test_speakers_need_not_be_known(self) -> None:
        table = corpus([None, None], split=["train", "validation"])
        assert assign_splits(table).table["split"].tolist() == ["train", "validation"]


@pytest.mark.parametrize(
    ("speakers", "columns", "arguments", "expected"),
    [
        (list("abc"), {}, {}, "the split column is empty; name some of its speakers (a, b, c)"),
        (list("aaa"), {}, {}, "has one speaker, a, and no other to test on; record another, fill in the split column"),
        (list("abc"), {}, {"test": ["B"]}, "no speaker 'B'; it has a, b, c"),
        (["Anna", "Bo"], {}, {"test": ["Ana"]}, "no speaker 'Ana', the nearest is 'Anna'"),
        (
            ["anna,ben", "Bo"],
            {},
            {"test": ["anna", "ben"]},
            "it has Bo, anna,ben; put a name with commas, brackets or quotation marks into quotation marks",
        ),
        (list("abc"), {}, {"test": ["a"], "validation": ["x"]}, "no speaker 'x'"),
        (list("abc"), {}, {"test": ["a"], "validation": ["a"]}, "speaker a is named for both validation and test"),
        (list("abc"), {}, {"test": ["a"], "validation": 2}, "2 speakers besides the tested, too few for 2 to validate"),
        (list("abc"), {}, {"test": ["a"], "group": "dialog"}, "no column 'dialog' to group by; its columns are utt"),
        (
            list("abab"),
            {"dialogue": ["1", "1", "2", "2"]},
            {"test": ["1"], "group": "dialogue", "validation": 0},
            "speaker a is in test and train (2 such speakers); a speaker must be on one side "
            "(protocol.speakers_apart=false accepts the split as it is)",
        ),
        (["a", None, "b"], {}, {"test": ["a"]}, "has no speaker, so speakers cannot be kept apart"),
        (
            ["a", None, "b"],
            {"split": ["train", "train", "test"]},
            {"validation": 1},
            "1 of 3 utterances has no speaker",
        ),
        (list("abc"), {}, {"test": ["1"], "group": "session"}, "3 of 3 utterances have no session"),
        (
            list("aba"),
            {"session": ["1", "1", "2"]},
            {"test": ["1"], "group": "session", "validation": 0},
            "speaker a is in test and train (1 such speaker)",
        ),
        (list("aab"), {"split": ["train", "validation", "test"]}, {}, "speaker a is in train and validation"),
    ],
)  # fmt: skip
def test_refused(
    speakers: list[str | None],
    columns: dict[str, list[str | None]],
    arguments: dict[str, object],
    expected: str,
) -> None:
    with pytest.raises(CorpusError) as caught:
        assign_splits(corpus(speakers, **columns), **arguments)  # pyright: ignore[reportArgumentType]
    assert str(caught.value).startswith("table: ")
    assert expected in str(caught.value)


def test_shared_speakers_can_be_accepted() -> None:
    table = corpus(list("aab"), split=["train", "test", "test"])
    kept = assign_splits(table, validation=0, speakers_apart=False)
    assert list(kept.table["split"]) == ["train", "test", "test"]
    assert shared_speakers(kept) == {"test": 0.5}


def test_what_is_in_no_split_stays_there_and_the_notes_stay() -> None:
    table = corpus(list("aabbcc"), split=["train", None, "train", None, "test", None])
    table.notes.append("2 recordings are not there")
    for validation in (["a"], 1):
        assigned = assign_splits(table, validation=validation)
        assert assigned.table["split"].isna().tolist() == [False, True] * 3
        assert sorted(assigned.table["split"].dropna()) == ["test", "train", "validation"]
        assert assigned.notes == table.notes


def test_speakers_that_are_not_kept_apart_may_validate_and_be_tested() -> None:
    table = corpus(list("aabb"), split=["train", "test"] * 2)
    splits = assign_splits(table, validation=1, speakers_apart=False).table["split"].tolist()
    assert splits in (["validation", "test", "train", "test"], ["train", "test", "validation", "test"])


@pytest.mark.parametrize("validation", [["a"], 1])
def test_whoever_may_be_a_speaker_of_another_split_is_refused(validation: list[str] | int) -> None:
    table = corpus(["a", "b", None, "c"], split=["train", "train", "train", "test"])
    with pytest.raises(CorpusError, match="1 of 4 utterances has no speaker, so speakers cannot be kept"):
        assign_splits(table, validation=validation)
    by_session = corpus(["a", None, "b"], session=list("112"))
    with pytest.raises(CorpusError, match="1 of 3 utterances has no speaker, so speakers cannot be kept"):
        assign_splits(by_session, group="session", test=["1"], validation=0)


def test_without_a_test() -> None:
    table = corpus(list("abc"), split=["test", None, "train"])
    assert set(assign_splits(table, no_test=True, validation=0).table["split"]) == {"train"}
    assert set(assign_splits(corpus(list("abc")), no_test=True, validation=0).table["split"]) == {"train"}


def test_shared_transcripts() -> None:
    table = corpus(
        list("aabbbc"),
        split=["train", "train", "test", "test", "test", "validation"],
        transcript=["Oh, no!", "Yes.", "oh no [LAUGHTER]", "Maybe", None, "no"],
    )
    assert shared_transcripts(table) == {"validation": 0.0, "test": 0.5}
    assert shared_transcripts(corpus(["a"], split=["train"])) == {}


def test_shared_transcripts_of_meld(shared: Path) -> None:
    rows = []
    for split, name in {"train": "train", "dev": "validation", "test": "test"}.items():
        with open(
            shared / "corpora" / "meld_text" / f"{split}_sent_emo.csv", encoding="utf-8", newline=""
        ) as file:
            rows += [(name, row["Utterance"]) for row in csv.DictReader(file)]
    table = corpus([None] * len(rows), split=[row[0] for row in rows], transcript=[row[1] for row in rows])
    assert shared_transcripts(table) == {"validation": 170 / 1109, "test": 404 / 2610}


words = st.lists(st.sampled_from(["no", "oh", "yes", "go", "we"]), max_size=6).map(" ".join)


@given(
    texts=st.lists(st.one_of(st.none(), words, words.map(str.upper)), min_size=6, max_size=14),
    threshold=st.sampled_from([0.5, 0.8, 1.0]),
)
@example(texts=["oh yes no", "no oh no"], threshold=0.5)  # alike only where the second one is searched for
@example(texts=["no no no oh", "oh no yes no"], threshold=0.5)  # exactly, and in one direction alone
@example(texts=["oh no yes no", "no no no oh"], threshold=0.5)
def test_said_in_test_is_what_comparing_all_pairs_finds(texts: list[str | None], threshold: float) -> None:
    split = [("train", "test", "validation")[i % 3] for i in range(len(texts))]
    table = corpus(["a"] * len(texts), split=split, transcript=texts)

    def alike(a: str, b: str) -> bool:
        pairs = ((a.lower().split(), b.lower().split()), (b.lower().split(), a.lower().split()))
        return any(SequenceMatcher(None, *pair, autojunk=False).ratio() >= threshold for pair in pairs)

    test = [text for text, side in zip(texts, split, strict=True) if side == "test" and text is not None]
    expected = [
        side != "test" and text is not None and any(alike(text, other) for other in test)
        for text, side in zip(texts, split, strict=True)
    ]
    assert said_in_test(table, threshold).tolist() == expected
