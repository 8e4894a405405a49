"""ESD, EmoV-DB, JL-Corpus, MEAD and ShEMO: what file names say, and the transcripts beside them."""

from pathlib import Path
from typing import Any

import pytest
from corpora.release_trees import write_wav

from mmer.corpora import read_corpus
from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError


def rows(corpus: Corpus) -> dict[Any, dict[Any, Any]]:
    return corpus.table.set_index("utterance_id").to_dict("index")


class TestEsd:
    @pytest.fixture
    def release(self, tmp_path: Path) -> Path:
        """Speakers in the flat and in the divided layout, with a text file in each of the encodings."""
        root = tmp_path / "Emotion Speech Dataset"
        for name in (
            *("0001/Neutral/0001_000001", "0003/Sad/0003_001051", "0011/Angry/train/0011_000351"),
            *("0011/Angry/evaluation/0011_000352", "0011/Angry/test/0011_000353", "0015/Neutral/0015_000137"),
            "0011/Sad/0011_001051",
            *("0017/Surprise/0017_001401", "0017/Surprise/0017_001402"),
        ):
            write_wav(root / f"{name}.wav")
        texts = {
            "0001": ("0001_000001\t打远一看。\t中立\n".encode("gb2312")),
            "0003": ("0003_001051\t打远一看。\t伤心\r\n".encode("utf-16")),
            "0011": b"0011_000351\tThe nine.\tAngry\n\n0011_000352 The ten.\tAngry\n0011_000353\tI am Sad Angry\n"
            b"0011_001051\tI was Happy\tsad\n",
            "0015": b"\xef\xbb\xbf0015_000137Let it be.Neutral\nno line of this file\n",
            "0017": b"0017_001401\tCaf\xe9 \x91now\x92.\tSurprise\n",
        }
        for speaker, text in texts.items():
            (root / speaker / f"{speaker}.txt").write_bytes(text)
        (root / "ReadMe.txt").write_text("")
        return root

    def test_layouts_and_encodings(self, release: Path) -> None:
        corpus = read_corpus("esd", release)
        table = rows(corpus)
        assert {name: row["transcript"] for name, row in table.items()} == {
            "0001_000001": "打远一看。",
            "0003_001051": "打远一看。",
            "0011_000351": "The nine.",
            "0011_000352": "The ten.",
            "0011_000353": "I am Sad",
            "0011_001051": "I was Happy",
            "0015_000137": "Let it be.",
            "0017_001401": "Café ‘now’.",
            "0017_001402": None,
        }
        assert [row["emotion"] for row in table.values()] == [
            *("neutral", "sad", "angry", "angry", "angry", "sad", "neutral", "surprised", "surprised")
        ]
        splits = [None, None, "train", "validation", "test", None, None, None, None]
        assert [row["split"] for row in table.values()] == splits
        assert [row["language"] for row in table.values()] == ["zh"] * 2 + ["en"] * 7
        assert [row["fold"] for row in table.values()] == ["5", "3", "1", "1", "1", "1", "2", "5", "5"]
        genders = [table[name]["gender"] for name in ("0001_000001", "0011_000351", "0015_000137")]
        assert genders == ["female", "male", "female"]
        assert table["0011_000351"]["speaker"] == "0011"
        assert "part" not in corpus.table
        assert corpus.notes[0].startswith("9 utterances, the release has 35000: 3 Angry (documented 7000)")
        assert corpus.notes[1:] == [
            "lines of text files cannot be read (1): 0015.txt line 2",
            "utterances have no transcript (1): 0017_001402",
        ]

    def test_no_esd(self, tmp_path: Path) -> None:
        write_wav(tmp_path / "a.wav")
        with pytest.raises(
            CorpusError, match=r"is named as in ESD \(0011/Angry/0011_000351\.wav\); give the folder"
        ):
            read_corpus("esd", tmp_path)


class TestEmovDb:
    @pytest.fixture
    def release(self, tmp_path: Path) -> Path:
        for name in (
            *(
                "bea_Amused/amused_57-84_0057",
                "bea_Disgusted/Disgust_1-28_0001",
                "sam/Sleepy/sleepiness_1-28_0001",
            ),
            *("josh_Neutral/neutral_1-28_0001", "jenie_Neutral/neutral_1-28_0001", "jenie_Angry/laugh"),
        ):
            write_wav(tmp_path / f"{name}.wav")
        return tmp_path

    def test_names_repeat_across_speakers(self, release: Path) -> None:
        corpus = read_corpus("emov-db", release)
        table = rows(corpus)
        assert {name: (row["speaker"], row["emotion"], row["gender"]) for name, row in table.items()} == {
            "bea_Amused_amused_57-84_0057": ("bea", "amused", "female"),
            "bea_Disgusted_Disgust_1-28_0001": ("bea", "disgusted", "female"),
            "jenie_Angry_laugh": ("jenie", "angry", "female"),
            "jenie_Neutral_neutral_1-28_0001": ("jenie", "neutral", "female"),
            "josh_Neutral_neutral_1-28_0001": ("josh", "neutral", "male"),
            "sam_Sleepy_sleepiness_1-28_0001": ("sam", "sleepy", "male"),
        }
        assert corpus.table["transcript"].isna().all()
        assert corpus.table["original_emotion"].tolist()[0] == "Amused"
        assert corpus.notes[0].startswith("6 utterances, the release has 6887: 1 Amused (documented 1315)")
        assert corpus.notes[1].startswith("no cmuarctic.data: transcripts are null; put the prompt list")

    def test_prompts_of_cmu_arctic(self, release: Path) -> None:
        (release / "cmuarctic.data").write_text(
            '( arctic_a0001 "Author of the danger trail." )\n'
            '( arctic_a0057 "Say \\"no\\"." )\n( arctic_b0057 "Another." )\n'
        )
        corpus = read_corpus("emov-db", release)
        table = rows(corpus)
        assert table["josh_Neutral_neutral_1-28_0001"]["transcript"] == "Author of the danger trail."
        assert table["bea_Amused_amused_57-84_0057"]["transcript"] == 'Say \\"no\\".'
        assert table["jenie_Angry_laugh"]["transcript"] is None
        assert corpus.notes[1:] == ["utterances have no transcript (1): jenie_Angry_laugh"]


class TestJlCorpus:
    def test_text_beside_the_recording(self, tmp_path: Path) -> None:
        folder = tmp_path / "Raw JL corpus (unchecked and unannotated)" / "JL(wav+txt)"
        for name in ("female1_angry_10a_1", "male1_encouraging_2b_2", "male2_excited_1a_1"):
            write_wav(folder / f"{name}.wav", 44100)
        write_wav(tmp_path / "raw jl corpus" / "x" / "jl" / "male2_excited_1a_1.wav")
        write_wav(tmp_path / "perception" / "clip1.wav")
        (folder / "female1_angry_10a_1.txt").write_text("Tom beats that farmer.\n")
        (folder / "male1_encouraging_2b_2.txt").write_bytes(b"You\x92re \xe9lan.")
        corpus = read_corpus("jl-corpus", tmp_path)
        table = rows(corpus)
        assert list(table) == ["female1_angry_10a_1", "male1_encouraging_2b_2", "male2_excited_1a_1"]
        first, second, third = table.values()
        assert (first["speaker"], first["gender"], first["fold"]) == ("female1", "female", "female1")
        assert (second["speaker"], second["gender"], second["emotion"]) == ("male1", "male", "encouraging")
        assert (first["sentence"], first["recording_session"], first["take"]) == ("10", "a", "1")
        assert (first["transcript"], second["transcript"]) == ("Tom beats that farmer.", "You’re élan.")
        assert third["transcript"] is None
        assert str(folder) in third["audio_path"]
        notes = "\n".join(corpus.notes)
        assert "are left out (1): perception/clip1.wav" in notes
        assert "further copies are left out (1): raw jl corpus/x/jl/male2_excited_1a_1.wav" in notes
        assert "3 utterances, the release has 2400: 1 angry (documented 240)" in notes
        assert corpus.notes[-1] == "utterances have no transcript (1): male2_excited_1a_1"


class TestMead:
    def test_numbers_repeat_in_every_folder(self, tmp_path: Path) -> None:
        for name in (
            *(
                "M003/audio/angry/level_1/024",
                "M003/audio/angry/level_3/025",
                "W009/audio/neutral/level_1/030",
            ),
            *("W009/audio/neutral/level_1/031", "W009/audio/contempt/level_1/001"),
        ):
            write_wav(tmp_path / f"{name}.wav", 48000, channels=2)
            (tmp_path / f"{name}.wav").rename(tmp_path / f"{name}.m4a")
        (tmp_path / "M003/video/front/angry/level_1").mkdir(parents=True)
        (tmp_path / "M003/video/front/angry/level_1/024.mp4").write_bytes(b"")
        corpus = read_corpus("mead", tmp_path)
        columns = ["speaker", "gender", "emotion", "intensity", "split"]
        assert {name: [row[column] for column in columns] for name, row in rows(corpus).items()} == {
            "M003_angry_1_024": ["M003", "male", "angry", "1", "train"],
            "M003_angry_3_025": ["M003", "male", "angry", "3", "test"],
            "W009_contempt_1_001": ["W009", "female", "contemptuous", "1", "train"],
            "W009_neutral_1_030": ["W009", "female", "neutral", "1", "train"],
            "W009_neutral_1_031": ["W009", "female", "neutral", "1", "test"],
        }
        assert corpus.table["transcript"].isna().all()
        assert corpus.table["duration"].round(3).tolist() == [0.1] * 5
        (note,) = corpus.notes
        assert note.startswith("5 utterances, the release has 31729: 2 angry (documented 4193)")

    def test_converted_recordings(self, tmp_path: Path) -> None:
        write_wav(tmp_path / "M003/audio/fear/level_2/030.wav")
        assert list(rows(read_corpus("mead", tmp_path))) == ["M003_fear_2_030"]


class TestShemo:
    def test_letters_and_transcripts(self, tmp_path: Path) -> None:
        for name in ("male/M36S02", "male/M01A01", "female/F07F01", "female/F07W01", "female/x"):
            write_wav(tmp_path / f"{name}.wav", 44100)
        texts = tmp_path / "transcript" / "final text"
        texts.mkdir(parents=True)
        (texts / "M36S02.ort").write_bytes("\ufeffسلم\r".encode())
        (texts / "F07F01.ort").write_bytes("چرا\r\n".encode())
        (texts / "M99N01.ort").write_bytes("نه".encode())
        scripts = tmp_path / "transcript" / "final script"
        scripts.mkdir()
        (scripts / "M01A01.tra").write_text("salAm")
        corpus = read_corpus("shemo", tmp_path)
        columns = ["speaker", "gender", "emotion", "original_emotion", "transcript"]
        assert {name: [row[column] for column in columns] for name, row in rows(corpus).items()} == {
            "F07F01": ["F07", "female", "fearful", "F", "چرا"],
            "F07W01": ["F07", "female", "surprised", "W", None],
            "M01A01": ["M01", "male", "angry", "A", None],
            "M36S02": ["M36", "male", "sad", "S", "سلم"],
        }
        assert set(corpus.table["language"]) == {"fa"}
        assert "female/x.wav" in corpus.notes[0]
        assert corpus.notes[1].startswith("4 utterances, the release has 3000: 1 A (documented 1059)")
        assert corpus.notes[2:] == [
            "transcripts have no recording and are left out (1): M99N01",
            "utterances have no transcript (2): F07W01, M01A01",
        ]

    def test_git_lfs_pointers(self, tmp_path: Path) -> None:
        (tmp_path / "male").mkdir()
        (tmp_path / "male" / "M36S02.wav").write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        )
        with pytest.raises(CorpusError, match="1 recording found, git-lfs pointers"):
            read_corpus("shemo", tmp_path)
