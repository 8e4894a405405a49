"""Catalog of corpora: size, license and source of each; a comment names the most common mistake in reading it."""

from collections import Counter
from collections.abc import Mapping

from rich.text import Text

from mmer.corpora.readers.corpus_facts import CorpusFacts
from mmer.corpora.readers.file_grammars import FACTS
from mmer.plain_text import counted

CATALOG: dict[str, CorpusFacts] = {
    "iemocap": CorpusFacts(
        *("IEMOCAP", ("en",), 10039, 10, 12.4),
        license="academic, no redistribution",
        where="request form at https://sail.usc.edu/iemocap",
        transcripts="transcription files",
        labels=dict(ang=1103, dis=2, exc=1041, fea=40, fru=1849, hap=595, neu=1708, oth=3, sad=1084)
        | dict(sur=107, xxx=2507),
        # The first F or M of an id tells who wore the markers, the last one who speaks.
    ),
    "meld": CorpusFacts(
        *("MELD", ("en",), 13708, 304, 12.14),
        license="GPL-3.0 (repository), the sound is of a television series",
        where="https://affective-meld.github.io",
        transcripts="its csv files",
        labels=dict(anger=1607, disgust=361, fear=358, joy=2308, neutral=6436, sadness=1002, surprise=1636),
        # Dialogue and utterance numbers begin again in each split; two clips are unreadable.
    ),
    "crema-d": CorpusFacts(
        *("CREMA-D", ("en",), 7442, 91, 5.26),
        license="ODbL 1.0, contents DbCL",
        where="https://github.com/CheyneyComputerScience/CREMA-D (with git-lfs)",
        transcripts="12 fixed sentences",
        labels=dict(ANG=1271, DIS=1271, FEA=1271, HAP=1271, NEU=1087, SAD=1271),
        # Without git-lfs the recordings are text files of 130 bytes; labels are what actors were asked for.
    ),
    **FACTS,
    "esd": CorpusFacts(
        *("ESD", ("zh", "en"), 35000, 20, 29.07),
        license="research only",
        where="request form at https://github.com/HLTSingapore/Emotional-Speech-Data",
        transcripts="one text file for each speaker",
        labels=dict(Angry=7000, Happy=7000, Neutral=7000, Sad=7000, Surprise=7000),
        # Text files come in four encodings.
    ),
    "emov-db": CorpusFacts(
        *("EmoV-DB", ("en",), 6887, 4, 9.48),
        license="non-commercial research",
        where="https://www.openslr.org/115",
        transcripts="the prompt list of CMU Arctic, which is not part of it",
        labels=dict(Amused=1315, Angry=1267, Disgusted=1019, Neutral=1566, Sleepy=1720),
        # File names repeat across speakers, who are named by the folder alone.
    ),
    "jl-corpus": CorpusFacts(
        *("JL-Corpus", ("en",), 2400, 4, 1.41),
        license="ODC-By",
        where="https://github.com/tli725/JL-Corpus",
        transcripts="a text file beside each recording",
        labels=dict(angry=240, sad=240, neutral=240, happy=240, excited=240, anxious=240, apologetic=240)
        | dict(assertive=240, concerned=240, encouraging=240),
        # The secondary emotions have sentences of their own, so the text tells them.
    ),
    "emns": CorpusFacts(
        *("EMNS", ("en",), 1181, 1, 1.91),
        license="CC BY 4.0",
        where="https://www.openslr.org/136",
        transcripts="metadata.csv",
        labels=dict(Angry=126, Disgust=162, Excited=150, Happy=157, Neutral=149, Sad=147, Sarcastic=139)
        | dict(Surprised=151),
        # 24 more rows of the csv are not complete; its paths do not match the archive.
    ),
    "mead": CorpusFacts(
        *("MEAD (audio)", ("en",), 31729, 48, 37.34),
        license="see its page",
        where="https://wywu.github.io/projects/MEAD/MEAD.html",
        transcripts="",
        labels=dict(angry=4193, contempt=4215, disgusted=4284, fear=4251, happy=4294, neutral=1916, sad=4306)
        | dict(surprised=4270),
        # The number of a recording means another sentence for each emotion.
    ),
    "msp-podcast": CorpusFacts(
        *("MSP-Podcast", ("en",), None, None, None),
        license="UTD, restricted",
        where="request at https://www.lab-msp.com/MSP/MSP-Podcast.html",
        transcripts="transcript files",
        labels=None,
        # Every count depends on the version; O and X are other and no agreement.
    ),
    "msp-improv": CorpusFacts(
        *("MSP-IMPROV", ("en",), 8438, 12, None),
        license="UTD, academic",
        where="request at https://www.lab-msp.com/MSP/MSP-Improv.html",
        transcripts="",
        labels=None,
        # Label lines name UTD-...avi, recordings MSP-...wav; rater lines occur twice.
    ),
    "nemo": CorpusFacts(
        *("nEMO", ("pl",), 4481, 9, 3.07),
        license="CC BY-NC-SA 4.0",
        where="https://github.com/amu-cai/nEMO",
        transcripts="data.tsv",
        labels=dict(anger=749, fear=736, happiness=749, neutral=809, sadness=769, surprised=669),
        # All speakers share 90 sentences; speaker ids begin with blanks.
    ),
    "shemo": CorpusFacts(
        *("ShEMO", ("fa",), 3000, 87, 3.29),
        license="free for academic use",
        where="https://github.com/mansourehk/ShEMO",
        transcripts=".ort files, 2838 of them for a recording",
        labels=dict(A=1059, F=38, H=201, N=1028, S=449, W=225),
        # W is surprise; 162 recordings have no transcript and 162 transcripts no recording.
    ),
    "emozionalmente": CorpusFacts(
        *("Emozionalmente", ("it",), 6902, 431, 6.31),
        license="CC BY 4.0",
        where="https://zenodo.org/records/6569824",
        transcripts="samples.csv",
        labels=dict(anger=986, disgust=986, fear=986, joy=986, neutrality=986, sadness=986, surprise=986),
        # All actors share 18 sentences; 150 files have 44.1 kHz.
    ),
    "pavoque": CorpusFacts(
        *("PAVOQUE", ("de",), 7334, 1, 12.20),
        license="CC BY-NC-SA 4.0",
        where="https://github.com/marytts/pavoque-data",
        transcripts="yaml files",
        labels=dict(neutral=4344, poker=819, happy=746, angry=724, sad=701),
        # 1892 of its recordings are rejected repetitions (outtakes).
    ),
    "m3ed": CorpusFacts(
        *("M3ED", ("zh",), 24437, 635, 9.83),
        license="not stated",
        where="https://github.com/AIM3-RUC/RUCM3ED",
        transcripts="annotation.json",
        labels=dict(Neutral=10021, Anger=5231, Sad=3957, Happy=2286, Disgust=1497, Surprise=1050, Fear=395),
        # Times are hours, minutes, seconds and frames; 28 clips are shorter than 0.1 s.
    ),
    "resd": CorpusFacts(
        *("RESD", ("ru",), 1396, None, 2.34),
        license="MIT",
        where="https://huggingface.co/datasets/Aniemore/resd_annotated",
        transcripts="the annotated variant",
        labels=dict(anger=219, disgust=185, enthusiasm=198, fear=223, happiness=218, neutral=191)
        | dict(sadness=162),
        # Speakers are not named, and all 50 dialogues are on both sides of its split.
    ),
    "spoken": CorpusFacts(
        *("spoken", ("en",), None, None, None),
        license="yours",
        where="made on this machine by mmer corpus prepare spoken",
        transcripts="what was spoken",
        labels=None,
        # Synthetic: tells whether a model works, not how well it knows people.
    ),
}
"""Corpora that `mmer corpus prepare` reads, by name."""


def compare_counts(found: Counter[str], documented: Mapping[str, int]) -> list[str]:
    """Compare the utterances of each label with the documented ones.

    Args:
        found: utterances of each label in the corpus that was read.
        documented: utterances of each label in the release.

    Returns:
        Notes: one that confirms the documented counts, or one for each deviation.
    """
    total = sum(documented.values())
    labels = dict.fromkeys((*documented, *sorted(found)))
    differences = [
        f"{found[label]} {label} (documented {documented.get(label, 0)})"
        for label in labels
        if found[label] != documented.get(label, 0)
    ]
    if not differences:
        return [f"{counted(total, 'utterance')}, {counted(len(documented), 'label')}: as documented"]
    return [f"{counted(found.total(), 'utterance')}, the release has {total}: {', '.join(differences)}"]


def list_corpora() -> Text:
    """Format the catalog for the terminal, two lines per corpus; `-` means undocumented or version-dependent."""
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
