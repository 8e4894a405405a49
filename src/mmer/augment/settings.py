"""User settings of `make_views`."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt

from mmer.recipe.values import Section, Seed

_Ratio = Annotated[float, Field(ge=1)]


class AugmentSettings(Section):
    """Settings of the generation of views and of their quality filters."""

    views: PositiveInt = 1
    """Number of views of each utterance by each speech generator."""
    seed: Seed = 0
    """Seed of all random choices."""
    batch_size: PositiveInt = 16
    """Number of utterances whose words are made together."""
    sample: bool = False
    """Sample translations instead of taking the best, so that several views of an utterance differ."""
    within: str | None = None
    """Borrow voices only from utterances with the same value of this column, such as session or fold."""
    every_split: bool = False
    """Make views of all utterances, not only of the split train."""
    language: str | None = None
    """Language of utterances for which the corpus gives none, such as en."""
    similarity: str | None = None
    """A text encoder, by name or folder, that compares the words of a view with those of its source."""
    min_similarity: float = 0.6
    """Smallest cosine of the two texts in that encoder."""
    asr: str | None = None
    """A CTC model of transformers or of mmer, by name or folder, that transcribes views."""
    max_error_rate: NonNegativeFloat = 0.5
    """Largest character error rate of that model on a view."""
    max_length_ratio: _Ratio = 2.0
    """Largest ratio of the numbers of characters of a view and its source, either way."""
    max_duration_ratio: _Ratio = 2.5
    """Largest ratio of the durations of a view and its source, either way."""
