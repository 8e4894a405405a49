"""ShEMO (Mohamad Nezami et al., 2019): 3000 utterances of Persian radio plays by 87 speakers."""

import os

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.readers.file_grammars import Grammar
from mmer.corpora.readers.file_names import read_grammar
from mmer.corpora.readers.releases import add_transcripts, read_text, release_files

_GRAMMAR = Grammar(
    pattern=r"(?P<speaker>(?P<gender>[MF])\d\d)(?P<emotion>[AFHNSW])\d\d",
    example="male/M36S02.wav",
    emotions=dict(A="angry", F="fearful", H="happy", N="neutral", S="sad", W="surprised"),
)


def read_shemo(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read ShEMO.

    A name such as `F07F01` is gender and speaker (F07), emotion (F is fear, W surprise) and number. Transcripts are
    those of the `.ort` files (orthographic). EmoBox has the 2838 recordings alone that have one; here all are kept.

    Extra columns: `original_emotion` (the letter).

    Args:
        root: folder with the unpacked `male`, `female` and `transcript`.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The recordings ordered by name; notes list recordings without transcript and transcripts without recording,
        and tell how the counts compare with the documented ones.

    Raises:
        CorpusError: no recording of ShEMO is there, or git-lfs pointers instead of recordings.
    """
    corpus = read_grammar("shemo", _GRAMMAR, root)
    transcripts = {path.stem: read_text(path).strip() for path in release_files(root, "*.ort")}
    unspoken = sorted(transcripts.keys() - set(corpus.table["utterance_id"]))
    notes = [listing("transcripts have no recording and are left out", unspoken)] if unspoken else []
    return add_transcripts(corpus, transcripts, notes).with_durations(progress)
