"""Attribute an answer to parts of the sound and to words, by two measures that share no assumption.

Integrated gradients (Sundararajan et al. 2017), computed by captum, divide the difference between the answer and the
answer to an average sound and average words into shares. The shares are checked: they must add up to the difference.
Occlusion leaves a word out, or blanks a part of the sound, and measures how much weaker the answer gets.

Both are in units of the log-odds of the answer, log(p / (1 - p)), of the uncalibrated network. Probabilities do not add
up, and a single logit may rise together with all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmer.extras import import_extra
from mmer.model.mmer import MMERForEmotionRecognition

TOLERANCE = 0.05
"""Largest error of the sum of shares, relative to the difference or to 1, whichever is larger."""

STEPS = (8, 16, 32, 64)
"""Points on each piece of the path; their number increases until the shares add up."""

KNOTS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ends of the pieces of the path, as fractions of it. Encoders begin with a normalization, so that most of the change
happens in the first hundredth of the path, which evenly spaced points would step over."""

_AT_ONCE = 16  # points of the path, or occluded variants, in one batch

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Completeness:
    """The check that integrated gradients add up.

    Attributes:
        answer: log-odds of the answer.
        baseline: log-odds for an average sound and average words.
        shared_out: sum of all shares.
        tolerance: largest allowed difference of `shared_out` from `answer - baseline`.
        steps: points on the path from the baseline.
        holds: whether the difference is within the tolerance.
    """

    answer: float
    baseline: float
    shared_out: float
    tolerance: float
    steps: int
    holds: bool


@dataclass(frozen=True)
class Inputs:
    """One utterance as the network reads it.

    Attributes:
        sound: (1, samples) or (1, frames, bins), standardized; None without sound.
        tokens: (1, tokens); None without text.
        special: (tokens,) bool, true for marks of beginning and end, which the baseline keeps.
        functionals: number of the last bins of `sound` that hold functionals of the clip.
    """

    sound: Tensor | None
    tokens: Tensor | None
    special: NDArray[np.bool_]
    functionals: int = 0


@dataclass(frozen=True)
class Shares:
    """The log-odds of an answer, shared out among the parts of its input.

    Attributes:
        frames: (frames,) or (samples,), without functionals; None without sound.
        functionals: (functionals,); None without sound.
        tokens: (tokens,); None without text.
        completeness: the check of their sum.
    """

    frames: Floats | None
    functionals: Floats | None
    tokens: Floats | None
    completeness: Completeness


def log_odds(logits: Tensor, place: int) -> Tensor:
    """Compute log(p / (1 - p)) of the emotion at `place`, (batch,), from (batch, emotions) logits."""
    others = torch.cat([logits[:, :place], logits[:, place + 1 :]], dim=1)
    return logits[:, place] - others.logsumexp(dim=1)


def evidence(model: MMERForEmotionRecognition, variants: Sequence[Inputs], place: int) -> Floats:
    """Compute the log-odds of an emotion, (variants,), for variants of an utterance, each answered alone."""
    with torch.inference_mode():
        return np.array(
            [log_odds(_answer(model, each.sound, each.tokens), place).item() for each in variants]
        )


def average_sound(sound: Tensor) -> Tensor:
    """Make the sound of the baseline, of the same shape as `sound`.

    For (1, frames, bins) features it is zero, their average, since they are standardized. For (1, samples) waveforms it
    is noise of the same spectrum and level, identical for waveforms of one length. Silence would not do, since encoders
    of waveforms remove the level.
    """
    if sound.ndim == 3:
        return torch.zeros_like(sound)
    generator = torch.Generator().manual_seed(sound.shape[1])
    spectrum = torch.fft.rfft(sound)
    turns = torch.rand(spectrum.shape, generator=generator).to(sound.device)
    scrambled = torch.polar(spectrum.abs(), 2 * torch.pi * turns)
    scrambled[:, 0] = spectrum[:, 0]
    return torch.fft.irfft(scrambled, sound.shape[1])


def integrated_gradients(model: MMERForEmotionRecognition, inputs: Inputs, place: int) -> Shares:
    """Share out the log-odds of an emotion among the frames of the sound, the functionals and the tokens.

    The path begins at `average_sound` and at tokens that are the mean of all embeddings. Points are added until
    the shares add up.
    """
    captum = import_extra("captum.attr", "integrated gradients", extra="explain")
    sides: list[Tensor] = []
    starts: list[Tensor] = []
    if inputs.sound is not None:
        sides.append(inputs.sound)
        starts.append(average_sound(inputs.sound))
    embedded = None
    if inputs.tokens is not None:
        assert model.text_encoder is not None
        table: Any = model.text_encoder.embeddings
        with torch.no_grad():
            embedded, average = table(inputs.tokens), table.weight.mean(dim=0)
            if model.words_classifier is not None:  # what it makes of a token is on the path too
                logits = model.words_classifier.weight.T
                embedded = torch.cat([embedded, logits[inputs.tokens]], dim=2)
                average = torch.cat([average, logits.mean(dim=0)])
            special = torch.from_numpy(inputs.special).to(embedded.device)
        sides.append(embedded)
        starts.append(torch.where(special[None, :, None], embedded, average.expand_as(embedded)))

    def forward(*given: Tensor) -> Tensor:
        rest = list(given)
        sound = rest.pop(0) if inputs.sound is not None else None
        return log_odds(_answer(model, sound, rest.pop(0) if inputs.tokens is not None else None), place)

    with torch.no_grad():
        answer, baseline = (float(forward(*given).double()) for given in (sides, starts))
    difference = answer - baseline
    tolerance = TOLERANCE * max(abs(difference), 1.0)
    points = [
        tuple(start + knot * (side - start) for start, side in zip(starts, sides, strict=True))
        for knot in KNOTS
    ]
    shares: list[Floats] = []
    total, steps = 0.0, 0
    for steps in STEPS:
        gradients = captum.IntegratedGradients(forward)
        pieces = [
            gradients.attribute(after, before, n_steps=steps, internal_batch_size=_AT_ONCE)
            for before, after in pairwise(points)
        ]
        parts = [[each.detach().double().cpu().numpy()[0] for each in piece] for piece in pieces]
        shares = [np.sum(side, axis=0) for side in zip(*parts, strict=True)]
        total = float(sum(each.sum() for each in shares))
        if abs(total - difference) <= tolerance:
            break
    holds = abs(total - difference) <= tolerance
    told = Completeness(answer, baseline, total, tolerance, steps * (len(KNOTS) - 1), holds)
    frames = functionals = None
    if inputs.sound is not None:
        sound = shares.pop(0)
        sound = sound.reshape(len(sound), -1)
        bins = sound.shape[1] - inputs.functionals
        frames, functionals = sound[:, :bins].sum(axis=1), sound[:, bins:].sum(axis=0)
    tokens = None if embedded is None else shares.pop(0).sum(axis=1)
    return Shares(frames, functionals, tokens, told)


def _answer(model: MMERForEmotionRecognition, sound: Tensor | None, tokens: Tensor | None) -> Tensor:
    """Compute logits (batch, emotions) from sound and tokens.

    Tokens are numbers, (batch, tokens), or (batch, tokens, d) embeddings, which end with the logits of the linear
    classifier of words where the model has it.
    """
    speech = text = None
    if sound is not None:
        mask = torch.ones(sound.shape[:2], dtype=torch.int64, device=sound.device)
        speech = model.encode_speech(sound, mask)
    if tokens is not None:
        mask = torch.ones(tokens.shape[:2], dtype=torch.int64, device=tokens.device)
        if tokens.is_floating_point():
            assert model.text_encoder is not None
            classifier = model.words_classifier
            size = tokens.shape[2] - (0 if classifier is None else classifier.out_features)
            text = model.encode_text(model.text_encoder(tokens[..., :size], mask), mask)
            if classifier is not None:
                text = text._replace(word_logits=tokens[..., size:].sum(dim=1))
        else:
            text = model.encode_text(tokens, mask)
    return model.answer(speech, text)[1]
