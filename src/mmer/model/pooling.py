"""The paper's baselines: the same encoders and classifier without the fusion network."""

import torch
from torch import Tensor, nn

from mmer.model.configuration import MMERConfig
from mmer.model.fusion import masked_max


class SpeechPooling(nn.Module):
    """Speech only: maximum of A over the frames."""

    def __init__(self, config: MMERConfig) -> None:
        super().__init__()
        assert config.speech_config is not None
        self.output_size: int = config.speech_config.hidden_size

    def forward(self, frames: Tensor, frame_mask: Tensor, tokens: None, token_mask: None) -> Tensor:
        """Pool A, (batch, frames, speech size), to (batch, speech size); `frame_mask` is (batch, frames) bool."""
        return masked_max(frames, frame_mask)


class TextPooling(nn.Module):
    """Text only: maximum of e_t over the tokens."""

    def __init__(self, config: MMERConfig) -> None:
        super().__init__()
        assert config.hidden_size is not None
        self.output_size = config.hidden_size

    def forward(self, frames: None, frame_mask: None, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Pool e_t, (batch, tokens, d), to (batch, d); `token_mask` is (batch, tokens) bool."""
        return masked_max(tokens, token_mask)


class NaiveFusion(nn.Module):
    """Naive fusion: both maxima, concatenated."""

    def __init__(self, config: MMERConfig) -> None:
        super().__init__()
        self.speech = SpeechPooling(config)
        self.text = TextPooling(config)
        self.output_size = self.speech.output_size + self.text.output_size

    def forward(self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """Pool A, (batch, frames, speech size), and e_t, (batch, tokens, d), to (batch, speech size + d)."""
        return torch.cat(
            [self.speech(frames, frame_mask, None, None), self.text(None, None, tokens, token_mask)], dim=-1
        )
