"""EmoBox folders made to their layout, with the traps of the real ones in them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.corpora.formats.emobox import read_emobox, with_emobox_folds, write_emobox
from mmer.errors import AudioError, CorpusError


def line(corpus: str, name: str, emotion: str, **more: Any) -> dict[str, Any]:
    return {
        "key": f"{corpus}-{name}",
        "dataset": corpus,
        "wav": f"downloads/{corpus}/wav/{name}.wav",
        "type": "raw",
        "sample_rate": 16000,
        "num_frame": 24000.0,
        "task": "category",
        "length": 1.5,
        "emo": emotion,
        "channel": 1,
    } | more


def write_lines(file: Path, lines: Iterable[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in lines))


def make(root: Path, corpus: str, rows: list[dict[str, Any]], lists: dict[str, list[int]]) -> Path:
    """A corpus of EmoBox; the lists are named as in `1/test`."""
    folder = root / "EmoBox" / "data" / corpus
    write_lines(folder / f"{corpus}.jsonl", rows)
    for name, numbers in lists.items():
        fold, split = name.split("/")
        file = folder / f"fold_{fold}" / f"{corpus}_{split}_fold_{fold}.jsonl"
        write_lines(file, [rows[number] for number in numbers])
        file.with_suffix(".json").write_text("{}")
    return folder


@pytest.fixture
def emodb(tmp_path: Path) -> Path:
    rows = [
        line("emodb", *row) for row in (("03a01N", "neutral"), ("08a02L", "boredem"), ("09b01W", "ANGER"))
    ]
    lists = {
        "1/test": [0],
        "1/train": [1, 2],
        "2/test": [1],
        "2/train": [0, 2],
        "3/test": [2],
        "3/train": [0, 1],
    }
    folder = make(tmp_path, "emodb", rows, lists)
    (folder / "label_map.json").write_text('{"anger": "Angry", "boredem": "Boredom", "Neutral": "Neutral"}')
    (folder / "data.seg.wrd.stm").write_text(
        "".join(
            f"emodb-{name} 1 {speaker} 0 1.5 <id=emodb-{name},lang=en,spk={speaker},emotion=x> x\n"
            for name, speaker in (("03a01N", "03"), ("08a02L", "downloads/x (y)/z z/08"))
        )
    )
    return folder


def test_utterances_without_a_label(tmp_path: Path) -> None:
    rows = [line("mine", "a", "hap"), line("mine", "b", "sad", emo=None), line("mine", "c", "oth")]
    folder = make(tmp_path, "mine", rows, {"1/test": [0, 1, 2]})
    (folder / "label_map.json").write_text('{"hap": "Happy", "oth": null}')
    table = read_emobox(folder).table
    assert table["emotion"].tolist() == ["Happy", None, None]
    assert table["original_emotion"].tolist() == ["hap", None, "oth"]


def test_several_folds(emodb: Path) -> None:
    corpus = read_emobox(emodb)
    table = corpus.table
    assert table["utterance_id"].tolist() == ["emodb-03a01N", "emodb-08a02L", "emodb-09b01W"]
    assert table["audio_path"][0] == str(emodb.parents[1] / "downloads" / "emodb" / "wav" / "03a01N.wav")
    assert table["emotion"].tolist() == ["Neutral", "Boredom", "Angry"]
    assert table["original_emotion"].tolist() == ["neutral", "boredem", "ANGER"]
    assert table["speaker"].tolist() == ["03", "08", None]
    assert table["fold"].tolist() == ["1", "2", "3"]
    assert table["split"].tolist() == [None] * 3
    assert table["duration"].tolist() == [1.5] * 3
    assert table["transcript"].tolist() == [None] * 3
    assert not {"type", "task", "num_frame", "sample_rate", "channel"} & set(table)
    assert corpus.notes == []
    elsewhere = read_emobox(emodb, audio=Path("/audio")).table["audio_path"][0]
    assert elsewhere == "/audio/downloads/emodb/wav/03a01N.wav"


def test_official_lists_are_splits(tmp_path: Path) -> None:
    rows = [line("meld", f"dia{number}", "joy", channel=3 - number // 2) for number in range(4)]
    folder = make(tmp_path, "meld", rows, {"1/train": [0], "1/valid": [1], "1/test": [2]})
    corpus = read_emobox(folder)
    assert corpus.table["split"].tolist() == ["train", "validation", "test", None]
    assert corpus.table["fold"].tolist() == [None] * 4
    assert corpus.table["channel"].tolist() == [3, 3, 2, 2]
    assert corpus.notes == [
        "4 utterances are one channel of a recording in EmoBox, here all are mixed",
        "utterances have no split in EmoBox (1): meld-dia3",
    ]


def test_speakers_known_to_be_wrong_and_parts_of_a_recording(tmp_path: Path) -> None:
    parts = [line("iemocap", "a", "hap", key=f"k{n}", start_time=n, end_time=n + 0.5) for n in (0, 2)]
    folder = make(tmp_path, "iemocap", parts, {})
    (folder / "data.seg.wrd.stm").write_text("k0 1 Ses01F 0 1 <id=k0,lang=en,spk=Ses01F,emotion=hap> hap\n")
    corpus = read_emobox(folder)
    assert corpus.table["speaker"].tolist() == [None, None]
    assert corpus.table[["start", "end"]].to_numpy().tolist() == [[0, 0.5], [2, 2.5]]
    assert corpus.notes[0].startswith(
        "EmoBox's speakers are left out: each is the name of the dialogue; read the"
    )


def of_the_release(*names: str) -> Corpus:
    paths = [f"/release/emodb/wav/{name}.flac" for name in names]
    return Corpus(
        pd.DataFrame({"utterance_id": names, "audio_path": paths, "speaker": "own", "split": "train"})
    )


def test_folds_for_another_table_of_the_corpus(emodb: Path) -> None:
    corpus = with_emobox_folds(of_the_release("09b01W", "16a01F", "03a01N"), emodb)
    assert corpus.table["fold"].tolist() == ["3", None, "1"]
    assert corpus.table["speaker"].tolist() == ["own"] * 3
    assert corpus.notes == [
        "utterances of the lists are not there (1): emodb-08a02L",
        "utterances have no fold in EmoBox (1): 16a01F",
    ]


def test_recordings_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    rows = [
        line("emov", "1", "anger", key=f"emov-{who}-1", wav=f"downloads/emov/{who}/1.wav") for who in "ab"
    ]
    folder = make(tmp_path, "emov", rows, {"1/train": [0], "1/test": [1]})
    table = pd.DataFrame({"utterance_id": ["x", "y"], "audio_path": ["/r/b/1.wav", "/r/a/1.wav"]})
    assert with_emobox_folds(Corpus(table), folder).table["split"].tolist() == ["test", "train"]
    again = Corpus(pd.concat([table, table.assign(utterance_id=["z", "w"])]))
    with pytest.raises(CorpusError, match="its utterances cannot be told apart by their recordings"):
        with_emobox_folds(again, folder)


def test_lists_that_a_fold_column_cannot_say(tmp_path: Path) -> None:
    rows = [line("esd", str(number), "anger") for number in range(4)]
    lists = {"1/train": [1, 2], "1/test": [0], "2/train": [2, 3], "2/test": [0, 1]}
    corpus = read_emobox(make(tmp_path, "esd", rows, lists))
    assert corpus.table["fold"].tolist() == ["2", "2", None, None]
    assert corpus.notes == [
        "fold 1 of EmoBox does not train on all that it does not test; here it does",
        "1 utterance is tested in several folds, the last is 2",
        "utterances have no fold in EmoBox (2): esd-2, esd-3",
    ]


def test_writing(tmp_path: Path, nemo_samples: Path) -> None:
    clip = next(nemo_samples.glob("*.opus"))
    table = pd.DataFrame(
        {
            "utterance_id": list("abcd"),
            "audio_path": [str(clip)] * 3 + [None],
            "emotion": ["sad", None, "angry", "sad"],
            "fold": ["x", "x", "y", "x"],
            "transcript": "Tak.",
        }
    )
    folder = tmp_path / "data" / "own"
    assert write_emobox(Corpus(table), folder) == [
        "utterances without a recording or a label are left out (2): b, d"
    ]
    (row, _) = (json.loads(text) for text in (folder / "own.jsonl").read_text().splitlines())
    assert row | {"num_frame": 0, "length": 0} == {
        **line("own", "a", "sad", key="a", wav=str(clip), num_frame=0, length=0, sample_rate=16000),
        "transcript": "Tak.",
    }
    assert row["num_frame"] == round(row["length"] * 16000)
    assert json.loads((folder / "label_map.json").read_text()) == {"angry": "angry", "sad": "sad"}
    lists = {str(file.relative_to(folder)): file.read_text().count("\n") for file in folder.glob("*/*.jsonl")}
    assert lists == {
        f"fold_{fold}/own_{split}_fold_{fold}.jsonl": 1 for fold in ("x", "y") for split in ("train", "test")
    }


def test_refused(emodb: Path, tmp_path: Path) -> None:
    one = Corpus(
        pd.DataFrame({"utterance_id": ["a"], "audio_path": [str(tmp_path / "no.wav")], "emotion": "sad"})
    )
    with pytest.raises(
        CorpusError, match="neither fold nor split is filled in, which EmoBox's lists are made of"
    ):
        write_emobox(one, tmp_path / "x")
    with pytest.raises(AudioError, match=r"no\.wav: no such file"):
        write_emobox(Corpus(one.table.assign(split="test")), tmp_path / "x")
    two = Corpus(pd.concat([one.table, one.table.assign(utterance_id="b")]).assign(fold=["1", "../2"]))
    with pytest.raises(CorpusError, match=r"fold '\.\./2' cannot be the name of a folder"):
        write_emobox(two, tmp_path / "x")
    with pytest.raises(
        CorpusError, match=r"give a folder with one \.jsonl of all utterances, .*; found none"
    ):
        read_emobox(tmp_path)
    with pytest.raises(
        CorpusError, match=r"no recording is one of .*emodb, such as downloads/emodb/wav/03a01N\.wav"
    ):
        with_emobox_folds(of_the_release("other"), emodb)
    (emodb / "label_map.json").write_text("[]")
    with pytest.raises(CorpusError, match=r"label_map\.json: is no JSON object such as"):
        read_emobox(emodb)
    write_lines(emodb / "emodb.jsonl", [{"key": "a", "wav": "a.wav"}])
    with pytest.raises(CorpusError, match=r"emodb\.jsonl: no emo; found key, wav"):
        read_emobox(emodb)
    for file in emodb.glob("fold_*/*.jsonl"):
        file.unlink()
    with pytest.raises(CorpusError, match=r"no lists such as fold_1/emodb_test_fold_1\.jsonl"):
        with_emobox_folds(one, emodb)
