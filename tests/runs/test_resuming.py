"""What resuming needs: journals that survive a kill, requests that are compared, seeds that stay what they were."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmer.errors import CheckpointError, MMERError, Parameter, RecipeError
from mmer.runs.folder import RunFolder
from mmer.runs.journal import Journal
from mmer.runs.resume import differences, refuse_other
from mmer.runs.seeds import seed_for

WRITER = """
import sys, time
from pathlib import Path
from mmer.runs.journal import Journal
with Journal(Path(sys.argv[1])).appending() as append:
    for number in range(3):
        append({"number": number, "text": "\\udce9 zażółć"})
    open(sys.argv[1], "a").write('{"number": 3, "te')
    print("written", flush=True)
    time.sleep(600)
"""


def test_a_journal_keeps_what_a_killed_process_had_written(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    assert Journal(file).entries() == []
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert file.read_bytes().endswith(b'{"number": 3, "te')
    journal = Journal(file)
    assert [entry["number"] for entry in journal.entries()] == [0, 1, 2]
    with journal.appending() as append:
        append({"number": 3})
    assert [entry["number"] for entry in journal.entries()] == [0, 1, 2, 3]


def test_a_damaged_journal_is_one_line_and_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_bytes(b'{"number": 0}\nnot json\n{"number": 2}\n')
    size = os.path.getsize(file)
    with pytest.raises(CheckpointError, match=r"journal\.jsonl cannot be read, .*; delete it to begin again"):
        Journal(file).entries()
    assert os.path.getsize(file) == size


def test_requests_are_compared_by_what_is_asked_now() -> None:
    before = {"a": 1, "b": [1], "old": True}
    assert differences(before, {"a": 1, "b": [1]}) == []
    assert differences(before, {"b": [2], "a": 2, "c": None, "d": 0}, {"a": "x", "b": "x"}) == ["x", "d"]
    refuse_other(Path("out"), "holds things", [])
    with pytest.raises(MMERError, match=r"^out: holds things, different in a, b; use another folder$"):
        refuse_other(Path("out"), "holds things", ["a", "b"])
    with pytest.raises(RecipeError):
        refuse_other(Path("out"), "holds things", ["a"], RecipeError)


def test_a_parameter_that_differs_is_spelled_as_whoever_shows_the_error_writes_it() -> None:
    different = differences(
        {"shard_rows": 30, "rows": 4},
        {"shard_rows": 31, "rows": 5},
        {"shard_rows": (Parameter("shard_rows"), " (30 before)")},
    )
    with pytest.raises(MMERError) as refused:
        refuse_other(Path("out"), "holds things", different)
    assert (
        str(refused.value)
        == "out: holds things, different in shard_rows (30 before), rows; use another folder"
    )
    assert "--shard-rows (30 before), rows;" in refused.value.spelled(lambda piece: "--shard-rows")


def test_seeds_are_those_of_earlier_versions() -> None:
    # Folders that an earlier version began go on with these.
    assert seed_for(0, 1, "speech", "A_sad_0") == 3896291966
    assert seed_for("codec u1", size=8) == 3270412228947576891
    assert seed_for(0, "a") != seed_for(1, "a")


def test_what_a_folder_is(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.is_vacant
    assert not folder.is_begun
    fold = folder.fold("b%2F2")
    fold.path.mkdir(parents=True)
    for name, found in (("recipe", "is_begun"), ("splits", "is_run"), ("metrics", "is_complete")):
        assert not getattr(fold, found)
        getattr(fold, name).touch()
        assert getattr(fold, found)
    assert not fold.is_cross_validation
    assert not folder.is_vacant


def test_the_training_log_is_that_of_the_newest_checkpoint_that_has_one(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.training_log() == []
    for step, log in (
        (9, '{"log_history": [{"loss": 2.0}]}'),
        (10, '{"log_history": [{"loss": 1.0}]}'),
        (11, None),
    ):
        checkpoint = tmp_path / "checkpoints" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        if log is not None:
            (checkpoint / "trainer_state.json").write_text(log)
    assert [path.name for path in run.checkpoints] == ["checkpoint-11", "checkpoint-10", "checkpoint-9"]
    assert run.training_log() == [{"loss": 1.0}]
    for damaged in ('{"log_hi', "[]", "{}"):
        (tmp_path / "checkpoints" / "checkpoint-10" / "trainer_state.json").write_text(damaged)
        with pytest.raises(CheckpointError, match=r"trainer_state\.json cannot be read, it may be damaged"):
            run.training_log()
