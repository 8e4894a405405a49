"""Errors a user of mmer can cause. Each message is one line: what is wrong, what was found, what to do."""


class MMERError(ValueError):
    """Base of every error a user can cause; the command line prints it as one line and exits with 2."""


class AudioError(MMERError):
    """A recording cannot be used."""


class TruncatedError(AudioError):
    """A recording ends before its header says."""


class CorpusError(MMERError):
    """A corpus table, a corpus folder or a label set cannot be used."""


class RecipeError(MMERError):
    """A recipe or an override is wrong."""


class EncoderError(MMERError):
    """A pretrained encoder cannot be loaded or is not supported."""


class CheckpointError(MMERError):
    """A model folder or a published checkpoint cannot be read."""


class ExportError(MMERError):
    """A model cannot be made into something else."""


class TrainingError(MMERError):
    """Training cannot go on."""


class MissingExtraError(MMERError):
    """An optional part of mmer is not installed; the message gives the command that adds it."""
