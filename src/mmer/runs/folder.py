"""What the folder of a run is: the files of a run, of a cross-validation, and of the runs of its folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmer.files.damaged import damaged_file, read_json_object
from mmer.files.own_folder import is_vacant

RECIPE = "recipe.yaml"
METRICS = "metrics.json"
SPLITS_FILE = "splits.json"
FOLDS_FILE = "folds.json"
CHECKPOINTS = "checkpoints"
TRAINER_STATE = "trainer_state.json"
"""The file of a checkpoint that transformers writes last, with the training log so far."""


@dataclass(frozen=True)
class RunFolder:
    """Folder of a run or of a cross-validation; neither it nor its files need exist."""

    path: Path

    @property
    def recipe(self) -> Path:
        """Return the path of the complete recipe, the first file written."""
        return self.path / RECIPE

    @property
    def metrics(self) -> Path:
        """Return the path of all figures, the last file written."""
        return self.path / METRICS

    @property
    def splits(self) -> Path:
        """Return the path of the utterances of each split of a run, written once its corpus has been read."""
        return self.path / SPLITS_FILE

    @property
    def folds(self) -> Path:
        """Return the path of the folds of a cross-validation, written once the runs of all folds have begun."""
        return self.path / FOLDS_FILE

    @property
    def corpus(self) -> Path:
        """Return the path of the utterances used."""
        return self.path / "corpus.parquet"

    @property
    def skipped(self) -> Path:
        """Return the path of the utterances left out or cut, with reasons."""
        return self.path / "skipped.csv"

    @property
    def predictions(self) -> Path:
        """Return the path of the answers for all utterances."""
        return self.path / "predictions.parquet"

    @property
    def versions(self) -> Path:
        """Return the path of the versions of a run's software."""
        return self.path / "versions.json"

    @property
    def model(self) -> Path:
        """Return the model folder of a run."""
        return self.path / "model"

    @property
    def validation_selected(self) -> Path:
        """Return the folder of the model that the validation split chose, where `model` is another one."""
        return self.path / "validation_selected"

    @property
    def checkpoints(self) -> list[Path]:
        """Return the checkpoints of a run, newest first."""
        found = (self.path / CHECKPOINTS).glob("checkpoint-*")
        return sorted(found, key=lambda checkpoint: int(checkpoint.name.split("-")[1]), reverse=True)

    def training_log(self) -> Sequence[Mapping[str, float]]:
        """Read `TrainerState.log_history` from the newest checkpoint that has it; empty where none has.

        Raises:
            CheckpointError: the file is damaged.
        """
        states = (checkpoint / TRAINER_STATE for checkpoint in self.checkpoints)
        newest = next((state for state in states if state.is_file()), None)
        if newest is None:
            return []
        content = read_json_object(newest)
        with damaged_file(newest):
            return content["log_history"]

    @property
    def is_vacant(self) -> bool:
        """Tell whether the folder is new or empty."""
        return is_vacant(self.path)

    @property
    def is_begun(self) -> bool:
        """Tell whether a run or a cross-validation has begun here, perhaps without having read its corpus."""
        return self.recipe.exists()

    @property
    def is_run(self) -> bool:
        """Tell whether this is the folder of a run that has read its corpus."""
        return self.splits.exists()

    @property
    def is_cross_validation(self) -> bool:
        """Tell whether this is the folder of a cross-validation that has made its folds."""
        return self.folds.exists()

    @property
    def is_complete(self) -> bool:
        """Tell whether the folder is complete."""
        return self.metrics.exists()

    def fold(self, name: str) -> "RunFolder":
        """Return the folder of the run of a fold."""
        return RunFolder(self.path / "folds" / name)

    @property
    def fold_runs(self) -> list["RunFolder"]:
        """Return the runs of the folds by name; what file managers leave among them, such as `Thumbs.db`, is none."""
        return [run for path in sorted((self.path / "folds").iterdir()) if (run := RunFolder(path)).is_run]
