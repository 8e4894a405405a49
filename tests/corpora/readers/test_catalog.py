"""The catalog against itself and the readers, and the command that shows it."""

from collections import Counter
from pathlib import Path

import pytest
from commands import run

from mmer.corpora import READERS
from mmer.corpora.labels import ALIASES, canonical
from mmer.corpora.readers.catalog import CATALOG, CorpusFacts, compare_counts
from mmer.corpora.readers.iemocap import CODES, DOCUMENTED

NAMES = """iemocap meld crema-d ravdess emodb savee tess esd emov-db jl-corpus emns mead msp-podcast msp-improv nemo
cafe emovo enterface shemo subesco turev-db urdu aesdd oreau mesd asvp-esd emozionalmente pavoque casia m3ed resd"""


def test_all_corpora_are_there() -> None:
    assert set(CATALOG) == {*NAMES.split(), "spoken"}
    assert set(READERS) == set(CATALOG)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("README.md", "names the {} released corpora"),
        ("docs/corpora.md", "alone has the {} names"),
        ("docs/compare.md", "| prepared corpora | {} |"),
    ],
)
def test_pages_count_the_released_corpora(page: str, words: str) -> None:
    text = (Path(__file__).parents[3] / page).read_text(encoding="utf-8")
    assert words.format(len(NAMES.split())) in text


@pytest.mark.parametrize(("name", "facts"), CATALOG.items(), ids=CATALOG)
def test_labels_add_up_to_the_utterances(name: str, facts: CorpusFacts) -> None:
    if facts.labels is not None:
        assert sum(facts.labels.values()) == facts.utterances
    assert facts.where
    assert facts.license


def test_counts_agree_with_those_of_the_sessions_of_iemocap() -> None:
    totals = map(sum, zip(*DOCUMENTED.values(), strict=True))
    assert CATALOG["iemocap"].labels == dict(zip(CODES, totals, strict=True))


@pytest.mark.parametrize("name", ["meld", "tess", "mead", "nemo", "casia", "resd", "enterface", "crema-d"])
def test_labels_that_are_words_have_canonical_names(name: str) -> None:
    assert {canonical(label) for label in CATALOG[name].labels or {}} <= set(ALIASES)


def test_comparison_of_counts() -> None:
    documented = {"happy": 3, "sad": 2}
    assert compare_counts(Counter(happy=3, sad=2), documented) == ["5 utterances, 2 labels: as documented"]
    assert compare_counts(Counter(sad=4, odd=1), documented) == [
        "5 utterances, the release has 5: 0 happy (documented 3), 4 sad (documented 2), 1 odd (documented 0)"
    ]


def test_the_list(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run(capfd, monkeypatch, ["corpus", "prepare"])
    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert len(lines) == 1 + 2 * len(CATALOG)
    row = lines.index("ravdess        en            1,440        24   1.48  CC BY-NC-SA 4.0")
    assert lines[row + 1] == "    https://zenodo.org/records/1188976"
    assert "msp-podcast    en                -         -      -  UTD, restricted" in lines


def test_a_name_that_is_not_in_the_list(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run(capfd, monkeypatch, ["corpus", "prepare", "ravdes", "x", "-o", "x.parquet"])
    assert outcome.code == 2
    assert outcome.err.startswith("mmer: unknown corpus 'ravdes', the nearest is 'ravdess'; known are ")
