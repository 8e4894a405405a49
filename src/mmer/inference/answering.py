"""Answer a batch of clips: tensors in, probabilities, embeddings and transcripts of the CTC head out."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from mmer.errors import CheckpointError, CodedWarning, MMERError, is_out_of_memory
from mmer.features.preprocessor import Preprocessor
from mmer.features.statistics import FeatureStatistics
from mmer.files.damaged import message_of
from mmer.inference.backends.network import Array, Inputs, Network, NetworkOutput, Symbols
from mmer.inference.prediction import AnswerFault
from mmer.inference.reading import Clip
from mmer.inference.transcription import Transcription, heard_by_ctc
from mmer.inference.trust.calibration import Calibration
from mmer.plain_text import counted


class BatchAnswerer:
    """Runs the network on clips that are ready for it and fills in their predictions.

    Args:
        network: computes logits and embeddings.
        processor: of the network.
        transcription: where transcripts come from; with `ctc`, the network's CTC head writes them.
        calibration: applied to every probability; None leaves the network's softmax as it is.
    """

    def __init__(
        self,
        network: Network,
        processor: Preprocessor,
        transcription: Transcription,
        calibration: Calibration | None,
    ) -> None:
        self._network = network
        self._processor = processor
        self._transcription = transcription
        self._calibration = calibration

    def __call__(self, batch: Sequence[Clip], speakers: Mapping[str, FeatureStatistics]) -> None:
        """Fill in `prediction` and `embedding` of each clip.

        If the batch fails, its halves are answered, so that only the clip at fault gets an error.

        Args:
            batch: clips without an error, at least one; their `features` are released.
            speakers: statistics by name of speaker, for models that standardize per speaker.
        """
        try:
            self._answer_together(batch, speakers)
            return
        except MMERError as error:
            reason = message_of(error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = _too_long(batch[0])
        # Outside of the handlers, since a handled error keeps the tensors of its frames in memory.
        if len(batch) > 1:
            middle = (len(batch) + 1) // 2
            for half in (batch[:middle], batch[middle:]):
                self(half, speakers)
        else:
            prediction = batch[0].prediction
            prediction.error = f"{prediction.utterance_id}: {reason}"

    def _answer_together(self, batch: Sequence[Clip], speakers: Mapping[str, FeatureStatistics]) -> None:
        inputs = self._processor.collate(
            [clip.features for clip in batch] if self._processor.uses_speech else None,
            [clip.prediction.transcript for clip in batch],
            [speakers.get(clip.utterance.speaker or "") for clip in batch],
            return_tensors="np",
        )
        read = partial(self._read_ctc, batch) if self._transcription.kind == "ctc" else None
        answers = self._network.answer(inputs, read)
        self._check_shapes(answers, len(batch))
        if self._processor.dimensions:
            self._add_dimensions(batch, answers)
            return
        self._add_emotions(batch, answers)
        self._add_emotions_of_one_modality(batch, answers)

    def _check_shapes(self, answers: NetworkOutput, utterances: int) -> None:
        """Refuse logits that are not (utterances, emotions), which files of different models produce."""
        emotions = len(self._processor.labels or self._processor.dimensions)
        logits = (answers.logits, answers.speech_alone, answers.text_alone)
        shapes = {each.shape for each in logits if each is not None}
        if shapes != {(utterances, emotions)} or len(answers.embeddings) != utterances:
            raise CheckpointError(
                f"the model gives answers of shape {answers.logits.shape} for {counted(utterances, 'utterance')} and "
                f"{counted(emotions, 'emotion')}; its files are not of one model"
            )

    def _add_emotions(self, batch: Sequence[Clip], answers: NetworkOutput) -> None:
        """Fill in condition, probabilities, label and embedding of each clip, or an error for NaN."""
        conditions = self._conditions(batch, answers)
        probabilities = self._probabilities(answers.logits, conditions)
        for clip, condition, of_clip, embedding in zip(
            batch, conditions, probabilities, answers.embeddings, strict=True
        ):
            clip.features = None
            if not _is_finite(of_clip):
                _withdraw_answer(clip)
                continue
            clip.prediction.condition = condition
            clip.prediction.probabilities = of_clip
            clip.prediction.label = clip.prediction.ranking[0][0]
            clip.embedding = embedding
        for side, kept in answers.encodings.items():
            for clip, encoding in zip(batch, kept, strict=True):
                clip.encodings[side] = encoding

    def _add_dimensions(self, batch: Sequence[Clip], answers: NetworkOutput) -> None:
        """Fill in dimensions and embedding of each clip, or an error for NaN."""
        conditions = self._conditions(batch, answers)
        for clip, condition, values, embedding in zip(
            batch, conditions, answers.logits.tolist(), answers.embeddings, strict=True
        ):
            clip.features = None
            clip.prediction.condition = condition
            dimensions = dict(zip(self._processor.dimensions, values, strict=True))
            if _is_finite(dimensions):
                clip.prediction.dimensions, clip.embedding = dimensions, embedding
            else:
                _withdraw_answer(clip)

    def _add_emotions_of_one_modality(self, batch: Sequence[Clip], answers: NetworkOutput) -> None:
        """Fill in `alone` and `contributions` of the clips that have both speech and text."""
        if answers.speech_alone is None or answers.text_alone is None:
            return
        speech = self._probabilities(answers.speech_alone, ["speech"] * len(batch))
        text = self._probabilities(answers.text_alone, ["text"] * len(batch))
        for clip, from_speech, from_text, both in zip(batch, speech, text, answers.both, strict=True):
            if not both or clip.prediction.error:
                continue
            if _is_finite(from_speech) and _is_finite(from_text):
                clip.prediction.add_alone(from_speech, from_text)
            else:
                _withdraw_answer(clip)

    def _conditions(self, batch: Sequence[Clip], answers: NetworkOutput) -> list[str]:
        """State which modalities each answer is computed from: `both`, `speech` or `text`."""
        processor = self._processor
        if not (processor.uses_speech and processor.uses_text):
            return ["speech" if processor.uses_speech else "text"] * len(batch)
        if not processor.missing_modality_embeddings:
            return ["both"] * len(batch)
        return [
            "both" if both else "text" if clip.features is None else "speech"
            for clip, both in zip(batch, answers.both, strict=True)
        ]

    def _read_ctc(self, batch: Sequence[Clip], symbols: Symbols) -> Inputs:
        """Decode the CTC head's symbols into transcripts and tokenize them, (batch, tokens).

        A transcript that cannot be tokenized is dropped with a warning.
        """
        for clip, best in zip(batch, symbols, strict=True):
            prediction = clip.prediction
            if best is None:
                continue
            transcript = heard_by_ctc(self._processor, best)
            try:
                self._processor.tokenize([transcript], "np")
                prediction.transcript, prediction.transcript_source = transcript, "ctc"
            except MMERError as error:
                told = f"the CTC transcript is not used: {message_of(error)}"
                prediction.warnings.append(CodedWarning(told, AnswerFault.UNUSABLE_CTC_TRANSCRIPT))
        return self._processor.tokenize([clip.prediction.transcript for clip in batch], "np")

    def _probabilities(self, logits: Array, conditions: Sequence[str]) -> list[dict[str, float]]:
        """Turn (batch, emotions) logits into calibrated probabilities by label, one dictionary for each row."""
        rows = self._network.probabilities(logits)
        if self._calibration is not None:
            rows = rows.astype(np.float64)
            for condition in set(conditions):
                chosen = np.array(conditions) == condition
                rows[chosen] = self._calibration(rows[chosen], condition)
        return [dict(zip(self._processor.labels, row, strict=True)) for row in rows.tolist()]


def _too_long(clip: Clip) -> str:
    """Explain that the memory does not suffice for a clip alone."""
    duration = clip.prediction.duration
    what = "its transcript" if duration is None else f"{duration:.1f} s of sound"
    return f"there is not enough memory for {what} alone; split it, or use a device with more memory"


def _is_finite(probabilities: Mapping[str, float]) -> bool:
    return all(map(math.isfinite, probabilities.values()))


def _withdraw_answer(clip: Clip) -> None:
    """Replace an answer that is not a number with an error."""
    prediction = clip.prediction
    prediction.label = prediction.probabilities = None
    prediction.error = (
        f"{prediction.utterance_id}: the model's answer is not a number; its weights may be damaged, or the recording "
        "far louder than full scale"
    )
