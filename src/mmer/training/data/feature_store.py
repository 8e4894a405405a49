"""What training reads of an utterance: its columns, and the features of its recording."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import View
from mmer.features.statistics import FeatureStatistics, SpeakerPrior
from mmer.model.processor import MMERProcessor

Features = NDArray[np.float32]
MEMORY = 4 << 30  # largest memory of stored features in bytes


@dataclass(frozen=True, slots=True)
class TrainingUtterance:
    """Columns of a corpus row that training reads."""

    utterance_id: str
    audio_path: str | None
    start: float | None
    end: float | None
    duration: float | None
    transcript: str | None
    emotion: str
    speaker: str | None
    recognized: str | None = None

    @classmethod
    def of(cls, corpus: Corpus) -> list["TrainingUtterance"]:
        """Return the rows of a corpus, with None for missing values."""
        table = corpus.table.reindex(columns=list(cls.__slots__)).astype(object)
        return [cls(*row) for row in table.where(table.notna(), None).itertuples(index=False, name=None)]

    @classmethod
    def with_sound(cls, corpus: Corpus) -> list["TrainingUtterance"]:
        """Return the rows of a corpus that have a recording."""
        return [utterance for utterance in cls.of(corpus) if utterance.audio_path is not None]

    @classmethod
    def of_view(cls, view: View, crop: float | None) -> "TrainingUtterance":
        """Return the recording of a view, truncated to `crop` seconds."""
        assert view.audio_path is not None
        end = crop if crop is not None and (view.duration or 0) > crop else None
        return cls(view.view_id, view.audio_path, None, end, view.duration, view.transcript, "", view.voice)


class FeatureStore:
    """In-memory store of the features of unchanged recordings, up to a limit.

    A copy that is sent to another process starts empty.

    Args:
        processor: processor of the model.
        memory: limit in bytes; features beyond it are computed each time.

    Attributes:
        full: whether features had to be left out.
    """

    def __init__(self, processor: MMERProcessor, memory: int = MEMORY) -> None:
        self.processor = processor
        self.memory = memory
        self._kept: dict[str, Features] = {}
        self._size = 0
        self.full = False

    def __call__(self, utterance: TrainingUtterance) -> Features:
        """Return (samples,) or (frames, bins) features, as `MMERProcessor.features` gives them.

        Raises:
            AudioError: the recording cannot be read.
        """
        features = self._kept.get(utterance.utterance_id)
        return self.keep(utterance, self.waveform(utterance)) if features is None else features

    def __contains__(self, utterance: TrainingUtterance) -> bool:
        return utterance.utterance_id in self._kept

    def keep(self, utterance: TrainingUtterance, waveform: Features) -> Features:
        """Store the features of a recording that has been read, and return them."""
        features = self.processor.features(waveform)
        self.full = self.full or self._size + features.nbytes > self.memory
        if not self.full:
            self._kept[utterance.utterance_id] = features
            self._size += features.nbytes
        return features

    def waveform(self, utterance: TrainingUtterance) -> Features:
        """Return the recording, (samples,), mono at the model's rate."""
        assert utterance.audio_path is not None
        return load_audio(
            utterance.audio_path,
            sampling_rate=self.processor.sampling_rate,
            start=utterance.start,
            end=utterance.end,
        )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}, "_size": 0, "full": False}


def speaker_statistics(store: FeatureStore, corpus: Corpus) -> dict[str, FeatureStatistics]:
    """Compute statistics of each speaker over all clips, in all splits; labels are not used."""
    clips = _by_speaker(corpus)
    return {speaker: store.processor.speaker_statistics(map(store, said)) for speaker, said in clips.items()}


def speaker_prior(store: FeatureStore, corpus: Corpus) -> SpeakerPrior | None:
    """Compute the prior over speakers of a training corpus; None where no speaker is named."""
    clips = _by_speaker(corpus)
    functionals = store.processor.functionals
    return SpeakerPrior.of([map(store, said) for said in clips.values()], functionals) if clips else None


def _by_speaker(corpus: Corpus) -> dict[str, list[TrainingUtterance]]:
    clips: dict[str, list[TrainingUtterance]] = {}
    for utterance in TrainingUtterance.with_sound(corpus):
        if utterance.speaker is not None:
            clips.setdefault(utterance.speaker, []).append(utterance)
    return clips
