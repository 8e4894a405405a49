"""CREMA-D on a small clone with the traps of the release."""

import json
import os
import shutil
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from corpora.release_trees import POINTER, write_wav

from mmer.corpora import read_corpus
from mmer.corpora.readers.catalog import CATALOG
from mmer.corpora.readers.crema_d import read_crema_d
from mmer.errors import CorpusError

CLIPS = ("1001_IEO_HAP_LO", "1001_DFA_ANG_XX", "1040_ITH_SAD_X", "1076_MTI_SAD_XX", "1076_MTI_NEU_XX")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for clip in CLIPS:
        write_wav(tmp_path / "AudioWAV" / f"{clip}.wav")
    (tmp_path / "AudioMP3").mkdir()
    (tmp_path / "AudioMP3" / "1001_IEO_HAP_LO.mp3").write_text(POINTER)
    (tmp_path / "processedResults").mkdir()
    (tmp_path / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n"
        "1001,51,Male,Caucasian,Not Hispanic\n1040,42,Female,Asian,Hispanic\n1076,25,Female,Asian,Hispanic\n"
    )
    (tmp_path / "finishedResponses.csv").write_text(
        '"","localid","pos","ans","queryType","clipName","respEmo","respLevel"\n'
        '"1","w1",1,"H_50",1,"1001_IEO_HAP_LO","H",50\n'
        '"2","w2",4,"N_60",1,"1001_IEO_HAP_LO","N",60\n'
        '"3","w2",5,"A_60",3,"1001_IEO_HAP_LO","A",60\n'
        '"4","w1",7,"A_90",2,"1001_DFA_ANG_XX","A",90\n'
        '"5","w3",8,"S_10",1,"1040_ITH_SAD_X","S",10\n'
    )
    (tmp_path / "processedResults" / "tabulatedVotes.csv").write_text(
        '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"\n'
        '"100002",0,0,0,2,1,0,"1001_IEO_HAP_LO",3,0.666666666666667,"H"\n'
        '"200002",3,0,0,0,0,0,"1001_IEO_HAP_LO",3,1,"A"\n'
        '"300003",0,0,0,0,0,3,"1001_DFA_ANG_XX",3,1,"S"\n'
    )
    (tmp_path / "processedResults" / "summaryTable.csv").write_text(
        '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'
        '"1","1001_IEO_HAP_LO","H:N","50:60","A","60","A","60"\n'
        '"2","1001_DFA_ANG_XX","D","67","A","81","A","70"\n'
    )
    return tmp_path


def test_empty_cells_are_unknown_values(clone: Path) -> None:
    """Ages, genders and votes that a table leaves out."""
    people, heard = clone / "VideoDemographics.csv", clone / "finishedResponses.csv"
    people.write_text(
        people.read_text().replace("1001,51,Male", "1001,,").replace("1040,42,", "1040,unknown,")
    )
    heard.write_text(heard.read_text().replace('"1001_IEO_HAP_LO","N"', '"1001_IEO_HAP_LO",'))
    majority = clone / "processedResults" / "summaryTable.csv"
    majority.write_text(majority.read_text().replace('"H:N"', ""))
    table = read_corpus("crema-d", clone).table.set_index("utterance_id")
    assert [None if pd.isna(age) else age for age in table["age"]] == [None, None, None, 25]
    assert [None if pd.isna(gender) else gender for gender in table["gender"]] == [
        None,
        None,
        "female",
        "female",
    ]
    assert json.loads(str(table.loc["1001_IEO_HAP_LO", "votes"])) == {"w1": ["H"]}
    assert table.loc["1001_IEO_HAP_LO", "voice_vote"] is None
    heard.unlink()
    counts = clone / "processedResults" / "tabulatedVotes.csv"
    counts.write_text(counts.read_text().replace('"100002",0,0,0,2,1,0,', '"100002",,,,2,1,,'))
    table = read_corpus("crema-d", clone).table.set_index("utterance_id")
    assert json.loads(str(table.loc["1001_IEO_HAP_LO", "votes"])) == {"1": ["H"], "2": ["H"], "3": ["N"]}


def test_the_clone(clone: Path) -> None:
    corpus = read_corpus("crema-d", clone)
    table = corpus.table.set_index("utterance_id")
    assert table.index.tolist() == sorted(set(CLIPS) - {"1076_MTI_SAD_XX"})
    assert table["emotion"].tolist() == ["angry", "happy", "sad", "neutral"]
    assert table["original_emotion"].tolist() == ["ANG", "HAP", "SAD", "NEU"]
    assert table["speaker"].tolist() == ["1001", "1001", "1040", "1076"]
    assert table["gender"].tolist() == ["male", "male", "female", "female"]
    assert table["age"].tolist() == [51, 51, 42, 25]
    assert table["intensity"].tolist() == [None, "LO", None, None]
    assert table["transcript"].tolist()[:3] == [
        "Don't forget a jacket",
        "It's eleven o'clock",
        "I think I have a doctor's appointment",
    ]
    assert table["duration"].tolist() == [0.1] * 4
    votes = [None if text is None else json.loads(text) for text in table["votes"]]
    assert votes == [None, {"w1": ["H"], "w2": ["N"]}, {"w3": ["S"]}, None]
    assert table["voice_vote"].tolist() == ["D", "H:N", None, None]
    assert table["face_vote"].tolist() == ["A", "A", None, None]
    assert table["multimodal_vote"].tolist() == ["A", "A", None, None]
    assert corpus.notes[:2] == [
        "recordings are known to be unusable and are left out (1): 1076_MTI_SAD_XX (no signal)",
        "recordings are known to be flawed (1): 1076_MTI_NEU_XX (reported by its users)",
    ]
    # The one without signal is part of the release, so it is counted.
    assert corpus.notes[2].startswith("5 utterances, the release has 7442: 1 ANG (documented 1271)")
    assert "2 SAD (documented 1271)" in corpus.notes[2]
    assert len(corpus.notes) == 3


def test_a_folder_around_the_clone(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    around = tmp_path_factory.mktemp("downloads")
    shutil.copytree(clone, around / "CREMA-D")
    inside, outside = read_crema_d(clone), read_crema_d(around)
    assert outside.notes == inside.notes
    columns = ["votes", "voice_vote", "age", "gender"]
    pd.testing.assert_frame_equal(outside.table[columns], inside.table[columns])
    assert outside.table["votes"].notna().any()


def test_counts_of_votes_where_those_of_raters_are_missing(clone: Path) -> None:
    (clone / "finishedResponses.csv").write_text(POINTER)
    corpus = read_crema_d(clone)
    table = corpus.table.set_index("utterance_id")
    votes = [None if text is None else json.loads(text) for text in table["votes"]]
    assert votes == [None, {"1": ["H"], "2": ["H"], "3": ["N"]}, None, None]
    assert corpus.notes[3:] == ["finishedResponses.csv is a git-lfs pointer; run git lfs pull"]


def test_recordings_alone(tmp_path: Path) -> None:
    write_wav(tmp_path / "1001_IEO_HAP_LO.wav")
    corpus = read_crema_d(tmp_path)
    row = corpus.table.loc[0]
    assert (row["emotion"], row["speaker"], row["gender"]) == ("happy", "1001", None)
    assert not any(row[name] for name in ("votes", "voice_vote", "face_vote", "multimodal_vote"))
    assert corpus.notes[1:] == [
        "no VideoDemographics.csv",
        "no finishedResponses.csv",
        "no processedResults/tabulatedVotes.csv",
        "no processedResults/summaryTable.csv",
    ]


def test_a_clone_without_git_lfs(tmp_path: Path) -> None:
    (tmp_path / "1001_IEO_HAP_LO.wav").write_text(POINTER)
    with pytest.raises(
        CorpusError, match="1 recording found, git-lfs pointers instead of sound; run git lfs pull"
    ):
        read_crema_d(tmp_path)


def test_a_table_without_its_columns(clone: Path) -> None:
    (clone / "VideoDemographics.csv").write_text("ActorID,Age\n1001,51\n")
    with pytest.raises(CorpusError, match=r"VideoDemographics\.csv: no column Sex; found ActorID, Age"):
        read_crema_d(clone)


def test_the_whole_release_is_as_documented(tmp_path: Path) -> None:
    """91 actors, 12 sentences; IEO in three levels of each emotion but neutral; what is documented as missing."""
    sentences = ("TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
    emotions = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    names = set()
    for actor, emotion in product(range(1001, 1092), emotions):
        levels = ("XX",) if emotion == "NEU" else ("LO", "MD", "HI")
        names |= {f"{actor}_IEO_{emotion}_{level}" for level in levels}
        names |= {f"{actor}_{sentence}_{emotion}_XX" for sentence in sentences}
    missing = {"1002_TIE_NEU_XX", "1076_ITS_NEU_XX"}
    missing |= {f"{pair}_{e}_XX" for pair in ("1008_WSI", "1009_MTI", "1019_ITH") for e in emotions}
    write_wav(tmp_path / "noise.flac")
    for name in names - missing:
        os.link(tmp_path / "noise.flac", tmp_path / f"{name}.wav")
    facts = CATALOG["crema-d"]
    assert len(names - missing) == facts.utterances == 7442
    corpus = read_crema_d(tmp_path)
    assert "7442 utterances, 6 labels: as documented" in corpus.notes
    assert corpus.table["speaker"].nunique() == facts.speakers
    assert corpus.table["transcript"].nunique() == 12
    assert corpus.table["intensity"].notna().sum() == 1365
