"""MSP-Podcast and MSP-IMPROV on trees with the documented layout."""

import json
from pathlib import Path
from typing import Any

import pytest
from corpora.release_trees import write_wav

from mmer.corpora import read_corpus
from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError

CONSENSUS = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
TURNS = (
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,127,Female,Train\n"
    "MSP-PODCAST_0001_0019.wav,X,3.0,4.5,2.0,Unknown,Unknown,Development\n"
    "MSP-PODCAST_0002_0001.wav,C,3.0,4.5,2.0,7,Male,Test1\n"
    "MSP-PODCAST_1023_0235.wav,F,3.0,4.5,2.0,7,Male,Test2\n"
    "MSP-PODCAST_2000_0001.wav,,,,,,,Test3\n"
    "MSP-PODCAST_3000_0001.wav,U,3.0,4.5,2.0,7,Male,Validation\n"
)
LABELS = """MSP-PODCAST_0001_0008.wav; N; A:2.200000; V:4.000000; D:2.600000;
WORKER00000001; Neutral; Neutral,Concerned; A:1.000000; V:4.000000; D:1.000000;
WORKER00000002; Other-bored; again; Other; A:3.000000; V:4.000000; D:4.000000;

MSP-PODCAST_0001_0019.wav; X; A:3.000000; V:4.500000; D:2.000000;
WORKER00000001; Happy; ; A:3.000000; V:4.500000; D:2.000000;
"""


def rows(corpus: Corpus) -> dict[Any, dict[Any, Any]]:
    return corpus.table.set_index("utterance_id").to_dict("index")


class TestPodcast:
    @pytest.fixture
    def release(self, tmp_path: Path) -> Path:
        for number in ("0001_0008", "0001_0019", "0002_0001", "2000_0001", "4000_0001"):
            write_wav(tmp_path / "Audios" / f"MSP-PODCAST_{number}.wav")
        write_wav(tmp_path / "Audios" / "MSP-PODCAST_1023_0235.wav", 44100, channels=2)
        for folder, name, content in (
            ("Labels", "labels_consensus.csv", CONSENSUS + TURNS),
            ("Labels", "Labels.txt", LABELS),
            ("Transcripts", "MSP-PODCAST_0001_0008.txt", "I’m here.\n"),
            ("Transcripts", "MSP-PODCAST_2000_0001.txt", ""),
            ("previous/v1.8/Labels", "labels_concensus.csv", CONSENSUS),
        ):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(content, encoding="utf-8")
        return tmp_path

    def test_labels_splits_and_speakers(self, release: Path) -> None:
        corpus = read_corpus("msp-podcast", release)
        columns = ["emotion", "original_emotion", "split", "original_split", "speaker", "gender"]
        assert {name[12:]: [row[column] for column in columns] for name, row in rows(corpus).items()} == {
            "0001_0008": ["neutral", "N", "train", "Train", "127", "female"],
            "0001_0019": [None, "X", "validation", "Development", None, None],
            "0002_0001": ["contemptuous", "C", "test", "Test1", "7", "male"],
            "1023_0235": ["fearful", "F", "test", "Test2", "7", "male"],
            "2000_0001": [None, None, "test", "Test3", None, None],
        }
        first = rows(corpus)["MSP-PODCAST_0001_0008"]
        assert [first[name] for name in ("activation", "valence", "dominance")] == [2.2, 4.0, 2.6]
        assert corpus.table["transcript"].tolist() == ["I’m here.", None, None, None, ""]
        assert corpus.notes == [
            "labeled utterances have no recording and are left out (1): MSP-PODCAST_3000_0001",
            "recordings have no label and are left out (1): MSP-PODCAST_4000_0001.wav",
            "recording MSP-PODCAST_1023_0235 is known to be unlike the others (stereo, 44.1 kHz)",
            "counts depend on the version of the release and are not compared",
            "utterances have no transcript (3): MSP-PODCAST_0001_0019, MSP-PODCAST_0002_0001, MSP-PODCAST_1023_0235",
        ]

    def test_votes(self, release: Path) -> None:
        table = rows(read_corpus("msp-podcast", release))
        expected = {"WORKER00000001": ["Neutral"], "WORKER00000002": ["Other-bored"]}
        assert json.loads(table["MSP-PODCAST_0001_0008"]["votes"]) == expected
        assert json.loads(table["MSP-PODCAST_0001_0019"]["votes"]) == {"WORKER00000001": ["Happy"]}
        assert table["MSP-PODCAST_0002_0001"]["votes"] is None

    @pytest.mark.parametrize(
        "detailed",
        [
            'FileName,EmoDetail\nMSP-PODCAST_0001_0008.wav,"WORKER1; Sad; Sad,Tired; A:1.0; V:2.0; D:3.0;"\n',
            "FileName,Workers,EmoClass_Major,EmoAct\nMSP-PODCAST_0001_0008.wav,WORKER1,Sad,1.0\n",
        ],
    )
    def test_votes_of_versions_without_labels_txt(self, release: Path, detailed: str) -> None:
        (release / "Labels" / "Labels.txt").unlink()
        (release / "Labels" / "labels_detailed.csv").write_text(detailed)
        table = rows(read_corpus("msp-podcast", release))
        assert table["MSP-PODCAST_0001_0008"]["votes"] == '{"WORKER1": ["Sad"]}'

    def test_the_older_spelling_and_folder(self, release: Path) -> None:
        (release / "Labels" / "labels_consensus.csv").rename(release / "Labels" / "labels_concensus.csv")
        (release / "Audios").rename(release / "Audio")
        assert len(read_corpus("msp-podcast", release)) == 5

    def test_no_msp_podcast(self, tmp_path: Path) -> None:
        with pytest.raises(
            CorpusError, match=r"no labels_consensus\.csv or labels_concensus\.csv; give the folder"
        ):
            read_corpus("msp-podcast", tmp_path)
        labels = tmp_path / "labels_consensus.csv"
        labels.write_text(CONSENSUS + TURNS)
        with pytest.raises(
            CorpusError, match="none of 6 labeled recordings is there, the first is MSP-PODCAST_0001"
        ):
            read_corpus("msp-podcast", tmp_path)
        labels.write_text(CONSENSUS + TURNS.replace("Test2", "Test9"))
        with pytest.raises(CorpusError, match="unknown Split_Set 'Test9'; known are Train, Validation"):
            read_corpus("msp-podcast", tmp_path)


EVALUATION = """UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.0; V:3.5; D:3.0 ; N:4.2;
ann1; Neutral; Neutral; A:3; V:3; D:3; N:4;
ann2; Happy,Excited; Happy; A:3; V:4; D:3; N:4;
ann1; Sad; Sad; A:3; V:3; D:3; N:4;

UTD-IMPROV-S20H-M06-R-MF02.avi; H; A:2.0; V:4.5; D:NaN ; N:4.0;
ann3; Angry; ; A:3; V:3; D:3; N:4;

UTD-IMPROV-S01A-M01-T-FM03.avi; X; A:2.0; V:4.5; D:3.0 ; N:4.0;

UTD-IMPROV-S01A-M01-S-FM04.avi; A; A:2.0; V:4.5; D:3.0 ; N:4.0;

UTD-IMPROV-S01A-M01-Q-FM05.avi; A; A:2.0; V:4.5; D:3.0 ; N:4.0;
ann4; Angry; ; A:3; V:3; D:3; N:4;
"""


class TestImprov:
    @pytest.fixture(params=["Evalution.txt", "Evaluation.txt"])
    def release(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        for name in (
            *(
                "Audio/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01",
                "session6/S20H/R/MSP-IMPROV-S20H-M06-R-MF02",
            ),
            *("session1/S01A/T/MSP-IMPROV-S01A-M01-T-FM03", "session1/S01A/T/MSP-IMPROV-S01A-M01-T-FM09"),
        ):
            write_wav(tmp_path / f"{name}.wav", 44100)
        (tmp_path / request.param).write_text(EVALUATION)
        return tmp_path

    def test_every_trap(self, release: Path) -> None:
        corpus = read_corpus("msp-improv", release)
        first, second, third = rows(corpus).values()
        names = ["MSP-IMPROV-S01A-F01-P-FM01", "MSP-IMPROV-S20H-M06-R-MF02", "MSP-IMPROV-S01A-M01-T-FM03"]
        assert corpus.table["utterance_id"].tolist() == names
        assert [Path(path).stem for path in corpus.table["audio_path"]] == names
        assert corpus.table["speaker"].tolist() == ["F01", "M06", "M01"]
        assert corpus.table["gender"].tolist() == ["female", "male", "male"]
        assert corpus.table["session"].tolist() == corpus.table["fold"].tolist() == ["1", "6", "1"]
        assert corpus.table["emotion"].tolist() == ["neutral", "happy", None]
        assert corpus.table["original_emotion"].tolist() == ["N", "H", "X"]
        assert corpus.table["intended_emotion"].tolist() == ["angry", "happy", "angry"]
        assert corpus.table["improvised"].tolist() == [True, False, True]
        assert [row["dialogue"] for row in (first, second, third)] == ["S01A_1", None, "S01A_1"]
        ratings = ["activation", "valence", "dominance", "naturalness"]
        assert [first[name] for name in ratings] == [3.0, 3.5, 3.0, 4.2]
        assert corpus.table["dominance"].isna().tolist() == [False, True, False]
        assert (second["naturalness"], second["sentence"]) == (4.0, "S20")
        assert json.loads(first["votes"]) == {"ann1": ["Neutral"], "ann2": ["Happy", "Excited"]}
        assert json.loads(second["votes"]) == {"ann3": ["Angry"]}
        assert corpus.table["transcript"].isna().all()

    def test_notes(self, release: Path) -> None:
        name = next(release.glob("Eval*.txt")).name
        assert read_corpus("msp-improv", release).notes == [
            f"label lines cannot be read and are left out ({name}) (1): line 13",
            f"votes are of a worker who voted before and are left out ({name}) (1): line 4",
            "labeled utterances have no recording and are left out (1): MSP-IMPROV-S01A-M01-S-FM04",
            "recordings have no label and are left out (1): MSP-IMPROV-S01A-M01-T-FM09.wav",
            "3 utterances, the release has 8438: 1 T (documented 652), 1 R (documented 620), 0 S (documented 4381), "
            "1 P (documented 2785)",
        ]

    def test_no_msp_improv(self, tmp_path: Path) -> None:
        with pytest.raises(
            CorpusError, match=r"no Evalution\.txt or Evaluation\.txt; give the folder of MSP-IMPROV"
        ):
            read_corpus("msp-improv", tmp_path)
