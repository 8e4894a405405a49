"""Model folders and bundles damaged at random: an answer, or one line that names the file; no trace and no hang."""

import json
import shutil
from pathlib import Path

import processes
import pyarrow as pa
import pytest
from pyarrow import parquet

from mmer.errors import CheckpointError, MMERError
from mmer.inference import EmotionRecognizer
from mmer.inference.backends.bundle import write_bundle
from mmer.inference.golden import FILE as GOLDEN
from mmer.inference.golden import write_golden
from mmer.inference.trust.calibration import FILE, CalibratedCondition, Calibration, Calibrator, weights_hash
from mmer.inference.trust.trained_on import TrainedOn

SCRIPT = Path(__file__).parents[1] / "damage.py"
MEMORY = 1000  # MB at most, of which PyTorch and transformers take half
KINDS = {
    "folder of PyTorch": ("folder", 20, 2000),
    "exported folder": ("folder", 10, 1000),
    "weights": ("weights", 10, 1000),
    "bundle": ("bundle", 40, 2000),
}
"""What is damaged, how many times, and how many when slow."""


@pytest.fixture(scope="module")
def sources(
    versatile_folder: Path, exportable: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A folder with all that training writes, a bundle of it, and an exported folder with as much."""
    scratch = tmp_path_factory.mktemp("damage")
    folder = complete(shutil.copytree(versatile_folder, scratch / "versatile"))
    write_bundle(folder, scratch / "versatile.mmer")
    onnx = shutil.copytree(exported, scratch / "onnx")
    # What an export copies where there is a calibration: the calibration is of the weights of PyTorch.
    trained = complete(shutil.copytree(exportable, scratch / "exportable"))
    for name in (FILE, GOLDEN):
        shutil.copyfile(trained / name, onnx / name)
    return {
        "folder of PyTorch": folder,
        "exported folder": onnx,
        "weights": folder,
        "bundle": scratch / "versatile.mmer",
    }


def complete(folder: Path) -> Path:
    """Write the golden clips and a calibration into a model folder, as training does."""
    write_golden(folder)
    labels = ["angry", "happy", "neutral", "sad"]
    figures = {"log_loss": 1.0, "brier": 0.5, "expected_calibration_error": 0.1}
    calibrators = {
        "both": Calibrator("isotonic", {"x": [[0.0, 1.0]] * 4, "y": [[0.1, 0.9]] * 4}),
        "speech": Calibrator("temperature", {"temperature": 2.0}),
        "text": Calibrator("vector", {"weight": [1.0] * 4, "bias": [0.0] * 4}),
    }
    conditions = {
        name: CalibratedCondition(
            calibrator,
            utterances=40,
            folds="ten",
            candidates={"none": 1.0},
            before=figures,
            after=figures,
            bins={"before": [{"confidence": 1.0}], "after": []},
            scores={label: [0.1, 0.2] for label in labels},
        )
        for name, calibrator in calibrators.items()
    }
    Calibration(weights_hash(folder), labels, "corpus", None, ["anna"], conditions).write(folder / FILE)
    return folder


def damage(kind: str, source: Path, scratch: Path, seed: int, count: int) -> None:
    scratch.mkdir(exist_ok=True)
    done = processes.run(kind, source, scratch, seed, count, program=SCRIPT.read_text(encoding="utf-8"))
    assert done.returncode == 0, f"hung or died: {done.stderr[-2000:]}"
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"{kind}: {count} damaged, {result['answered']} answered, at most {result['peak_mb']} MB")
    assert result["unexpected"] == []
    assert result["peak_mb"] < MEMORY


EXTRAS = {
    "adapter_config.json": ('{"base_model_name_or_path": "someone/other"}', "an adapter to other weights"),
    "added_tokens.json": ("[" * 100_000, None),
    "chat_template.jinja": ("{{ 1 / 0 }}", None),
    "generation_config.json": ('{"max_length": 1e300, "auto_map": "x"}', None),
    "model.safetensors.index.json": ('{"weight_map": {"x": "../../secret"}}', None),
    "preprocessor_config.json": ('{"feature_size": 100000000000, "auto_map": {}}', "feature_size is 1e+11"),
    "vocab.txt": ("a\n" * 40_000_000, "at most 64 MB"),
}  # fmt: skip
"""Files that no model of mmer needs and transformers may look at, and what is told of them if anything must be."""


@pytest.mark.parametrize("name", EXTRAS)
def test_files_that_a_model_does_not_need(name: str, versatile_folder: Path, tmp_path: Path) -> None:
    content, told = EXTRAS[name]
    folder = shutil.copytree(versatile_folder, tmp_path / "model")
    (folder / name).write_text(content)
    problem = None
    try:
        EmotionRecognizer.from_pretrained(folder, "cpu")
    except MMERError as error:
        problem = str(error)
    assert (told or "") in (problem or "")
    assert problem is None or (str(folder) in problem and "\n" not in problem)


def test_a_list_of_training_utterances_that_fills_the_memory(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["x" * 2**20]))
    columns = {name: text for name in ("split", "sound", "words")}
    parquet.write_table(pa.table(columns), tmp_path / "trained_on.parquet", compression="zstd")
    with pytest.raises(CheckpointError, match=r"trained_on\.parquet is damaged .* would take"):
        TrainedOn.read(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_models(kind: str, sources: dict[str, Path], tmp_path: Path) -> None:
    how, few, _ = KINDS[kind]
    damage(how, sources[kind], tmp_path / "scratch", 0, few)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_damaged_models(kind: str, sources: dict[str, Path], tmp_path: Path) -> None:
    how, _, many = KINDS[kind]
    damage(how, sources[kind], tmp_path / "scratch", 100_000, many)
