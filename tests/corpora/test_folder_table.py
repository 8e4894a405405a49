"""`mmer corpus init`: what the names of folders and files say, and what they do not."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from commands import SMALL, make_recordings, run

from mmer.corpora.folder_table import write_folder_table
from mmer.corpora.recordings import read_recordings
from mmer.errors import AudioError, CorpusError


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"RIFF")
    return root


@pytest.mark.parametrize(
    ("names", "speakers", "emotions"),
    [
        (
            ["anna/angry/1.wav", "anna/sad/2.wav", "ben/angry/1.wav", "ben/sad/2.wav"],
            ["anna", "anna", "ben", "ben"],
            ["angry", "sad", "angry", "sad"],
        ),
        (
            ["EB0_anger_1.opus", "EB0_joy_2.opus", "TP0_anger_1.opus", "TP0_joy_2.opus"],
            ["EB0", "EB0", "TP0", "TP0"],
            ["angry", "happy", "angry", "happy"],
        ),
        (
            ["Fear/x spk1.mp3", "Fear/y spk2.mp3", "Neutral01/z_spk1.mp3"],
            ["spk1", "spk2", "spk1"],
            ["fearful", "fearful", "neutral"],
        ),
        (
            ["Actor_01/sad.wav", "Actor_02/pleasant_surprise.wav"],
            ["Actor_01", "Actor_02"],
            ["sad", "surprised"],
        ),
        (
            ["Female/sad/F01_1.wav", "Female/angry/F01_2.wav", "Male/sad/M01_1.wav", "Male/angry/M01_2.wav"],
            ["F01", "F01", "M01", "M01"],
            ["angry", "sad", "angry", "sad"],
        ),
        (["woman/1.wav", "woman/2.wav", "man/3.wav", "man/4.wav"], [None] * 4, [None] * 4),
        (["a.wav", "b.wav"], [None, None], [None, None]),
        (
            [
                "2024-01-01/anna-sad.wav",
                "2024-01-01/bo-sad.wav",
                "2024-01-02/anna-1.wav",
                "2024-01-02/bo.wav",
            ],
            ["anna", "bo", "anna", "bo"],
            ["sad", "sad", None, None],
        ),
        (["angry/1.wav", "not_angry/2.wav", "non-sad_3.wav"], [None, None, None], ["angry", None, None]),
        (["01/sad_1.wav", "02/happy_or_sad.wav"], [None, None], ["sad", None]),
        (
            ["train/anna_1_sad.wav", "train/anna_2.wav", "test/bo_1.wav", "test/bo_2.wav"],
            ["bo", "bo", "anna", "anna"],
            [None, None, "sad", None],
        ),
    ],
)
def test_what_names_say(
    tmp_path: Path, names: list[str], speakers: list[str | None], emotions: list[str | None]
) -> None:
    write_folder_table(folder_of(tmp_path, *names))
    table = read_recordings(tmp_path).table
    assert [None if each is None else each for each in table["speaker"]] == speakers
    assert [None if each is None else each for each in table["emotion"]] == emotions


def test_it_says_what_it_found_and_what_is_empty(tmp_path: Path) -> None:
    names = ["anna_sad_1.wav", "anna_2.wav", "bo_sad_1.wav", "bo_happy_sad.wav"]
    found = write_folder_table(folder_of(tmp_path, *names))
    assert (found.recordings, found.speakers) == (4, Counter({"anna": 2, "bo": 2}))
    assert "emotion: 1 emotion (sad 2); empty for 2" in found.lines
    assert "speaker: 2 speakers (anna 2, bo 2)" in found.lines
    assert found.notes == [
        "recordings have two emotions in their names, and none in the table (1): bo_happy_sad.wav (happy, sad)"
    ]


def test_it_says_what_to_do_where_names_say_no_emotion(tmp_path: Path) -> None:
    """Emotions in a language that it does not read are taken for speakers."""
    names = [f"{emotion}/{n}.wav" for emotion in ("\u0437\u043b\u043e", "\u0440\u0430\u0434") for n in (1, 2)]
    found = write_folder_table(folder_of(tmp_path / "a", *names))
    assert found.lines[2] == (
        "emotion: empty for all; fill it in; if the speakers above are emotions, call that column emotion"
    )
    nothing = write_folder_table(folder_of(tmp_path / "b", "1.wav", "2.wav"))
    assert nothing.lines[1:3] == ["speaker: empty for all; fill it in", "emotion: empty for all; fill it in"]


@pytest.mark.parametrize("existing", ["metadata.csv", "metadata.jsonl", "train/metadata.csv"])
def test_a_table_is_never_overwritten(tmp_path: Path, existing: str) -> None:
    folder_of(tmp_path, "a.wav", existing)
    with pytest.raises(CorpusError, match="is there already"):
        write_folder_table(tmp_path)
    assert (tmp_path / existing).read_bytes() == b"RIFF"
    assert len(list(tmp_path.rglob("metadata.*"))) == 1


def test_no_folder_and_no_recording(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        write_folder_table(tmp_path / "nowhere")
    with pytest.raises(
        AudioError, match=r"no audio file in the folder .*; give a folder of WAV, FLAC, .* files"
    ):
        write_folder_table(tmp_path)


def test_nemo_by_its_names(nemo_samples: Path, tmp_path: Path) -> None:
    for file in sorted(nemo_samples.glob("*.opus")):
        (tmp_path / file.name).symlink_to(file)
    found = write_folder_table(tmp_path)
    assert (found.without_speaker, found.without_emotion) == (0, 0)
    assert set(found.emotions) == {"angry", "fearful", "happy", "neutral", "sad", "surprised"}
    for name, speaker in read_recordings(tmp_path).table[["utterance_id", "speaker"]].itertuples(index=False):
        assert name.startswith(f"{speaker}_")


def test_the_table_trains(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = make_recordings(tmp_path / "made")
    folder = tmp_path / "own"
    for row in made.itertuples():
        place = folder / str(row.speaker) / str(row.emotion)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "made" / str(row.file_name), place)
    told = run(capfd, monkeypatch, ["corpus", "init", folder])
    assert (told.code, "speaker: 3 speakers" in told.err) == (0, True)
    shown = run(capfd, monkeypatch, ["corpus", "show", folder])
    assert (shown.code, "anna" in shown.out) == (0, True)
    asked = [
        "train",
        "compact",
        f"data.corpus={folder}",
        "protocol.test=[anna]",
        *SMALL,
        "model.fusion=auto",
    ]
    trained = run(capfd, monkeypatch, [*asked, "-o", tmp_path / "run"])
    assert (trained.code, (tmp_path / "run/metrics.json").is_file()) == (0, True), trained.err
    refused = run(capfd, monkeypatch, ["corpus", "init", folder])
    assert (refused.code, "is there already" in refused.err) == (2, True)
