"""Settings of `make_views` that a user may change."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt

from mmer.recipe.values import Section

_Ratio = Annotated[float, Field(ge=1)]


class AugmentSettings(Section):
    """How views are made and which of them are good."""

    views: PositiveInt = 1
    """Views of each utterance by each generator of sound."""
    sample: bool = False
    """Draw translations instead of taking the best, so that several views of an utterance differ."""
    within: str | None = None
    """Borrow voices from utterances with the same value of this column alone, such as session or fold."""
    every_split: bool = False
    """Make views of all utterances, not of the split train alone."""
    language: str | None = None
    """Language of utterances for which the corpus gives none, such as en."""
    similarity: str | None = None
    """A text encoder, by name or folder, that compares the words of a view with those of its source."""
    min_similarity: float = 0.6
    """Smallest cosine of the two texts in that encoder."""
    asr: str | None = None
    """A CTC model of transformers or of mmer, by name or folder, that listens to views."""
    max_error_rate: NonNegativeFloat = 0.5
    """Largest character error rate of that model on a view."""
    max_length_ratio: _Ratio = 2.0
    """Largest ratio of the characters of a view to those of its source, or the other way round."""
    max_duration_ratio: _Ratio = 2.5
    """Largest ratio of the duration of a view to that of its source, or the other way round."""
