"""EMNS, Emozionalmente, PAVOQUE, M3ED and RESD on trees with the documented layout."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from corpora.release_trees import write_wav

from mmer.audio.load import load_audio
from mmer.corpora import read_corpus
from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError


def rows(corpus: Corpus) -> dict[Any, dict[Any, Any]]:
    return corpus.table.set_index("utterance_id").to_dict("index")


class TestEmns:
    HEADER = "id|utterance|description|emotion|date_created|status|gender|age|level|audio_recording|user_id\n"

    @pytest.fixture
    def release(self, tmp_path: Path) -> Path:
        (tmp_path / "metadata.csv").write_text(
            self.HEADER
            + "4|It is, “so”.|{gender} {emphasis} says|Surprised|2021|Complete|Female|20's|7|wavs/rec_a.webm|3\n"
            + "5|No|{gender}|Disgust|2021|Needs Updating|Female|20's|7|wavs/rec_b.webm|3\n"
            + "6|Why|{gender}|Sarcastic|2021|Complete|Female|20's|2|wavs/rec_c.webm|3\n"
            + "7|Gone|{gender}|Sad|2021|Complete|Female|20's|2|wavs/rec_d.webm|3\n",
            encoding="utf-8",
        )
        for name in (
            "cleaned_webm/rec_a",
            "raw_webm/rec_a",
            "raw_webm/rec_b",
            "raw_webm/rec_c",
            "raw_webm/rec_e",
        ):
            write_wav(tmp_path / f"{name}.wav", 48000)
            (tmp_path / f"{name}.wav").rename(tmp_path / f"{name}.webm")
        return tmp_path

    def test_complete_rows(self, release: Path) -> None:
        corpus = read_corpus("emns", release)
        table = rows(corpus)
        assert list(table) == ["rec_a", "rec_c"]
        first = table["rec_a"]
        assert first["audio_path"] == str(release / "cleaned_webm" / "rec_a.webm")
        assert table["rec_c"]["audio_path"] == str(release / "raw_webm" / "rec_c.webm")
        assert (first["transcript"], first["emotion"], first["original_emotion"]) == (
            *("It is, “so”.", "surprised", "Surprised"),
        )
        assert (first["speaker"], first["gender"], first["age_group"]) == ("3", "female", "20's")
        assert (first["intensity"], first["description"]) == (7, "{gender} {emphasis} says")
        assert corpus.notes[:3] == [
            "rows are not complete and are left out (1): rec_b.webm (Needs Updating)",
            "labeled utterances have no recording and are left out (1): rec_d",
            "recordings have no label and are left out (1): rec_e.webm",
        ]
        assert corpus.notes[3].startswith("2 utterances, the release has 1181: 0 Angry (documented 126)")

    def test_sound_extracted_from_the_videos(self, release: Path) -> None:
        for path in (release / "cleaned_webm").iterdir():
            path.rename(path.with_suffix(".wav"))
        corpus = read_corpus("emns", release)
        assert rows(corpus)["rec_a"]["audio_path"] == str(release / "cleaned_webm" / "rec_a.wav")

    def test_no_emns(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"no metadata\.csv; give the folder of EMNS"):
            read_corpus("emns", tmp_path)
        (tmp_path / "metadata.csv").write_text(self.HEADER.replace("|", ","))
        with pytest.raises(CorpusError, match=r"metadata\.csv: no column id; found id,utterance"):
            read_corpus("emns", tmp_path)


class TestEmozionalmente:
    @pytest.fixture
    def release(self, tmp_path: Path) -> Path:
        root = tmp_path / "emozionalmente_dataset"
        for name in ("1612872848291", "1612872848292", "1612872848293"):
            write_wav(root / "audio" / f"{name}.wav")
        header = "file_name,sentence,emotion_expressed,actor\n"
        samples = [
            '1612872848291.wav,"Vorrei il numero, perché?",neutrality,user01\n',
            "1612872848292.wav,Gli operai si alzano presto,joy,user02\n",
            "1612872848293.wav,Gli operai si alzano presto,fear,user03\n",
        ]
        metadata = root / "metadata"
        (metadata / "split").mkdir(parents=True)
        (metadata / "samples.csv").write_text(header + "".join(samples), encoding="utf-8")
        (metadata / "users.csv").write_text(
            "username,gender,age,mother_tongue\nuser01,male,41,Italian\nuser02,f,,Italian\n"
        )
        (metadata / "evaluations.csv").write_text(
            "file_name,evaluator,audio_quality,emotion_recognized\n"
            "1612872848291.wav,user09,good,neutrality\n"
            "1612872848292.wav,user01,good,joy\n"
            "1612872848291.wav,user08,bad,sadness\n"
        )
        for split, sample in zip(("train", "dev", "test"), samples, strict=True):
            (metadata / "split" / f"{split}.csv").write_text(header + sample, encoding="utf-8")
        return root

    def test_actors_listeners_and_split(self, release: Path) -> None:
        corpus = read_corpus("emozionalmente", release.parent)
        first, second, third = rows(corpus).values()
        assert corpus.table["utterance_id"].tolist()[0] == "1612872848291"
        assert corpus.table["split"].tolist() == ["train", "validation", "test"]
        assert corpus.table["emotion"].tolist() == ["neutral", "happy", "fearful"]
        assert corpus.table["original_emotion"].tolist() == ["neutrality", "joy", "fear"]
        assert first["transcript"] == "Vorrei il numero, perché?"
        assert [row["speaker"] for row in (first, second, third)] == ["user01", "user02", "user03"]
        assert [row["gender"] for row in (first, second, third)] == ["male", "female", None]
        assert corpus.table["age"].fillna(-1).tolist() == [41, -1, -1]
        assert json.loads(first["votes"]) == {"user09": ["neutrality"], "user08": ["sadness"]}
        assert third["votes"] is None
        (note,) = corpus.notes
        assert note.startswith("3 utterances, the release has 6902: 0 anger (documented 986)")

    def test_the_first_version_has_no_split(self, release: Path) -> None:
        for path in (*(release / "metadata" / "split").iterdir(), *(release / "metadata").glob("[ue]*.csv")):
            path.unlink()
        corpus = read_corpus("emozionalmente", release)
        assert corpus.table[["split", "gender", "votes"]].isna().all(axis=None)
        assert corpus.notes[:2] == [
            "no users.csv: gender and age are null",
            "no evaluations.csv: votes are null",
        ]

    def test_raters_without_names_are_numbered(self, release: Path) -> None:
        (release / "metadata" / "evaluations.csv").write_text(
            "file_name,emotion_recognized\n1612872848291.wav,joy\n1612872848291.wav,joy\n"
        )
        votes = rows(read_corpus("emozionalmente", release))["1612872848291"]["votes"]
        assert json.loads(votes) == {"1": ["joy"], "2": ["joy"]}

    def test_no_emozionalmente(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"no samples\.csv; give the folder of Emozionalmente"):
            read_corpus("emozionalmente", tmp_path)


class TestPavoque:
    @pytest.fixture
    def release(self, tmp_path: Path) -> Path:
        write_wav(tmp_path / "pavoque-poker.flac", 44100, seconds=3.0)
        write_wav(tmp_path / "pavoque-outtakes.flac", 44100, seconds=3.0)
        item = "- prompt: {}\n  text: {}\n  style: {}\n  start: {}\n  end: {}\n  segments:\n  - lab: _\n    end: 0.1\n"
        files = {
            "poker": [
                ("spike0001", '"Ich bin Spike: ja."', "poker", 0, 1.5),
                ("0042", "No", "poker", 1.5, 2.5),
            ],
            "outtakes": [
                ("spike0001", "Ich bin Spike.", "poker", 0.0, 1.0),
                ("spike0001", "Ich bin Spike.", "poker", 1.0, 2.0),
                ("a0001", "Gut.", "sad", 2.5, 2.5),
            ],
            "neutral": [("a0001", "Gut.", "neutral", 0.0, 1.0)],
        }
        for name, items in files.items():
            content = "".join(item.format(*values) for values in items)
            (tmp_path / f"pavoque-{name}.yaml").write_text(content, encoding="utf-8")
        return tmp_path

    def test_parts_of_long_recordings(self, release: Path) -> None:
        corpus = read_corpus("pavoque", release)
        table = rows(corpus)
        assert {name: (row["start"], row["end"], row["outtake"]) for name, row in table.items()} == {
            "outtake_poker_spike0001": (0.0, 1.0, True),
            "outtake_poker_spike0001_2": (1.0, 2.0, True),
            "poker_spike0001": (0.0, 1.5, False),
            "poker_0042": (1.5, 2.5, False),
        }
        assert corpus.table["duration"].tolist() == [1.0, 1.0, 1.5, 1.0]
        assert table["poker_spike0001"]["transcript"] == "Ich bin Spike: ja."
        assert (table["poker_0042"]["transcript"], table["poker_0042"]["prompt"]) == ("No", "0042")
        assert set(corpus.table["emotion"]) == {"poker"}
        assert corpus.table["speaker"].nunique() == 1
        assert corpus.notes[:3] == [
            "yaml files have no flac file and are left out (1): pavoque-neutral.yaml",
            "utterances end before they begin and are left out (1): outtake_sad_a0001",
            "2 utterances are outtakes, rejected repetitions of others",
        ]
        assert corpus.notes[3].startswith(
            "4 utterances, the release has 7334: 0 neutral (documented 4344), 4 poker"
        )

    def test_a_nested_copy_does_not_double_the_corpus(self, release: Path) -> None:
        copy = release / "pavoque"
        copy.mkdir()
        for name in ("pavoque-neutral.yaml", "pavoque-poker.yaml", "pavoque-poker.flac"):
            (copy / name).write_bytes((release / name).read_bytes())
        write_wav(copy / "pavoque-neutral.flac", 44100, seconds=1.0)
        corpus = read_corpus("pavoque", release)
        assert len(corpus) == 5
        assert rows(corpus)["neutral_a0001"]["audio_path"] == str(copy / "pavoque-neutral.flac")
        assert corpus.notes[0] == (
            "recordings are there more than once, further copies are left out (1): pavoque/pavoque-poker.yaml"
        )

    def test_the_part_is_what_is_heard(self, release: Path) -> None:
        samples = np.repeat([0.1, 0.2, 0.3], 44100)
        soundfile.write(release / "pavoque-poker.flac", samples, 44100)
        row = rows(read_corpus("pavoque", release))["poker_0042"]
        waveform = load_audio(row["audio_path"], sampling_rate=44100, start=row["start"], end=row["end"])
        np.testing.assert_allclose(waveform, np.repeat([0.2, 0.3], 22050), atol=1e-4)

    def test_no_pavoque(self, release: Path) -> None:
        (release / "pavoque-poker.yaml").write_text("- prompt: a\n")
        with pytest.raises(
            CorpusError, match=r"poker\.yaml: is no list of utterances with end, prompt, start"
        ):
            read_corpus("pavoque", release)
        (release / "pavoque-poker.yaml").write_text("- [")
        with pytest.raises(CorpusError, match=r"poker\.yaml: cannot be read as YAML \(") as error:
            read_corpus("pavoque", release)
        assert "\n" not in str(error.value)
        for path in release.glob("*.flac"):
            path.unlink()
        with pytest.raises(
            CorpusError, match=r"3 files pavoque-\*\.yaml, none with its flac file beside it; give"
        ):
            read_corpus("pavoque", release)
        for path in release.glob("*.yaml"):
            path.unlink()
        with pytest.raises(CorpusError, match=r"no pavoque-\*\.yaml; give the folder of PAVOQUE"):
            read_corpus("pavoque", release)


class TestM3ed:
    @staticmethod
    def utterance(speaker: str, emotion: str, *votes: str, text: str = "你好") -> dict[str, Any]:
        labels = {f"EmoAnnotator{n}": vote for n, vote in enumerate(votes, 1)}
        return {
            "StartTime": "00:00:00:01",
            "EndTime": "00:00:01:03",
            "Text": text,
            "Speaker": speaker,
            "EmoAnnotation": {**labels, "final_mul_emo": f"{emotion},Sad", "final_main_emo": emotion},
        }

    @pytest.fixture
    def release(self, tmp_path: Path) -> Path:
        speakers = {"A": {"Name": "王胜男", "Age": "mid", "Gender": "Female"}, "B": {"Name": "林大为"}}
        annotation = {
            "shaonianpai": {
                "shaonianpai_1": {
                    "SpeakerInfo": speakers,
                    "Dialog": {
                        "shaonianpai_1_1": self.utterance("A", "Anger", "Anger", "Anger, Disgust", "Neutral"),
                        "shaonianpai_1_2": self.utterance("B", "Neutral", "Neutral", "", "Happy"),
                        "shaonianpai_1_3": self.utterance("B", "Happy", "Happy", "Happy", "Happy"),
                    },
                }
            },
            "anjia": {
                "anjia_1": {
                    "SpeakerInfo": speakers,
                    "Dialog": {"anjia_1_1": self.utterance("A", "Fear", "Fear", "")},
                }
            },
            "x": {"x_1": {"SpeakerInfo": {}, "Dialog": {"x_1_1": self.utterance("C", "Surprise")}}},
        }
        (tmp_path / "annotation.json").write_text(
            json.dumps(annotation, ensure_ascii=False), encoding="utf-8"
        )
        (tmp_path / "splitInfo").mkdir()
        for split, series in {"train": "shaonianpai", "val": "anjia\nhumamaoba", "test": "other"}.items():
            (tmp_path / "splitInfo" / f"movie_list_{split}.txt").write_text(series)
        for name, seconds in {
            "A_shaonianpai_1_1": 0.5,
            "B_shaonianpai_1_2": 0.0,
            "A_anjia_1_1": 0.05,
        }.items():
            write_wav(tmp_path / "modality_speech" / f"{name}.wav", seconds=seconds)
        write_wav(tmp_path / "modality_speech" / "C_x_1_1.wav")
        return tmp_path

    def test_series_speakers_and_votes(self, release: Path) -> None:
        corpus = read_corpus("m3ed", release)
        columns = ["speaker", "gender", "emotion", "split", "dialogue", "duration"]
        assert {name: [row[column] for column in columns] for name, row in rows(corpus).items()} == {
            "shaonianpai_1_1": ["shaonianpai_王胜男", "female", "angry", "train", "shaonianpai_1", 0.5],
            "anjia_1_1": ["anjia_王胜男", "female", "fearful", "validation", "anjia_1", 0.05],
            "x_1_1": [None, None, "surprised", None, "x_1", 0.1],
        }
        first = rows(corpus)["shaonianpai_1_1"]
        assert json.loads(first["votes"]) == {"1": ["Anger"], "2": ["Anger", "Disgust"], "3": ["Neutral"]}
        assert (first["transcript"], first["age_group"], first["all_emotions"]) == (
            "你好",
            "mid",
            "Anger,Sad",
        )
        assert (first["start_time"], first["end_time"]) == ("00:00:00:01", "00:00:01:03")
        assert rows(corpus)["x_1_1"]["votes"] is None
        assert json.loads(rows(corpus)["anjia_1_1"]["votes"]) == {"1": ["Fear"]}

    def test_notes(self, release: Path) -> None:
        notes = read_corpus("m3ed", release).notes
        assert notes[:2] == [
            "series are in no list of splitInfo, their split is null (1): x",
            "labeled utterances have no recording and are left out (1): shaonianpai_1_3",
        ]
        assert notes[2].startswith("4 utterances, the release has 24437: 1 Neutral (documented 10021)")
        assert notes[3:] == [
            "recordings have no length and are left out (1): shaonianpai_1_2",
            "recordings are shorter than 0.1 s (1): anjia_1_1",
        ]

    def test_no_m3ed(self, release: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        with pytest.raises(CorpusError, match=r"no annotation\.json; give the folder of M3ED"):
            read_corpus("m3ed", tmp_path_factory.mktemp("empty"))
        for content in ("[]", "{", '{"a": {"b": {}}}'):
            (release / "annotation.json").write_text(content)
            with pytest.raises(CorpusError, match=r"annotation\.json: is not the annotation of M3ED \("):
                read_corpus("m3ed", release)

    def test_an_unknown_emotion_is_named(self, release: Path) -> None:
        path = release / "annotation.json"
        path.write_text(path.read_text(encoding="utf-8").replace('"Fear"', '"Feer"'), encoding="utf-8")
        with pytest.raises(
            CorpusError, match=r"annotation\.json: unknown emotion 'Feer', the nearest is 'fear'"
        ):
            read_corpus("m3ed", release)


class TestResd:
    @pytest.fixture
    def release(self, tmp_path: Path) -> Path:
        files = {
            "train": [
                ("train/happiness_enthusiasm_32/32_happiness_enthusiasm_h_120.wav", "happiness"),
                ("train/disgust_neutral_03/03_disgust_neutral n_050.wav", "neutral"),
                ("train/fear_anger_07/07_fear_anger f_002.wav", "fear"),
            ],
            "test": [
                ("happiness_enthusiasm_32/32_happiness_enthusiasm_e_010.wav", "enthusiasm"),
                ("test/anger_fear_01/01_anger_fear_a_001.wav", "anger"),
            ],
        }
        for split, recordings in files.items():
            lines = [f"name{n},{path},{emotion}\n" for n, (path, emotion) in enumerate(recordings)]
            (tmp_path / f"{split}.csv").write_text("name,path,emotion\n" + "".join(lines))
            for path, _ in recordings:
                write_wav(tmp_path / split / path.removeprefix(f"{split}/"), 44100)
        (tmp_path / "test/anger_fear_01/01_anger_fear_a_001.wav").unlink()
        return tmp_path

    def test_dialogues_on_both_sides(self, release: Path) -> None:
        corpus = read_corpus("resd", release)
        columns = ["emotion", "split", "dialogue"]
        assert {name: [row[column] for column in columns] for name, row in rows(corpus).items()} == {
            "32_happiness_enthusiasm_h_120": ["happy", "train", "happiness_enthusiasm_32"],
            "03_disgust_neutral n_050": ["neutral", "train", "disgust_neutral_03"],
            "07_fear_anger f_002": ["fearful", "train", "fear_anger_07"],
            "32_happiness_enthusiasm_e_010": ["enthusiastic", "test", "happiness_enthusiasm_32"],
        }
        assert corpus.table[["speaker", "transcript"]].isna().all(axis=None)
        assert corpus.notes[:2] == [
            "labeled utterances have no recording and are left out (1): 01_anger_fear_a_001",
            "1 of 3 dialogues is in both train and test",
        ]
        assert corpus.notes[2].startswith("utterances have no transcript (4): 32_happiness_enthusiasm_h_120")
        assert corpus.notes[3].startswith("4 utterances, the release has 1396: 0 anger (documented 219)")

    def test_the_annotated_variant(self, release: Path) -> None:
        for split in ("train", "test"):
            lines = (release / f"{split}.csv").read_text().splitlines()
            texts = ["text", *('"Да, нет."' for _ in lines[1:])]
            content = "\n".join(f"{line},{text}" for line, text in zip(lines, texts, strict=True))
            (release / f"{split}.csv").write_text(content, encoding="utf-8")
        assert set(read_corpus("resd", release).table["transcript"]) == {"Да, нет."}

    def test_no_resd(self, release: Path) -> None:
        (release / "test.csv").unlink()
        with pytest.raises(CorpusError, match=r"no test\.csv; give the folder of RESD"):
            read_corpus("resd", release)
