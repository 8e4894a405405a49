"""A model folder as one file to hand over: a zip with checksums and without compression.

The first entry, `manifest.json`, names every other with its size and SHA-256. The same folder makes the same bytes:
names are sorted, dates are those of no day, and nothing is compressed, which weights would not gain from.
"""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from filelock import FileLock
from platformdirs import user_cache_path

from mmer.errors import CheckpointError
from mmer.files import PART, check_output_file, writable, writing
from mmer.lock import LOCK

SUFFIX = ".mmer"
MANIFEST = "manifest.json"
VERSION = 1
PICKLES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})
_LARGEST_MANIFEST = 1_000_000  # bytes


def write_bundle(folder: Path, out: Path) -> str:
    """Pack a model folder; files whose names begin with a dot are left out.

    Args:
        folder: a model folder, of PyTorch or exported.
        out: the file to write, its name ending in `.mmer`.

    Returns:
        SHA-256 of the file, 64 hexadecimal digits.

    Raises:
        CheckpointError: the folder is no model folder, or has files that may hold pickled Python objects, or the file
            has another suffix.
        MMERError: the file cannot be written.
    """
    # transformers comes along, which reading a bundle's checksums need not wait for
    from mmer.inference.model_folder import check_model_folder

    if out.suffix != SUFFIX:
        raise CheckpointError(f"cannot write the bundle {out}: its name must end in {SUFFIX}")
    check_output_file(out, [folder])
    check_model_folder(folder)
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    names = sorted(name for name in files if not any(part.startswith(".") for part in name.split("/")))
    for name in names:
        if Path(name).suffix in PICKLES:
            raise CheckpointError(
                f"{files[name]} may hold pickled Python objects, which run code when read; bundles hold none: delete it"
            )
    entries = {name: {"size": files[name].stat().st_size, "sha256": _sha256(files[name])} for name in names}
    manifest = json.dumps({"version": VERSION, "files": entries}, indent=2).encode()
    with writing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(MANIFEST), manifest)
        for name in names:
            with (
                files[name].open("rb") as source,
                archive.open(_entry(name), "w", force_zip64=True) as target,
            ):
                shutil.copyfileobj(source, target, 1 << 20)
    return _sha256(out)


def model_folder(path: str | os.PathLike[str]) -> Path:
    """The model folder that a user means.

    Args:
        path: a folder, which is taken as it is; or a bundle, which is unpacked into the user's cache, once.

    Raises:
        CheckpointError: the bundle is damaged, or holds what it should not.
        MMERError: the cache cannot be written to.
    """
    path = Path(path)
    if not path.is_file():
        return path
    digest = _sha256(path)
    folder = user_cache_path("mmer") / "models" / f"{path.stem}-{digest[:16]}"
    if folder.is_dir():
        return folder
    with writable(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / LOCK):
            for left in folder.parent.glob(f"*{PART}"):  # of a process that was killed
                shutil.rmtree(left)
            if not folder.is_dir():  # or another process was faster
                _unpack_completely(path, folder)
    return folder


def _unpack_completely(path: Path, folder: Path) -> None:
    """Unpack into a folder that is there complete or not at all."""
    part = folder.with_name(f"{folder.name}{PART}")
    try:
        _unpack(path, part)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked_entries(path, archive)
            for name, entry in entries.items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                if _sha256(target) != entry["sha256"]:
                    raise _damaged(path, f"{name} is not what its checksum says")
    except zipfile.BadZipFile as error:
        raise _damaged(path, str(error).rstrip(".")) from error


def _checked_entries(path: Path, archive: zipfile.ZipFile) -> dict[str, dict[str, object]]:
    """The manifest's files, each of them there, as large as it says, and to be put nowhere but below the folder."""
    infos = archive.infolist()
    try:
        if archive.getinfo(MANIFEST).file_size > _LARGEST_MANIFEST:
            raise ValueError
        manifest = json.loads(archive.read(MANIFEST))
        version, entries = manifest["version"], manifest["files"]
        sizes = {str(name): int(entry["size"]) for name, entry in entries.items()}
        _ = [str(entry["sha256"]) for entry in entries.values()]
    except (KeyError, ValueError, TypeError, AttributeError):
        raise _damaged(path, f"it holds no readable {MANIFEST}") from None
    if version != VERSION:
        raise CheckpointError(
            f"bundle {path} is of version {version}, this mmer reads {VERSION}; update mmer"
        )
    if sorted(info.filename for info in infos) != sorted([MANIFEST, *sizes]):
        raise _damaged(path, f"its files are not those of its {MANIFEST}")
    for info in infos:
        name = info.filename
        parts = PurePosixPath(name).parts
        if (
            not parts
            or name != "/".join(parts)
            or ".." in parts
            or set(name) & set("\\:\0")
            or name[0] == "/"
        ):
            raise CheckpointError(f"bundle {path} is not safe: it holds a file named {name!r}; do not use it")
        if Path(name).suffix in PICKLES:
            raise CheckpointError(
                f"bundle {path} is not safe: {name} may hold pickled objects; do not use it"
            )
        # What is not compressed cannot grow when unpacked.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != sizes.get(name, info.file_size):
            raise _damaged(path, f"{name} is not as large as its {MANIFEST} says")
    return entries


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} is no bundle of a model, or is damaged: {reason}; ask for another copy")


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # dated 1980-01-01
    info.create_system = 3  # Unix, also where it is written elsewhere
    info.external_attr = 0o644 << 16
    return info


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
