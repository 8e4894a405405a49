"""Does a model answer here as it did where it was made, and the same however it is asked?"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from rich.text import Text

from mmer.audio.load import SAMPLING_RATE
from mmer.display.terminal import Table
from mmer.errors import CheckpointError, MMERError
from mmer.inference.backends.models import model_folder
from mmer.inference.backends.network import Array
from mmer.inference.backends.onnx_network import MODEL
from mmer.inference.golden import GoldenAnswers, golden_clips, golden_features, golden_levels, golden_logits
from mmer.inference.inputs import Utterance
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.calibration import weights_hash
from mmer.plain_text import counted

SAMPLES = 1e-5
"""Allowed between the levels of the same clip, made on two machines."""

EXACT = 1e-3
"""Allowed between two computations of the same logits on a CPU in float32."""

ROUGH = 2e-2
"""The same where a GPU computes, which may round its factors; and between probabilities of a resampled recording."""

HALF = 5e-2
"""Allowed between probabilities in float32 and in bfloat16."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was compared with what.
        difference: the largest; None where it could not be looked at.
        tolerance: what is allowed; None where it could not be looked at.
        unit: of both.
        note: why it could not be looked at, or what to do; empty where there is nothing to say.
    """

    name: str
    difference: float | None = None
    tolerance: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Tell whether the difference is allowed; None where it is unknown."""
        if self.difference is None or self.tolerance is None:
            return None
        return bool(self.difference <= self.tolerance)


def examine(folder: Path, *, exported: Path | None = None, device: str | None = None) -> list[Check]:
    """Look at a model.

    Args:
        folder: a model folder, of PyTorch, exported or published, or a bundle.
        exported: a folder of `mmer model export`, which is compared with it.
        device: see `EmotionRecognizer`.

    Raises:
        MMERError: a folder cannot be loaded.
    """
    folder = model_folder(folder)
    recognizer = EmotionRecognizer.from_pretrained(folder, device, calibrated=False)
    other = EmotionRecognizer.from_pretrained(exported, calibrated=False) if exported else None
    clips = golden_clips(recognizer.processor)
    exact = EXACT if recognizer.network.device == "cpu" else ROUGH
    alone = _logits(folder, recognizer, clips)
    checks = _against_golden(folder, recognizer, clips, alone, exact)
    batch = _logits(folder, recognizer, clips, together=True)
    turned = _logits(folder, recognizer, clips[::-1], together=True)[::-1]
    checks.append(Check("in a batch against alone", _apart(batch, alone), exact, "logits"))
    checks.append(Check("in reverse order", _apart(turned, batch), exact, "logits"))
    checks.append(_stereo(recognizer, clips))
    if exported is None or other is None:
        is_exported = (folder / MODEL).is_file()
        how = "give PyTorch's folder, and this one as" if is_exported else "name the folder that was"
        checks.append(Check("PyTorch against ONNX", note=f"not looked at: {how} exported"))
    else:
        found = _apart(_logits(exported, other, clips), alone)
        checks.append(Check("PyTorch against ONNX", found, exact, "logits"))
    return [*checks, _half(folder, recognizer, clips, alone)]


def check_table(checks: list[Check]) -> Table:
    """Make a table of all checks."""
    table = Table(title_justify="left")
    table.add_column("check")
    for heading in ("difference", "allowed"):
        table.add_column(heading, justify="right")
    table.add_column("")
    verdicts = {True: Text("same", "green"), False: Text("different", "bold red"), None: Text("-")}
    for check in checks:
        difference = "" if check.difference is None else f"{check.difference:.1e}"
        allowed = "" if check.tolerance is None else f"{check.tolerance:.0e} {check.unit}".strip()
        verdict = verdicts[check.holds]
        table.add_row(check.name, difference, allowed, Text.assemble(verdict, f"  {check.note}".rstrip()))
    return table


def _logits(
    folder: Path,
    recognizer: EmotionRecognizer,
    clips: list[tuple[NDArray[np.float32], str]],
    *,
    together: bool = False,
) -> Array:
    """Compute `golden_logits`, (clips, emotions); an error names the folder."""
    try:
        return golden_logits(recognizer, clips, together=together)
    except MMERError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def _against_golden(
    folder: Path,
    recognizer: EmotionRecognizer,
    clips: list[tuple[NDArray[np.float32], str]],
    logits: Array,
    exact: float,
) -> list[Check]:
    golden = GoldenAnswers.of_model(folder)
    if golden is None:
        note = "not looked at: the folder has no golden.json, which training writes"
        return [Check("golden clips, answers", note=note)]
    checks = []
    if (folder / "model.safetensors").is_file():
        same = weights_hash(folder) == golden.weights
        note = "" if same else "golden.json is of other weights than model.safetensors"
        checks.append(Check("golden clips, weights", float(not same), 0.0, "", note))
    apart = _apart(np.array(golden_levels(clips)), np.array(golden.levels))
    note = "" if apart <= SAMPLES else "this machine makes other clips: the rows below say little"
    checks.append(Check("golden clips, samples", apart, SAMPLES, "of full scale", note))
    features = golden_features(recognizer.processor, clips)
    if features:
        apart = _apart(np.array(features), np.array(golden.features))
        checks.append(Check("golden clips, features", apart, EXACT, "mean, deviation"))
    apart = _apart(logits, np.array(golden.logits))
    return [*checks, Check("golden clips, answers", apart, exact, "logits")]


def _stereo(recognizer: EmotionRecognizer, clips: list[tuple[NDArray[np.float32], str]]) -> Check:
    """Write the clips as 48 kHz stereo files whose left channel is louder."""
    name = "48 kHz stereo against 16 kHz mono"
    if not recognizer.processor.uses_speech:
        return Check(name, note="not looked at: this model does not listen")
    probabilities = []
    for mono in (True, False):
        utterances = []
        for waveform, words in clips:
            file, samples, rate = io.BytesIO(), waveform, SAMPLING_RATE
            if not mono:
                wide = soxr.resample(waveform, SAMPLING_RATE, 48_000, quality="VHQ")
                samples, rate = np.stack([1.3 * wide, 0.7 * wide], axis=1), 48_000
            soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
            utterances.append(Utterance(file.getvalue(), words, utterance_id="golden clip"))
        none = dict.fromkeys(recognizer.labels or recognizer.dimensions, float("nan"))
        answers = recognizer.predict(utterances)
        values = [answer.probabilities or answer.dimensions or none for answer in answers]
        probabilities.append([list(each.values()) for each in values])
    apart = _apart(np.array(probabilities[0]), np.array(probabilities[1]))
    return Check(name, apart, ROUGH, "probability")


def _half(
    folder: Path,
    recognizer: EmotionRecognizer,
    clips: list[tuple[NDArray[np.float32], str]],
    logits: Array,
) -> Check:
    name = "bfloat16 against float32"
    if (folder / MODEL).is_file():
        return Check(name, note="not looked at: an exported model has one precision")
    import torch  # here, since an exported model runs without it

    with torch.autocast(torch.device(recognizer.network.device).type, torch.bfloat16):
        half = _logits(folder, recognizer, clips)
    if recognizer.dimensions:
        return Check(name, _apart(half, logits), HALF, "dimension")
    made, exact = (recognizer.network.probabilities(each) for each in (half, logits))
    changed = int((made.argmax(axis=1) != exact.argmax(axis=1)).sum())
    note = f"{counted(changed, 'label', 'differs', 'differ', of=len(clips))}" if changed else ""
    return Check(name, _apart(made, exact), HALF, "probability", note)


def _apart(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """Compute the largest difference; infinite if the shapes differ."""
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")
