"""The audit of speakers, words and copies: documented figures, a slow reference, cases made by hand."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from mmer.corpora.audit.audit import audit
from mmer.corpora.audit.findings import Audit
from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.overlap import similarity
from mmer.corpora.readers.meld import read_meld
from mmer.errors import CorpusError
from mmer.text.transcripts import normalize_transcript


def corpus(count: int, **columns: Sequence[Any]) -> Corpus:
    ids = [f"u{number}" for number in range(count)]
    return Corpus(pd.DataFrame({"utterance_id": ids, "audio_path": None, **columns}), source="table")


def page(found: Audit, width: int = 160) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(found)
    return capture.get()


@pytest.fixture(scope="module")
def meld(shared: Path) -> Corpus:
    return read_meld(shared / "corpora" / "meld_text")


@pytest.fixture(scope="module")
def found(meld: Corpus) -> Audit:
    return audit(meld)


class TestMELD:
    """Figures of the corpus as documented."""

    def test_speakers_and_dialogues(self, found: Audit) -> None:
        test = found.folds["test"]
        assert test.test_utterances == 2610
        assert test.train_utterances == 9989
        assert test.speaker_overlap == 2501 / 2610
        assert test.counts["speaker_overlap"] == [2501, 2610]
        assert test.dialogue_overlap == 0.0

    def test_transcripts(self, found: Audit) -> None:
        test, validation = found.folds["test"], found.folds["validation"]
        assert test.transcript_overlap == 404 / 2610
        by_words = {"2": 141 / 2307, "3": 69 / 2117, "4": 28 / 1904, "5": 9 / 1705}
        assert test.transcript_overlap_by_words == by_words
        assert validation.transcript_overlap == 170 / 1109
        rounded = {
            length: round(share or 0, 4) for length, share in validation.transcript_overlap_by_words.items()
        }
        assert rounded == {"2": 0.0604, "3": 0.0292, "4": 0.0088, "5": 0.0028}
        assert found.total.counts["transcript_overlap"] == [404 + 170, 2610 + 1109]
        assert found.transcripts.repeated == 375
        assert found.transcripts.ambiguous == 207

    def test_what_the_leak_is_worth(self, found: Audit) -> None:
        test = found.folds["test"]
        assert test.lookup_accuracy == 247 / 404
        assert round(test.lookup_accuracy or 0, 3) == 0.611
        assert round(test.majority_accuracy or 0, 3) == 0.488
        assert test.lookup_gain == (247 - 197) / 2610

    @pytest.mark.parametrize(
        ("sides", "tested", "leaked"),
        [
            ({"test": "test", "train": "train", "validation": "train"}, 2610, 409),
            ({"test": "test", "train": None, "validation": "train"}, 2610, 262),
            ({"test": "train", "train": "test", "validation": None}, 9989, 1183),
        ],
    )
    def test_other_sides(self, meld: Corpus, sides: dict[str, str | None], tested: int, leaked: int) -> None:
        table = meld.table.assign(split=meld.table["split"].map(sides))
        found = audit(Corpus(table))
        assert found.folds["test"].counts["transcript_overlap"] == [leaked, tested]

    def test_distinct_transcripts(self, meld: Corpus) -> None:
        for split, distinct, redundant in (
            ("train", 8658, 1331),
            ("validation", 1021, 88),
            ("test", 2342, 268),
        ):
            table = meld.table[meld.table["split"] == split]
            found = audit(Corpus(table.assign(split=["train"] + ["test"] * (len(table) - 1))))
            assert found.transcripts.distinct == distinct
            assert found.transcripts.redundant == redundant

    def test_sound_is_not_known(self, found: Audit) -> None:
        for figures in (*found.folds.values(), found.total):
            assert figures.audio_overlap is figures.near_audio_overlap is figures.copy_overlap is None
        assert found.clips.read == 0

    def test_the_page(self, found: Audit) -> None:
        text = page(found)
        assert "95.8%" in text
        assert "15.5%" in text
        assert "61.1%" in text
        assert "test: not known: augmented copies, recordings" in text
        assert len(text.splitlines()) < 60

    def test_a_terminal_of_80_columns_cuts_nothing_off(self, found: Audit) -> None:
        text = page(found, 80)
        assert "…" not in text
        for heading in ("utterances", "speaker", "dialogue", "words", "nearly", "transcripts", "of"):
            assert heading in text.partition("emotion ")[0]

    def test_columns_stand_apart(self, found: Audit) -> None:
        rows = [line for line in page(found, 80).splitlines() if line.split()[:1] == ["test"]]
        assert [len(row.split()) for row in rows[:2]] == [6, 4]


rows = st.lists(
    st.fixed_dictionaries(
        {
            "speaker": st.sampled_from(["a", "b", "c", None]),
            "session": st.sampled_from(["1", "2", "3"]),
            "split": st.sampled_from(["train", "train", "test", "validation", None]),
            "transcript": st.sampled_from(
                [
                    "Yes!",
                    "yes",
                    "No.",
                    "I do not know",
                    "I do not know you",
                    "do not know I",
                    "",
                    None,
                    "[LAUGHTER]",
                ]
            ),
            "emotion": st.sampled_from(["sad", "happy", None]),
            "dialogue": st.sampled_from(["d1", "d2", "d3", None]),
            "source_utterance": st.sampled_from(["u0", "u1", "elsewhere", None, None]),
        }
    ),
    min_size=2,
    max_size=14,
)


def slow_figures(table: list[dict[str, Any]], test: list[int], train: list[int]) -> dict[str, Any]:
    """The figures of a fold as one would work them out by hand."""

    def share(hits: list[bool]) -> float | None:
        return sum(hits) / len(hits) if hits else None

    def seen(value: Any) -> float | None:
        trained = {value(table[row]) for row in train} - {None}
        return (
            share([value(table[row]) in trained for row in test if value(table[row]) is not None])
            if trained
            else None
        )

    def text(row: dict[str, Any]) -> str | None:
        return None if row["transcript"] is None else normalize_transcript(row["transcript"])

    def original(row: dict[str, Any]) -> str:
        passed, name = set(), row["utterance_id"]
        made_from = {other["utterance_id"]: other["source_utterance"] for other in table}
        while made_from.get(name) and name not in passed:
            passed.add(name)
            name = made_from[name]
        return name

    said = [said_ for row in train if (said_ := text(table[row])) is not None]
    long = [said_ for row in test if (said_ := text(table[row])) is not None and len(said_.split()) >= 3]
    counts = Counter(table[row]["emotion"] for row in train if table[row]["emotion"])
    most = max(sorted(counts), key=lambda emotion: counts[emotion], default=None)
    labeled = [row for row in test if table[row]["emotion"]]
    right = []
    for row in labeled:
        emotions = [
            table[other]["emotion"]
            for other in train
            if table[other]["emotion"]
            and text(table[other]) is not None
            and text(table[other]) == text(table[row])
        ]
        if emotions:
            guess = Counter(emotions).most_common(1)[0][0]
            right.append((guess == table[row]["emotion"], most == table[row]["emotion"]))
    gain = sum(lookup - majority for lookup, majority in right)
    return {
        "speaker_overlap": seen(lambda row: row["speaker"]),
        "dialogue_overlap": seen(lambda row: row["dialogue"]),
        "transcript_overlap": seen(text),
        "near_transcript_overlap": share(
            [any(similarity(one, other) >= 0.8 for other in said) for one in long]
        )
        if said
        else None,
        "copy_overlap": seen(original),
        "lookup_accuracy": share([lookup for lookup, _ in right]),
        "majority_accuracy": share([majority for _, majority in right]),
        "lookup_gain": gain / len(labeled) if labeled else None,
    }


@settings(max_examples=15)
@given(table=rows)
def test_equals_a_slow_reference(table: list[dict[str, Any]]) -> None:
    for number, row in enumerate(table):
        row["utterance_id"] = f"u{number}"
    made = Corpus(pd.DataFrame(table).assign(audio_path=None))
    for by in ("split", "session", "speaker"):
        names = [row[by] for row in table]
        present = set(names) - {None}
        if len(present) < 2 or (by == "split" and "train" not in present):
            continue
        found = audit(made, by)
        assert list(found.folds) == sorted(present - {"train"} if by == "split" else present)
        for fold, figures in found.folds.items():
            test = [row for row, name in enumerate(names) if name == fold]
            others = [row for row, name in enumerate(names) if name not in (fold, None)]
            train = [row for row in others if by != "split" or names[row] == "train"]
            expected = slow_figures(table, test, train)
            assert {name: getattr(figures, name) for name in expected} == expected
            assert figures.test_utterances == len(test)
            assert figures.train_utterances == len(train)
        json.dumps(found.content())
        page(found)


class TestHandMade:
    def test_a_copy_of_a_test_utterance_leaks(self) -> None:
        """u1 was made from u0, u2 from u1; u4 was made from u3."""
        made_from = [None, "u0", "u1", None, "u3", None]
        splits = ["test", "validation", "train", "train", "test", "test"]
        folds = audit(corpus(6, split=splits, source_utterance=made_from)).folds
        assert folds["test"].copy_overlap == 2 / 3
        assert folds["validation"].copy_overlap == 1.0
        sentence = "test: 66.7% of the utterances (2 of 3) have an augmented copy in training"
        found = audit(corpus(6, split=splits, source_utterance=made_from))
        assert any(said.startswith(sentence) for said in found.verdict)

    def test_ids_that_are_numbers(self, tmp_path: Path) -> None:
        """In a CSV file the column of sources is one of numbers, and of floats where some have none."""
        (tmp_path / "corpus.csv").write_text(
            "utterance_id,audio_path,split,source_utterance\n1,,test,\n2,,train,1\n3,,test,\n"
        )
        assert audit(Corpus.read(tmp_path / "corpus.csv")).folds["test"].copy_overlap == 0.5

    @pytest.mark.parametrize("header", ["Source Utterance,Dialogue", "source-utterance,DIALOGUE"])
    def test_columns_whose_names_differ_in_case(self, tmp_path: Path, header: str) -> None:
        (tmp_path / "corpus.csv").write_text(
            f"utterance_id,audio_path,split,{header}\na,,test,,d1\nb,,train,a,d1\nc,,test,,d2\n"
        )
        test = audit(Corpus.read(tmp_path / "corpus.csv")).folds["test"]
        assert (test.copy_overlap, test.dialogue_overlap) == (0.5, 0.5)

    def test_of_several_emotions_the_one_met_first_answers(self) -> None:
        emotions = ["sad", "angry", "happy", "happy", "sad", "angry"]
        texts = ["yes", "yes", "no", "no", "Yes.", "yes!"]
        splits = ["train"] * 4 + ["test"] * 2
        test = audit(corpus(6, transcript=texts, emotion=emotions, split=splits)).folds["test"]
        assert test.lookup_accuracy == 0.5
        assert test.majority_accuracy == 0.0
        assert test.lookup_gain == 0.5

    def test_near_duplicates_are_those_of_enough_words(self) -> None:
        texts = ["i do not know you", "i do not know", "we do not", "we do", "i do not know her"]
        made = corpus(5, transcript=texts, split=["train", "train", "test", "test", "test"])
        assert audit(made).folds["test"].counts["near_transcript_overlap"] == [1, 2]
        assert audit(made, similarity=0.5).folds["test"].counts["near_transcript_overlap"] == [2, 2]
        short = audit(made, min_words=1)
        assert short.folds["test"].counts["near_transcript_overlap"] == [1, 3]
        assert "of those of 1 word or more 0.0% are, and 33.3% with a similarity of 0.8" in short.verdict[0]

    def test_an_apostrophe_is_no_word(self) -> None:
        made = corpus(2, transcript=["said i '", "said i '"], split=["train", "test"])
        assert audit(made).folds["test"].transcript_overlap_by_words["3"] is None
        assert audit(made).folds["test"].transcript_overlap_by_words["2"] == 1.0

    def test_scripted_and_improvised(self) -> None:
        made = corpus(
            4,
            transcript=["yes", "yes", "no", "well"],
            session=["1", "2", "2", "2"],
            improvised=[True, False, True, True],
        )
        found = audit(made, "session")
        assert found.folds["2"].transcript_overlap == 1 / 3
        assert found.verdict[-1] == "the greatest transcript overlap is that of session 1, 100.0%"
        assert found.folds["2"].scripted is not None
        assert found.total.improvised is not None
        assert found.folds["2"].scripted.transcript_overlap == 1.0
        assert found.total.improvised.counts["transcript_overlap"] == [1, 3]
        assert "improvised" in page(found)

    def test_who_is_on_no_side_is_left_out_and_said(self) -> None:
        found = audit(
            corpus(4, speaker=["a", "b", "b", None], transcript=["yes", "no", "no", "yes"]), "speaker"
        )
        assert found.total.test_utterances == 3
        assert found.total.transcript_overlap == 0.0
        assert found.transcripts.distinct == 2
        assert found.transcripts.redundant == 1
        assert found.notes == ["left out: 1 of 4 utterances without a speaker"]

    def test_a_clean_split_is_called_so(self) -> None:
        found = audit(corpus(2, speaker=["a", "b"], transcript=["yes", "no"], split=["train", "test"]))
        assert found.verdict == [
            "test: not in training: speakers, transcripts",
            "test: not known: dialogues, augmented copies, recordings",
        ]

    def test_durations(self) -> None:
        lengths = [0.0, 0.05, *[1.0, 1.5, 2.0, 2.5, 3.0] * 4, 300.0]
        found = audit(corpus(23, duration=lengths, split=["train", *["test"] * 22]))
        assert found.clips.empty == ["u0"]
        assert found.clips.short == ["u1"]
        assert found.clips.unusual_duration == ["u1", "u22"]
        assert found.verdict[-1] == "clips: 1 of zero length, 1 below 0.1 s, 2 unusually short or long"

    def test_many_folds_are_shown_from_the_worst(self) -> None:
        speakers = [f"speaker {number}" for number in range(40)]
        made = corpus(40, speaker=speakers, transcript=["yes", "yes", *speakers[2:]])
        text = page(audit(made, "speaker"))
        assert "the 12 of 40 speakers that leak most" in text
        assert "speaker 0 " in text
        assert "speaker 39" not in text


@pytest.mark.parametrize(
    ("columns", "by", "expected"),
    [
        (
            {},
            "speakers",
            "cannot audit by 'speakers', the nearest is 'speaker'; allowed are split, session, speaker",
        ),
        (
            {"speaker": list("aab")},
            "split",
            "table: the column split is empty; audit by speaker, or fill it in",
        ),
        ({}, "fold", "table: the column fold is empty; fill it in"),
        (
            {"speaker": list("aaa")},
            "speaker",
            "table: the only speaker is a, so it has no training; fill it in",
        ),
        (
            {"split": ["train"] * 3},
            "split",
            "table: the only split is train, so nothing can be held against training",
        ),
        ({"split": ["test", "test", "validation"]}, "split", "table: no utterance is in the split train"),
    ],
)
def test_nothing_to_hold_against_each_other(columns: dict[str, list[str]], by: str, expected: str) -> None:
    with pytest.raises(CorpusError) as caught:
        audit(corpus(3, **columns), by)
    assert str(caught.value).startswith(expected)


def test_settings_outside_their_range() -> None:
    made = corpus(2, transcript=["yes", "no"], split=["train", "test"])
    with pytest.raises(CorpusError, match="near duplicates of 0 words or more: give 1 or more"):
        audit(made, min_words=0)
    with pytest.raises(
        CorpusError, match="similarity 2 of near duplicates: allowed is above 0 and at most 1"
    ):
        audit(made, similarity=2)


def test_a_duration_is_unusual_beyond_three_interquartile_ranges() -> None:
    durations = np.exp([0.0] * 4 + [1.0] * 4 + [3.5, 4.5])  # the middle half is 1 to e
    found = audit(corpus(10, split=["train", "test"] * 5, duration=durations.tolist()), listen=False)
    assert found.clips.unusual_duration == ["u9"]
