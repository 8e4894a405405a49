"""PAVOQUE (Steiner et al., 2013): one German speaker in five styles, each style one long recording."""

import os
from collections import Counter
from pathlib import Path

import yaml

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.labels import canonical
from mmer.corpora.readers.releases import COPIES, make_corpus, release_files, unique_names
from mmer.corpora.tables import Row
from mmer.errors import CorpusError, reading
from mmer.plain_text import counted

# The quick loader where PyYAML has it; both leave texts such as `No` and `2000` alone.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read_pavoque(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read PAVOQUE: the utterances between `start` and `end` of each recording.

    The styles are the emotions; poker is a voice without emotion. `outtake` marks the rejected
    repetitions of `pavoque-outtakes`: their texts are those of other utterances. Texts repeat across styles too.

    Extra columns: `original_emotion` (the style); `prompt` (id of the text); `outtake`.

    Args:
        root: folder with `pavoque-neutral.flac`, `pavoque-neutral.yaml` and so on.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The corpus; notes list yaml files without their recording and utterances that end before they begin, which
        are left out, and how the counts differ from the documented ones.

    Raises:
        CorpusError: no yaml file with its recording, or one that cannot be read.
    """
    files = release_files(root, "pavoque-*.yaml")
    recorded, copies = unique_names(path for path in files if path.with_suffix(".flac").is_file())
    if not recorded:
        found = (
            f"{counted(len(files), 'file')} pavoque-*.yaml, none with its flac file beside it"
            if files
            else "no pavoque-*.yaml"
        )
        raise CorpusError(
            f"{root}: {found}; give the folder of PAVOQUE, which holds pavoque-neutral.yaml and .flac"
        )
    notes = []
    if silent := [path.name for path in files if path.stem not in recorded]:
        notes.append(listing("yaml files have no flac file and are left out", silent))
    if copies:
        notes.append(listing(COPIES, [os.path.relpath(path, root) for path in copies]))
    rows: list[Row] = []
    empty: list[str] = []
    names: Counter[str] = Counter()
    for path in recorded.values():
        outtake = path.stem == "pavoque-outtakes"
        for item in _items(path):
            start, end = float(item["start"]), float(item["end"])
            name = f"{'outtake_' if outtake else ''}{item['style']}_{item['prompt']}"
            names[name] += 1
            utterance = name if names[name] == 1 else f"{name}_{names[name]}"
            if end <= start:
                empty.append(utterance)
                continue
            rows.append(
                {
                    "utterance_id": utterance,
                    "audio_path": str(path.with_suffix(".flac")),
                    "start": start,
                    "end": end,
                    "transcript": item["text"].strip(),
                    "emotion": canonical(item["style"], path),
                    "speaker": "pavoque",
                    "gender": "male",
                    "language": "de",
                    "original_emotion": item["style"],
                    "prompt": item["prompt"],
                    "outtake": outtake,
                }
            )
    if empty:
        notes.append(listing("utterances end before they begin and are left out", empty))
    if outtakes := sum(row["outtake"] for row in rows):
        notes.append(
            f"{counted(outtakes, 'utterance', 'is', 'are')} outtakes, rejected repetitions of others"
        )
    return make_corpus("pavoque", rows, root, notes, progress)


def _items(path: Path) -> list[dict[str, str]]:
    """Read the utterances of a YAML file, with all values as text."""
    with reading(path, "YAML", CorpusError):
        items = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    keys = {"prompt", "text", "style", "start", "end"}
    if not isinstance(items, list) or not all(
        isinstance(item, dict) and keys <= item.keys() for item in items
    ):
        raise CorpusError(f"{path}: is no list of utterances with {', '.join(sorted(keys))}")
    return items
