"""A model folder as one file to hand over: a zip with checksums and without compression.

The first entry, `manifest.json`, names every other with its size and SHA-256. The same folder makes the same bytes:
names are sorted, dates are those of no day, and nothing is compressed, which weights would not gain from.
"""

import json
import os
import reprlib
import shutil
import stat
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock
from platformdirs import user_cache_path

from mmer.errors import CheckpointError
from mmer.files.damaged import check_no_pointer, damaged_file, message_of
from mmer.files.hub import hub_model, is_hub_name
from mmer.files.lock import LOCK
from mmer.files.writing import PART, check_output_file, writable, writing
from mmer.inference.backends.model_folder import MANIFEST, check_model_folder, model_files, sha256_of
from mmer.published.kinds import published_kind

SUFFIX = ".mmer"
VERSION = 1
PICKLES = frozenset(
    {
        *(".bin", ".ckpt", ".dill", ".joblib", ".mar", ".nemo", ".npy", ".npz", ".pickle", ".pkl"),
        *(".pt", ".pth", ".torch"),
    }
)
CODE = frozenset(
    {
        *(".bat", ".cmd", ".com", ".dll", ".dylib", ".egg", ".exe", ".js", ".lnk", ".ps1", ".py", ".pyc"),
        *(".pyd", ".pyo", ".pyw", ".scr", ".sh", ".so", ".vbs", ".whl"),
    }
)
_LARGEST_MANIFEST = 1_000_000  # bytes
_LONGEST_NAME = 200  # bytes of the name of a file or folder


@dataclass(frozen=True)
class BundledFile:
    """Entry of the manifest: the size of a file in bytes and its SHA-256."""

    size: int
    sha256: str


def write_bundle(folder: Path, out: Path) -> str:
    """Pack a model folder; files whose names begin with a dot are left out.

    Args:
        folder: a model folder, of PyTorch, exported or published.
        out: the file to write, its name ending in `.mmer`.

    Returns:
        SHA-256 of the file, 64 hexadecimal digits.

    Raises:
        CheckpointError: the folder is no model folder, or has files that may hold pickled Python objects or code, or
            links, or the bundle has another suffix.
        MMERError: the file cannot be written.
    """
    if out.suffix != SUFFIX:
        raise CheckpointError(f"cannot write the bundle {out}: its name must end in {SUFFIX}")
    check_output_file(out, [folder])
    if published_kind(folder) is None:
        check_model_folder(folder)
    files = model_files(folder)
    for name, file in files.items():
        if reason := _unwanted(name):
            raise CheckpointError(
                f"{file} {reason}, and bundles hold none; use the folder as it is, or move the file "
                "elsewhere if the model does not need it"
            )
        inside = [
            folder.joinpath(*PurePosixPath(name).parts[:depth]) for depth in range(1, name.count("/") + 2)
        ]
        if any(place.is_symlink() for place in inside):
            raise CheckpointError(f"{file} is a link, and bundles hold none: copy the folder with: cp -rL")
        check_no_pointer(file)
    entries = {
        name: asdict(BundledFile(file.stat().st_size, sha256_of(file))) for name, file in files.items()
    }
    manifest = json.dumps({"version": VERSION, "files": entries}, indent=2).encode()
    with writing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(MANIFEST), manifest)
        for name, file in files.items():
            with file.open("rb") as source, archive.open(_entry(name), "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)
    return sha256_of(out)


def one_model_folder(path: str | os.PathLike[str]) -> Path:
    """Return the model folder at a path; a bundle is unpacked first, and a model of the Hugging Face Hub is fetched.

    Args:
        path: a folder, which is taken as it is; a bundle, which is unpacked into the user's cache, once; or, where
            there is no folder OWNER, OWNER/NAME of a model on the Hub, which is fetched into its cache, once.

    Raises:
        CheckpointError: the bundle is damaged, or holds what it should not; or the Hub cannot be reached, or has no
            such model.
        MMERError: the cache cannot be written to.
    """
    path = Path(path)
    if is_hub_name(path.as_posix()) and not path.parent.is_dir() and not path.exists():
        return hub_model(path.as_posix())
    if not path.is_file():
        return path
    with damaged_file(path):
        digest = sha256_of(path)
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
    """Unpack into a folder, completely or not at all."""
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
                with archive.open(name) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                if sha256_of(target) != entry.sha256:
                    raise _damaged(path, f"{name} is not what its checksum says")
    except (CheckpointError, OSError):
        raise
    except Exception as error:  # zipfile raises seven kinds
        raise _damaged(path, message_of(error).rstrip(".")) from error


def _checked_entries(path: Path, archive: zipfile.ZipFile) -> dict[str, BundledFile]:
    """Check the manifest's files: each exists, has the stated size, and stays below the folder."""
    infos = archive.infolist()
    try:
        if archive.getinfo(MANIFEST).file_size > _LARGEST_MANIFEST:
            raise ValueError
        manifest = json.loads(archive.read(MANIFEST))
        version = manifest["version"]
        entries = {
            str(name): BundledFile(int(entry["size"]), str(entry["sha256"]))
            for name, entry in manifest["files"].items()
        }
    except Exception:
        raise _damaged(path, f"it holds no readable {MANIFEST}") from None
    if version != VERSION:
        raise CheckpointError(
            f"bundle {path} is of version {reprlib.repr(version)}, this mmer reads {VERSION}; update mmer"
        )
    if sorted(info.filename for info in infos) != sorted([MANIFEST, *entries]):
        raise _damaged(path, f"its files are not those of its {MANIFEST}")
    for info in infos:
        name = info.filename
        parts = PurePosixPath(name).parts
        if (
            not parts
            or name != "/".join(parts)
            or ".." in parts
            or set(name) & set('\\:*?"<>|')
            or not name.isprintable()
            or name[0] == "/"
            or any(len(part.encode(errors="replace")) > _LONGEST_NAME for part in parts)
            or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG)
        ):
            raise CheckpointError(f"bundle {path} is not safe: it holds a file named {name!r}; do not use it")
        if reason := _unwanted(name):
            raise CheckpointError(f"bundle {path} is not safe: {name} {reason}; do not use it")
        # What is not compressed cannot grow when unpacked.
        size = entries[name].size if name in entries else info.file_size  # the manifest does not list itself
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != size:
            raise _damaged(path, f"{name} is not as large as its {MANIFEST} says")
    # Nor can entries that share their bytes.
    if sum(info.file_size for info in infos) > path.stat().st_size:
        raise _damaged(path, "its files together are larger than it")
    return entries


def _unwanted(name: str) -> str | None:
    """Return the reason why a file must not be in a bundle, or None."""
    suffixes = {suffix.lower() for suffix in PurePosixPath(name).suffixes}
    if suffixes & PICKLES:
        return "may hold pickled Python objects, which run code when read"
    if suffixes & CODE:
        return "may hold code"
    return None


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} is no bundle of a model, or is damaged: {reason}; ask for another copy")


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # dated 1980-01-01
    info.create_system = 3  # Unix, also where it is written elsewhere
    info.external_attr = 0o644 << 16
    return info
