"""JL-Corpus (James et al., Interspeech 2018): ten emotions by four speakers of New Zealand English."""

import os
from pathlib import Path

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.readers.file_grammars import Grammar
from mmer.corpora.readers.file_names import read_grammar
from mmer.corpora.readers.releases import add_transcripts, read_text

PRIMARY = ("angry", "sad", "neutral", "happy", "excited")
SECONDARY = ("anxious", "apologetic", "assertive", "concerned", "encouraging")

_SPEAKERS = {"female1": "female", "female2": "female", "male1": "male", "male2": "male"}
_GRAMMAR = Grammar(
    pattern=rf"(?P<speaker>(?:fe)?male[12])_(?P<emotion>{'|'.join(PRIMARY + SECONDARY)})_"
    r"(?P<sentence>\d+)(?P<recording_session>[ab])_(?P<take>[12])",
    example="female1_angry_10a_1.wav",
    genders=_SPEAKERS,
    folds={speaker: speaker for speaker in _SPEAKERS},
)


def read_jl_corpus(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read JL-Corpus, whose recordings have their sentence in a text file beside them.

    The five primary emotions share their sentences; each secondary one (`SECONDARY`) has its own, so there the
    transcript tells the emotion. `fold` leaves one speaker out, as EmoBox does.

    Extra columns: `original_emotion`; `sentence` (1 to 15); `recording_session` (a or b); `take`.

    Args:
        root: folder of the release, which holds `Raw JL corpus (unchecked and unannotated)`.
        progress: called with the number of recordings whose header was read so far and of all.

    Raises:
        CorpusError: no recording of JL-Corpus is there.
    """
    corpus = read_grammar("jl-corpus", _GRAMMAR, root)
    rows = zip(corpus.table["utterance_id"], corpus.table["audio_path"], strict=True)
    texts = {name: Path(path).with_suffix(".txt") for name, path in rows}
    transcripts = {name: read_text(path).strip() for name, path in texts.items() if path.is_file()}
    return add_transcripts(corpus, transcripts).with_durations(progress)
