"""Small corpora that differ in their speakers, sessions and splits."""

from collections.abc import Sequence

import pandas as pd

from mmer.corpora.corpus import Corpus

SESSIONS = {"speakers": ["1F", "1M", "2F", "2M", "3F", "3M"], "session": list("112233")}


def corpus(speakers: Sequence[str | None], **columns: Sequence[str | None]) -> Corpus:
    ids = [f"u{i}" for i in range(len(speakers))]
    return Corpus(
        pd.DataFrame({"utterance_id": ids, "audio_path": ids, "speaker": speakers, **columns}), source="table"
    )
