"""IEMOCAP on trees made to the documented layout, with every trap of the release in the small one."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mmer.corpora.corpus import Corpus
from mmer.corpora.readers.iemocap import CODES, DOCUMENTED, read_iemocap
from mmer.errors import CorpusError

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def label(
    turn: str, emotion: str, start: float = 1.0, end: float = 2.0, means: str = "2.5000, 2.5000, 2.5000"
) -> str:
    return f"[{start:.4f} - {end:.4f}]\t{turn}\t{emotion}\t[{means}]\n"


class Release:
    """A tree with the layout of the release."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "IEMOCAP_full_release"
        self.recording = folder / "turn.wav"
        soundfile.write(self.recording, np.zeros(3200), 16000)

    def dialogue(self, name: str, labels: str, transcripts: str, recordings: Iterable[str]) -> None:
        session = self.root / f"Session{name[4]}"
        for kind in ("EmoEvaluation/Categorical", "EmoEvaluation/Attribute", "transcriptions"):
            (session / "dialog" / kind).mkdir(parents=True, exist_ok=True)
        sentences = session / "sentences" / "wav" / name
        sentences.mkdir(parents=True, exist_ok=True)
        evaluation = session / "dialog" / "EmoEvaluation" / f"{name}.txt"
        evaluation.write_bytes((HEADER + labels).encode("latin-1"))
        (session / "dialog" / "transcriptions" / f"{name}.txt").write_bytes(transcripts.encode("latin-1"))
        for turn in recordings:
            os.link(self.recording, sentences / f"{turn}.wav")


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


@pytest.fixture
def trapped(release: Release) -> Path:
    """Two small sessions with every trap."""
    first = "Ses01F_impro01"
    release.dialogue(
        first,
        # All turns of one actor come first, so blocks are not in the order of time.
        label(f"{first}_F000", "neu", 6.2901, 8.2357)
        + "C-E2:\tNeutral;\t()\nC-E3:\tFrustration; Anger;\t(why: he's [angry] again)\nC-F1:\t;\t()\n"
        + "A-E3:\tval 3; act 2; dom  2;\t()\nA-E4:\tval 2; act 3; dom  ;\t(mad)\n"
        + "A-F1:\tval 5.5; act 1; dom  0.5;\t()\n\n"
        + label(f"{first}_F001", "xxx", 12.0, 13.0, "5.5000, 1.0000, 0.5000")
        + "C-E1:\tNeutral state; Other;\t(confused)\n\n"
        + label(f"{first}_M000", "exc", 9.0, 11.0)
        + "\n"
        + label(f"{first}_M001", "fru", 14.0, 15.0)
        + "[a line that is broken]\n",
        f"{first}_F000 [006.2901-008.2357]: Excuse me: [LAUGHTER] it's 5:30 in the caf\xe9.\r\n"
        "M: Yeah.\n"
        "F: so [he said]: no\n"
        f"{first}_MXX0 [008.3000-008.9000]: Mhm.\n"
        f"{first}_M000 [009.0000-011.0000]: [008.0]: I don\x92t \x85 know.\n"
        f"{first}_F001 [012.0000-013.0000]: \n",
        [f"{first}_F000", f"{first}_F001", f"{first}_M000", f"{first}_M001", f"{first}_M099"],
    )
    # The prefix is the actor with the markers, so both speakers occur under both prefixes.
    second = "Ses01M_script01_1"
    release.dialogue(
        second,
        label(f"{second}_F000", "sur")
        + "\n"
        + label(f"{second}_M000", "dis")
        + "\n"
        + label(f"{second}_M001", "oth"),
        f"{second}_F000 [1.0-2.0]: Oh!\n",
        [f"{second}_F000", f"{second}_M000"],
    )
    for name in ("Ses03M_impro05a", "Ses03M_impro08b", "Ses05M_script01_1b"):
        turns = [f"{name}_F000", f"{name}_M000"]
        texts = "".join(f"{turn} [000.5000-001.0000]: Hm.\n" for turn in turns)
        release.dialogue(name, "\n".join(label(turn, "fea") for turn in turns), texts, turns)
    session = release.root / "Session1"
    evaluation = session / "dialog" / "EmoEvaluation"
    fork = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X \xff\xfe"
    (evaluation / f"._{first}.txt").write_bytes(fork)
    (session / "dialog" / "transcriptions" / f"._{first}.txt").write_bytes(fork)
    (session / "sentences" / "wav" / first / f"._{first}_F000.wav").write_bytes(fork)
    (evaluation / "Categorical" / f"{first}_e2_cat.txt").write_text(f"{first}_F000 :Neutral state; ()\n")
    (evaluation / "Attribute" / f"{first}_e2_atr.txt").write_text(
        f"{first}_F000 :act 2; :val 3; :dom  2; ()\n"
    )
    (evaluation / "Attribute" / f"{first}_e2.anvil").write_text("<annotation/>")
    return release.root


def test_every_trap(trapped: Path) -> None:
    corpus = read_iemocap(trapped)
    table = corpus.table.set_index("utterance_id", drop=False)
    assert table.index.tolist() == [
        *(f"Ses01F_impro01_{turn}" for turn in ("F000", "M000", "F001", "M001")),
        *("Ses01M_script01_1_F000", "Ses01M_script01_1_M000"),
        *("Ses03M_impro05a_F000", "Ses03M_impro05a_M000", "Ses03M_impro08b_F000", "Ses03M_impro08b_M000"),
        *("Ses05M_script01_1b_F000", "Ses05M_script01_1b_M000"),
    ]
    speakers = table["speaker"].tolist()
    assert speakers[:6] == ["Ses01_F", "Ses01_M", "Ses01_F", "Ses01_M", "Ses01_F", "Ses01_M"]
    assert speakers[6:] == ["Ses03_F", "Ses03_M", "Ses03_F", "Ses03_M", "Ses05_F", "Ses05_M"]
    assert (table["gender"] == table["speaker"].str[-1].map({"F": "female", "M": "male"})).all()
    assert table["session"].unique().tolist() == ["Ses01", "Ses03", "Ses05"]
    assert table["emotion"].tolist()[:6] == [
        "neutral",
        "excited",
        None,
        "frustrated",
        "surprised",
        "disgusted",
    ]
    assert table["original_emotion"].tolist()[:6] == ["neu", "exc", "xxx", "fru", "sur", "dis"]
    assert table["improvised"].tolist() == [True] * 4 + [False] * 2 + [True] * 4 + [False] * 2
    assert table["dialogue"].iloc[-1] == "Ses05M_script01_1b"
    assert table["duration"].tolist() == [0.2] * 12
    assert table["start"].isna().all()
    assert table["audio_path"].map(os.path.isfile).all()

    turns: dict[Any, dict[Any, Any]] = table.to_dict("index")
    turn = turns["Ses01F_impro01_F000"]
    assert turn["transcript"] == "Excuse me: [LAUGHTER] it's 5:30 in the café."
    assert (turn["turn_start"], turn["turn_end"]) == (6.2901, 8.2357)
    assert json.loads(turn["votes"]) == {"E2": ["Neutral"], "E3": ["Frustration", "Anger"], "F1": []}
    assert json.loads(turn["ratings"]) == {
        "E3": {"val": 3, "act": 2, "dom": 2},
        "E4": {"val": 2, "act": 3},
        "F1": {"val": 5.5, "act": 1, "dom": 0.5},
    }
    undecided = turns["Ses01F_impro01_F001"]
    assert undecided["transcript"] == ""
    assert [undecided[name] for name in ("valence", "activation", "dominance")] == [5.5, 1.0, 0.5]
    assert json.loads(undecided["votes"]) == {"E1": ["Neutral state", "Other"]}
    assert turns["Ses01F_impro01_M000"]["transcript"] == "[008.0]: I don’t … know."
    assert turns["Ses01M_script01_1_M000"]["transcript"] is None


def test_what_is_missing_is_listed(trapped: Path) -> None:
    notes = read_iemocap(trapped).notes
    assert notes[0] == "sessions 1, 3, 5 of 5 are there"
    assert "label lines cannot be read and are left out (1): Ses01F_impro01.txt line 17" in notes
    assert "labeled turns have no recording and are left out (1): Ses01M_script01_1_M001" in notes
    assert "recordings have no label and are left out (1): Ses01F_impro01_M099" in notes
    assert "turns have no transcript (2): Ses01F_impro01_M001, Ses01M_script01_1_M000" in notes
    assert any(
        note.startswith("session 3 has 4 turns (documented 2136): ang 0 (240), dis 0 (1)") for note in notes
    )
    counts = "neutral 1, happy or excited 1, angry 0, sad 0): documented are 1088, 1006, 639, 744"
    assert notes[-1] == f"12 turns, 2 in the usual four classes ({counts}"


def test_the_folder_around_the_release_will_do(trapped: Path) -> None:
    assert len(read_iemocap(trapped.parent)) == 12


def test_a_turn_labeled_twice(release: Release) -> None:
    turn = "Ses02F_impro01_F000"
    release.dialogue("Ses02F_impro01", label(turn, "sad") + "\n" + label(turn, "ang"), "", [turn])
    corpus = read_iemocap(release.root)
    assert corpus.emotions == ["sad"]
    assert f"turns are labeled more than once, their first label counts (1): {turn}" in corpus.notes


def test_no_iemocap(tmp_path: Path, release: Release) -> None:
    with pytest.raises(
        CorpusError, match="no folder Session1 to Session5; give the folder IEMOCAP_full_release"
    ):
        read_iemocap(tmp_path)
    release.dialogue("Ses02F_impro01", label("Ses02F_impro01_F000", "sad"), "", [])
    with pytest.raises(CorpusError, match="none of 1 labeled turn has a recording in sentences/wav"):
        read_iemocap(release.root)
    (release.root / "Session4").mkdir()
    with pytest.raises(CorpusError, match="EmoEvaluation: no such folder; the release is not complete"):
        read_iemocap(release.root)


# corpora.md §1.5 and §1.6: turns of each code in the improvised and the scripted half of each session, and the turns
# of the female and the male speaker, of all and of the four classes.
IMPROVISED = {
    1: (62, 0, 99, 0, 104, 33, 223, 0, 104, 9, 125),
    2: (22, 0, 137, 1, 140, 54, 217, 0, 100, 11, 106),
    3: (90, 1, 89, 0, 215, 60, 198, 0, 190, 21, 180),
    4: (84, 0, 164, 0, 305, 31, 174, 1, 81, 10, 210),
    5: (31, 0, 174, 7, 207, 106, 287, 0, 133, 9, 179),
}
SCRIPTED = {
    1: (167, 1, 44, 12, 176, 102, 161, 1, 90, 16, 290),
    2: (115, 0, 73, 8, 185, 63, 145, 1, 97, 6, 330),
    3: (150, 0, 62, 2, 167, 75, 122, 0, 115, 7, 392),
    4: (243, 0, 74, 7, 176, 34, 84, 0, 62, 9, 354),
    5: (139, 0, 125, 3, 174, 37, 97, 0, 112, 9, 341),
}
SPEAKERS = {1: (873, 946), 2: (859, 952), 3: (1048, 1088), 4: (987, 1116), 5: (1033, 1137)}
FOUR_CLASS_SPEAKERS = {1: (528, 557), 2: (481, 542), 3: (522, 629), 4: (528, 503), 5: (590, 651)}
FOUR = ("neu", "hap", "exc", "ang", "sad")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """All 10 039 turns with the documented counts of labels, halves and speakers."""
    release = Release(tmp_path_factory.mktemp("iemocap"))
    for session in DOCUMENTED:
        halves = {"impro01": IMPROVISED[session], "script01_1": SCRIPTED[session]}
        left = {
            True: Counter(dict(zip("FM", FOUR_CLASS_SPEAKERS[session], strict=True))),
            False: Counter(
                {
                    s: n - m
                    for s, n, m in zip("FM", SPEAKERS[session], FOUR_CLASS_SPEAKERS[session], strict=True)
                }
            ),
        }
        for scenario, counts in halves.items():
            codes = [code for code, count in zip(CODES, counts, strict=True) for _ in range(count)]
            turns: dict[str, list[str]] = {f"Ses0{session}{side}_{scenario}": [] for side in "FM"}
            labels = dict.fromkeys(turns, "")
            for i, code in enumerate(codes):
                dialogue = f"Ses0{session}{'FM'[i % 2]}_{scenario}"
                speaker = left[code in FOUR].most_common(1)[0][0]
                left[code in FOUR][speaker] -= 1
                turn = f"{dialogue}_{speaker}{i:03}"
                turns[dialogue].append(turn)
                labels[dialogue] += label(turn, code, i, i + 1) + "C-E1:\tOther;\t()\n\n"
            for dialogue, names in turns.items():
                texts = "".join(
                    f"{turn} [{i:08.4f}-{i + 1:08.4f}]: Text {i}.\n" for i, turn in enumerate(names)
                )
                release.dialogue(dialogue, labels[dialogue], texts, names)
        assert not any(count for counts in left.values() for count in counts.values())
    return read_iemocap(release.root)


def test_the_whole_release_is_read(whole: Corpus) -> None:
    assert len(whole) == 10039
    assert whole.notes == [
        "10039 turns, 5531 in the usual four classes (neutral 1708, happy or excited 1636, angry 1103, sad 1084): "
        "as documented"
    ]
    assert whole.table.groupby("session").size().tolist() == [1819, 1811, 2136, 2103, 2170]
    assert whole.table.groupby("speaker").size().tolist() == [n for pair in SPEAKERS.values() for n in pair]
    assert whole.table["emotion"].isna().sum() == 2507
    assert whole.table["transcript"].notna().all()
    assert whole.table["improvised"].sum() == 4784


def test_the_four_classes(whole: Corpus) -> None:
    four, dropped = whole.with_labels(["angry", "happy", "neutral", "sad"], {"excited": "happy"})
    assert len(four) == 5531
    counts = four.table.groupby("session")["emotion"].value_counts().unstack()
    assert counts[["neutral", "happy", "angry", "sad"]].to_numpy().tolist() == [
        [384, 278, 229, 194],
        [362, 327, 137, 197],
        [320, 286, 240, 305],
        [258, 303, 327, 143],
        [384, 442, 170, 245],
    ]
    speakers = [n for pair in FOUR_CLASS_SPEAKERS.values() for n in pair]
    assert four.table.groupby("speaker").size().tolist() == speakers
    assert dropped == {
        "": 2507,
        "disgusted": 2,
        "fearful": 40,
        "frustrated": 1849,
        "other": 3,
        "surprised": 107,
    }
    assert four.table["improvised"].sum() == 2943
