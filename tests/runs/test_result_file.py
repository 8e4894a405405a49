"""Result files: those of versions before they had a version are read, those of later versions are refused."""

import json
from pathlib import Path

import pytest

from mmer.augment.views_folder import ViewsSettings
from mmer.corpora.audit.audit import Audit
from mmer.corpora.protocol.folds import Folds
from mmer.demo import DemoFigures
from mmer.errors import CheckpointError, CorpusError, MMERError
from mmer.evaluation.results import CrossValidationMetrics, Evaluation, RunMetrics, read_metrics
from mmer.evaluation.robustness.results import Robustness, RobustnessSettings
from mmer.inference.archive.folder import Manifest
from mmer.inference.golden import GoldenAnswers
from mmer.inference.timeline.archive import TimelinesSettings
from mmer.inference.trust.calibration import Calibration
from mmer.runs.result_file import ResultFile
from mmer.runs.versions import Versions
from mmer.training.ablation.results import Ablation
from mmer.training.data.preparation import Splits

WRITTEN = Path(__file__).parent / "version_0"
"""Files of the tiny corpus of tones as mmer wrote them before the files had a version."""

KINDS: dict[str, type[ResultFile]] = {
    "run/metrics.json": RunMetrics,
    "run/splits.json": Splits,
    "baseline/metrics.json": CrossValidationMetrics,
    "baseline/fold/metrics.json": RunMetrics,
    "crossval/metrics.json": CrossValidationMetrics,
    "evaluation/metrics.json": Evaluation,
    "model/calibration.json": Calibration,
    "robustness/robustness.json": Robustness,
    "ablation/ablation.json": Ablation,
    "audit.json": Audit,
    "demo/demo.json": DemoFigures,
    "model/golden.json": GoldenAnswers,
    "robustness/settings.json": RobustnessSettings,
    "run/versions.json": Versions,
    "scores/_manifest.json": Manifest,
    "timelines/_manifest.json": TimelinesSettings,
    "views/settings.json": ViewsSettings,
}


def without_nulls(content: object) -> object:
    """What a file holds but for what is not known, which earlier versions left out."""
    if isinstance(content, dict):
        return {name: without_nulls(value) for name, value in content.items() if value is not None}
    return [without_nulls(each) for each in content] if isinstance(content, list) else content


@pytest.mark.parametrize("name", KINDS)
def test_files_of_earlier_versions_are_read_and_say_the_same(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    before = json.loads((WRITTEN / name).read_text(encoding="utf-8"))
    read = kind.read(WRITTEN / name)
    read.write(tmp_path / "again.json")
    now = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert now["version"] == 1
    earlier, later = without_nulls(before), without_nulls(now)
    assert isinstance(earlier, dict)
    assert isinstance(later, dict)
    assert {key: later[key] for key in earlier} == earlier
    assert kind.read(tmp_path / "again.json") == read


@pytest.mark.parametrize("name", KINDS)
def test_files_of_other_versions_and_damaged_ones_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    whole = (WRITTEN / name).read_text(encoding="utf-8")
    for version in (2, "1", None, 1.5, "9" * 500):
        file.write_text(json.dumps({**json.loads(whole), "version": version}))
        with pytest.raises(CheckpointError, match=r"is of version .*, this mmer reads 1") as refused:
            KINDS[name].read(file)
        assert str(refused.value).startswith(str(file))
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 400
    first = next(iter(key for key in json.loads(whole) if key not in ("version", "kind", "sha256")))
    for text in (whole[:-30], "[]", "", json.dumps({**json.loads(whole), first: {"a": object.__name__}})):
        file.write_text(text)
        with pytest.raises(CheckpointError, match="cannot be read, it may be damaged") as refused:
            KINDS[name].read(file)
        assert "\n" not in str(refused.value)


def test_the_folds_of_earlier_versions_are_read(tmp_path: Path) -> None:
    folds = Folds.read(WRITTEN / "crossval" / "folds.json")
    assert [len(fold.test) for fold in folds.folds.values()] == [2, 2]
    file = tmp_path / "folds.json"
    file.write_text(json.dumps(folds.content()))
    assert folds.content()["version"] == 1
    assert Folds.read(file) == folds
    file.write_text(json.dumps({**folds.content(), "version": 2}))
    with pytest.raises(CorpusError, match=r"folds\.json is of version 2, this mmer reads 1; read it with"):
        Folds.read(file)


def test_the_kinds_of_metrics_are_told_apart(tmp_path: Path) -> None:
    assert isinstance(read_metrics(WRITTEN / "run"), RunMetrics)
    assert isinstance(read_metrics(WRITTEN / "crossval"), CrossValidationMetrics)
    assert read_metrics(WRITTEN / "baseline").system == "majority class"
    with pytest.raises(MMERError, match="of an evaluation, not of a run"):
        read_metrics(WRITTEN / "evaluation")


def test_versions_keep_their_order_of_use(tmp_path: Path) -> None:
    versions = Versions.read(WRITTEN / "run" / "versions.json")
    first, last = versions.used["torch"]
    assert first == "2.8.0"
    now = {name: each[-1] for name, each in versions.used.items()}
    assert versions.changed(now).used == {}
    changed = versions.changed({**now, "torch": "9", "new": "1"})
    assert changed.texts() == {"torch": f"2.8.0, then {last}, then 9", "new": "1"}
