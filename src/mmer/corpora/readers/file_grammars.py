"""Grammars of file names for corpora without label files, and their facts for the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmer.corpora.readers.corpus_facts import CorpusFacts


@dataclass(frozen=True)
class Grammar:
    """Grammar of a corpus's file names.

    Attributes:
        pattern: matches the end of a file's path without suffix, from the beginning of a name on. Its groups are
            `emotion`; `speaker`; `gender` (F or M); `folder` (the speaker whom the folder names, where that may
            differ); `word` (what is said); every other one becomes a column.
        example: a path that fits.
        suffixes: suffixes of recordings; of two files for one utterance, the one with the earlier suffix is used.
        utterance: template of the utterance id from the groups and `stem`, the file's name without suffix.
        codes: meaning of each code, by group; other values stay unchanged.
        labels: the release's word for each emotion that is written as a number.
        emotions: canonical name of each label that is not an emotion's name.
        sentences: transcript for each code in the group `sentence`.
        word_frame: transcript around the group `word`.
        genders, ages, folds: of each speaker; folds are those of EmoBox that keep speakers apart, called by their
            number or, where each holds one speaker, by the speaker.
        unusable: recordings to leave out, and why.
        flawed: recordings to mention, and why.
    """

    pattern: str
    example: str
    suffixes: tuple[str, ...] = (".wav",)
    utterance: str = "{stem}"
    codes: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    emotions: Mapping[str, str | None] = field(default_factory=dict)
    sentences: Mapping[str, str] = field(default_factory=dict)
    word_frame: str = ""
    genders: Mapping[str, str] = field(default_factory=dict)
    ages: Mapping[str, int] = field(default_factory=dict)
    folds: Mapping[str, str] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)
    flawed: Mapping[str, str] = field(default_factory=dict)


def _folds(*folds: str) -> dict[str, str]:
    """Map each speaker to the number of the fold, from the speakers of each fold."""
    return {speaker: str(number) for number, fold in enumerate(folds, 1) for speaker in fold.split()}


def _each(speakers: str) -> dict[str, str]:
    """Give each speaker a fold."""
    return {speaker: speaker for speaker in speakers.split()}


def _all(gender: str, speakers: str) -> dict[str, str]:
    return dict.fromkeys(speakers.split(), gender)


_ODD_MALE = {f"{number:02}": "male" if number % 2 else "female" for number in range(1, 25)}
_BIG_SIX = r"anger|disgust|fear|happiness|sadness|surprise"

GRAMMARS: dict[str, Grammar] = {
    "ravdess": Grammar(
        r"03-01-(?P<emotion>0[1-8])-(?P<intensity>0[12])-(?P<sentence>0[12])-(?P<take>0[12])-(?P<speaker>[012]\d)",
        example="Actor_18/03-01-05-01-02-01-18.wav",
        codes={"intensity": {"01": "normal", "02": "strong"}},
        labels={
            **{"01": "neutral", "02": "calm", "03": "happy", "04": "sad"},
            **{"05": "angry", "06": "fearful", "07": "disgust", "08": "surprised"},
        },
        sentences={"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"},
        genders=_ODD_MALE,
        folds=_folds(
            *("01 11 20 21", "04 10 12 14", "08 09 19 23", "03 05 07 24", "02 15 16 18", "06 13 17 22")
        ),
    ),
    "emodb": Grammar(
        r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[WLEAFTN])(?P<take>[a-f])",
        example="wav/03a01Fa.wav",
        emotions=dict(W="angry", L="bored", E="disgusted", A="fearful", F="happy", T="sad", N="neutral"),
        sentences={
            "a01": "Der Lappen liegt auf dem Eisschrank.",
            "a02": "Das will sie am Mittwoch abgeben.",
            "a04": "Heute abend könnte ich es ihm sagen.",
            "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
            "a07": "In sieben Stunden wird es soweit sein.",
            "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
            "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
            "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
            "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
            "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
        },
        genders=_all("male", "03 10 11 12 15") | _all("female", "08 09 13 14 16"),
        ages={
            **{"03": 31, "10": 32, "11": 26, "12": 30, "15": 25},
            **{"08": 34, "09": 21, "13": 32, "14": 35, "16": 31},
        },
    ),
    "savee": Grammar(
        # Its release has a folder for each speaker, copies have the speaker in the name.
        r"(?P<speaker>DC|JE|JK|KL)[/_](?P<emotion>sa|su|[adfhn])(?P<sentence>\d\d)",
        example="AudioData/DC/sa01.wav or DC_sa01.wav",
        utterance="{speaker}_{emotion}{sentence}",
        emotions=dict(
            a="angry", d="disgusted", f="fearful", h="happy", n="neutral", sa="sad", su="surprised"
        ),
        genders=_all("male", "DC JE JK KL"),
        folds=_each("DC JE JK KL"),
    ),
    "tess": Grammar(
        r"(?P<speaker>OAF?|YAF)_(?P<word>[A-Za-z]+)_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)",
        example="OAF_angry/OAF_back_angry.wav",
        codes={"speaker": {"OA": "OAF"}},  # the release has OA_bite_neutral.wav
        word_frame="Say the word {}",
        genders=_all("female", "OAF YAF"),
        ages={"OAF": 64, "YAF": 26},
    ),
    "cafe": Grammar(
        # Only the names: folders have accents, which archives often give back wrong. Neutral has no intensity.
        r"(?P<speaker>\d\d)-(?P<emotion>[CDJNPST])-(?:(?<=N-)\d|(?P<intensity>[12]))-(?P<sentence>[1-6])",
        example="Colère/Faible/01-C-1-1.wav",
        suffixes=(".wav", ".aiff", ".aif"),
        codes={"intensity": {"1": "Faible", "2": "Fort"}},
        emotions=dict(C="angry", D="disgusted", J="happy", N="neutral", P="fearful", S="surprised", T="sad"),
        sentences={
            "1": "Un cheval fou dans mon jardin",
            "2": "Deux ânes aigris au pelage brun",
            "3": "Trois cygnes aveugles au bord du lac",
            "4": "Quatre vieilles truies éléphantesques",
            "5": "Cinq pumas fiers et passionnés",
            "6": "Six ours aimants domestiqués",
        },
        genders=_ODD_MALE,
        folds=_folds("01 07 08 10", "02 04 09 12", "03 05 06 11"),
    ),
    "emovo": Grammar(
        r"(?P<emotion>dis|gio|neu|pau|rab|sor|tri)-(?P<speaker>(?P<gender>[fm])[123])-(?P<sentence>[bldn]\d)",
        example="f2/gio-f2-b2.wav",
        emotions=dict(gio="happy", pau="fearful", rab="angry", sor="surprised", tri="sad"),
        sentences={
            "b1": "Gli operai si alzano presto",
            "b2": "I vigili sono muniti di pistola",
            "b3": "La cascata fa molto rumore",
            "l1": "L'autunno prossimo Tony partirà per la Spagna nella prima metà di ottobre",
            "l2": "Ora prendo la felpa di là ed esco per fare una passeggiata",
            "l3": "Un attimo dopo s'è incamminato ... ed è inciampato",
            "l4": "Vorrei il numero telefonico del Signor Piatti",
            "n1": "La casa forte vuole col pane",
            "n2": "La forza trova il passo e l'aglio rosso",
            "n3": "Il gatto sta scorrendo nella pera",
            "n4": "Insalata pastasciutta coscia d'agnello limoncello",
            "n5": "Uno quarantatré dieci mille cinquantasette venti",
            "d1": "Sabato sera cosa farà?",
            "d2": "Porti con te quella cosa?",
        },
        folds=_each("f1 f2 f3 m1 m2 m3"),
    ),
    "enterface": Grammar(
        # Only the folders: subject 11's files are called s12, some of subject 2's and 3's are misnamed too.
        rf"subject[ _](?P<speaker>\d+)/(?P<emotion>{_BIG_SIX})/(?:sentence[ _](?P<sentence>\d)/)?[^/]+",
        example="subject 1/anger/sentence 1/s1_an_1.avi",
        suffixes=(".avi", ".wav"),  # many users extract the sound of the videos
        utterance="s{speaker}_{emotion}{sentence}",
        flawed=dict.fromkeys([f"s6_{name}" for name in _BIG_SIX.split("|")], "all sentences in one file"),
    ),
    "subesco": Grammar(
        r"(?P<speaker>(?P<gender>[FM])_\d\d)_[A-Z]+_S_(?P<sentence>\d+)"
        r"_(?P<emotion>ANGRY|DISGUST|FEAR|HAPPY|NEUTRAL|SAD|SURPRISE)_(?P<take>\d)\]?",
        example="F_02_MONIKA_S_1_NEUTRAL_5.wav",
        folds=_folds(
            *("F_03 M_03 M_08 M_09", "F_01 F_04 F_10 M_07", "F_06 F_08 M_05 M_06"),
            *("F_05 F_07 F_09 M_04", "F_02 M_01 M_02 M_10"),
        ),
    ),
    "turev-db": Grammar(
        r"(?P<speaker>\d{4})_(?P<emotion>kz|hl|sk|mt)_(?P<word>[^\W\d_]+)\d?",  # 7895_hl_ogul1.wav
        example="Sound Source/Calm/1984_sk_eger.wav",
        emotions=dict(kz="angry", hl="sad", sk="calm", mt="happy"),
        word_frame="{}",
    ),
    "urdu": Grammar(
        r"(?P<speaker>S(?P<gender>[MF])\d+)_F\d+_(?P<emotion>[AHNS])\d+",
        example="Angry/SM1_F10_A010.wav",
        emotions=dict(A="angry", H="happy", N="neutral", S="sad"),
    ),
    "aesdd": Grammar(
        r"(?P<emotion>[adfhs])(?P<sentence>\d\d) ?\(0*(?P<speaker>\d+)\) ?[ab]?",
        example="anger/a03 (3).wav",
        emotions=dict(a="angry", d="disgusted", f="fearful", h="happy", s="sad"),
        unusable={"s05 (3)": "corrupt"},
    ),
    "oreau": Grammar(
        r"(?:(?P<gender>[fm])/sess[a-z]/)?(?P<speaker>\d\d)(?P<sentence>[a-z]\d\d)(?P<emotion>[CDJNPST])a",
        example="f/sessj/10a02Ja.wav",
        emotions=dict(C="angry", D="disgusted", J="happy", N="neutral", P="fearful", S="surprised", T="sad"),
    ),
    "mesd": Grammar(
        # F, M and C are the voices of women, men and children; which of them speaks is not told.
        r"(?P<emotion>Anger|Disgust|Fear|Happiness|Neutral|Sadness)_(?P<voice>(?P<gender>[FMC]))_[AB]_(?P<word>.+)",
        example="Anger_F_A_tarde.wav",
        word_frame="{}",
    ),
    "asvp-esd": Grammar(
        # What follows the actor has no fixed order. Blanks and a missing dash occur.
        r"(?P<part>Audio|Bonus)/actor_0*(?P<folder>\d*)/ *\d\d *- *(?P<vocalization>0[12]) *"
        r"- *(?P<emotion>0[1-9]|1[0-37]) *-? *(?P<intensity>\d\d) *- *(?P<sentence>\d+) *- *0*(?P<speaker>\d+)\b.*",
        example="Audio/actor_36/03-01-04-01-10-36-03-03-01.wav",
        utterance="{part}/{folder}/{stem}",
        codes={"vocalization": {"01": "speech", "02": "non-speech"}},
        labels={
            **{"01": "boredom", "02": "neutral", "03": "happy", "04": "sad", "05": "angry", "06": "fear"},
            **{"07": "disgust", "08": "surprise", "09": "excited", "10": "pleasure", "11": "pain"},
            **{"12": "disappointment", "13": "breath"},
        },
        emotions={"breath": None, "17": None},
        genders={str(number): "female" if number % 2 else "male" for number in range(1, 200)},
    ),
    "casia": Grammar(
        r"(?P<speaker>wangzhe|[Zz]hao[Zz]uoxiang|liuchanhg|zhaoquanyin)"
        r"/(?P<emotion>angry|fear|happy|neutral|sad|surprise)/(?P<sentence>\d{3})",
        example="wangzhe/angry/201.wav",
        codes={"speaker": {"ZhaoZuoxiang": "zhaozuoxiang"}},  # many copies have capitals in this name
        utterance="{speaker}_{emotion}_{sentence}",
        folds=_each("wangzhe zhaozuoxiang liuchanhg zhaoquanyin"),
    ),
}

FACTS: dict[str, CorpusFacts] = {
    "ravdess": CorpusFacts(
        *("RAVDESS (speech)", ("en",), 1440, 24, 1.48),
        license="CC BY-NC-SA 4.0",
        where="https://zenodo.org/records/1188976",
        transcripts="2 fixed sentences",
        labels=dict(neutral=96, calm=192, happy=192, sad=192, angry=192, fearful=192, disgust=192)
        | dict(surprised=192),
        # Copies on Kaggle hold every file twice.
    ),
    "emodb": CorpusFacts(
        *("EmoDB", ("de",), 535, 10, 0.41),
        license="CC BY 4.0 (version 2.0)",
        where="https://zenodo.org/records/17651657 (version 2.0)",
        transcripts="10 fixed sentences",
        labels=dict(W=127, L=81, N=79, F=71, A=69, T=62, E=46),
        # Letters are German initials: F is happiness (Freude), A fear (Angst).
    ),
    "savee": CorpusFacts(
        *("SAVEE", ("en",), 480, 4, 0.51),
        license="research only",
        where="registration at http://kahlan.eps.surrey.ac.uk/savee",
        transcripts="",
        labels=dict(n=120, a=60, d=60, f=60, h=60, sa=60, su=60),
        # sa and su begin like a one-letter code; four men only.
    ),
    "tess": CorpusFacts(
        *("TESS", ("en",), 2800, 2, 1.60),
        license="CC BY-NC-ND",
        where="https://doi.org/10.5683/SP2/E8H2MF",
        transcripts='"Say the word" and the word in the file name',
        labels=dict(angry=400, disgust=400, fear=400, happy=400, neutral=400, ps=400, sad=400),
        # Copies on Kaggle hold every file twice; one file has 96 kHz, the others 24 414 Hz.
    ),
    "cafe": CorpusFacts(
        *("CaFE", ("fr",), 936, 12, 1.16),
        license="academic research",
        where="https://zenodo.org/records/1478765",
        transcripts="6 fixed sentences",
        labels=dict(C=144, D=144, J=144, N=72, P=144, S=144, T=144),
        # Folder names are often unpacked in the wrong encoding; C is anger, S surprise.
    ),
    "emovo": CorpusFacts(
        *("EMOVO", ("it",), 588, 6, 0.51),
        license="CC BY-NC-SA 4.0",
        where="http://voice.fub.it/activities/corpora/emovo/index.html",
        transcripts="14 fixed sentences",
        labels=dict(dis=84, gio=84, neu=84, pau=84, rab=84, sor=84, tri=84),
        # Some sentences make no sense on purpose.
    ),
    "enterface": CorpusFacts(
        *("eNTERFACE'05", ("en",), 1263, 43, 1.11),
        license="not stated",
        where="http://www.enterface.net/enterface05",
        transcripts="",
        labels=dict(anger=211, disgust=211, fear=211, happiness=208, sadness=211, surprise=211),
        # File names of subjects 3 and 11 are wrong, folders are right; subject 6 is not cut into sentences.
    ),
    "subesco": CorpusFacts(
        *("SUBESCO", ("bn",), 7000, 20, 7.83),
        license="CC BY 4.0",
        where="https://zenodo.org/records/4526477",
        transcripts="",
        labels=dict.fromkeys(("ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE"), 1000),
        # F_01 and M_01 are two speakers; circulating lists of its 10 sentences are damaged.
    ),
    "turev-db": CorpusFacts(
        *("TurEV-DB", ("tr",), 1735, 6, 0.46),
        license="CC BY-NC-ND 4.0 (README), GPLv3 (LICENSE)",
        where="https://github.com/Xeonen/TurEV-DB",
        transcripts="the word in the file name",
        labels=dict(kz=487, hl=483, sk=408, mt=357),
        # Speaker 1157 is only angry and sad; words in file names lack their dots and tails (eger is eğer).
    ),
    "urdu": CorpusFacts(
        *("URDU", ("ur",), 400, 29, 0.28),
        license="research only",
        where="https://github.com/siddiquelatif/URDU-Dataset",
        transcripts="",
        labels=dict(A=100, H=100, N=100, S=100),
        # 29 speakers, not the 38 of its README; three of them speak 42 % of it.
    ),
    "aesdd": CorpusFacts(
        *("AESDD", ("el",), 605, 6, 0.69),
        license="CC BY 4.0 (as mirrored)",
        where="https://m3c.web.auth.gr/research/aesdd-speech-emotion-recognition",
        transcripts="",
        labels=dict(a=121, d=122, f=120, h=119, s=123),  # with s05 (3), which is corrupt
        # The number in parentheses is the speaker, sometimes with a zero; s05 (3) is corrupt.
    ),
    "oreau": CorpusFacts(
        *("Oréau", ("fr",), 434, 32, 0.34),
        license="see its page",
        where="https://zenodo.org/records/4405783",
        transcripts="",
        labels=dict(C=67, D=67, J=62, N=70, P=51, S=62, T=55),
        # Its folder has an accent that file systems write in two ways; S is surprise, T sadness.
    ),
    "mesd": CorpusFacts(
        *("MESD", ("es",), 862, 11, 0.17),
        license="see its page",
        where="https://data.mendeley.com/datasets/cy34mh68j9",
        transcripts="the words in the file name",
        labels=dict(Anger=143, Disgust=144, Fear=144, Happiness=144, Neutral=143, Sadness=144),
        # Its files tell woman, man or child, not which of the 11 speakers; their words lack accents and ñ.
    ),
    "asvp-esd": CorpusFacts(
        *("ASVP-ESD", (), 13964, 131, 17.98),
        license="see its page",
        where="https://zenodo.org/records/7132783",
        transcripts="",
        labels=dict(boredom=548, neutral=1598, happy=1868, sad=2694, angry=1453, fear=1180, disgust=899)
        | dict(surprise=1586, excited=401, pleasure=365, pain=834, disappointment=365, breath=172)
        | {"17": 1},
        # 8824 of its recordings are cries, laughs and sighs, not speech.
    ),
    "casia": CorpusFacts(
        *("CASIA (free sample)", ("zh",), 1200, 4, 0.64),
        license="the full corpus is sold",
        where="on request at the Institute of Automation, Chinese Academy of Sciences",
        transcripts="",
        labels=dict(angry=200, fear=200, happy=200, neutral=200, sad=200, surprise=200),
        # File names repeat in every folder; all speakers and emotions share 50 texts.
    ),
}
"""What is known about each corpus of `GRAMMARS`."""
