"""Explain an answer by the contributions of words, of moments and of the whole voice, and by counterfactuals."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from mmer.audio.load import SAMPLING_RATE, as_waveform
from mmer.audio.vocoder import flatten
from mmer.errors import MissingExtraError, MMERError
from mmer.extras import import_extra
from mmer.features.compact import functionals_of_frames
from mmer.features.functionals import KIND_OF, KINDS
from mmer.features.preprocessor import Preprocessor
from mmer.inference.explain.alignment import align
from mmer.inference.explain.attribution import (
    Floats,
    Inputs,
    average_sound,
    evidence,
    integrated_gradients,
)
from mmer.inference.explain.contributions import Moment, Trait, Word
from mmer.inference.explain.explanation import Counterfactual, Explanation
from mmer.inference.explain.neutral_sentences import neutral_sentence
from mmer.inference.inputs import Utterance
from mmer.inference.recognizer import EmotionRecognizer
from mmer.text.transcripts import strip_annotations

FLAT = {"rate": 0.65, "level": 0.4}
"""Factors on speed and level of the flat voice, which also has neither melody nor stress."""

WINDOW = 0.25
"""Seconds of sound of one moment."""

Drops = Callable[[list[Inputs]], list[float]]
"""Computes the decrease of the answer's log-odds for each of several variants of an utterance."""


def check_can_explain(recognizer: EmotionRecognizer) -> None:
    """Check that answers of a model can be explained.

    Raises:
        MMERError: the model was exported or published by others, its text encoder reads no embeddings, or its tokenizer
            does not say where a token stands in the text.
        MissingExtraError: captum is not installed.
    """
    reader = recognizer.model.text_encoder
    if reader is not None and not reader.takes_embeddings:
        raise MMERError(
            f"cannot explain answers of a model whose text encoder is of type '{reader.model.config.model_type}': "
            "it reads token numbers and not their embeddings; train with another one, as roberta-base"
        )
    if reader is not None and not recognizer.processor.tokenizer.is_fast:
        raise MMERError(
            f"cannot explain answers of a model whose tokenizer is a {type(recognizer.processor.tokenizer).__name__}: "
            "it does not say which word a token is of; train with another text encoder, as roberta-base"
        )
    import_extra("captum.attr", "integrated gradients", extra="explain")


def explain(
    recognizer: EmotionRecognizer, utterance: Utterance, *, other_words: str | None = None
) -> Explanation:
    """Explain the answer to an utterance.

    Args:
        recognizer: a recognizer with a PyTorch model.
        utterance: a recording, a transcript, or both, as the model requires.
        other_words: transcript of the counterfactual with the same voice. Default: a neutral sentence in the language
            of the model's training; English where that is not known.

    Raises:
        MMERError: there is no answer to explain, or `check_can_explain` raises one.
    """
    check_can_explain(recognizer)
    model, processor = recognizer.model, recognizer.processor
    (prediction,) = recognizer.predict([utterance])
    if prediction.error is not None or prediction.label is None:
        raise MMERError(prediction.error or f"{prediction.utterance_id}: no answer")
    place = recognizer.labels.index(prediction.label)
    waveform, start, duration = None, 0.0, 0.0
    if processor.uses_speech and utterance.audio is not None:
        waveform = recognizer.waveform(utterance)
        part = processor.part_read(waveform)
        start, duration = (each / processor.sampling_rate for each in (part.start, part.stop - part.start))
    text = strip_annotations(prediction.transcript or "") if processor.uses_text else ""
    read = Reading(recognizer, waveform, utterance.speaker)
    inputs = read(text)
    shares = integrated_gradients(model, inputs, place)
    told = shares.completeness
    full = evidence(model, [inputs], place)[0]

    def drops(variants: list[Inputs]) -> list[float]:
        return (full - evidence(model, variants, place)).tolist()

    words = [] if shares.tokens is None else _words(read, text, shares.tokens, drops)
    moments, traits, sound_share = list[Moment](), list[Trait](), None
    if shares.frames is not None and shares.functionals is not None and waveform is not None:
        moments = _moments(read, inputs, shares.frames, start, duration, drops)
        traits = _traits(inputs, shares.functionals, drops)
        sound_share = float(shares.frames.sum() + shares.functionals.sum())
    if waveform is not None:
        waveform = as_waveform(waveform, processor.sampling_rate, name=prediction.utterance_id)
    neutral, note = neutral_sentence(model.config.languages)
    counterfactuals, notes = _counterfactuals(recognizer, utterance, waveform, text, other_words or neutral)
    if note is not None and text and not other_words:
        notes.append(note)
    if not told.holds:
        miss = told.shared_out - (told.answer - told.baseline)
        notes.append(f"shares miss the difference they should add up to by {miss:.3f}: take them as rough")
    alignment = None
    if waveform is not None and inputs.tokens is not None:
        names = [_shown(processor, int(token)) for token in inputs.tokens[0]]
        alignment = align(model, inputs, names, start, duration)
        if alignment is not None and alignment.shown_rows() is None:
            notes.append("the attention between words and sound is flat, so the picture leaves it out")
    return Explanation(
        prediction=prediction,
        words=words,
        moments=moments,
        traits=traits,
        sound_share=sound_share,
        text_share=None if shares.tokens is None else float(shares.tokens.sum()),
        completeness=told,
        alignment=alignment,
        counterfactuals=counterfactuals,
        notes=notes,
        waveform=waveform,
    )


def _words(read: "Reading", text: str, shares: Floats, drops: Drops) -> list[Word]:
    """Compute the contribution of each word: its share, from those of the tokens, (tokens,), and its drop."""
    spans = [found.span() for found in re.finditer(r"\S+", text)]
    by_word = _by_word(read.processor, text, spans, shares)
    without = drops([read(_without(text, span)) for span in spans])
    return [
        Word(text[slice(*span)], share, drop)
        for span, share, drop in zip(spans, by_word, without, strict=True)
    ]


def _moments(
    read: "Reading", inputs: Inputs, shares: Floats, start: float, duration: float, drops: Drops
) -> list[Moment]:
    """Compute the contribution of each `WINDOW` of the sound: its share, from those of (frames,), and its drop.

    The frames last `duration` seconds from `start`.
    """
    edges = np.linspace(0, len(shares), max(1, round(duration / WINDOW)) + 1).round().astype(int)
    parts = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    blank = drops([replace(inputs, sound=read.blank(*part)) for part in parts])
    seconds = duration / len(shares)
    return [
        Moment(start + first * seconds, start + end * seconds, float(shares[first:end].sum()), drop)
        for (first, end), drop in zip(parts, blank, strict=True)
    ]


def _traits(inputs: Inputs, shares: Floats, drops: Drops) -> list[Trait]:
    """Compute the contribution of each kind of functionals: its share, from those of (functionals,), and its drop."""
    if not inputs.functionals:
        return []
    assert inputs.sound is not None
    kinds = KIND_OF[: inputs.functionals]
    average = list[Inputs]()
    for kind in KINDS:
        sound = inputs.sound.clone()
        sound[..., -inputs.functionals :][..., torch.from_numpy(kinds == kind)] = 0
        average.append(replace(inputs, sound=sound))
    return [
        Trait(kind, float(shares[kinds == kind].sum()), drop)
        for kind, drop in zip(KINDS, drops(average), strict=True)
    ]


class Reading:
    """Preparation of the network's inputs for a recording with any words.

    Args:
        recognizer: the recognizer.
        waveform: (samples,) at the model's sampling rate; None without sound.
        speaker: who speaks; one whose statistics the recognizer knows is standardized by these.
    """

    def __init__(
        self, recognizer: EmotionRecognizer, waveform: NDArray[np.float32] | None, speaker: str | None
    ) -> None:
        self.processor, self.device = recognizer.processor, recognizer.model.device
        self.sound = None
        if waveform is not None:
            self._features = self.processor.features(waveform)
            self._statistics = recognizer.speakers.get(speaker or "")
            if self._statistics is None and self.processor.per_speaker:
                self._statistics = self.processor.speaker_statistics([self._features])
            features = self.processor.standardize(self._features, self._statistics)
            self.sound = torch.from_numpy(features)[None].to(self.device)

    def blank(self, start: int, end: int) -> torch.Tensor:
        """Replace frames or samples of the sound by average sound, and functionals by those of the other frames."""
        assert self.sound is not None
        made = self.sound.clone()
        made[:, start:end] = average_sound(self.sound)[:, start:end]
        if count := self.processor.functionals:
            rest = np.delete(self._features, slice(start, end), axis=0)
            if (of_rest := functionals_of_frames(rest, count)) is not None:
                rest[0, -count:] = of_rest
                changed = self.processor.standardize(rest[:1], self._statistics)[0, -count:]
                made[..., -count:] = torch.from_numpy(changed).to(made)
        return made

    def __call__(self, text: str) -> Inputs:
        processor = self.processor
        if not processor.uses_text or (
            processor.missing_modality_embeddings and not text and self.sound is not None
        ):
            return Inputs(self.sound, None, np.zeros(0, bool), processor.functionals)
        tokens = torch.as_tensor(np.asarray(processor.tokenize([text])["input_ids"]))
        special = np.isin(tokens[0].numpy(), processor.tokenizer.all_special_ids)
        # An unknown word is not a mark of beginning or end.
        special &= tokens[0].numpy() != (processor.tokenizer.unk_token_id if text else None)
        return Inputs(self.sound, tokens.to(self.device), special, processor.functionals)


def _counterfactuals(
    recognizer: EmotionRecognizer,
    utterance: Utterance,
    waveform: NDArray[np.float32] | None,
    text: str,
    other_words: str,
) -> tuple[dict[str, Counterfactual], list[str]]:
    processor = recognizer.processor
    asked: dict[str, tuple[str, Utterance]] = {}
    notes: list[str] = []
    if processor.uses_text and text:
        said = replace(utterance, transcript=other_words)
        asked["other words, same voice"] = (f"read instead: {other_words!r}", said)
    if waveform is not None and len(waveform) >= SAMPLING_RATE // 20:
        voice = replace(utterance, sampling_rate=SAMPLING_RATE, start=None, end=None, transcript=text or None)
        slower = f"{FLAT['rate']:.0%} of the speed, {20 * np.log10(FLAT['level']):.0f} dB"
        try:
            monotone = "heard instead: constant pitch, even energy (WORLD)"
            asked["same words, monotone"] = (monotone, replace(voice, audio=flatten(waveform)))
            flat = replace(voice, audio=flatten(waveform, **FLAT))
            asked["same words, flat voice"] = (f"{monotone}, {slower}", flat)
        except MissingExtraError as error:
            notes.append(str(error))
    given = EmotionRecognizer(recognizer.network, processor, calibration=recognizer.calibration)
    given.speakers = recognizer.speakers
    answers = given.predict([changed for _, changed in asked.values()])
    made = {}
    for (name, (change, _)), answer in zip(asked.items(), answers, strict=True):
        if answer.label is None or answer.probabilities is None:
            notes.append(f"{name}: {answer.error}")
        else:
            made[name] = Counterfactual(change, answer.transcript, answer.label, answer.probabilities)
    return made, notes


def _without(text: str, span: tuple[int, int]) -> str:
    """Remove the word at this place from the text."""
    return " ".join(f"{text[: span[0]]} {text[span[1] :]}".split())


def _by_word(
    processor: Preprocessor, text: str, spans: list[tuple[int, int]], tokens: NDArray[np.float64]
) -> list[float]:
    """Add up the shares of the tokens, (tokens,), of each word."""
    offsets = processor.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    shares = [0.0] * len(spans)
    for (start, end), share in zip(offsets, tokens.tolist(), strict=True):
        overlaps = [min(end, last) - max(start, first) for first, last in spans]
        if start < end and overlaps and max(overlaps) > 0:
            shares[int(np.argmax(overlaps))] += share
    return shares


def _shown(processor: Preprocessor, token: int) -> str:
    """Strip the marks that tokenizers write for spaces from a token."""
    return str(processor.tokenizer.convert_ids_to_tokens(token)).replace("▁", "").replace("Ġ", "") or "_"
