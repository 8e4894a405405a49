"""Corpora read by their file names, on small trees with the traps of each."""

import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from commands import run
from corpora.release_trees import POINTER, write_wav

from mmer.corpora import Corpus, read_corpus
from mmer.corpora.labels import ALIASES
from mmer.corpora.readers.catalog import CATALOG
from mmer.corpora.readers.file_grammars import GRAMMARS
from mmer.corpora.readers.file_names import read_file_names, read_grammar
from mmer.errors import CorpusError


def tree(root: Path, *paths: str) -> Path:
    """These files, all of them the same short recording."""
    write_wav(root / paths[0])
    for path in paths[1:]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(root / paths[0], root / path)
    return root


def rows(corpus: Corpus) -> dict[str, dict[str, Any]]:
    table = corpus.table.astype(object).where(corpus.table.notna(), None)
    return {str(row["utterance_id"]): {str(k): v for k, v in row.items()} for row in table.to_dict("records")}


def values(corpus: Corpus, utterance: str, *columns: str) -> tuple[Any, ...]:
    row = rows(corpus)[utterance]
    return tuple(row[column] for column in columns)


# What all corpora share


@pytest.mark.parametrize("name", GRAMMARS)
def test_the_example_of_each_grammar_fits(name: str, tmp_path: Path) -> None:
    for i, example in enumerate(GRAMMARS[name].example.split(" or ")):
        file = tmp_path / str(i) / example
        file.parent.mkdir(parents=True)
        file.touch()
        (row,) = rows(read_grammar(name, GRAMMARS[name], tmp_path / str(i))).values()
        assert row["corpus"] == name
        assert row["emotion"] in ALIASES
        assert row["original_emotion"] in (CATALOG[name].labels or {})
        assert os.path.isfile(row["audio_path"])


@pytest.mark.parametrize("name", GRAMMARS)
def test_every_label_of_the_catalog_has_an_emotion_but_two(name: str) -> None:
    grammar = GRAMMARS[name]
    assert set(grammar.emotions.values()) <= {*ALIASES, None}
    without = {label for label, emotion in grammar.emotions.items() if emotion is None}
    assert without == ({"breath", "17"} if name == "asvp-esd" else set())
    assert set(grammar.genders.values()) <= {"female", "male"}


def test_folds_hold_the_speakers_that_emobox_lists() -> None:
    for name, speakers, folds in [("ravdess", 24, 6), ("cafe", 12, 3), ("subesco", 20, 5)]:
        sizes = pd.Series(dict(GRAMMARS[name].folds)).value_counts()
        assert sizes.to_dict() == {str(number): 4 for number in range(1, folds + 1)}
        assert sizes.sum() == speakers
    for name, speakers in [("savee", 4), ("emovo", 6), ("casia", 4)]:
        assert len(set(GRAMMARS[name].folds.values())) == len(GRAMMARS[name].folds) == speakers
    assert sum(bool(grammar.folds) for grammar in GRAMMARS.values()) == 6


def test_files_that_are_no_recordings_of_the_corpus(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        *("b/03a01Fa.wav", "b/03a01Xa.wav", "silence.wav", "._03a02Wc.wav", "__MACOSX/03a02Wc.wav"),
        *(".trash/03a02Wc.wav", "b/03a02Wc.txt", "c/03a01Fa.wav", "03a05Nd.WAV"),
    )
    (root / "03a04Ac.wav").write_text(POINTER)
    corpus = read_file_names("emodb", root)
    assert corpus.table["utterance_id"].tolist() == ["03a01Fa", "03a05Nd"]
    assert corpus.table["audio_path"][0] == str(root / "b" / "03a01Fa.wav")
    assert corpus.notes == [
        "files are not named as in EmoDB and are left out (2): silence.wav, b/03a01Xa.wav",
        "recordings are there more than once, further copies are left out (1): c/03a01Fa.wav",
        "recordings are git-lfs pointers and are left out, run git lfs pull (1): 03a04Ac.wav",
        "2 utterances, the release has 535: 0 W (documented 127), 0 L (documented 81), 1 N (documented 79), "
        "1 F (documented 71), 0 A (documented 69), 0 T (documented 62), 0 E (documented 46)",
    ]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nowhere: no such folder; give the folder of the unpacked release"):
        read_file_names("emodb", tmp_path / "nowhere")
    (tmp_path / "03a04Ac.wav").write_text(POINTER)
    with pytest.raises(
        CorpusError, match="1 recording found, git-lfs pointers instead of sound; run git lfs pull"
    ):
        read_file_names("emodb", tmp_path)
    tree(tmp_path / "other", "song.wav", "song.aif")
    expected = r"none of 2 \.wav or \.aiff or \.aif files is named as in CaFE \(Colère/Faible/01-C-1-1\.wav\)"
    with pytest.raises(CorpusError, match=expected):
        read_file_names("cafe", tmp_path / "other")


# Each corpus


def test_ravdess(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["Actor_18/03-01-05-01-02-01-18.wav", "Actor_01/03-01-01-01-01-02-01.wav"]
    nested = [f"audio_speech_actors_01-24/{name}" for name in names]
    root = tree(tmp_path / "ravdess", *names, *nested, "Actor_18/03-02-05-01-02-01-18.wav")
    write_wav(root / "Actor_05" / "03-01-08-02-01-01-05.wav", rate=48000, channels=2, seconds=0.25)
    outcome = run(
        capfd, monkeypatch, ["corpus", "prepare", "ravdess", root, "-o", tmp_path / "table.parquet"]
    )
    assert outcome.code == 0
    assert "note: recordings are there more than once, further copies are left out (2): audio_" in outcome.err
    assert (
        "note: files are not named as in RAVDESS (speech) and are left out (1): Actor_18/03-02" in outcome.err
    )
    assert "note: 3 utterances, the release has 1440: 1 neutral (documented 96), 0 calm" in outcome.err
    corpus = Corpus.read(tmp_path / "table.parquet")
    columns = ("emotion", "original_emotion", "speaker", "gender", "fold", "intensity", "sentence", "take")
    dogs, kids = "Dogs are sitting by the door", "Kids are talking by the door"
    assert values(corpus, "03-01-05-01-02-01-18", "transcript", *columns) == (
        *(dogs, "angry", "angry", "18", "female", "5", "normal", "02", "01"),
    )
    assert values(corpus, "03-01-01-01-01-02-01", "transcript", *columns) == (
        *(kids, "neutral", "neutral", "01", "male", "1", "normal", "01", "02"),
    )
    stereo = values(corpus, "03-01-08-02-01-01-05", *columns, "duration", "language")
    assert stereo == ("surprised", "surprised", "05", "male", "4", "strong", "01", "01", 0.25, "en")


def test_emodb(tmp_path: Path) -> None:
    names = ["wav/03a01Fa.wav", "wav/16b10Wb.wav", "wav/08a02Ac.wav", "wav/13b01Ld.wav", "wav/09a07Tb.wav"]
    corpus = read_file_names("emodb", tree(tmp_path, *names, "lablaut/03a01Fa.lablaut", "erkennung.txt"))
    emotions = corpus.table.set_index("utterance_id")["emotion"].to_dict()
    assert emotions == {
        **{"03a01Fa": "happy", "16b10Wb": "angry", "08a02Ac": "fearful", "13b01Ld": "bored"},
        **{"09a07Tb": "sad"},
    }
    columns = ("transcript", "speaker", "gender", "age", "take", "fold", "language")
    text = "Der Lappen liegt auf dem Eisschrank."
    assert values(corpus, "03a01Fa", *columns) == (text, "03", "male", 31, "a", None, "de")
    text = "Die wird auf dem Platz sein, wo wir sie immer hinlegen."
    assert values(corpus, "16b10Wb", *columns) == (text, "16", "female", 31, "b", None, "de")
    assert corpus.table["transcript"].notna().all()


def test_savee(tmp_path: Path) -> None:
    names = [f"AudioData/DC/{name}.wav" for name in ("sa01", "su02", "a03", "s04", "n30")]
    corpus = read_file_names("savee", tree(tmp_path, *names, "DC_sa01.wav", "KL_h15.wav"))
    emotions = corpus.table.set_index("utterance_id")["emotion"].to_dict()
    assert emotions == {
        **{"DC_a03": "angry", "DC_n30": "neutral", "DC_sa01": "sad", "DC_su02": "surprised"},
        **{"KL_h15": "happy"},
    }
    columns = ("speaker", "gender", "fold", "transcript", "original_emotion", "sentence")
    assert values(corpus, "DC_sa01", *columns) == ("DC", "male", "DC", None, "sa", "01")
    assert corpus.notes[0].endswith("are left out (1): AudioData/DC/s04.wav")
    assert corpus.notes[1].endswith("further copies are left out (1): AudioData/DC/sa01.wav")


def test_tess(tmp_path: Path) -> None:
    inner = "TESS Toronto emotional speech set data"
    names = [f"{inner}/OAF_Pleasant_surprise/OAF_lid_ps.wav", f"{inner}/OAF_neutral/OA_bite_neutral.wav"]
    root = tree(tmp_path, *names, *(f"{inner}/{name}" for name in names), "YAF_angry/YAF_mob_angry.wav")
    write_wav(root / "OAF_Fear" / "OAF_food_fear.wav", rate=96000, seconds=0.5)
    corpus = read_file_names("tess", root)
    columns = ("emotion", "original_emotion", "transcript", "speaker", "gender", "age", "word", "duration")
    assert values(corpus, "OAF_lid_ps", *columns[:-1]) == (
        *("surprised", "ps", "Say the word lid", "OAF", "female", 64, "lid"),
    )
    assert values(corpus, "OA_bite_neutral", "speaker", "emotion") == ("OAF", "neutral")
    assert values(corpus, "YAF_mob_angry", "speaker", "age") == ("YAF", 26)
    assert values(corpus, "OAF_food_fear", "emotion", "duration") == ("fearful", 0.5)
    assert corpus.notes[0].startswith(
        "recordings are there more than once, further copies are left out (2): "
    )


def test_cafe(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        # What unpacking made of Colère and Dégoût.
        *("CaFE_48k/Col\u0160re/Faible/01-C-1-1.wav", "CaFE_48k/D\u201ago\u2013t/Fort/02-D-2-6.wav"),
        *("CaFE_48k/Neutre/12-N-1-4.wav", "CaFE_48k/Tristesse/Fort/03-T-2-2.wav"),
        *("CaFE_48k/Surprise/Fort/03-S-2-5.wav", "CaFE_192k/Neutre/12-N-1-4.aiff"),
    )
    corpus = read_file_names("cafe", root)
    columns = ("emotion", "original_emotion", "intensity", "speaker", "gender", "fold", "transcript")
    horse, donkeys = "Un cheval fou dans mon jardin", "Deux ânes aigris au pelage brun"
    assert values(corpus, "01-C-1-1", *columns) == ("angry", "C", "Faible", "01", "male", "1", horse)
    assert values(corpus, "12-N-1-4", *columns[:-1]) == ("neutral", "N", None, "12", "female", "2")
    assert values(corpus, "12-N-1-4", "transcript") == ("Quatre vieilles truies éléphantesques",)
    assert values(corpus, "03-T-2-2", *columns) == ("sad", "T", "Fort", "03", "male", "3", donkeys)
    assert values(corpus, "03-S-2-5", "emotion") == ("surprised",)
    assert values(corpus, "02-D-2-6", "emotion", "transcript") == (
        "disgusted",
        "Six ours aimants domestiqués",
    )
    assert corpus.notes[0].endswith("further copies are left out (1): CaFE_192k/Neutre/12-N-1-4.aiff")
    assert values(corpus, "12-N-1-4", "audio_path")[0].endswith(".wav")


def test_a_folder_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    """As an archive with names in another encoding gives it back."""
    tree(tmp_path, "CaFE_48k/Neutre/02-N-1-1.wav", "CaFE_48k/Col\udc8are/Faible/01-C-1-1.wav")
    wanted = r"Col\\x8are/Faible/01-C-1-1\.wav is not UTF-8; rename that file or folder$"
    with pytest.raises(CorpusError, match=wanted):
        read_corpus("cafe", tmp_path)


def test_emovo(tmp_path: Path) -> None:
    names = ["f2/gio-f2-b2.wav", "m1/rab-m1-d1.wav", "m3/sor-m3-n5.wav", "f1/pau-f1-l3.wav"]
    corpus = read_file_names("emovo", tree(tmp_path, *names))
    columns = ("emotion", "original_emotion", "speaker", "gender", "fold", "sentence", "transcript")
    text = "I vigili sono muniti di pistola"
    assert values(corpus, "gio-f2-b2", *columns) == ("happy", "gio", "f2", "female", "f2", "b2", text)
    text = "Sabato sera cosa farà?"
    assert values(corpus, "rab-m1-d1", *columns) == ("angry", "rab", "m1", "male", "m1", "d1", text)
    assert values(corpus, "pau-f1-l3", "emotion") == ("fearful",)
    assert values(corpus, "sor-m3-n5", "emotion") == ("surprised",)


def test_enterface(tmp_path: Path) -> None:
    names = [
        *("subject 1/anger/sentence 1/s1_an_1.avi", "subject 11/happiness/sentence 2/s12_ha_2.avi"),
        *("subject 6/anger/s6_an.avi", "subject 3/fear/sentence 4/s_3_fe_4.avi"),
        *("subject 16/surprise/sentence 3/s16_su_3avi.avi", "subject 2/anger/sentence 1/s2_an_2.avi"),
    ]
    write_video(tmp_path / "video.avi")
    for name in names:
        (tmp_path / "e" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "video.avi", tmp_path / "e" / name)
    corpus = read_file_names("enterface", tmp_path / "e")
    columns = ("emotion", "original_emotion", "speaker", "sentence", "gender", "transcript")
    assert values(corpus, "s1_anger1", *columns) == ("angry", "anger", "1", "1", None, None)
    assert values(corpus, "s11_happiness2", *columns[:4]) == ("happy", "happiness", "11", "2")
    assert values(corpus, "s6_anger", *columns[:4]) == ("angry", "anger", "6", None)
    assert values(corpus, "s3_fear4", "speaker", "emotion") == ("3", "fearful")
    assert values(corpus, "s16_surprise3", "speaker", "emotion") == ("16", "surprised")
    assert values(corpus, "s2_anger1", "sentence", "audio_path")[1].endswith("s2_an_2.avi")
    assert corpus.table["duration"].between(0.45, 0.55).all()
    assert corpus.notes[0] == "recordings are known to be flawed (1): s6_anger (all sentences in one file)"


def test_sound_extracted_from_the_videos_of_enterface(tmp_path: Path) -> None:
    write_wav(tmp_path / "subject 11" / "anger" / "sentence 1" / "s12_an_1.wav")
    assert values(read_file_names("enterface", tmp_path), "s11_anger1", "emotion") == ("angry",)


def write_video(path: Path) -> None:
    """Half a second of sound in an AVI file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 24000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_subesco(tmp_path: Path) -> None:
    names = [
        "F_02_MONIKA_S_1_NEUTRAL_5.wav",
        "F_02_MONIKA_S_2_SURPRISE_3].wav",
        "M_02_TITAS_S_10_HAPPY_1.wav",
    ]
    corpus = read_file_names("subesco", tree(tmp_path, *names))
    columns = ("emotion", "original_emotion", "speaker", "gender", "fold", "sentence", "take", "transcript")
    assert values(corpus, "F_02_MONIKA_S_2_SURPRISE_3]", *columns) == (
        *("surprised", "SURPRISE", "F_02", "female", "5", "2", "3", None),
    )
    assert values(corpus, "M_02_TITAS_S_10_HAPPY_1", *columns) == (
        *("happy", "HAPPY", "M_02", "male", "5", "10", "1", None),
    )
    assert corpus.table["speaker"].nunique() == 2


def test_turev_db(tmp_path: Path) -> None:
    names = ["Sound Source/Calm/1984_sk_eger.wav", "Sound Source/Sad/7895_hl_ogul1.wav"]
    names += ["Sound Source/Angry/1157_kz_kalem.wav", "Sound Source/Happy/7895_mt_kalem.wav"]
    names += [unicodedata.normalize("NFD", "Sound Source/Happy/1358_mt_gül.wav")]
    corpus = read_file_names("turev-db", tree(tmp_path, *names))
    columns = ("emotion", "original_emotion", "speaker", "gender", "transcript", "language")
    assert values(corpus, "1984_sk_eger", *columns) == ("calm", "sk", "1984", None, "eger", "tr")
    assert values(corpus, "7895_hl_ogul1", *columns) == ("sad", "hl", "7895", None, "ogul", "tr")
    assert values(corpus, "1157_kz_kalem", "emotion") == ("angry",)
    assert values(corpus, "7895_mt_kalem", "emotion") == ("happy",)
    assert values(corpus, unicodedata.normalize("NFC", "1358_mt_gül"), "transcript") == ("gül",)


def test_urdu(tmp_path: Path) -> None:
    names = ["Angry/SM1_F10_A010.wav", "Sad/SF11_F3_S03.wav", "Happy/SM27_F1_H01.wav"]
    corpus = read_file_names("urdu", tree(tmp_path, *names))
    columns = ("emotion", "original_emotion", "speaker", "gender", "transcript")
    assert values(corpus, "SM1_F10_A010", *columns) == ("angry", "A", "SM1", "male", None)
    assert values(corpus, "SF11_F3_S03", *columns) == ("sad", "S", "SF11", "female", None)
    assert values(corpus, "SM27_F1_H01", *columns) == ("happy", "H", "SM27", "male", None)


def test_aesdd(tmp_path: Path) -> None:
    names = ["disgust/d03 (1).wav", "disgust/d03 (01).wav", "disgust/d04 (5).wav", "disgust/d04 (5)b.wav"]
    root = tree(tmp_path, *names, "sadness/s06 (3).wav", "fear/f20 (6).wav")
    (root / "sadness" / "s05 (3).wav").write_bytes(b"RIFF")
    corpus = read_file_names("aesdd", root)
    columns = ("emotion", "original_emotion", "speaker", "gender", "sentence", "transcript")
    assert len(corpus) == 6
    for name in ("d03 (1)", "d03 (01)"):
        assert values(corpus, name, *columns) == ("disgusted", "d", "1", None, "03", None)
    for name in ("d04 (5)", "d04 (5)b"):
        assert values(corpus, name, "speaker", "sentence") == ("5", "04")
    assert values(corpus, "s06 (3)", "emotion", "speaker") == ("sad", "3")
    assert values(corpus, "f20 (6)", "emotion", "speaker") == ("fearful", "6")
    assert corpus.notes[0] == "recordings are known to be unusable and are left out (1): s05 (3) (corrupt)"
    assert "2 s (documented 123)" in corpus.notes[1]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_oreau(form: Any, tmp_path: Path) -> None:
    root = tmp_path / unicodedata.normalize(form, "OréauFR_02")
    names = ["f/sessj/10a02Ja.wav", "m/sesss/07z03Sa.wav", "m/sesst/12a79Ta.wav", "f/sessc/10a01Ca.wav"]
    tree(root, *names)
    corpus = read_file_names("oreau", tmp_path)
    columns = ("emotion", "original_emotion", "speaker", "gender", "sentence", "transcript")
    assert values(corpus, "10a02Ja", *columns) == ("happy", "J", "10", "female", "a02", None)
    assert values(corpus, "07z03Sa", *columns) == ("surprised", "S", "07", "male", "z03", None)
    assert values(corpus, "12a79Ta", *columns[:4]) == ("sad", "T", "12", "male")
    assert values(corpus, "10a01Ca", "emotion") == ("angry",)


def test_mesd(tmp_path: Path) -> None:
    names = [f"{name}.wav" for name in ("Anger_F_A_tarde", "Happiness_C_A_de_nada", "Fear_M_A_basta_ya")]
    corpus = read_file_names("mesd", tree(tmp_path / "Mexican Emotional Speech Database (MESD)", *names))
    columns = ("emotion", "speaker", "gender", "voice", "transcript")
    assert values(corpus, "Anger_F_A_tarde", *columns) == ("angry", None, "female", "F", "tarde")
    assert values(corpus, "Happiness_C_A_de_nada", *columns) == ("happy", None, None, "C", "de nada")
    assert values(corpus, "Fear_M_A_basta_ya", *columns) == ("fearful", None, "male", "M", "basta ya")


def test_asvp_esd(tmp_path: Path) -> None:
    root = tmp_path / "ASVP-ESD-Update"
    names = [
        *("Audio/actor_36/03-01-04-01-10-36-03-03-01", "Audio/actor_101/03-02-11-02-58-101-02-01-00-11"),
        *("Audio/actor_05/03-01-0401-10-05-02-02-01", "Audio/actor_05/03 -02-13-01- 102-05 -02"),
        *("Audio/actor_35/03-02-08-01-02-36-03", "Audio/actor_/03-01-17-01-02-07-03", "Audio/actor_1/x"),
        *("Bonus/actor_36/03-01-04-01-10-36-03-03-01", "Bonus/actor_09/03-02-06-01-06-09-04-01-00-16-02"),
    ]
    corpus = read_file_names("asvp-esd", tree(root, *(f"{name}.wav" for name in names)))
    columns = ("emotion", "original_emotion", "speaker", "gender", "vocalization", "part")
    assert values(corpus, "Audio/36/03-01-04-01-10-36-03-03-01", *columns) == (
        *("sad", "sad", "36", "male", "speech", "Audio"),
    )
    assert values(corpus, "Bonus/36/03-01-04-01-10-36-03-03-01", "part") == ("Bonus",)
    assert values(corpus, "Audio/101/03-02-11-02-58-101-02-01-00-11", *columns[:5]) == (
        *("pained", "pain", "101", "female", "non-speech"),
    )
    assert values(corpus, "Audio/5/03-01-0401-10-05-02-02-01", *columns[:5]) == (
        *("sad", "sad", "5", "female", "speech"),
    )
    assert values(corpus, "Audio/5/03 -02-13-01- 102-05 -02", *columns[:3]) == (None, "breath", "5")
    assert values(corpus, "Audio/35/03-02-08-01-02-36-03", *columns[:3]) == ("surprised", "surprise", "36")
    assert values(corpus, "Audio//03-01-17-01-02-07-03", *columns[:3]) == (None, "17", "7")
    assert values(corpus, "Bonus/9/03-02-06-01-06-09-04-01-00-16-02", *columns[:3]) == (
        "fearful",
        "fear",
        "9",
    )
    assert corpus.table["language"].isna().all()
    assert corpus.table["transcript"].isna().all()
    assert corpus.notes[:2] == [
        "files are not named as in ASVP-ESD and are left out (1): Audio/actor_1/x.wav",
        "recordings lie in the folder of another speaker, their name counts (1): Audio/35/03-02-08-01-02-36-03",
    ]


def test_a_speaker_of_casia_with_capitals(tmp_path: Path) -> None:
    root = tree(tmp_path, "CASIA/ZhaoZuoxiang/sad/201.wav", "CASIA/wangzhe/sad/201.wav")
    columns = ("speaker", "fold", "emotion")
    assert values(read_file_names("casia", root), "zhaozuoxiang_sad_201", *columns) == (
        *("zhaozuoxiang", "zhaozuoxiang", "sad"),
    )


def test_casia(tmp_path: Path) -> None:
    names = [
        "wangzhe/angry/201.wav",
        "wangzhe/sad/201.wav",
        "liuchanhg/surprise/201.wav",
        "notes/angry/1.wav",
    ]
    corpus = read_corpus("casia", tree(tmp_path, *names))
    assert corpus.table["utterance_id"].tolist() == [
        *("liuchanhg_surprise_201", "wangzhe_angry_201", "wangzhe_sad_201"),
    ]
    columns = ("emotion", "original_emotion", "speaker", "gender", "fold", "sentence", "transcript")
    assert values(corpus, "liuchanhg_surprise_201", *columns) == (
        *("surprised", "surprise", "liuchanhg", None, "liuchanhg", "201", None),
    )
    assert corpus.notes[0].endswith("are left out (1): notes/angry/1.wav")
