"""Logging to Weights & Biases and MLflow; errors at the start stop training, later ones do not."""

import logging
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from mmer.errors import TrainingError, reason_of
from mmer.extras import import_extra
from mmer.plain_text import one_line

_logger = logging.getLogger(__name__)


class Tracker(TrainerCallback):
    """Callback that logs objectives and scores through transformers' callback for a tracker.

    Args:
        name: `wandb` or `mlflow`.

    Raises:
        MissingExtraError: its package is not installed.
    """

    def __init__(self, name: str) -> None:
        import_extra(name, f"training.report_to: [{name}]")
        self.name = name
        self._callback: TrainerCallback | None = INTEGRATION_TO_CALLBACK[name]()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start logging.

        Raises:
            TrainingError: the tracker cannot be used.
        """
        assert self._callback is not None
        try:
            self._callback.on_train_begin(args, state, control, **kwargs)
        except Exception as error:  # trackers' errors have no common base
            self._callback = None
            raise TrainingError(
                f"training.report_to: {self.name} cannot be used ({reason_of(error)}); set it up, or leave it out"
            ) from error

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._tell("on_log", args, state, control, **kwargs)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._tell("on_save", args, state, control, **kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._tell("on_train_end", args, state, control, **kwargs)

    def _tell(self, event: str, *arguments: Any, **kwargs: Any) -> None:
        if self._callback is None:
            return
        try:
            getattr(self._callback, event)(*arguments, **kwargs)
        except Exception as error:  # a lost connection to a server, for example, must not end training
            self._callback = None
            reason = one_line(reason_of(error))
            _logger.warning("nothing more is logged to %s, and training goes on: %s", self.name, reason)
