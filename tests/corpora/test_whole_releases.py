"""Whole releases, made of empty files, whose names follow from what is documented about them."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest

from mmer.corpora.readers.catalog import CATALOG
from mmer.corpora.readers.file_grammars import GRAMMARS
from mmer.corpora.readers.file_names import read_grammar


def ravdess() -> Iterable[str]:
    for emotion, intensity, sentence, take, actor in product(
        range(1, 9), (1, 2), (1, 2), (1, 2), range(1, 25)
    ):
        if emotion > 1 or intensity == 1:
            yield (
                f"Actor_{actor:02}/03-01-{emotion:02}-{intensity:02}-{sentence:02}-{take:02}-{actor:02}.wav"
            )


def savee() -> Iterable[str]:
    for speaker, emotion in product(("DC", "JE", "JK", "KL"), ("a", "d", "f", "h", "n", "sa", "su")):
        yield from (
            f"{speaker}/{emotion}{number:02}.wav" for number in range(1, 31 if emotion == "n" else 16)
        )


def tess() -> Iterable[str]:
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(200)]
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    return (f"{s}_{w}_{emotion}.wav" for s, w, emotion in product(("OAF", "YAF"), words, emotions))


def cafe() -> Iterable[str]:
    for actor, emotion, intensity, sentence in product(range(1, 13), "CDJNPST", (1, 2), range(1, 7)):
        if emotion != "N" or intensity == 1:
            yield f"{actor:02}-{emotion}-{intensity}-{sentence}.wav"


def emovo() -> Iterable[str]:
    emotions = ("dis", "gio", "neu", "pau", "rab", "sor", "tri")
    speakers = ("f1", "f2", "f3", "m1", "m2", "m3")
    sentences = ("b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2")
    return (f"{s}/{e}-{s}-{c}.wav" for e, s, c in product(emotions, speakers, sentences))


def enterface() -> Iterable[str]:
    emotions = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    for subject, emotion in product(range(1, 45), emotions):
        folder = f"subject {subject}/{emotion}"
        if subject == 6:
            yield f"{folder}/s6_{emotion[:2]}.avi"
        elif subject != 12:
            missing = 3 if (subject, emotion) == (23, "happiness") else 0
            yield from (f"{folder}/sentence {k}/s_{k}.avi" for k in range(1, 6 - missing))


def subesco() -> Iterable[str]:
    emotions = ("ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE")
    people = product("FM", range(1, 11))
    for (gender, number), sentence, emotion, take in product(people, range(1, 11), emotions, range(1, 6)):
        yield f"{gender}_{number:02}_NAME_S_{sentence}_{emotion}_{take}.wav"


def turev_db() -> Iterable[str]:
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(82)]
    given = {name: dict(kz=82, hl=82, sk=82, mt=82) for name in ("1984", "1358", "1234", "6783")}
    given |= {"7895": dict(kz=82, hl=82, sk=80, mt=29), "1157": dict(kz=77, hl=73)}
    for speaker, counts in given.items():
        for code, count in counts.items():
            yield from (f"{speaker}_{code}_{word}.wav" for word in words[:count])


def mesd() -> Iterable[str]:
    emotions = ("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness")
    for emotion, voice, part in product(emotions, "FMC", "AB"):
        short = voice + part == "CA" and emotion in ("Anger", "Neutral")
        yield from (f"{emotion}_{voice}_{part}_w{i}.wav" for i in range(23 if short else 24))


def casia() -> Iterable[str]:
    speakers = ("wangzhe", "zhaozuoxiang", "liuchanhg", "zhaoquanyin")
    emotions = ("angry", "fear", "happy", "neutral", "sad", "surprise")
    return (f"{s}/{e}/{n}.wav" for s, e, n in product(speakers, emotions, range(201, 251)))


WHOLE = {
    **{"ravdess": ravdess, "savee": savee, "tess": tess, "cafe": cafe, "emovo": emovo, "casia": casia},
    **{"enterface": enterface, "subesco": subesco, "turev-db": turev_db, "mesd": mesd},
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_release_is_as_documented(name: str, tmp_path: Path) -> None:
    folders = set()
    for path in WHOLE[name]():
        file = tmp_path / path
        if file.parent not in folders:
            folders.add(file.parent)
            file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    corpus = read_grammar(name, GRAMMARS[name], tmp_path)
    facts = CATALOG[name]
    assert len(corpus) == facts.utterances
    assert (
        corpus.notes[-1] == f"{facts.utterances} utterances, {len(facts.labels or {})} labels: as documented"
    )
    assert len(corpus.notes) == (2 if name == "enterface" else 1)
    if name != "mesd":
        assert corpus.table["speaker"].nunique() == facts.speakers
    folds = corpus.table.groupby("fold")["speaker"].nunique()
    assert set(folds) <= ({1} if name in ("savee", "emovo", "casia") else {4})
    assert corpus.table["fold"].notna().all() == (
        name in ("ravdess", "savee", "cafe", "emovo", "subesco", "casia")
    )
    fixed = {"ravdess": 2, "cafe": 6, "emovo": 14, "tess": 200, "turev-db": 82}
    if name in fixed:
        assert corpus.table["transcript"].notna().all()
        assert corpus.table["transcript"].nunique() == fixed[name]
