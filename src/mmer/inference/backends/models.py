"""Any model that a user can name: find its folder, and read its network and its processor."""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from mmer.errors import CheckpointError
from mmer.features.preprocessor import Preprocessor
from mmer.files.hub import is_hub_name
from mmer.files.writing import writable
from mmer.inference.backends.bundle import one_model_folder
from mmer.inference.backends.composition import (
    FILE,
    Composition,
    FusedNetwork,
    Member,
    RelabeledNetwork,
    composed_processor,
    read_composition,
)
from mmer.inference.backends.model_folder import model_hash, read_model_folder, read_processor
from mmer.inference.backends.network import Network
from mmer.inference.trust.calibration import FILE as CALIBRATION
from mmer.plain_text import one_line
from mmer.published.kinds import check_named

if TYPE_CHECKING:
    import torch

Note = Callable[[str], None]
EQUAL = "speech and text count equally until their weight is fitted on labeled utterances"


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=3)


def model_folder(
    model: str | os.PathLike[str], *, label_map: str | os.PathLike[str] | None = None, note: Note = _warn
) -> Path:
    """Return the folder of a model.

    Args:
        model: what `one_model_folder` takes: a model folder, a bundle, or OWNER/NAME of a model on the Hugging Face
            Hub; or SPEECH+TEXT, a speech model and a text model whose probabilities are averaged.
        label_map: what the model's labels are called in its answers: a file of `mmer.corpora.label_map`, or the name
            of a map in `mmer.published.label_maps.SHIPPED`.
        note: called with one line for each thing that is worth knowing. Default: a Python warning.

    Returns:
        A folder that every function takes as a model. What SPEECH+TEXT or a label map make is a small folder in the
        user's cache, which names the models.

    Raises:
        CheckpointError: there is no such model or label map, a bundle is damaged, the models cannot be joined, or
            fewer than two labels are left.
        CorpusError: the file of the label map cannot be read.
        MMERError: the cache cannot be written to.
    """
    names = names_of(model)
    if len(names) == 1 and label_map is None:
        return one_model_folder(model)
    composition, notes = compose(names, label_map)
    for line in notes:
        note(line)
    content = hashlib.sha256(repr(composition.content()).encode()).hexdigest()[:16]
    folder = user_cache_path("mmer") / "models" / f"{'+'.join(Path(each).name for each in names)}-{content}"
    if not (folder / FILE).is_file():
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
        composition.write(folder / FILE)
    return folder


def names_of(model: str | os.PathLike[str]) -> list[str]:
    """Split SPEECH+TEXT; a plus sign in a path that exists joins nothing."""
    name = Path(model).as_posix()
    if Path(model).exists():
        return [name]
    parts = name.split("+")
    for number in range(1, len(parts)):
        sides = ["+".join(parts[:number]), "+".join(parts[number:])]
        if all(Path(side).exists() or is_hub_name(side) for side in sides):
            return sides
    return parts


def compose(names: Sequence[str], label_map: str | os.PathLike[str] | None) -> tuple[Composition, list[str]]:
    """Give a model other labels, or join a speech model and a text model.

    Args:
        names: one or two models; see `model_folder`.
        label_map: see `model_folder`. Default: the labels stay as they are; two models get their canonical names.

    Returns:
        The composition, and notes of one line each.

    Raises:
        CheckpointError, CorpusError: see `model_folder`.
    """
    # Imported here: reading label maps imports pandas, and reading a model does not need it.
    from mmer.published.label_maps import NewLabels, new_labels

    if len(names) > 2:
        raise CheckpointError(
            f"{'+'.join(names)}: names {len(names)} models; join a speech model and a text model"
        )
    if not all(names):
        raise CheckpointError(f"{'+'.join(names)}: name a model before and after the plus sign")
    members, notes, processors = [], [], []
    for name in names:
        folder = one_model_folder(name)
        if (folder / FILE).is_file():
            raise CheckpointError(
                f"{name} is made of other models; join those, or give their label map, when it is made"
            )
        processor = read_processor(folder)
        if processor.dimensions:
            raise CheckpointError(
                f"{name} answers {', '.join(processor.dimensions)} and no emotions, so it cannot be renamed, joined or "
                "calibrated"
            )
        chosen = "canonical" if label_map is None and len(names) > 1 else label_map
        named = NewLabels(processor.labels, []) if chosen is None else new_labels(processor.labels, chosen)
        check_named([label for label in named.names if label is not None], folder)
        notes += [f"{name}: {line}" for line in named.notes]
        if chosen is not None and (folder / CALIBRATION).is_file():
            notes.append(
                f"{name}: its calibration is not used, since it is of its own labels and of it alone"
            )
        place = os.path.abspath(name) if Path(name).exists() else name
        members.append(
            Member(model=place, sha256=model_hash(folder), labels=named.names, weight=1 / len(names))
        )
        processors.append(processor)
    if len(names) == 2:
        _check_modalities(names, processors)
    composition = Composition(models=members)
    labels = composition.labels
    if len(labels) < 2:
        found = one_line(" and ".join(", ".join(processor.labels) for processor in processors))
        raise CheckpointError(
            f"{'+'.join(names)}: fewer than two labels are left of {found}; give a label map that names more of them"
        )
    if len(names) == 2:
        left = [
            label for each in members for label in each.labels if label is not None and label not in labels
        ]
        if left:
            notes.append(f"only one of the models knows {', '.join(dict.fromkeys(left))}, which are left out")
        notes.append(EQUAL)
    return composition, notes


def read_model(folder: Path, device: "str | torch.device | None" = None) -> tuple[Network, Preprocessor]:
    """Load a model and its processor.

    Args:
        folder: of `model_folder`.
        device: see `EmotionRecognizer`.

    Raises:
        CheckpointError: see `read_model_folder`; or a label says no emotion, or the folder names other models than
            there are now.
        MMERError: there is no such device.
        MissingExtraError: PyTorch, or onnxruntime for an exported model, is not installed.
    """
    composition = read_composition(folder)
    if composition is None:
        network, processor = read_model_folder(folder, device)
        check_named(processor.labels, folder)
        return network, processor
    networks, processors = [], []
    for member in composition.models:
        network, processor = read_model_folder(_member_folder(folder, member), device)
        networks.append(RelabeledNetwork(network, member.labels, composition.labels))
        processors.append(processor)
    made = composed_processor(composition, processors)
    if len(networks) == 1:
        return networks[0], made
    return FusedNetwork(networks[0], networks[1], composition), made


def read_model_processor(folder: Path) -> Preprocessor:
    """Load the processor of a model, without the model; see `read_model`."""
    composition = read_composition(folder)
    if composition is None:
        processor = read_processor(folder)
        check_named(processor.labels, folder)
        return processor
    members = [read_processor(_member_folder(folder, member)) for member in composition.models]
    return composed_processor(composition, members)


def trained_folders(folder: Path) -> list[Path]:
    """Return the folder of a model, or the folders of the models that it is made of, the one that hears first."""
    composition = read_composition(folder)
    return [folder] if composition is None else [one_model_folder(each.model) for each in composition.models]


def _member_folder(folder: Path, member: Member) -> Path:
    """Find the folder of a model that a composition names.

    Raises:
        CheckpointError: it is not there, or has other files than when the composition was made.
    """
    found = one_model_folder(member.model)
    if not found.is_dir():
        raise CheckpointError(
            f"{folder / FILE} names {member.model}, where no model is now; move it back, or make {folder} again"
        )
    if model_hash(found) != member.sha256:
        raise CheckpointError(
            f"{folder / FILE} was made with other files than are in {member.model} now; make it again"
        )
    return found


def _check_modalities(names: Sequence[str], processors: Sequence[Preprocessor]) -> None:
    speech, text = processors
    if not (speech.uses_speech and not speech.uses_text and text.uses_text and not text.uses_speech):
        what = [
            f"{name} {' and '.join(_does(processor))}"
            for name, processor in zip(names, processors, strict=True)
        ]
        raise CheckpointError(
            f"{'+'.join(names)}: give a model that only listens, a plus sign, and one that only reads; "
            f"{', '.join(what)}"
        )


def _does(processor: Preprocessor) -> list[str]:
    return [*(["listens"] if processor.uses_speech else []), *(["reads"] if processor.uses_text else [])]
