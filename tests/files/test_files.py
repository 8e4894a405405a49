"""Files that commands write: refused before the work, complete or not there, and never over an input."""

import ast
import csv
import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import mmer
from mmer.errors import MMERError
from mmer.files.writing import (
    check_different,
    check_not_input,
    check_output_file,
    check_output_folder,
    writable,
    write_csv,
    write_json,
    write_text,
    writing,
    writing_folder,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _write_half(path: Path, error: type[BaseException]) -> None:
    path.write_text("half")
    raise error


class TestWriting:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
    def test_what_does_not_end_leaves_what_was_there(self, tmp_path: Path, error: type) -> None:
        (tmp_path / "a.txt").write_text("before")
        with pytest.raises(error), writing(tmp_path / "a.txt") as part:
            _write_half(part, error)
        assert names(tmp_path) == ["a.txt"]
        assert (tmp_path / "a.txt").read_text() == "before"

    def test_links_and_modes_stay(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        file, link = tmp_path / "real" / "a.txt", tmp_path / "link.txt"
        file.write_text("before")
        file.chmod(0o640)
        link.symlink_to(file)
        write_text(link, "ł\r\n")
        assert link.is_symlink()
        assert file.read_bytes() == "ł\r\n".encode()
        assert stat.S_IMODE(file.stat().st_mode) == 0o640

    def test_names_as_long_as_there_can_be(self, tmp_path: Path) -> None:
        name = "ł" * 127
        check_output_file(tmp_path / name)
        write_text(tmp_path / name, "x")
        assert names(tmp_path) == [name]

    def test_devices_are_written_to_and_tell_that_they_are_full(self, tmp_path: Path) -> None:
        write_text("/dev/null", "x")
        assert Path("/dev/null").is_char_device()
        (tmp_path / "a.json").symlink_to("/dev/full")
        with pytest.raises(MMERError, match=r"a\.json: cannot be written \(No space left on device\)"):
            write_json(tmp_path / "a.json", {})
        assert names(tmp_path) == ["a.json"]

    @pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="only Linux has it")
    def test_files_in_shared_memory_are_files_as_on_a_disk(self) -> None:
        with TemporaryDirectory(dir="/dev/shm") as folder:
            file = Path(folder) / "a.txt"
            file.write_text("before")
            with pytest.raises(MMERError, match="is an input"):
                check_output_file(file, [file])
            with pytest.raises(KeyboardInterrupt), writing(file) as part:
                _write_half(part, KeyboardInterrupt)
            assert file.read_text() == "before"

    def test_libraries_that_raise_no_system_error_of_a_full_disk(self, tmp_path: Path) -> None:
        weights = {"a": torch.zeros(500_000)}
        with (
            pytest.raises(MMERError, match=r"full: cannot be written \(is the disk full\?\)"),
            writable("full"),
        ):
            torch.save(weights, "/dev/full")
        with (
            pytest.raises(MMERError, match=r"a: cannot be written \(No such file or directory\)"),
            writable("a"),
        ):
            save_file(weights, tmp_path / "none" / "a.safetensors")
        with pytest.raises(RuntimeError, match=r"^another$"), writable("a"):
            raise RuntimeError("another")

    def test_files_that_belong_together(self, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        with pytest.raises(KeyboardInterrupt), writing_folder(folder) as part:
            _write_half(part / "a.txt", KeyboardInterrupt)
        assert names(tmp_path) == []
        with writing_folder(folder) as part:
            (part / "a.txt").write_text("whole")
            (part / "scratch").mkdir()
        (folder / "b.txt").write_text("of somebody else")
        with pytest.raises(KeyboardInterrupt), writing_folder(folder) as part:
            _write_half(part / "b.txt", KeyboardInterrupt)
        assert [(folder / name).read_text() for name in names(folder)] == ["whole", "of somebody else"]

    @pytest.mark.skipif(os.name == "nt", reason="other users are not told apart there")
    def test_weights_are_for_whom_the_folder_is(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            with writing_folder(tmp_path / "model") as part:
                save_file({"weight": torch.zeros(3)}, part / "model.safetensors")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "model" / "model.safetensors").stat().st_mode) == 0o640

    def test_file_names_that_are_not_utf8_in_json(self, tmp_path: Path) -> None:
        write_json(tmp_path / "a.json", {os.fsdecode(b"\xff"): "\ud83d"})
        assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "\\\\xff": "\ufffd"\n}\n'


class TestBeforeTheWork:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("folder", "a folder is there; name a file"),
            ("none/a.csv", "there is no folder"),
            ("file/a.csv", "file is a file"),
            ("full.csv", r"\(No space left on device\)"),
            ("x" * 256, r"\(File name too long\)"),
            ("link.csv", "there is no folder .*nowhere"),
        ],
    )
    def test_files_that_cannot_be_written(self, tmp_path: Path, name: str, reason: str) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("x")
        (tmp_path / "full.csv").symlink_to("/dev/full")
        (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere" / "a.csv")
        before = names(tmp_path)
        with pytest.raises(MMERError, match=rf"cannot be written,? .*{reason}"):
            check_output_file(tmp_path / name)
        assert names(tmp_path) == before

    def test_folders_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        for name in ("file", "file/a/b"):
            with pytest.raises(MMERError, match="file is a file; name a folder elsewhere"):
                check_output_folder(tmp_path / name)
        for name in ("/proc/a", "x" * 256, "/dev/null/a"):
            with pytest.raises(MMERError, match="cannot be written"):
                check_output_folder(tmp_path / name)
        check_output_folder(tmp_path / "a" / "b")
        assert names(tmp_path) == ["file"]

    def test_a_working_folder_that_was_deleted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        for check in (check_output_file, check_output_folder):
            with pytest.raises(MMERError, match=r"cannot be written \(No such file or directory\)"):
                check("a.csv")

    def test_a_folder_of_the_system(self) -> None:
        """Of one that even root cannot write to; other users' folders are tested with the commands."""
        for check in (check_output_file, check_output_folder):
            with pytest.raises(
                MMERError, match=r"^/sys/new: cannot be written \((Permission|Operation|Read)"
            ):
                check("/sys/new")


class TestOverInputs:
    @pytest.mark.parametrize("name", ["a.csv", "link.csv", "hard.csv", "folder/../a.csv", "there/a.csv"])
    def test_an_input_by_any_name(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / "a.csv"
        file.write_text("x")
        (tmp_path / "folder").mkdir()
        (tmp_path / "link.csv").symlink_to(file)
        (tmp_path / "hard.csv").hardlink_to(file)
        (tmp_path / "there").symlink_to(tmp_path)
        with pytest.raises(MMERError, match=r"is an input, .*a\.csv; write to another file"):
            check_output_file(tmp_path / name, ["nowhere", file])

    def test_files_of_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "in" / "deep").mkdir(parents=True)
        (tmp_path / "in" / "deep" / "a.csv").write_text("x")
        (tmp_path / "a.csv").hardlink_to(tmp_path / "in" / "deep" / "a.csv")
        with pytest.raises(MMERError, match="is an input"):
            check_not_input(tmp_path / "a.csv", [tmp_path / "in"])
        with pytest.raises(MMERError, match="is an input"):
            check_output_folder(tmp_path / "in" / "deep", [tmp_path / "in"], files=["b.csv", "a.csv"])
        check_output_file(tmp_path / "in" / "b.csv", [tmp_path / "in"])

    def test_two_outputs_of_one_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        check_different(["a.csv", "b.csv"])
        with pytest.raises(MMERError, match=r"\./a\.csv: is to be written twice, as a\.csv too"):
            check_different(["a.csv", "b.csv", f"{'./'}a.csv"])
        (tmp_path / "a.csv").write_text("x")
        (tmp_path / "b.csv").symlink_to("a.csv")
        with pytest.raises(MMERError, match="is to be written twice"):
            check_different(["a.csv", "b.csv"])


def test_line_ends_in_cells_of_a_csv_file(tmp_path: Path) -> None:
    cells = ["a\rb", "a\r\nb", "a\nb", "\r", "a\r", 'a"\rb', "a"]
    write_csv(pd.DataFrame({"number": range(len(cells)), "words": cells}), tmp_path / "a.csv")
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        assert [row["words"] for row in csv.DictReader(file)] == cells
    assert (tmp_path / "a.csv").read_bytes().startswith(b'number,words\n0,"a\rb"\n')


def test_every_text_file_says_its_line_ends() -> None:
    """Python writes those of the system otherwise, and the same results are other bytes on Windows."""
    silent = []
    for path in sorted(Path(mmer.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            named = {each.arg for each in node.keywords}
            modes = {each.value for each in node.args if isinstance(each, ast.Constant)}
            writes = called == "write_text" or (called == "open" and bool(modes & {"w", "a", "x"}))
            writes = writes and "encoding" in named  # write_text of mmer.files and ZipFile.open have none
            if (writes and "newline" not in named) or (called == "to_csv" and "lineterminator" not in named):
                silent.append(f"{path.name}:{node.lineno}")
    assert silent == []
