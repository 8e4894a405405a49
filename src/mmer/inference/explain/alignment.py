"""Alignment of words and sound by the cross-modal attention of MMER."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmer.inference.explain.attribution import Inputs
from mmer.model.fusion import CrossModalEncoder, MultimodalDynamicFusion
from mmer.model.mmer import MMERForEmotionRecognition

FLAT = 1.5
"""Times the average below which attention is flat."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Alignment:
    """Attention between the tokens and the frames of an utterance, averaged over heads.

    Attributes:
        tokens: as the tokenizer splits the words.
        special: for each token, whether it marks the beginning or the end of the text.
        times: (frames,) seconds, the middle of each frame.
        to_frames: (tokens, frames) attention of each token to the sound; rows add up to 1 (block D). None where the
            model has none.
        to_tokens: (frames, tokens) attention of each frame to the text; rows add up to 1 (block B). None likewise.
    """

    tokens: list[str]
    special: list[bool]
    times: Floats
    to_frames: Floats | None
    to_tokens: Floats | None

    def shown_rows(self) -> tuple[list[str], Floats] | None:
        """Return what a picture shows: the tokens of words, and their attention to each frame over its average.

        The second has the shape (tokens, frames). None if there is no such attention, there are no words, or it is
        flat: no token looks at a frame `FLAT` times as much as it would if it looked at all frames alike.
        """
        words = [place for place, special in enumerate(self.special) if not special]
        if self.to_frames is None or not words:
            return None
        rows = self.to_frames[words] * self.to_frames.shape[1]
        return None if rows.max() < FLAT else ([self.tokens[place] for place in words], rows)


def attention_weights(block: CrossModalEncoder, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
    """Compute the attention weights that `CrossModalEncoder.forward` does not return.

    Args:
        block: the cross-modal encoder.
        queries: (batch, query positions, d).
        keys: (batch, key positions, d).
        key_mask: (batch, key positions) bool.

    Returns:
        (batch, heads, query positions, key positions), adding up to 1 over the keys.
    """

    def heads(sequence: Tensor) -> Tensor:
        return sequence.unflatten(-1, (block.num_heads, -1)).transpose(1, 2)

    asked, offered = heads(block.query(queries)), heads(block.key(keys))
    scores = asked @ offered.transpose(-1, -2) / asked.shape[-1] ** 0.5
    return scores.masked_fill(~key_mask[:, None, None, :], -torch.inf).softmax(dim=-1)


def align(
    model: MMERForEmotionRecognition, inputs: Inputs, tokens: list[str], start: float, duration: float
) -> Alignment | None:
    """Align one utterance; None if the network has no cross-modal attention or a modality is missing.

    Args:
        model: the network.
        inputs: network inputs of the utterance.
        tokens: names of its tokens.
        start, duration: of the sound that the network reads, in seconds of the utterance.
    """
    fusion = model.fusion
    if not isinstance(fusion, MultimodalDynamicFusion) or inputs.sound is None or inputs.tokens is None:
        return None
    with torch.inference_mode():
        mask = torch.ones(inputs.sound.shape[:2], dtype=torch.int64, device=inputs.sound.device)
        speech = model.encode_speech(inputs.sound, mask)
        text = model.encode_text(inputs.tokens, torch.ones_like(inputs.tokens))
        words = fusion.attended(text.hidden, text.mask)
        to_frames = to_tokens = None
        if fusion.block_b is not None and fusion.speech_to_queries is not None:
            asking = fusion.speech_to_queries(speech.hidden)
            to_tokens = _mean_of_heads(fusion.block_b, asking, words, text.mask)
        if fusion.block_d is not None and fusion.speech_to_keys is not None:
            offered = fusion.speech_to_keys(speech.hidden)
            to_frames = _mean_of_heads(fusion.block_d, words, offered, speech.mask)
    if to_frames is None and to_tokens is None:
        return None
    frames = speech.hidden.shape[1]
    times = (start + (np.arange(frames) + 0.5) * duration / frames).astype(np.float32)
    return Alignment(tokens, inputs.special.tolist(), times, to_frames, to_tokens)


def _mean_of_heads(block: CrossModalEncoder, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Floats:
    """Average the heads of a batch of one utterance: (query positions, key positions)."""
    return attention_weights(block, queries, keys, key_mask)[0].mean(dim=0).float().cpu().numpy()
