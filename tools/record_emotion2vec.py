"""Record what emotion2vec of FunASR answers, for `tests/published/test_emotion2vec.py`.

The weights and the recordings follow the rule of `tests/emotion2vec_rule.py`. FunASR 1.4.16 is no dependency of mmer,
so this runs in an environment of its own:

    python -m venv ENV
    ENV/bin/pip install -c constraints.txt torch numpy pyyaml omegaconf tqdm requests
    ENV/bin/pip install --no-deps funasr==1.4.16
    ENV/bin/python tools/record_emotion2vec.py
"""

import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

TESTS = Path(__file__).parents[1] / "tests"
sys.path.append(str(TESTS))
from emotion2vec_rule import LENGTHS, RECORDED, SIZES, recorded_frames, recording, write_release  # noqa: E402

for unused in ("kaldiio", "librosa"):  # they read files, and FunASR imports them in any case
    sys.modules.setdefault(unused, ModuleType(unused))


def record(size: str) -> dict[str, np.ndarray]:
    """Return the frames, their number, the logits and the probabilities of each recording."""
    from funasr import AutoModel  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as scratch:
        folder = write_release(Path(scratch) / size, size)
        model: Any = AutoModel(model=str(folder), device="cpu", disable_update=True)
    logits: list[torch.Tensor] = []
    model.model.proj.register_forward_hook(lambda *call: logits.append(call[2].clone()))
    recorded = {}
    for number in range(len(LENGTHS)):
        settings = {"granularity": "frame", "extract_embedding": True, "disable_pbar": True}
        (answer,) = model.generate(recording(number), **settings)
        frames = answer["feats"]
        recorded |= {
            f"{size} {number} frames": frames[recorded_frames(len(frames))],
            f"{size} {number} count": np.array(len(frames)),
            f"{size} {number} logits": logits[-1][0].numpy(),
            f"{size} {number} probabilities": np.array(answer["scores"]),
        }
        print(f"{size} {number}: {frames.shape}, standard deviation {frames.std():.2f}")
    return recorded


def main() -> None:
    """Write the answers of every size to `RECORDED`."""
    recorded: dict[str, Any] = {}
    for size in SIZES:
        recorded |= record(size)
    np.savez_compressed(RECORDED, **recorded)
    print(f"{RECORDED}: {RECORDED.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
