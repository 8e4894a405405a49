"""Creation of generators from the names that `mmer augment` accepts."""

from collections.abc import Callable, Collection, Sequence

from mmer.augment.generators.cloning import YourTTS
from mmer.augment.generators.effects import Effects
from mmer.augment.generators.espeak_voices import ESpeakVoices
from mmer.augment.generators.generator import Settings, SpeechGenerator, TextGenerator
from mmer.augment.generators.translation import BackTranslation
from mmer.augment.generators.world import World
from mmer.augment.text import perturb
from mmer.corpora.labels import nearest
from mmer.errors import MMERError, Parameter


class Perturbation:
    """Text generator that applies `perturb` until the text changes, at most 20 times."""

    name = "perturb"
    languages: Collection[str] | None = None

    def __init__(self) -> None:
        self.settings: Settings = {}

    def __call__(self, texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Return one text for each text."""
        made = []
        for text, seed in zip(texts, seeds, strict=True):
            # Not `seed_for`: recorded views have these words, and a folder of views to resume goes on with them.
            tries = (perturb(text, seed + attempt) for attempt in range(20))
            made.append(next((other for other in tries if other.split() != text.split()), text))
        return made


def text_generator(name: str, *, sample: bool = False, device: str | None = None) -> TextGenerator | None:
    """Create the text generator of this name; None for `none`.

    Args:
        name: `perturb`, `none`, or what `BackTranslation.named` takes after `marian:`.
        sample: sample back-translations instead of taking the most likely ones.
        device: device of a translation model.

    Raises:
        MMERError: there is no such generator, or it cannot be loaded.
    """
    if name == "none":
        return None
    if name == "perturb":
        return Perturbation()
    if name.startswith("marian:"):
        return BackTranslation.named(name.removeprefix("marian:"), sample=sample, device=device)
    known = ["marian:en-de", "perturb", "none"]
    raise MMERError(Parameter("text"), f" {name!r}{nearest(name, known)}; allowed are {', '.join(known)}")


def speech_generators(names: Sequence[str], *, device: str | None = None) -> list[SpeechGenerator]:
    """Create the speech generators of these names; none for `none`.

    Raises:
        MMERError: there is no such generator, a name repeats, or a generator cannot be loaded.
    """
    known: dict[str, Callable[[], SpeechGenerator]] = {
        "espeak": ESpeakVoices,
        "world": World,
        "effects": Effects,
        "yourtts": lambda: YourTTS(device=device),
    }
    if list(names) == ["none"]:
        return []
    for name in names:
        if name not in known:
            raise MMERError(
                Parameter("speech"), f" {name!r}{nearest(name, known)}; allowed are {', '.join(known)}, none"
            )
        if names.count(name) > 1:
            raise MMERError(
                Parameter("speech"),
                f" names {name} twice; ",
                Parameter("views"),
                " makes several views of each",
            )
    return [known[name]() for name in names]
