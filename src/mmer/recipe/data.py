"""The sections `data` and `protocol` of a recipe: the utterances, their split, and the choice of the epoch."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from mmer.recipe.errors import contradiction
from mmer.recipe.values import Folds, Name, Probability, Section, Seed, Unique


class Data(Section):
    """The training data."""

    corpus: Path | None = None
    """The corpus: a table (Parquet, CSV, TSV, JSONL) or a folder of audio with metadata.csv."""
    labels: Annotated[list[Name], Field(min_length=2), Unique] | None = None
    """Emotions that the model distinguishes, in the order of its classes; null = every emotion of the corpus."""
    label_map: dict[Name, Name] = Field(default={})
    """Emotions to rename before `labels` is applied, such as `excited: happy`."""
    recognized: Probability = 0.0
    """Share of the training utterances, drawn anew in each epoch, whose text is the output of a speech recognizer: the
    column `recognized` that `mmer corpus transcribe` writes. CTC always learns the reference transcript. At 1,
    validation and test use the recognized text too. Below 1, they use the reference transcript, as do utterances that
    the recognizer skipped."""
    crop_duration: PositiveFloat | None = None
    """Truncate clips to this many seconds; the number of truncated clips is reported. null = never truncate."""
    max_duration: PositiveFloat = 30.0
    """Clips longer than this (seconds, after `crop_duration`) are left out of training and listed."""
    rehearsal: Path | None = None
    """Corpus that the model of `model.start_from` learned from, so that it forgets less: training draws up to four
    utterances of it for each new one of the same emotion, of its training split if it has one, and none of speakers
    that validate or test. `mmer adapt` sets it."""


class Protocol(Section):
    """The split into training, validation and test, and the choice of the epoch."""

    group: Name = "speaker"
    """Kind of the groups that `test` and `validation` name: speaker, session, or another column of the corpus. A split
    never divides a group or a speaker."""
    test: list[Name] = Field(default=[])
    """Groups of the test fold; empty = the split column of the corpus. `mmer crossval` fills it in for each fold."""
    no_test: bool = False
    """Test nothing: every utterance trains or validates, whatever its split, and nothing is known of other speakers."""
    folds: Folds = None
    """What `mmer crossval` tests in turn: `leave-one-out` (or null), each group; a number, that many folds of groups,
    similar in size and emotions; `official`, the fold column of the corpus, or else its split column; or a file, the
    folds.json of another cross-validation of the corpus. `mmer train` wants null: its fold is `test`."""
    validation: NonNegativeInt | list[Name] = 1
    """Validation groups, or how many to draw from the others where the corpus has no validation split. In a
    cross-validation, the number of groups to take, those that follow the fold's own."""
    validation_group: Name | None = None
    """The column whose values validate; null = `group`. With `group: session` and `validation_group: speaker`, single
    speakers of the training sessions validate instead of a whole session; a cross-validation draws them for each
    fold."""
    seed: Seed = 0
    """Seed of the split: of the drawn validation groups and of the drawn folds. In a cross-validation that leaves one
    group out, 0 has validation groups follow in the order of their names; other seeds draw an order."""
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1"] = "balanced_accuracy"
    """Metric that chooses the best epoch."""
    refit: bool = False
    """After the validation split has chosen the epoch, train a new model on training and validation together for as
    many epochs, and test that model. Requires `selection: validation`."""
    selection: Literal["validation", "last", "test"] = "validation"
    """What chooses the epoch: the validation split; nothing (`last`), which keeps the last epoch and allows
    `validation: 0` for more training data; or the test split, which is what the published code does and marks every
    number. Where there is a validation split too, its choice is judged beside that of the test split: the difference is
    the optimism."""
    speakers_apart: bool = True
    """Refuse a split that has a speaker on two sides; false accepts official ones such as MELD's, and says so."""
    style: Literal["all", "improvised", "scripted"] = "all"
    """Utterances to use, by the column `improvised` of the corpus."""
    text_disjoint: bool = False
    """Remove every utterance from training and validation whose transcript, or a similar one, is in the test split, and
    every view and every rehearsed utterance with such words."""
    text_similarity: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Similarity from which `text_disjoint` removes an utterance: share of words in common blocks, as in difflib."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.no_test and (self.test or self.selection == "test"):
            raise contradiction(
                "no_test is true, and test or selection asks for a test split",
                "set no_test to false or change those",
            )
        if self.refit and self.validation == 0:
            raise contradiction(
                "refit is true and validation is 0, so no split can choose the epoch",
                "set validation to 1 or more and selection to validation, or refit to false",
            )
        if self.refit and self.selection != "validation":
            reason = (
                "already trains on all that it may" if self.selection == "last" else "has read the test split"
            )
            raise contradiction(
                f"refit is true and selection is {self.selection}, which {reason}",
                "set selection to validation, or refit to false",
            )
        return self
