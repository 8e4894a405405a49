"""Back-translation, the paper's augmentation of text."""

import re
from collections.abc import Collection, Sequence
from typing import Any, Self

import torch

from mmer.augment.generators.generator import Settings
from mmer.display.progress import quiet_transformers
from mmer.errors import EncoderError, MMERError, Parameter
from mmer.extras import import_extra
from mmer.model.pretrained_encoders import fetch
from mmer.runs.seeds import seed_for
from mmer.text.transcripts import strip_annotations

_PAIR = re.compile(r"([a-z]{2,3})-([a-z]{2,3})")
_BEAMS = 4
_TOP_P = 0.9  # nucleus (top-p) of the sampling, which excludes unlikely words


class BackTranslation:
    """Text generator that translates a text with one MarianMT model and back with another.

    Args:
        forward: name or folder of the model that translates the texts.
        back: name or folder of the model that translates back.
        sample: sample words, so that views of an utterance differ; otherwise take the best translation of a beam
            search.
        device: `cpu`, `cuda`, ...; the first GPU if there is one.

    Raises:
        EncoderError: a model cannot be loaded.
        MissingExtraError: the tokenizer's packages are not installed.
    """

    name = "marian"
    languages: Collection[str] | None = None

    def __init__(self, forward: str, back: str, *, sample: bool = False, device: str | None = None) -> None:
        for package in ("sentencepiece", "sacremoses"):
            import_extra(package, "back-translation", extra="augment")
        self.settings: Settings = {"forward": forward, "back": back, "sample": sample}
        self.sample = sample
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        with quiet_transformers():
            self._steps = [self._load(name) for name in (forward, back)]

    @classmethod
    def named(cls, name: str, *, sample: bool = False, device: str | None = None) -> Self:
        """Create it from model names, `FORWARD,BACK`, or from languages: `en-de` is Helsinki-NLP/opus-mt-en-de and
        back.

        Raises:
            MMERError: the name has neither form, or the class raises one.
        """
        if pair := _PAIR.fullmatch(name):
            here, there = pair.groups()
            models = (f"Helsinki-NLP/opus-mt-{here}-{there}", f"Helsinki-NLP/opus-mt-{there}-{here}")
            made = cls(*models, sample=sample, device=device)
            made.languages = {here}
            return made
        forward, comma, back = name.partition(",")
        if not (forward and comma and back):
            raise MMERError(
                Parameter("text", f"marian:{name}"),
                " is neither marian:en-de nor marian:FORWARD_MODEL,BACK_MODEL",
            )
        return cls(forward, back, sample=sample, device=device)

    def __call__(self, texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Back-translate each text without annotations such as `[LAUGHTER]`; return a text too long for a model
        unchanged, and one of annotations alone empty.
        """
        spoken = [strip_annotations(text) for text in texts]
        said = spoken
        devices = [self.device] if self.device.startswith("cuda") else []
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(seed_for(list(seeds), size=7))
            for tokenizer, model in self._steps:
                said = self._translate(tokenizer, model, said)
        return [other if text else "" for text, other in zip(spoken, said, strict=True)]

    def _load(self, name: str) -> tuple[Any, Any]:
        from transformers import MarianMTModel, MarianTokenizer  # requires sentencepiece

        model = fetch(MarianMTModel.from_pretrained, name, "translation model")
        try:
            tokenizer = fetch(MarianTokenizer.from_pretrained, name, "translation model")
        except EncoderError as error:
            if not isinstance(error.__cause__, TypeError | AssertionError):
                raise
            wanted = "source.spm, target.spm and vocab.json"
            raise EncoderError(f"translation model '{name}' lacks {wanted}; name a MarianMT model") from None
        return tokenizer, model.to(self.device).eval()

    def _translate(self, tokenizer: Any, model: Any, texts: list[str]) -> list[str]:
        lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
        fitting = [n for n, length in enumerate(lengths) if length <= min(tokenizer.model_max_length, 512)]
        made = list(texts)
        if fitting:
            inputs = tokenizer([texts[n] for n in fitting], padding=True, return_tensors="pt").to(self.device)
            how = (
                {"do_sample": True, "num_beams": 1, "top_p": _TOP_P} if self.sample else {"num_beams": _BEAMS}
            )
            longest = min(512, 2 * inputs["input_ids"].shape[1] + 10)
            tokens = model.generate(**inputs, **how, max_length=longest)
            for n, text in zip(
                fitting, tokenizer.batch_decode(tokens, skip_special_tokens=True), strict=True
            ):
                made[n] = text
        return made
