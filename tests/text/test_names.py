"""Names that look alike are one, at every place where a user writes them."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer.corpora.corpus import Corpus
from mmer.corpora.label_map import rename_emotions
from mmer.corpora.protocol.splits import assign_splits
from mmer.errors import CorpusError
from mmer.recipe.schema import load_recipe
from mmer.text.names import folded, meant, tidy


def corpus(**columns: Sequence[str | None]) -> Corpus:
    ids = [f"u{number}" for number in range(len(next(iter(columns.values()))))]
    return Corpus(pd.DataFrame({"utterance_id": ids, "audio_path": ids, **columns}))


@given(st.text(max_size=12))
def test_tidy_and_folded_are_done_once(text: str) -> None:
    assert tidy(tidy(text)) == tidy(text)
    assert folded(folded(text)) == folded(text)
    assert folded(tidy(text)) == folded(text)
    assert tidy(f"\u00a0{text}\u200b ") == tidy(text)
    assert tidy(unicodedata.normalize("NFD", text)) == tidy(text)


def test_joiners_inside_a_word_are_spelling() -> None:
    assert tidy("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"
    assert tidy("anna\u200c") == "anna"


def test_one_known_name_is_meant() -> None:
    assert meant("anna", ["Anna", "Ben"]) == "Anna"
    assert meant("anna", ["Anna", "ANNA"]) is None
    assert meant("Anna", ["Anna", "ANNA"]) == "Anna"


@pytest.mark.parametrize("column", ["emotion", "speaker", "session", "dialogue"])
def test_names_that_differ_in_nothing_one_can_see(column: str) -> None:
    spelled = ["Zoë K.", " Zoe\u0308 K.", "Zoë\u00a0K.\u200b", "Zoë  K.\t"]
    read = corpus(**{column: spelled})
    if column != "dialogue":
        assert set(read.table[column]) == {"Zoë K."}
    assert len(set(read.table[column])) == 1


def test_names_that_differ_in_case_are_one_and_said() -> None:
    read = corpus(
        emotion=["angry", "Angry", "angry", "sad", None], speaker=["Anna", "anna", "ANNA", "anna", "\uff42en"]
    )
    assert read.table["emotion"].tolist() == ["angry", "angry", "angry", "sad", None]
    assert read.table["speaker"].tolist() == ["anna", "anna", "anna", "anna", "\uff42en"]
    assert read.notes == [
        "names in the column emotion are written in several ways and taken as one (1): 'angry' (also 'Angry')",
        "names in the column speaker are written in several ways and taken as one (1): 'anna' (also 'Anna', 'ANNA')",
    ]
    assert read.select([True] * 5).notes == read.notes


def test_a_speaker_is_not_in_training_and_test() -> None:
    read = corpus(speaker=["anna", "Anna\u00a0", "ben", "ben", "cleo", "cleo"])
    test = load_recipe("demo", ["protocol.test=ANNA\u200b".lower()]).protocol.test
    split = assign_splits(read, test=test, validation=1).table
    assert set(split["split"][split["speaker"] == "anna"]) == {"test"}
    assert split["split"].tolist()[:2] == ["test", "test"]


def test_ids_keep_their_case_and_are_unique_otherwise() -> None:
    ids = pd.DataFrame({"utterance_id": ["aB", "Ab", "a b"], "audio_path": "x"})
    assert Corpus(ids).table["utterance_id"].tolist() == ["aB", "Ab", "a b"]
    with pytest.raises(CorpusError, match="1 utterance id is not unique, the first is 'a b'"):
        Corpus(ids.assign(utterance_id=["a b", "a\u00a0b ", "c"]))


def test_labels_and_label_maps_meet_the_table() -> None:
    read = corpus(emotion=[" Angry", "excited ", "sad"])
    settings = load_recipe(
        "demo", ["data.labels=Angry, happy", "data.label_map={EXCITED: 'happy\u00a0'}"]
    ).data
    kept, dropped = read.with_labels(settings.labels, settings.label_map)
    assert kept.table["emotion"].tolist() == ["Angry", "happy"]
    assert dropped == {"sad": 1}
    assert rename_emotions(read, {"angry": "cross"}).table["emotion"].tolist() == ["cross", "excited", "sad"]


class TestFiles:
    def read(self, folder: Path, *paths: str) -> Corpus:
        ids = [f"u{number}" for number in range(len(paths))]
        pd.DataFrame({"utterance_id": ids, "audio_path": paths}).to_csv(folder / "a.csv", index=False)
        return Corpus.read(folder / "a.csv")

    def test_are_found_by_another_spelling(self, tmp_path: Path) -> None:
        decomposed = unicodedata.normalize("NFD", "zażółć")
        for name in (f"Clips/{decomposed}/{decomposed}.wav", "Clips/B  c.WAV", "Clips/d.wav"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        asked = [
            "Clips/zażółć/zażółć.wav",
            "clips/b c.wav",
            "Clips\\d.wav",
            "Clips/d.wav ",
            "Clips/d.wav",
            "Clips/no.wav",
        ]
        read = self.read(tmp_path, *asked)
        exist = [Path(path).is_file() for path in read.table["audio_path"]]
        assert exist == [True] * 5 + [False]
        assert read.table["audio_path"][5] == str(tmp_path / "Clips/no.wav")
        assert read.notes == [
            "4 recordings have another name on disk, which differs in case, blanks or Unicode form; the first: "
            f"Clips/zażółć/zażółć.wav is {decomposed}.wav"
        ]
        assert (
            self.read(tmp_path, str(tmp_path / "CLIPS" / "D.wav"))
            .table["audio_path"][0]
            .endswith("Clips/d.wav")
        )

    def test_are_not_guessed(self, tmp_path: Path) -> None:
        (tmp_path / "A.wav").touch()
        (tmp_path / "a.WAV").touch()
        if len(list(tmp_path.iterdir())) < 2:
            pytest.skip("the file system does not tell upper and lower case apart")
        read = self.read(tmp_path, "a.wav", "A.wav")
        assert read.table["audio_path"].tolist() == [str(tmp_path / "a.wav"), str(tmp_path / "A.wav")]
        assert read.notes == []
