"""MELD: the real label files, and the layout of the release with its traps."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora.release_trees import write_wav

from mmer.audio.load import load_audio
from mmer.corpora import read_corpus
from mmer.corpora.corpus import Corpus
from mmer.corpora.readers.meld import read_meld
from mmer.errors import CorpusError

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"
)
SPLITS = ["train", "validation", "test"]
EMOTIONS = {  # corpora.md §2.2
    "train": dict(angry=1109, disgusted=271, fearful=268, happy=1743, neutral=4710, sad=683, surprised=1205),
    "validation": dict(angry=153, disgusted=22, fearful=40, happy=163, neutral=470, sad=111, surprised=150),
    "test": dict(angry=345, disgusted=68, fearful=50, happy=402, neutral=1256, sad=208, surprised=281),
}


@pytest.fixture(scope="module")
def real(shared: Path) -> Corpus:
    folder = shared / "corpora" / "meld_text"
    if not folder.is_dir():
        pytest.skip("no corpora/meld_text in shared/: the label files of MELD are not available")
    return read_corpus("meld", folder)


def test_the_real_label_files(real: Corpus) -> None:
    table = real.table
    splits = table.groupby("split")
    assert splits.size()[SPLITS].tolist() == [9989, 1109, 2610]
    assert {split: dict(Counter(part["emotion"])) for split, part in splits} == EMOTIONS
    assert splits["speaker"].nunique()[SPLITS].tolist() == [260, 47, 100]
    assert table["speaker"].nunique() == 304
    assert splits["dialogue"].nunique()[SPLITS].tolist() == [1038, 114, 280]
    assert table["dialogue"].nunique() == 1038 + 114 + 280
    training = set(table["speaker"][table["split"] == "train"])
    assert table["speaker"][table["split"] == "test"].isin(training).sum() == 2501
    assert (table["transcript"] == "!").sum() == 1
    assert table["transcript"][table["split"] == "train"].str.count("’").sum() == 3547
    assert table["audio_path"].isna().all()
    assert table["duration"].isna().all()
    assert real.notes == [
        "no clip dia0_utt0.mp4 or .wav in train_splits, dev_splits_complete, output_repeated_splits_test: "
        "every utterance is a transcript without sound",
        "utterances end in the csv when they begin (1): test_dia155_utt3",
        "13708 utterances, 7 labels: as documented",
    ]


def test_the_first_real_row(real: Corpus) -> None:
    row = real.table.to_dict("records")[0]
    assert row["utterance_id"] == "train_dia0_utt0"
    assert row["transcript"].startswith("also I was the point person on my company’s transition")
    assert (row["speaker"], row["emotion"], row["sentiment"]) == ("Chandler", "neutral", "neutral")
    assert (row["season"], row["episode"]) == ("8", "21")
    assert (row["turn_start"], row["turn_end"]) == (976.059, 981.731)


def test_real_times(real: Corpus) -> None:
    table = real.table.set_index("utterance_id")
    assert table["turn_start"].notna().all()
    assert (table["turn_end"] - table["turn_start"]).min() == 0
    # A lost zero: the next utterance begins at 11:41,659.
    assert table["turn_end"].to_dict()["test_dia233_utt8"] == 11 * 60 + 41.41
    # The end in the csv is five minutes late, and the clip was cut to it.
    long = table.to_dict("index")["test_dia38_utt4"]
    assert long["turn_end"] - long["turn_start"] == pytest.approx(304.94)


def row(
    dialogue: int, utterance: int, text: str = "Hi.", start: str = "00:00:01,000", end: str = "0:00:02,500"
) -> str:
    return f'9,"{text}",All,joy,positive,{dialogue},{utterance},1,2,"{start}","{end}"\r\n'


def clip(path: Path, seconds: float = 0.1, channels: int = 6) -> None:
    wave = path.with_suffix(".wav")
    write_wav(wave, 48000, channels, seconds)
    wave.rename(path)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    root = tmp_path / "MELD.Raw"
    (root / "train" / "train_splits").mkdir(parents=True)
    for name, content in (
        ("train/train_sent_emo.csv", row(0, 0, "It’s … “me”") + row(125, 3) + row(71, 0)),
        ("dev_sent_emo.csv", row(0, 0) + row(99, 3)),
        (
            "test_sent_emo.csv",
            row(0, 0, start="1:00:00,500", end="1:00:02,000") + row(38, 4, end="00:05:05,94"),
        ),
        ("emorynlp_train_final.csv", row(5, 5)),
    ):
        (root / name).write_bytes((HEADER + content).encode())
    clip(root / "train/train_splits/dia0_utt0.mp4")
    clip(root / "train/train_splits/dia71_utt0.mp4", 0.064, channels=2)
    (root / "train/train_splits/dia125_utt3.mp4").write_bytes(b"\x00\x00\x00 ftypisom" + bytes(100))
    (root / "train/train_splits/._dia0_utt0.mp4").write_bytes(b"Mac OS X")
    clip(root / "dev_splits_complete/dia0_utt0.mp4")
    clip(root / "dev_splits_complete/dia66_utt9.mp4")
    clip(root / "output_repeated_splits_test/dia0_utt0.mp4")
    clip(root / "output_repeated_splits_test/dia38_utt4.mp4", 0.3)
    clip(root / "output_repeated_splits_test/final_videos_testdia0_utt0.mp4")
    (root / "previews").mkdir()
    clip(root / "previews/dia0_utt0.mp4")
    return root


def test_the_layout_of_the_release(release: Path) -> None:
    corpus = read_meld(release)
    table = corpus.table.set_index("utterance_id")
    assert table.index.tolist() == [
        *("train_dia0_utt0", "train_dia125_utt3", "train_dia71_utt0"),
        *("dev_dia0_utt0", "dev_dia99_utt3", "test_dia0_utt0", "test_dia38_utt4"),
    ]
    assert table["split"].tolist() == ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    assert table["dialogue"].nunique() == 7
    assert table["audio_path"].to_dict()["dev_dia0_utt0"] == str(
        release / "dev_splits_complete/dia0_utt0.mp4"
    )
    assert [name for name, path in table["audio_path"].items() if path is None] == ["dev_dia99_utt3"]
    assert table["duration"].round(3).fillna(-1).tolist() == [0.1, -1, 0.064, 0.1, -1, 0.1, 0.3]
    assert table["transcript"].iloc[0] == "It’s … “me”"
    assert table["turn_start"].tolist() == [1.0] * 5 + [3600.5, 1.0]
    assert table["turn_end"].tolist() == [2.5] * 5 + [3602.0, 305.94]
    assert (table["original_emotion"] == "joy").all()
    assert corpus.notes[:5] == [
        "utterances have no clip and are transcripts without sound (1): dev_dia99_utt3",
        "clips have no row and are left out (1): dev_dia66_utt9",
        "clips known to be corrupt (1): train_dia125_utt3",
        "clips known to last 0.064 s (1): train_dia71_utt0",
        "clips known to go on for minutes after the utterance (1): test_dia38_utt4",
    ]
    assert corpus.notes[5].startswith("7 utterances, the release has 13708: 0 anger (documented 1607)")
    assert corpus.notes[6].startswith("recordings cannot be read (1): ")
    assert "dia125_utt3.mp4" in corpus.notes[6]


def test_extracted_sound(release: Path) -> None:
    for path in release.rglob("dia*_utt*.mp4"):
        path.rename(path.with_suffix(".wav"))
    clip(release / "dev_splits_complete/dia0_utt0.mp4")
    paths = read_meld(release).table.set_index("utterance_id")["audio_path"].to_dict()
    assert paths["train_dia0_utt0"] == str(release / "train/train_splits/dia0_utt0.wav")
    assert paths["dev_dia0_utt0"] == str(release / "dev_splits_complete/dia0_utt0.mp4")


def test_copies_of_clips_are_told(release: Path) -> None:
    clip(release / "dev_splits_complete/dia0_utt0.MP4")
    clip(release / "dev_splits_complete/dev_splits_complete/dia0_utt0.mp4")
    notes = read_meld(release).notes
    copies = [note for note in notes if "more than once" in note]
    assert copies == [
        "recordings are there more than once, further copies are left out (2): "
        "dev_splits_complete/dia0_utt0.mp4, dev_splits_complete/dev_splits_complete/dia0_utt0.mp4"
    ]


def test_clips_elsewhere_are_told(release: Path) -> None:
    for folder in ("train/train_splits", "dev_splits_complete", "output_repeated_splits_test"):
        (release / folder).rename(release / f"{folder}_16k")
    corpus = read_meld(release)
    assert corpus.table["audio_path"].isna().all()
    assert corpus.notes[0].startswith("no clip dia0_utt0.mp4 or .wav in train_splits, dev_splits_complete, ")


def test_six_channels_are_mixed_down(release: Path) -> None:
    path = release / "train/train_splits/dia0_utt0.mp4"
    samples, rate = soundfile.read(path)
    assert samples.shape == (4800, 6)
    mixed, mean = load_audio(path, sampling_rate=rate), samples.mean(axis=1)
    loudest = np.sqrt(np.square(samples).mean(axis=0).max() / np.square(mean).mean())
    np.testing.assert_allclose(mixed, loudest * mean, atol=1e-4)


def test_part_of_the_release(release: Path) -> None:
    (release / "dev_sent_emo.csv").unlink()
    corpus = read_meld(release.parent)
    assert corpus.notes[0] == "of the splits train, dev, test only train, test are there"
    assert corpus.notes[1] == "clips have no row and are left out (2): dev_dia0_utt0, dev_dia66_utt9"


def test_no_meld(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"none of train_sent_emo\.csv, .*; give MELD\.Raw or a folder with"
    ):
        read_meld(tmp_path)
    (tmp_path / "dev_sent_emo.csv").write_text("Utterance,Speaker\nHi,Joey\n")
    with pytest.raises(CorpusError, match="no column Emotion; found Utterance, Speaker"):
        read_meld(tmp_path)
    (tmp_path / "dev_sent_emo.csv").write_text(HEADER + row(0, 0).replace("joy", "joi"))
    with pytest.raises(CorpusError, match=r"dev_sent_emo\.csv: unknown emotion 'joi', the nearest is 'joy'"):
        read_meld(tmp_path)
