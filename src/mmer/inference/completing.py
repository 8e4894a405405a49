"""Complete clips for the network: recognize their words, check their modalities, count their tokens."""

from collections.abc import Mapping

from mmer.errors import CodedWarning, MMERError
from mmer.features.preprocessor import Preprocessor
from mmer.features.statistics import FeatureStatistics
from mmer.files.damaged import message_of
from mmer.inference.prediction import AnswerFault
from mmer.inference.reading import Clip
from mmer.inference.transcription import SpeechRecognizer, Transcription


class ClipCompleter:
    """Completes what the network needs of clips that have been read.

    Args:
        processor: of the model.
        transcription: source of the transcripts.
        device: of PyTorch, for the speech recognizer, if the transcription needs one.

    Raises:
        EncoderError: the speech-recognition model cannot be loaded.
    """

    def __init__(self, processor: Preprocessor, transcription: Transcription, device: str) -> None:
        self._processor = processor
        self._transcription = transcription
        name = transcription.model
        self._speech_recognizer = SpeechRecognizer(name, device) if name else None

    def __call__(self, clip: Clip, speakers: Mapping[str, FeatureStatistics]) -> None:
        """Transcribe a clip, check its modalities and count its tokens.

        The prediction gets a warning for each thing that may spoil the answer, or an error that rules one out.

        Args:
            clip: of `ClipReader.read`.
            speakers: statistics by name of speaker, for models that standardize per speaker.
        """
        for step in (self._transcribe, self._check_modalities, self._count_tokens):
            if clip.prediction.error:
                return
            step(clip)
        if not clip.prediction.error:
            self._warn_of_unknown_speaker(clip, speakers)

    def _transcribe(self, clip: Clip) -> None:
        """Run the speech recognizer, if there is one, on a clip with sound; then release the waveform."""
        if self._speech_recognizer is None or clip.waveform is None:
            return
        prediction, name = clip.prediction, self._transcription.name
        try:
            transcript = self._speech_recognizer(clip.waveform, self._processor.sampling_rate)
        except Exception as error:  # models of transformers raise errors of many kinds
            prediction.error = (
                f"{prediction.utterance_id}: {name} failed ({type(error).__name__}: {message_of(error)})"
            )
            return
        prediction.transcript, prediction.transcript_source = transcript, name
        clip.waveform = None

    def _check_modalities(self, clip: Clip) -> None:
        """Refuse an utterance without sound and text; warn where a model that reads is given no text."""
        prediction = clip.prediction
        has_speech, has_text = clip.features is not None, prediction.transcript_source != "none"
        if self._processor.missing_modality_embeddings:
            if not has_speech and not has_text:
                prediction.error = (
                    f"{prediction.utterance_id}: neither a recording nor a transcript was given"
                )
            return
        ctc_will_write_it = self._transcription.kind == "ctc" and has_speech
        if self._processor.uses_text and not has_text and not ctc_will_write_it:
            told = "no transcript: this model reads, and was given an empty text"
            prediction.warnings.append(CodedWarning(told, AnswerFault.NO_TRANSCRIPT))

    def _count_tokens(self, clip: Clip) -> None:
        """Tokenize the transcript of a clip without sound, to sort batches by length.

        A clip with sound is sorted by its features, and a transcript that cannot be read is found with its batch, too.
        """
        if not self._processor.uses_text or clip.features is not None:
            return
        prediction = clip.prediction
        try:
            clip.tokens = len(self._processor.tokenize([prediction.transcript], "np")["input_ids"][0])
        except MMERError as error:
            prediction.error = f"{prediction.utterance_id}: {message_of(error)}"

    def _warn_of_unknown_speaker(self, clip: Clip, speakers: Mapping[str, FeatureStatistics]) -> None:
        """Warn where a model that standardizes per speaker has no statistics of the speaker."""
        if not self._processor.per_speaker or clip.features is None or clip.utterance.speaker in speakers:
            return
        told = f"{self._processor.unknown_speaker}: the model expects several clips of a known speaker"
        clip.prediction.warnings.append(CodedWarning(told, AnswerFault.UNKNOWN_SPEAKER))
