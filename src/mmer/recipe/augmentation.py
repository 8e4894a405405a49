"""The section `augment` of a recipe: modality dropout, changes in training, and second views."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from mmer.recipe.errors import contradiction
from mmer.recipe.values import Fraction, Probability, Section, Span


class AugmentSpeech(Section):
    """Changes to the sound of the second view; the amount of each change is drawn from its span."""

    probability: Probability = 0.5
    """Probability of each change below."""
    gain_db: Span = (-6.0, 6.0)
    """Gain in dB."""
    snr_db: Span = (10.0, 30.0)
    """Signal-to-noise ratio of added Gaussian noise in dB."""
    time_stretch: Span = (0.9, 1.1)
    """Factor on the speed; the pitch stays."""
    pitch_semitones: Span = (-2.0, 2.0)
    """Pitch shift in semitones."""
    band_filter: bool = True
    """Low-pass, high-pass or band-stop filter."""
    variants: NonNegativeInt = 2
    """Changed copies of each clip with `model.speech.train: frozen` or `last:N`, one of which is drawn in each epoch,
    so that frozen layers hear each copy once; 0 = the sound stays as it is. Other encoders hear a new copy in each
    epoch."""

    @property
    def changes(self) -> dict[str, Any]:
        """What `SpeechAugmenter` takes."""
        return self.model_dump(exclude={"variants"})


class AugmentText(Section):
    """Changes to the words of the second view; at least one word always stays. A transcript that repeated words would
    make too long for the text encoder stays as it is."""

    drop: Probability = 0.1
    """Probability that a word is left out."""
    swap: Probability = 0.05
    """Probability that a word changes places with the next one."""
    repeat: Probability = 0.05
    """Probability that a word is said twice."""


class AugmentFeatures(Section):
    """Changes to the features of the `compact` encoder in training, in both views; 0 = no change."""

    warp: Fraction = 0.0
    """Largest |log| of the factor on the mel axis, as of a longer or shorter vocal tract."""
    shift: NonNegativeFloat = 0.0
    """Largest shift along the mel axis in bins."""
    tempo: Fraction = 0.0
    """Largest |log| of the factor on the duration."""
    frequency_mask: Annotated[int, Field(ge=0, le=80)] = 0
    """Most mel bins of each of two masks."""
    time_mask: NonNegativeInt = 0
    """Most frames of 10 ms of each of two masks."""
    prosody_offset: NonNegativeFloat = 0.0
    """Standard deviation of an offset on pitch, periodicity and energy, in standard deviations of the features."""
    elsewhere: Probability = 0.0
    """Probability that a clip sounds as if recorded elsewhere: another microphone, line and room, and noise. Only for
    features standardized over the corpus; a speaker's own statistics remove most of the place."""


class ModalityDropout(Section):
    """Modality dropout: in each epoch, leave out the speech or the text of some utterances, so that the network learns
    to answer from either. Both views of an utterance lack the same modality."""

    speech: Probability = 0.0
    """Probability of leaving out the sound of an utterance that has a transcript."""
    text: Probability = 0.0
    """Probability of leaving out the transcript of an utterance that has a recording; CTC still learns from it."""

    @model_validator(mode="after")
    def _never_both(self) -> Self:
        if self.speech + self.text > 1:
            raise contradiction(
                f"speech and text add up to {self.speech + self.text:g}, more than 1", "lower one of them"
            )
        return self


class Augment(Section):
    """Changes in training, and the second view of the augmented contrastive objective."""

    missing: ModalityDropout = ModalityDropout()
    """Modality dropout."""
    speech: AugmentSpeech = AugmentSpeech()
    """Changes to the sound of the second view; with probability 0 the sound stays as it is."""
    text: AugmentText = AugmentText()
    """Changes to the words of the second view."""
    features: AugmentFeatures = AugmentFeatures()
    """Changes to the features of both views."""
    views: Path | None = None
    """File of second views, one of which is drawn for each utterance in each epoch: a `views.parquet` of `mmer
    augment`, or a CSV file of the published code, with the columns `FileName` and `AugmentedText`."""
    views_use: Literal["beside", "instead"] = "beside"
    """`beside`: views made on the fly are drawn as often as each view of the file, and always for an utterance without
    one. `instead`: the file's views alone; an utterance without one is its own second view."""
    views_breaking_fold: Literal["refuse", "leave_out"] = "refuse"
    """Views made from the voice or the words of a speaker outside the training split: stop (`refuse`), or leave them
    out and count them."""
