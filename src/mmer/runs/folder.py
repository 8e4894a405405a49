"""What the folder of a run is: the files of a run, of a cross-validation, and of the runs of its folds."""

from dataclasses import dataclass
from pathlib import Path

from mmer.files.lock import is_vacant

RECIPE = "recipe.yaml"
METRICS = "metrics.json"
SPLITS_FILE = "splits.json"
FOLDS_FILE = "folds.json"


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run or of a cross-validation; neither it nor its files need exist."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The complete recipe; the first file that is written."""
        return self.path / RECIPE

    @property
    def metrics(self) -> Path:
        """Every figure; the last file that is written."""
        return self.path / METRICS

    @property
    def splits(self) -> Path:
        """The utterances of each split of a run; written when its corpus has been read."""
        return self.path / SPLITS_FILE

    @property
    def folds(self) -> Path:
        """Who is tested in each fold of a cross-validation; written when the runs of all folds have begun."""
        return self.path / FOLDS_FILE

    @property
    def corpus(self) -> Path:
        """The utterances that are used."""
        return self.path / "corpus.parquet"

    @property
    def skipped(self) -> Path:
        """The utterances that are not used as they are, and why."""
        return self.path / "skipped.csv"

    @property
    def predictions(self) -> Path:
        """The answer for every utterance."""
        return self.path / "predictions.parquet"

    @property
    def versions(self) -> Path:
        """The software that a run was made with."""
        return self.path / "versions.json"

    @property
    def model(self) -> Path:
        """The model folder of a run."""
        return self.path / "model"

    @property
    def is_vacant(self) -> bool:
        """Whether nothing is there but a lock."""
        return is_vacant(self.path)

    @property
    def is_begun(self) -> bool:
        """Whether a run or a cross-validation was begun here, whose corpus may not have been read yet."""
        return self.recipe.exists()

    @property
    def is_run(self) -> bool:
        """Whether it is that of a run, its corpus read."""
        return self.splits.exists()

    @property
    def is_cross_validation(self) -> bool:
        """Whether it is that of a cross-validation, its folds made."""
        return self.folds.exists()

    @property
    def is_complete(self) -> bool:
        """Whether everything is there."""
        return self.metrics.exists()

    def fold(self, name: str) -> "RunFolder":
        """Return the folder of the run of a fold."""
        return RunFolder(self.path / "folds" / name)
