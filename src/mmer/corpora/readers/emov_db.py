"""EmoV-DB (Adigwe et al., 2018): sentences of CMU Arctic in five emotions by four speakers."""

import os
import re

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.readers.file_grammars import Grammar
from mmer.corpora.readers.file_names import read_grammar
from mmer.corpora.readers.releases import add_transcripts, read_text, release_files

PROMPTS = "cmuarctic.data"
"""The prompt list of CMU Arctic, as its site (festvox.org/cmu_arctic) names it."""

_GRAMMAR = Grammar(
    pattern=r"(?P<speaker>bea|jenie|josh|sam)[_/](?P<emotion>Amused|Angry|Disgusted|Neutral|Sleepy)/"
    r"[^/]+?(?:_(?P<sentence>\d{4}))?",
    example="bea_Angry/anger_1-28_0011.wav or bea/Angry/anger_1-28_0011.wav",
    utterance="{speaker}_{emotion}_{stem}",
    genders={"bea": "female", "jenie": "female", "josh": "male", "sam": "male"},
)
_PROMPT = re.compile(r'\(\s*arctic_a(\d{4})\s+"(.*)"\s*\)')


def read_emov_db(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read EmoV-DB, unpacked as `bea_Amused` or as `bea/Amused`.

    File names repeat across speakers, so ids begin with the folder's speaker and emotion. Recordings hold laughs and
    yawns. The sentences are not part of the release: transcripts are null unless the prompt list of CMU Arctic,
    `cmuarctic.data`, lies in the folder. They suit the sorted release alone; in the unsorted one (322 angry
    recordings of bea) some recordings are of other sentences.

    Extra columns: `original_emotion` (the folder); `sentence` (number in the list, set a).

    Args:
        root: folder with the unpacked archives.
        progress: called with the number of recordings whose header was read so far and of all.

    Raises:
        CorpusError: no recording of EmoV-DB is there.
    """
    corpus = read_grammar("emov-db", _GRAMMAR, root)
    lists = release_files(root, PROMPTS)
    if not lists:
        corpus.notes.append(
            f"no {PROMPTS}: transcripts are null; put the prompt list of CMU Arctic into the folder"
        )
        return corpus.with_durations(progress)
    prompts = {match[1]: match[2] for match in _PROMPT.finditer(read_text(lists[0]))}
    rows = zip(corpus.table["utterance_id"], corpus.table["sentence"], strict=True)
    transcripts = {name: prompts[sentence] for name, sentence in rows if sentence in prompts}
    return add_transcripts(corpus, transcripts).with_durations(progress)
