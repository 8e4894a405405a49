"""What is known about each corpus before it is downloaded: size, license, source, and what trips its readers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text


@dataclass(frozen=True)
class CorpusFacts:
    """One released corpus.

    Attributes:
        title: its name in the literature.
        languages: codes of ISO 639-1; empty where they are mixed.
        utterances: in the release; None where that depends on the version.
        speakers: distinct persons; None where they are not identified or it depends on the version.
        hours: of speech; None where it is not documented.
        license: as its owners state it.
        where: where to get it, or whom to ask.
        transcripts: where the reader takes them from; empty where there are none to take.
        labels: utterances of each label as released (`original_emotion`); None where that is not fixed.
        trap: what is most often read wrongly.
    """

    title: str
    languages: tuple[str, ...]
    utterances: int | None
    speakers: int | None
    hours: float | None
    license: str
    where: str
    transcripts: str
    labels: Mapping[str, int] | None
    trap: str


CATALOG: dict[str, CorpusFacts] = {
    "iemocap": CorpusFacts(
        *("IEMOCAP", ("en",), 10039, 10, 12.4),
        license="academic, no redistribution",
        where="request form at https://sail.usc.edu/iemocap",
        transcripts="transcription files",
        labels=dict(ang=1103, dis=2, exc=1041, fea=40, fru=1849, hap=595, neu=1708, oth=3, sad=1084)
        | dict(sur=107, xxx=2507),
        trap="the first F or M of an id tells who wore the markers, the last one who speaks",
    ),
    "meld": CorpusFacts(
        *("MELD", ("en",), 13708, 304, 12.14),
        license="GPL-3.0 (repository), the sound is of a television series",
        where="https://affective-meld.github.io",
        transcripts="its csv files",
        labels=dict(anger=1607, disgust=361, fear=358, joy=2308, neutral=6436, sadness=1002, surprise=1636),
        trap="dialogue and utterance numbers begin again in each split; two clips are unreadable",
    ),
    "crema-d": CorpusFacts(
        *("CREMA-D", ("en",), 7442, 91, 5.26),
        license="ODbL 1.0, contents DbCL",
        where="https://github.com/CheyneyComputerScience/CREMA-D (with git-lfs)",
        transcripts="12 fixed sentences",
        labels=dict(ANG=1271, DIS=1271, FEA=1271, HAP=1271, NEU=1087, SAD=1271),
        trap="without git-lfs the recordings are text files of 130 bytes; labels are what actors were asked for",
    ),
    "ravdess": CorpusFacts(
        *("RAVDESS (speech)", ("en",), 1440, 24, 1.48),
        license="CC BY-NC-SA 4.0",
        where="https://zenodo.org/records/1188976",
        transcripts="2 fixed sentences",
        labels=dict(neutral=96, calm=192, happy=192, sad=192, angry=192, fearful=192, disgust=192)
        | dict(surprised=192),
        trap="copies on Kaggle hold every file twice",
    ),
    "emodb": CorpusFacts(
        *("EmoDB", ("de",), 535, 10, 0.41),
        license="CC BY 4.0 (version 2.0)",
        where="https://zenodo.org/records/17651657 (version 2.0)",
        transcripts="10 fixed sentences",
        labels=dict(W=127, L=81, N=79, F=71, A=69, T=62, E=46),
        trap="letters are German initials: F is happiness (Freude), A fear (Angst)",
    ),
    "savee": CorpusFacts(
        *("SAVEE", ("en",), 480, 4, 0.51),
        license="research only",
        where="registration at http://kahlan.eps.surrey.ac.uk/savee",
        transcripts="",
        labels=dict(n=120, a=60, d=60, f=60, h=60, sa=60, su=60),
        trap="sa and su begin like a one-letter code; four men only",
    ),
    "tess": CorpusFacts(
        *("TESS", ("en",), 2800, 2, 1.60),
        license="CC BY-NC-ND",
        where="https://doi.org/10.5683/SP2/E8H2MF",
        transcripts='"Say the word" and the word in the file name',
        labels=dict(angry=400, disgust=400, fear=400, happy=400, neutral=400, ps=400, sad=400),
        trap="copies on Kaggle hold every file twice; one file has 96 kHz, the others 24 414 Hz",
    ),
    "esd": CorpusFacts(
        *("ESD", ("zh", "en"), 35000, 20, 29.07),
        license="research only",
        where="request form at https://github.com/HLTSingapore/Emotional-Speech-Data",
        transcripts="one text file for each speaker",
        labels=dict(Angry=7000, Happy=7000, Neutral=7000, Sad=7000, Surprise=7000),
        trap="text files come in four encodings",
    ),
    "emov-db": CorpusFacts(
        *("EmoV-DB", ("en",), 6887, 4, 9.48),
        license="non-commercial research",
        where="https://www.openslr.org/115",
        transcripts="the prompt list of CMU Arctic, which is not part of it",
        labels=dict(Amused=1315, Angry=1267, Disgusted=1019, Neutral=1566, Sleepy=1720),
        trap="file names repeat across speakers, who are named by the folder alone",
    ),
    "jl-corpus": CorpusFacts(
        *("JL-Corpus", ("en",), 2400, 4, 1.41),
        license="ODC-By",
        where="https://github.com/tli725/JL-Corpus",
        transcripts="a text file beside each recording",
        labels=dict(angry=240, sad=240, neutral=240, happy=240, excited=240, anxious=240, apologetic=240)
        | dict(assertive=240, concerned=240, encouraging=240),
        trap="the secondary emotions have sentences of their own, so the text tells them",
    ),
    "emns": CorpusFacts(
        *("EMNS", ("en",), 1181, 1, 1.91),
        license="CC BY 4.0",
        where="https://www.openslr.org/136",
        transcripts="metadata.csv",
        labels=dict(Angry=126, Disgust=162, Excited=150, Happy=157, Neutral=149, Sad=147, Sarcastic=139)
        | dict(Surprised=151),
        trap="24 more rows of the csv are not complete; its paths do not match the archive",
    ),
    "mead": CorpusFacts(
        *("MEAD (audio)", ("en",), 31729, 48, 37.34),
        license="see its page",
        where="https://wywu.github.io/projects/MEAD/MEAD.html",
        transcripts="",
        labels=dict(angry=4193, contempt=4215, disgusted=4284, fear=4251, happy=4294, neutral=1916, sad=4306)
        | dict(surprised=4270),
        trap="the number of a recording means another sentence for each emotion",
    ),
    "msp-podcast": CorpusFacts(
        *("MSP-Podcast", ("en",), None, None, None),
        license="UTD, restricted",
        where="request at https://www.lab-msp.com/MSP/MSP-Podcast.html",
        transcripts="transcript files",
        labels=None,
        trap="every count depends on the version; O and X are other and no agreement",
    ),
    "msp-improv": CorpusFacts(
        *("MSP-IMPROV", ("en",), 8438, 12, None),
        license="UTD, academic",
        where="request at https://www.lab-msp.com/MSP/MSP-Improv.html",
        transcripts="",
        labels=None,
        trap="label lines name UTD-...avi, recordings MSP-...wav; rater lines occur twice",
    ),
    "nemo": CorpusFacts(
        *("nEMO", ("pl",), 4481, 9, 3.07),
        license="CC BY-NC-SA 4.0",
        where="https://github.com/amu-cai/nEMO",
        transcripts="data.tsv",
        labels=dict(anger=749, fear=736, happiness=749, neutral=809, sadness=769, surprised=669),
        trap="all speakers share 90 sentences; speaker ids begin with blanks",
    ),
    "cafe": CorpusFacts(
        *("CaFE", ("fr",), 936, 12, 1.16),
        license="academic research",
        where="https://zenodo.org/records/1478765",
        transcripts="6 fixed sentences",
        labels=dict(C=144, D=144, J=144, N=72, P=144, S=144, T=144),
        trap="folder names are often unpacked in the wrong encoding; C is anger, S surprise",
    ),
    "emovo": CorpusFacts(
        *("EMOVO", ("it",), 588, 6, 0.51),
        license="CC BY-NC-SA 4.0",
        where="http://voice.fub.it/activities/corpora/emovo/index.html",
        transcripts="14 fixed sentences",
        labels=dict(dis=84, gio=84, neu=84, pau=84, rab=84, sor=84, tri=84),
        trap="some sentences make no sense on purpose",
    ),
    "enterface": CorpusFacts(
        *("eNTERFACE'05", ("en",), 1263, 43, 1.11),
        license="not stated",
        where="http://www.enterface.net/enterface05",
        transcripts="",
        labels=dict(anger=211, disgust=211, fear=211, happiness=208, sadness=211, surprise=211),
        trap="file names of subjects 3 and 11 are wrong, folders are right; subject 6 is not cut into sentences",
    ),
    "shemo": CorpusFacts(
        *("ShEMO", ("fa",), 3000, 87, 3.29),
        license="free for academic use",
        where="https://github.com/mansourehk/ShEMO",
        transcripts=".ort files, 2838 of them for a recording",
        labels=dict(A=1059, F=38, H=201, N=1028, S=449, W=225),
        trap="W is surprise; 162 recordings have no transcript and 162 transcripts no recording",
    ),
    "subesco": CorpusFacts(
        *("SUBESCO", ("bn",), 7000, 20, 7.83),
        license="CC BY 4.0",
        where="https://zenodo.org/records/4526477",
        transcripts="",
        labels=dict.fromkeys(("ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE"), 1000),
        trap="F_01 and M_01 are two speakers; circulating lists of its 10 sentences are damaged",
    ),
    "turev-db": CorpusFacts(
        *("TurEV-DB", ("tr",), 1735, 6, 0.46),
        license="CC BY-NC-ND 4.0 (README), GPLv3 (LICENSE)",
        where="https://github.com/Xeonen/TurEV-DB",
        transcripts="the word in the file name",
        labels=dict(kz=487, hl=483, sk=408, mt=357),
        trap="speaker 1157 is only angry and sad",
    ),
    "urdu": CorpusFacts(
        *("URDU", ("ur",), 400, 29, 0.28),
        license="research only",
        where="https://github.com/siddiquelatif/URDU-Dataset",
        transcripts="",
        labels=dict(A=100, H=100, N=100, S=100),
        trap="29 speakers, not the 38 of its README; three of them speak 42 % of it",
    ),
    "aesdd": CorpusFacts(
        *("AESDD", ("el",), 605, 6, 0.69),
        license="CC BY 4.0 (as mirrored)",
        where="https://m3c.web.auth.gr/research/aesdd-speech-emotion-recognition",
        transcripts="",
        labels=dict(a=121, d=122, f=120, h=119, s=123),  # with s05 (3), which is corrupt
        trap="the number in parentheses is the speaker, sometimes with a zero; s05 (3) is corrupt",
    ),
    "oreau": CorpusFacts(
        *("Oréau", ("fr",), 434, 32, 0.34),
        license="see its page",
        where="https://zenodo.org/records/4405783",
        transcripts="",
        labels=dict(C=67, D=67, J=62, N=70, P=51, S=62, T=55),
        trap="its folder has an accent that file systems write in two ways; S is surprise, T sadness",
    ),
    "mesd": CorpusFacts(
        *("MESD", ("es",), 862, 11, 0.17),
        license="see its page",
        where="https://data.mendeley.com/datasets/cy34mh68j9",
        transcripts="the words in the file name",
        labels=dict(Anger=143, Disgust=144, Fear=144, Happiness=144, Neutral=143, Sadness=144),
        trap="its files tell woman, man or child, not which of the 11 speakers",
    ),
    "asvp-esd": CorpusFacts(
        *("ASVP-ESD", (), 13964, 131, 17.98),
        license="see its page",
        where="https://zenodo.org/records/7132783",
        transcripts="",
        labels=dict(boredom=548, neutral=1598, happy=1868, sad=2694, angry=1453, fear=1180, disgust=899)
        | dict(surprise=1586, excited=401, pleasure=365, pain=834, disappointment=365, breath=172)
        | {"17": 1},
        trap="8824 of its recordings are cries, laughs and sighs, not speech",
    ),
    "emozionalmente": CorpusFacts(
        *("Emozionalmente", ("it",), 6902, 431, 6.31),
        license="CC BY 4.0",
        where="https://zenodo.org/records/6569824",
        transcripts="samples.csv",
        labels=dict(anger=986, disgust=986, fear=986, joy=986, neutrality=986, sadness=986, surprise=986),
        trap="all actors share 18 sentences; 150 files have 44.1 kHz",
    ),
    "pavoque": CorpusFacts(
        *("PAVOQUE", ("de",), 7334, 1, 12.20),
        license="CC BY-NC-SA 4.0",
        where="https://github.com/marytts/pavoque-data",
        transcripts="yaml files",
        labels=dict(neutral=4344, poker=819, happy=746, angry=724, sad=701),
        trap="1892 of its recordings are rejected repetitions (outtakes)",
    ),
    "casia": CorpusFacts(
        *("CASIA (free sample)", ("zh",), 1200, 4, 0.64),
        license="the full corpus is sold",
        where="on request at the Institute of Automation, Chinese Academy of Sciences",
        transcripts="",
        labels=dict(angry=200, fear=200, happy=200, neutral=200, sad=200, surprise=200),
        trap="file names repeat in every folder; all speakers and emotions share 50 texts",
    ),
    "m3ed": CorpusFacts(
        *("M3ED", ("zh",), 24437, 635, 9.83),
        license="not stated",
        where="https://github.com/AIM3-RUC/RUCM3ED",
        transcripts="annotation.json",
        labels=dict(Neutral=10021, Anger=5231, Sad=3957, Happy=2286, Disgust=1497, Surprise=1050, Fear=395),
        trap="times are hours, minutes, seconds and frames; 28 clips are shorter than 0.1 s",
    ),
    "resd": CorpusFacts(
        *("RESD", ("ru",), 1396, None, 2.34),
        license="MIT",
        where="https://huggingface.co/datasets/Aniemore/resd_annotated",
        transcripts="the annotated variant",
        labels=dict(anger=219, disgust=185, enthusiasm=198, fear=223, happiness=218, neutral=191)
        | dict(sadness=162),
        trap="speakers are not named, and all 50 dialogues are on both sides of its split",
    ),
    "spoken": CorpusFacts(
        *("spoken", ("en",), None, None, None),
        license="yours",
        where="made on this machine by mmer corpus prepare spoken",
        transcripts="what was spoken",
        labels=None,
        trap="synthetic: tells whether a model works, not how well it knows people",
    ),
}
"""The corpora that `mmer corpus prepare` reads, by the name it knows them by."""


def compare_counts(found: Counter[str], documented: Mapping[str, int]) -> list[str]:
    """Compare the utterances of each label with the documented ones.

    Args:
        found: utterances of each label in the corpus that was read.
        documented: utterances of each label in the release.

    Returns:
        The notes to give: one that says that all is as documented, or each count that differs.
    """
    total = sum(documented.values())
    labels = dict.fromkeys((*documented, *sorted(found)))
    differences = [
        f"{found[label]} {label} (documented {documented.get(label, 0)})"
        for label in labels
        if found[label] != documented.get(label, 0)
    ]
    if not differences:
        return [f"{total} utterances, {len(documented)} labels: as documented"]
    return [f"{found.total()} utterances, the release has {total}: {', '.join(differences)}"]


def list_corpora() -> Text:
    """The catalog for the terminal, two lines for each corpus; `-` is not documented or depends on the version."""
    line = "{:<15}{:<9}{:>10}{:>10}{:>7}  {}\n"
    head = line.format("name", "language", "utterances", "speakers", "hours", "license, and where to get it")
    text = Text(head, style="bold")
    for name, facts in CATALOG.items():
        sizes = (facts.utterances, facts.speakers, facts.hours)
        known = ("-" if size is None else f"{size:,}" for size in sizes)
        text.append(
            line.format(name, ", ".join(facts.languages) or "mixed", *known, facts.license), "not bold"
        )
        text.append(f"    {facts.where}\n", "not bold dim")
    text.rstrip()
    return text
