"""Configuration of an emotion2vec encoder."""

from transformers import Data2VecAudioConfig


class Emotion2VecConfig(Data2VecAudioConfig):
    """Holds the sizes of an emotion2vec encoder; the defaults are those of the base size.

    Args:
        num_extra_tokens: learned vectors that the layers read before the frames.
        normalize_waveforms: whether each waveform is brought to mean 0 and variance 1.
        others: as for `Data2VecAudioConfig`.
    """

    model_type = "emotion2vec"

    num_extra_tokens: int = 10
    normalize_waveforms: bool = True
    layerdrop: float | int = 0.05
    activation_dropout: float | int = 0.0
