"""The processor of a model, as the Auto classes of `transformers` know it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import BatchFeature, ProcessorMixin

from mmer.features.preprocessor import Kind, Preprocessor, stored_settings
from mmer.features.statistics import FeatureStatistics


class MMERProcessor(Preprocessor, ProcessorMixin):
    """A `Preprocessor` that `from_pretrained` reads and `save_pretrained` writes.

    Args:
        feature_extractor, tokenizer: of `transformers`.
        others: as for `Preprocessor`.
    """

    def _hold(self, feature_extractor: Any, tokenizer: Any) -> None:
        ProcessorMixin.__init__(self, feature_extractor, tokenizer)

    @classmethod
    def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a processor as `from_pretrained` does, of older model folders too."""
        return super().from_args_and_dict(args, stored_settings(processor_dict), **kwargs)

    # The base class takes images, text, videos and audio; this processor takes waveforms and transcripts.
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        waveforms: Sequence[NDArray[np.float32]] | None = None,
        transcripts: Sequence[str | None] | None = None,
        statistics: Sequence[FeatureStatistics | None] | None = None,
        return_tensors: Kind = "pt",
    ) -> BatchFeature:
        """Compute the features of each clip and their batch.

        Args:
            waveforms: (samples,) each; None for a model without speech.
            transcripts, statistics, return_tensors: as for `collate`.

        Returns:
            The tensors of `collate`, (batch, ...).
        """
        if transcripts is None:
            transcripts = [None] * len(waveforms or [])
        features = [self.features(waveform) for waveform in waveforms or []] if self.uses_speech else None
        return BatchFeature(self.collate(features, transcripts, statistics, return_tensors))
