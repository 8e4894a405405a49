"""Model folders: those that training and `save_pretrained` write, and those of published models."""

import hashlib
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer.display.progress import silent_transformers
from mmer.errors import CheckpointError, Function, MMERError
from mmer.extras import import_extra
from mmer.features.model_files import PROCESSOR, read_preprocessor
from mmer.features.preprocessor import Preprocessor
from mmer.files.damaged import check_no_pointer, damaged_file, read_json_object
from mmer.files.model_settings import check_network_numbers, check_settings_files, check_sound_numbers
from mmer.files.nearest import nearest_path
from mmer.inference.backends.composition import FILE as COMPOSITION
from mmer.inference.backends.composition import Composition
from mmer.inference.backends.network import CONFIG, WEIGHTS, Network
from mmer.inference.backends.onnx_network import MODEL, read_onnx_network
from mmer.memory import objects_that_stay
from mmer.plain_text import one_line
from mmer.published.kinds import KNOWN, published_kind
from mmer.runs.folder import RunFolder

if TYPE_CHECKING:
    import torch


MANIFEST = "manifest.json"
"""Of a bundle."""
CARD = "README.md"
"""The model card."""
ADAPTER = "adapter_config.json"
MODEL_TYPE = "mmer"
"""That of `MMERConfig`, which is not imported here because transformers takes seconds to import."""


def read_model_folder(
    folder: Path, device: "str | torch.device | None" = None
) -> tuple[Network, Preprocessor]:
    """Load a model and its processor.

    Code that a folder brings along is not run.

    Args:
        folder: with `config.json`, `model.safetensors` or `model.onnx`, `processor_config.json` and the tokenizer's
            files.
        device: see `EmotionRecognizer`.

    Raises:
        CheckpointError: it is no model folder, a file is missing or damaged, weights are missing, or a file describes
            another model than the others.
        MMERError: there is no such device.
        MissingExtraError: PyTorch, or onnxruntime for an exported model, is not installed.
    """
    processor = read_processor(folder)
    if published_kind(folder) is not None:
        from mmer.inference.backends.published_network import PublishedNetwork
        from mmer.published.checkpoints import load_published_network

        return PublishedNetwork(load_published_network(folder), device), processor
    if (folder / MODEL).is_file():
        shortest = 1 if processor.reads_features else processor.minimum_samples
        return read_onnx_network(folder, shortest, device), processor
    import_extra("torch", f"model folder {folder}")
    from mmer.inference.backends.torch_network import read_torch_network

    return read_torch_network(folder, device), processor


def read_processor(folder: Path) -> Preprocessor:
    """Load the processor of a model folder, without the model.

    Raises:
        CheckpointError: as for `read_model_folder`.
    """
    if published_kind(folder) is not None:
        import_extra("torch", f"the published model {folder}")
        from mmer.published.checkpoints import read_published_processor

        return read_published_processor(folder)
    config = check_model_folder(folder)
    try:
        # Other folders hold a network of PyTorch, which needs transformers anyway.
        exported = read_preprocessor(folder) if (folder / MODEL).is_file() else None
        processor = exported or _processor_of_transformers(folder)
    except MMERError as error:
        raise CheckpointError(f"{folder / PROCESSOR}: {error}") from error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # see `damaged_file`
        # Only now is it worth the time to find out which file is at fault.
        _check_files(folder)
        with damaged_file(folder / PROCESSOR):
            raise error
    if processor.uses_text:
        with damaged_file(folder / "tokenizer_config.json"):
            try:
                processor.tokenize(["a", None], "np")
            except MMERError as error:
                raise ValueError(error) from error
    if "id2label" not in config:  # of two emotions with the names that transformers gives
        return processor
    with damaged_file(folder / CONFIG):
        names = {int(number): name for number, name in config["id2label"].items()}
        labels = [names[number] for number in range(len(names))]
    if labels != processor.labels:
        found, known = (reprlib.repr(names).strip("[]") for names in (labels, processor.labels))
        raise CheckpointError(
            f"model folder {folder}: {CONFIG} knows the emotions {found}, and {PROCESSOR} {known}; they are not of the "
            "same model"
        )
    return processor


def check_trainable(folder: Path) -> None:
    """Check, as far as the names of its files tell, that a folder holds a model that can be trained further.

    Raises:
        CheckpointError: there is no such folder, or its network cannot be trained.
    """
    if (kind := published_kind(folder)) is not None:
        use = (
            "use it as model.text.encoder of a recipe"
            if kind == "text"
            else "use it as model.speech.encoder of a recipe, such as laptop"
        )
        raise CheckpointError(
            f"{folder} is a published model, from which no training can start; {use}, or fit its last layer with ",
            Function("adapt_published"),
        )
    if (folder / COMPOSITION).is_file():
        made = Composition.read(folder / COMPOSITION)
        raise CheckpointError(
            f"cannot train {made}, which has no weights of its own; give one model as it is"
        )
    if (folder / MODEL).is_file():
        raise CheckpointError(
            f"{folder} is an exported model, which cannot be trained; give the model folder that it was exported from"
        )
    check_model_folder(folder)


def _processor_of_transformers(folder: Path) -> Preprocessor:
    # Imported here, since an exported model answers before transformers is imported.
    with objects_that_stay():
        from mmer.model.processor import MMERProcessor

    with silent_transformers():
        return MMERProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _check_files(folder: Path) -> None:
    """Name the file at fault where transformers cannot read a folder.

    Raises:
        CheckpointError: a file is damaged.
    """
    from transformers import AutoTokenizer

    from mmer.model.configuration import MMERConfig

    with silent_transformers():
        for file in sorted(folder.iterdir()):
            check_no_pointer(file)
        with damaged_file(folder / CONFIG):
            MMERConfig.from_pretrained(folder, local_files_only=True)
        with damaged_file(folder / "tokenizer.json"):
            AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def check_model_folder(folder: Path) -> dict[str, Any]:
    """Check whether a folder holds a model, without building any of it.

    Returns:
        Contents of `config.json`.

    Raises:
        CheckpointError: as for `read_model_folder`.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no model folder at {folder}{nearest_path(folder)}; ", *_meant(folder))
    if (folder / COMPOSITION).is_file():
        raise CheckpointError(
            f"cannot bundle or export {Composition.read(folder / COMPOSITION)}, which has no weights of its own; give "
            "one model as it is"
        )
    if (folder / ADAPTER).exists():  # transformers would load the weights that it names
        raise CheckpointError(
            f"model folder {folder} holds {ADAPTER}, an adapter to other weights; mmer reads complete models: merge it "
            "into them with merge_and_unload of peft, and give the folder that is saved then"
        )
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder} is not a model folder, it holds no {CONFIG}; ", *_meant(folder))
    config = read_json_object(folder / CONFIG)
    model_type = config.get("model_type")
    if model_type != MODEL_TYPE:
        raise CheckpointError(
            f"{folder} holds a model of type {reprlib.repr(model_type)}, not {MODEL_TYPE}, and no published emotion "
            f"classifier, since {CONFIG} {_architectures_told(config)}; {KNOWN}; "
            "an encoder can be model.speech.encoder or model.text.encoder of a model to train"
        )
    network = MODEL if (folder / MODEL).is_file() else WEIGHTS
    for name in (PROCESSOR, network):
        if not (folder / name).is_file():
            raise CheckpointError(f"model folder {folder} is not complete: it holds no {name}")
    check_settings_files(folder)
    check_no_pointer(folder / network)
    check_network_numbers(folder / CONFIG, config)
    for name in (PROCESSOR, "preprocessor_config.json"):
        if (folder / name).is_file():
            content = read_json_object(folder / name)
            check_sound_numbers(folder / name, content.get("feature_extractor", content))
    return config


def _meant(folder: Path) -> tuple[object, ...]:
    """Say what to do where there is no model, for example in a run that is not finished."""
    inside = folder / "model"
    if (inside / CONFIG).is_file():
        return (f"do you mean {inside}?",)
    for run in map(RunFolder, (folder, folder.parent)):
        if run.is_cross_validation:
            return (
                f"{run.path} holds a model for each fold; ",
                Function("train", (str(run.path),)),
                " makes one of all",
            )
        if run.is_begun and not run.is_complete:
            return (f"{run.path} is not finished; start it again with the same settings to go on",)
    return ("give the folder that training wrote, RUN/model",)


def _architectures_told(config: Mapping[str, Any]) -> str:
    """Say which classes of transformers a config.json names in `architectures`."""
    named = config.get("architectures")
    if not named:
        return "names no class in architectures"
    names = named if isinstance(named, list) else [named]
    return one_line(f"names the class {' and '.join(map(str, names[:4])):.200}")


def model_hash(folder: str | os.PathLike[str]) -> str:
    """Identify a model: SHA-256 over the names and contents of a model folder's files, its model card left out.

    Args:
        folder: a model folder; a bundle of it, once unpacked by `mmer.inference.backends.models.model_folder`, has the
            same hash.

    Returns:
        64 hexadecimal digits.

    Raises:
        CheckpointError: there is no file to hash.
    """
    files, together = model_files(Path(folder)), hashlib.sha256()
    if not files:
        raise CheckpointError(f"no model folder at {folder}, there is no file to hash; give RUN/model")
    for name, file in files.items():
        if name == CARD:  # `write_model_card` writes it anew, and the model answers as before
            continue
        together.update(f"{sha256_of(file)}  {name}\n".encode())
    return together.hexdigest()


def local_hash(name: str | None) -> str | None:
    """Return the `model_hash` of a model that is named by its folder; None for any other name."""
    return model_hash(name) if name is not None and Path(name).is_dir() else None


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def model_files(folder: Path) -> dict[str, Path]:
    """List the files of a model by their names below the folder, with `/`, in sorted order.

    Those whose names begin with a dot are left out, and the manifest that lies beside a model which was unzipped.
    """
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    return {
        name: found[name]
        for name in sorted(found)
        if name != MANIFEST and not any(part.startswith(".") for part in name.split("/"))
    }
