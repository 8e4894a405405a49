"""Folds test each group once and keep speakers apart, or say why they cannot."""

import hashlib
import json
from pathlib import Path

import pytest
from corpora.speaker_tables import SESSIONS, corpus
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.folds import Fold, Folds, identify, make_folds, quoted, shown_folds
from mmer.corpora.protocol.splits import assign_splits
from mmer.errors import CorpusError
from mmer.text.names import alike


def sides(folds: Folds, table: Corpus, name: str) -> Corpus:
    fold = folds.folds[name]
    return assign_splits(table, group=folds.group, test=fold.test, validation=list(fold.validation))


@pytest.mark.parametrize("emotion", [None, "sad"])
def test_utterances_without_an_emotion_are_drawn_too(emotion: str | None) -> None:
    speakers = [speaker for speaker in "abcdef" for _ in range(4)]
    table = corpus(speakers, emotion=[emotion, None, emotion, None] * 6)
    tested = [set(fold.test) for fold in make_folds(table, 3, validation=0).folds.values()]
    assert sorted(map(len, tested)) == [2, 2, 2]
    assert set.union(*tested) == set("abcdef")


@settings(max_examples=50)
@given(
    speakers=st.lists(st.sampled_from("abcdefghi"), min_size=12, max_size=40),
    emotions=st.lists(st.sampled_from(["angry", "sad", "calm"]), min_size=40, max_size=40),
    speakers_of_a_session=st.integers(1, 2),
    number=st.sampled_from(["leave-one-out", 2, 3, 4]),
    validation=st.integers(0, 2),
    seed=st.integers(0, 5),
)
def test_folds_are_a_partition_that_keeps_speakers_apart(
    speakers: list[str],
    emotions: list[str],
    speakers_of_a_session: int,
    number: int | str,
    validation: int,
    seed: int,
) -> None:
    sessions = ["abcdefghi".index(speaker) // speakers_of_a_session for speaker in speakers]
    table = corpus(speakers, emotion=emotions[: len(speakers)], session=[str(each) for each in sessions])
    groups = set(table.table["session"])
    if len(groups) < 3 or (isinstance(number, int) and len(groups) < number):
        return
    tested = [
        fold.test
        for fold in make_folds(table, number, group="session", validation=0, seed=seed).folds.values()
    ]
    if len(groups) - max(map(len, tested)) <= validation > 0:
        with pytest.raises(CorpusError, match="too few"):
            make_folds(table, number, group="session", validation=validation, seed=seed)
        return
    folds = make_folds(table, number, group="session", validation=validation, seed=seed)
    assert folds == make_folds(table, number, group="session", validation=validation, seed=seed)
    assert len(folds.folds) == (number if isinstance(number, int) else len(groups))
    tested = [group for fold in folds.folds.values() for group in fold.test]
    assert sorted(tested) == sorted(groups)
    for name, fold in folds.folds.items():
        assert len(fold.validation) == validation
        assigned = sides(folds, table, name).table
        assert set(assigned["session"][assigned["split"] == "test"]) == set(fold.test)
        assert set(assigned["session"][assigned["split"] == "validation"]) == set(fold.validation)
        assert (assigned.groupby("speaker")["split"].nunique() == 1).all()


def test_drawn_folds_are_alike_in_size_and_emotions() -> None:
    # Eight speakers of 4 to 32 utterances; every other one is never sad.
    speakers = [name for i, name in enumerate("abcdefgh") for _ in range(4 * (i + 1))]
    emotions = ["sad" if name in "bdfh" and i % 2 else "calm" for i, name in enumerate(speakers)]
    table = corpus(speakers, emotion=emotions)
    drawn = [make_folds(table, 2, seed=seed) for seed in range(8)]
    for folds in drawn:
        for fold in folds.folds.values():
            rows = table.table[table.table["speaker"].isin(fold.test)]
            assert 56 <= len(rows) <= 88  # of 144
            assert 0.15 <= (rows["emotion"] == "sad").mean() <= 0.4  # of all: 40 / 144
    assert len({frozenset(fold.test for fold in folds.folds.values()) for folds in drawn}) > 1


def test_each_group_validates_in_the_fold_before_its_own() -> None:
    folds = make_folds(corpus(list("abcd")), "leave-one-out", validation=2).folds
    assert {name: (fold.test, fold.validation) for name, fold in folds.items()} == {
        "a": (("a",), ("b", "c")),
        "b": (("b",), ("c", "d")),
        "c": (("c",), ("d", "a")),
        "d": (("d",), ("a", "b")),
    }


def test_groups_that_differ_in_case_alone_have_folders_of_their_own_where_case_does_not_count() -> None:
    table = corpus(list("abc"), utterance_id=["Call-1", "call-1", "call-2"])
    folds = make_folds(table, "leave-one-out", group="utterance_id").folds
    assert [fold.test for fold in folds.values()] == [("Call-1",), ("call-1",), ("call-2",)]
    assert len({name.casefold() for name in folds}) == 3
    assert "call-2" in folds


def test_the_seed_draws_the_order_in_which_groups_validate() -> None:
    table = corpus(list("abcdef"))
    folds = {seed: make_folds(table, "leave-one-out", seed=seed).folds for seed in range(4)}
    assert all(list(each) == list("abcdef") for each in folds.values())
    orders = {tuple(fold.validation for fold in each.values()) for each in folds.values()}
    assert len(orders) > 2
    for order in orders:  # still each group once
        assert sorted(order) == [(name,) for name in "abcdef"]


def test_folds_by_session_are_validated_by_speakers_of_other_sessions(tmp_path: Path) -> None:
    table = corpus(SESSIONS["speakers"], session=SESSIONS["session"])
    made = [
        make_folds(table, "leave-one-out", group="session", validation_group="speaker", seed=seed)
        for seed in range(9)
    ]
    for name, fold in made[0].folds.items():
        (validator,) = fold.validation
        assert fold.test == (name,)
        assert not validator.startswith(name)
    assert len({tuple(fold.validation for fold in each.folds.values()) for each in made}) > 4
    file = tmp_path / "folds.json"
    file.write_text(json.dumps(made[0].content()))
    assert Folds.read(file) == made[0]
    assert "validation_group" not in make_folds(table, "leave-one-out").content()


def test_speakers_that_need_not_be_kept_apart_need_not_be_known() -> None:
    table = corpus([None] * 6, emotion=["sad", "calm"] * 3, dialogue=list("aabbcc"))
    folds = make_folds(table, "leave-one-out", group="dialogue", speakers_apart=False).folds
    assert [fold.test for fold in folds.values()] == [("a",), ("b",), ("c",)]
    drawn = make_folds(
        table, 3, group="dialogue", validation_group="utterance_id", speakers_apart=False
    ).folds
    assert all(len(fold.validation) == 1 for fold in drawn.values())
    with pytest.raises(CorpusError, match="6 of 6 utterances have no speaker"):
        make_folds(table, "leave-one-out", group="dialogue")


class TestOfficialFolds:
    def test_are_those_of_the_fold_column(self) -> None:
        table = corpus(list("abcd"), fold=["1", "1", "2", "3"], split=["train", "train", "test", "train"])
        folds = make_folds(table, "official")
        assert folds.group == "fold"
        assert folds.folds == {
            "1": Fold(("1",), ("2",)),
            "2": Fold(("2",), ("3",)),
            "3": Fold(("3",), ("1",)),
        }

    def test_or_the_split_column(self) -> None:
        folds = make_folds(corpus(list("abc"), split=["train", "validation", "test"]), "official")
        assert (folds.group, folds.folds) == ("split", {"official": Fold(("test",), ("validation",))})

    def test_or_there_are_none(self) -> None:
        with pytest.raises(
            CorpusError, match="no official folds, its fold column is empty and its split column"
        ):
            make_folds(corpus(list("abc"), split=["train", "train", "validation"]), "official")


@pytest.mark.parametrize(
    ("speakers", "arguments", "expected"),
    [
        (list("aa"), {"folds": "leave-one-out"}, "has one speaker, a; a cross-validation needs two"),
        (
            list("ab"),
            {"folds": 3, "group": "utterance_id"},
            "has 2 values of 'utterance_id' and at most 2 utterances of an emotion, too few",
        ),
        (list("ab"), {"folds": 3}, "has 2 speakers and at most 2 utterances of an emotion, too few for 3 folds"),
        (list("abc"), {"folds": 3, "validation": 2}, "2 speakers besides the tested, too few for 2 to validate"),
        (
            list("abc"),
            {"folds": "leave-one-out", "group": "utterance_id", "validation": 2, "validation_group": "speaker"},
            "2 speakers besides the tested, too few for 2 to validate",
        ),
        (["a", None], {"folds": 2}, "1 of 2 utterances has no speaker"),
        (list("abc"), {"folds": 2, "group": "Speaker"}, "no column 'Speaker' to group by, the nearest is 'speaker'"),
    ],
)  # fmt: skip
def test_folds_that_cannot_be_made(
    speakers: list[str | None], arguments: dict[str, object], expected: str
) -> None:
    table = corpus(speakers, emotion=["sad"] * len(speakers))
    with pytest.raises(CorpusError) as caught:
        make_folds(table, **arguments)  # pyright: ignore[reportArgumentType]
    assert str(caught.value).startswith("table: ")
    assert expected in str(caught.value)


class TestFileOfFolds:
    table = corpus(list("abc"))

    def write(self, path: Path, content: object) -> Path:
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def test_is_read_back_and_hashed(self, tmp_path: Path) -> None:
        folds = make_folds(self.table, "leave-one-out")
        content = folds.content()
        path = self.write(tmp_path / "folds.json", content)
        read = Folds.read(path)
        assert read == folds
        read.check_corpus(self.table, path)
        # The corpus and the folds themselves, by hand: JSON without blanks, keys sorted.
        ids = hashlib.sha256(b'[["u0","a"],["u1","b"],["u2","c"]]').hexdigest()
        assert identify(self.table) == {"utterances": 3, "sha256": ids}
        fold = '"{0}":{{"removed":[],"test":["{0}"],"validation":["{1}"]}}'.format
        listed = ",".join((fold("a", "b"), fold("b", "c"), fold("c", "a")))
        text = f'{{"corpus":{{"sha256":"{ids}","utterances":3}},"folds":{{{listed}}},"group":"speaker","version":1}}'
        assert content["sha256"] == hashlib.sha256(text.encode()).hexdigest()

    def test_that_was_changed_is_refused(self, tmp_path: Path) -> None:
        content = make_folds(self.table, "leave-one-out").content()
        content["folds"]["a"]["test"] = ["b"]
        with pytest.raises(CorpusError, match="was changed after it was written"):
            Folds.read(self.write(tmp_path / "folds.json", content))

    def test_of_a_later_version_is_refused(self, tmp_path: Path) -> None:
        content = make_folds(self.table, "leave-one-out").content() | {"version": 2}
        with pytest.raises(CorpusError, match="is of version 2, this mmer reads 1"):
            Folds.read(self.write(tmp_path / "folds.json", content))

    def test_of_another_corpus_is_refused(self) -> None:
        folds = make_folds(self.table, "leave-one-out")
        for other in (corpus(list("abd")), corpus(list("abcc"))):
            with pytest.raises(
                CorpusError, match=r"folds\.json: its folds are of another corpus, 3 utterances with"
            ):
                folds.check_corpus(other, "folds.json")
        folds.check_corpus(Corpus(self.table.table.iloc[::-1]), "folds.json")

    def test_that_is_something_else_is_refused(self, tmp_path: Path) -> None:
        for content in (
            {"folds": {}},
            [],
            {"sha256": "", "group": "g", "corpus": {}, "folds": {"a": {"tests": []}}},
        ):
            with pytest.raises(CorpusError, match=r"not a file of folds; name the folds\.json"):
                Folds.read(self.write(tmp_path / "folds.json", content))
        with pytest.raises(CorpusError, match=r"cannot read the folds .*nowhere\.json: No such file"):
            Folds.read(tmp_path / "nowhere.json")


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), min_size=2, unique=True
    )
)
@example(["a/b", "a%2Fb"])
@example(["Anna", "anna"])
@example([f"{200 * 'a'}", f"{200 * 'a'}b", f"{200 * 'ä'}b", f"{200 * 'ä'}c", f"{'a/' * 150}b"])
def test_names_of_folds_are_names_of_folders(names: list[str]) -> None:
    similar = alike(names)
    folders = [quoted(name, hashed=name in similar) for name in names]
    assert len({folder.casefold() for folder in folders}) == len(names)
    for name in folders:
        assert Path(name).name == name
        assert len(name.encode()) <= 200
        assert not set(name) & set('/\\:*?"<>|,\n\0')


def test_a_long_name_is_shown_by_its_beginning_where_that_tells_folds_apart() -> None:
    apart = [quoted("a" * 250), quoted("b/" * 150)]
    assert list(shown_folds(apart).values()) == ["a" * 160, "b/" * 40]
    alike = [quoted("a" * 250), quoted("a" * 251)]
    assert shown_folds(alike) == {name: name for name in alike}
