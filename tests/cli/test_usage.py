"""What the command line says: help, completion, settings, and one line for what it does not understand."""

import ast
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import processes
import pytest
import typer.main
from command_line import commands, options
from commands import Outcome

from mmer import __version__
from mmer.cli import app as spelling
from mmer.cli.main import app
from mmer.corpora.corpus import Corpus
from mmer.errors import MMERError, RecipeError
from mmer.serving.settings import ServeSettings, read_serve_settings

SOURCE = Path(spelling.__file__).parents[1]
Command = Callable[..., Outcome]


def test_the_size_of_the_command_line() -> None:
    found = dict(commands())
    assert len(found) == 28
    assert sum(len(options(command)) for command in found.values()) <= 119


def test_a_package_that_is_not_installed_is_named_in_one_line(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = typer.Typer(cls=spelling.Commands, callback=lambda: None)
    group.command("train")(lambda: import_module("no_such_package.part"))
    monkeypatch.setattr(sys, "argv", ["mmer", "train"])
    with pytest.raises(SystemExit, match="2"):
        group()
    assert capfd.readouterr().err == (
        "mmer: this command needs the package no_such_package, which is not installed; install mmer with all that it "
        "requires, without --no-deps\n"
    )


def test_ctrl_c_while_python_imports_and_while_it_ends(tmp_path: Path) -> None:
    pressed = "atexit.register(os.kill, os.getpid(), signal.SIGINT)\nraise KeyboardInterrupt\n"
    (tmp_path / "typer.py").write_text(f"import atexit, os, signal\n{pressed}")
    command = [sys.executable, "-m", "mmer", "recipes"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stderr == "mmer: interrupted\n"
    assert done.returncode == -signal.SIGINT


def test_sigterm_while_the_command_line_is_read() -> None:
    program = """if True:
        import os, signal
        from mmer.__main__ import main
        from mmer.cli.app import Commands
        Commands.make_context = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
        main()
    """
    done = processes.run("recipes", program=program)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


def test_every_command_has_a_sentence_an_example_and_explained_options() -> None:
    for name, command in commands():
        assert re.match(r"[A-Z][a-z]+ .*\.$|[A-Z][a-z]+ .*;.*", command.help.strip().splitlines()[0]), name
        assert command.epilog.startswith(f"Example: mmer {name}"), name
        assert "\n" not in command.help.replace("\n\n", ""), name  # which would break lines in the middle
        for parameter in command.params:
            assert getattr(parameter, "hidden", False) or parameter.help, (name, parameter.name)


def test_options_of_several_commands_are_explained_alike() -> None:
    helps: dict[str, set[str]] = {}
    for _, command in commands():
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                helps.setdefault(max(parameter.opts, key=len), set()).add(parameter.help)
    own = {"--out", "--audio", "--folds"}  # what is written, or which folder, is not the same
    assert [name for name, said in helps.items() if len(said) > 1 and name not in own] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", "compact"], "mmer: no command 'trian'; did you mean train? See mmer --help"),
        (["init", "x"], "mmer: no command 'init'; did you mean corpus init? See mmer --help"),
        (["audit", "x"], "mmer: no command 'audit'; did you mean corpus audit? See mmer --help"),
        (["corpus", "adit", "x"], "mmer: no command 'adit'; did you mean audit? See mmer corpus --help"),
        (["model", "exprot", "x"], "mmer: no command 'exprot'; did you mean export? See mmer model --help"),
        (
            ["corpus", "audit", "x.csv", "--bye", "speaker"],
            "mmer: corpus audit: no option --bye; did you mean --by? See mmer corpus audit --help",
        ),
        (["zzzz"], "mmer: no command 'zzzz'; see mmer --help"),
        (
            ["serve", "model", "max_uplod=3MB"],
            "setting 'max_uplod=3MB': unknown key max_uplod; did you mean max_upload?",
        ),
        (
            ["serve", "model", "max_upload=25"],
            "max_upload is 25; it must be a size from 1kB on with its unit, such as 25MB",
        ),
        (["serve", "model", "port"], "setting 'port' is not of the form NAME=VALUE"),
        (["serve", "model", "port=70000"], "port is 70000; it must be less than or equal to 65535"),
        (["augment", "x", "--speech", "none", "-o", "v", "viws=2"], "unknown key viws; did you mean views?"),
        (["compare", "a", "b", "--column", "predictd=x"], "unknown key predictd; did you mean predicted?"),
        (["compare", "a", "b", "--rename", "x"], "mmer: --rename 'x' is not of the form FROM=TO"),
        (
            ["crossval", "compact", "--features", "f.parquet"],
            "mmer: --features belongs to a baseline; name it with --system",
        ),
        (["crossval", "compact", "--system", "majorty"], "no baseline 'majorty', the nearest is 'majority'"),
        (
            ["corpus", "show", "data.corpus=x"],
            "mmer: data.corpus=x: the corpus is an argument here, not a setting; give x",
        ),
        (["corpus", "prepare", "nemo", "x"], "mmer: nothing says what to write; name a table with --out"),
        (
            ["model", "export", "x", "-o", "x.mmer", "--int8"],
            "mmer: --int8 is for ONNX; export to a folder, and from that folder to x.mmer",
        ),
        (["serve", "m", "--settings", "x.yaml"], "mmer: serve: no option --settings; see mmer serve --help"),
        (["serve", "m", "prt=1"], "mmer: setting 'prt=1': unknown key prt; did you mean port?"),
        (["serve", "m", "zzz=1"], "unknown key zzz; the keys of serve settings are host, port, "),
        (
            ["predict", "m", "-a.wav"],
            "mmer: predict: -a.wav is read as an option; write the file as ./-a.wav; see",
        ),
        (["--zzzz"], "mmer: no option --zzzz; see mmer --help"),
        (
            ["explain", "m", "x.wav", "-o", "x.png", "--out=x.json"],
            "mmer: explain: --out is given 2 times and takes one value; see mmer explain --help",
        ),
        (
            ["corpus", "show", "c", "--plot", "x.png", "--plot", "x.svg"],
            "mmer: corpus show: --plot is given 2 times and takes one value; see",
        ),
        (["train", "compct"], "no recipe 'compct'; did you mean compact? Shipped are "),
        (["listen"], "mmer: listen: missing argument"),
        (["evaluate", "m", "c", "--batch-size", "0"], "invalid value for '--batch-size'"),
        (
            ["embed", "m", "c", "-o", "x.npy", "--level", "word"],
            "invalid value for '--level': 'word' is not one of",
        ),
    ],
)
def test_usage_errors_are_one_line(
    mmer: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    for name in ("a", "b", "-a.wav"):
        (tmp_path / name).write_text("")
    outcome = mmer(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err


def test_ctrl_c_says_which_commands_go_on(
    mmer: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Corpus, "read", interrupted)
    arguments = (tmp_path, tmp_path / "corpus.csv", "--out", tmp_path / "out")
    for command, told in (("robustness", "; the same command goes on"), ("evaluate", "")):
        stopped = mmer(command, *arguments)
        assert (stopped.code, stopped.err.splitlines()[-1]) == (130, f"mmer: interrupted{told}")


@pytest.mark.parametrize("command", [["recipes"], ["train", "demo"]])
def test_a_working_folder_that_was_deleted(tmp_path: Path, command: list[str]) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    program = f"import os, sys; os.rmdir({str(folder)!r}); sys.argv[1:] = {command}\n"
    program += "from mmer.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "mmer: the working folder was deleted; change into another one\n"


def test_version_and_no_arguments(mmer: Command) -> None:
    assert mmer("--version").out == f"mmer {__version__}\n"
    for arguments in ([], ["corpus"], ["model"]):
        shown = mmer(*arguments)
        assert (shown.out + shown.err).count("Usage") == 1


def test_recipes_lists_and_explains(mmer: Command) -> None:
    listed = mmer("recipes")
    assert [line.split()[0] for line in listed.out.splitlines()] == sorted(
        path.stem for path in (SOURCE / "recipes").glob("*.yaml")
    )
    lines = mmer("recipes", "compact").out.splitlines()
    assert "model.num_attention_heads=4  (default: 12)" in lines
    meaning = lines[lines.index("training.precision=float32") + 1].strip()
    assert meaning.endswith("float16 needs a GPU. One of float32, bfloat16, float16.")
    assert mmer("recipes", "compct").code == 2


class TestServeSettings:
    def test_a_file_below_the_environment_below_the_command_line(self, tmp_path: Path) -> None:
        file = tmp_path / "serve.yaml"
        file.write_text("port: 1\nmax_upload: 1.5 MB\nallow_host: [a, b]\ngrace: 5\n")
        found = read_serve_settings(file, ["grace=7"], {"MMER_PORT": "2", "MMER_GRACE": "6", "OTHER": "x"})
        assert found == ServeSettings.model_construct(
            **{
                **ServeSettings().model_dump(),
                "port": 2,
                "max_upload": 1_500_000,
                "allow_host": ("a", "b"),
                "grace": 7.0,
            }
        )
        service = found.service()
        assert (service.max_upload, service.allowed_hosts, service.grace) == (1_500_000, {"a", "b"}, 7)

    def test_errors_name_their_place(self, tmp_path: Path) -> None:
        file = tmp_path / "serve.yaml"
        file.write_text("prt: 1\n")
        with pytest.raises(
            RecipeError, match=r"settings file .*serve.yaml: unknown key prt; did you mean port\?"
        ):
            read_serve_settings(file, environment={})
        with pytest.raises(RecipeError, match='MMER_PORT: port is "x"; it must be a valid integer'):
            read_serve_settings(environment={"MMER_PORT": "x"})
        with pytest.raises(
            MMERError, match="MMER_PROT is no setting of a service, the nearest is 'MMER_PORT'"
        ):
            read_serve_settings(environment={"MMER_PROT": "1"})
        with pytest.raises(MMERError, match=r"settings file .*no.yaml cannot be read"):
            read_serve_settings(tmp_path / "no.yaml", environment={})

    def test_an_empty_name_of_the_tokens_file_opens_nothing(self) -> None:
        for overrides, environment, place in (
            ([], {"MMER_TOKEN_FILE": ""}, "MMER_TOKEN_FILE"),
            (["token_file="], {}, "setting 'token_file='"),
        ):
            with pytest.raises(RecipeError, match=f"^{place} is empty: name the token's file"):
                read_serve_settings(None, overrides, environment)
        assert read_serve_settings(None, ["token_file=null"], {"MMER_PORT": ""}) == ServeSettings()

    @pytest.mark.parametrize(
        ("setting", "wrong", "right", "allowed"),
        [
            (
                "trusted_proxy",
                ["xyz", "10.0.0.1/8", "10.0.0.1,proxy", "*", "10.0.0.1:80"],
                "::1,10.0.0.0/8",
                "networks",
            ),
            (
                "allow_host",
                ["https://x.org", "x.org:80", "*", "*.x.org", "10.0.0.0/8", "x.org.", "é.org"],
                "x.org,::1,a_b",
                "without scheme and port",
            ),
        ],
    )
    def test_addresses_that_could_never_match_are_refused(
        self, setting: str, wrong: list[str], right: str, allowed: str
    ) -> None:
        for value in wrong:
            with pytest.raises(RecipeError, match=f"{setting} is .*; it must be .*{allowed}"):
                read_serve_settings(None, [f"{setting}={value}"], {})
        assert getattr(read_serve_settings(None, [f"{setting}={right}"], {}), setting) == tuple(
            right.split(",")
        )

    def test_the_documentation_lists_them_all(self) -> None:
        page = (SOURCE.parents[1] / "docs" / "serve.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `([a-z_]+)` \| `(MMER_[A-Z_]+)` \| `([^`]*)` \|", page, re.MULTILINE)
        from mmer.recipe.parsing import list_settings

        assert rows == [(s.name, f"MMER_{s.name.upper()}", s.default) for s in list_settings(ServeSettings)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "iemocap-"], ["iemocap-beyond", "iemocap-official", "iemocap-paper"]),
        (["recipes", "dem"], ["demo"]),
        (["train", "compact", "training.ep"], ["training.epochs=", "training.epochs=30"]),
        (
            ["crossval", "compact", "a=b", "model.fu"],
            [f"model.fusion={each}" for each in ("mmer", "text", "speech", "naive", "auto")],
        ),
        (["ablate", "compact", "model.fusion=t"], ["model.fusion=text"]),
        (["train", "compact", "model.fusion", "=", "t"], ["text"]),  # the words of bash
        (["serve", "model", "max_up"], ["max_upload=", "max_upload=25MB"]),
        (["augment", "corpus", "every"], ["every_split=true", "every_split=false"]),
        (["corpus", "au"], ["audit"]),
    ],
)
def test_completion_in_bash(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    asked = {
        "_MMER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["mmer", *words]),
        "COMP_CWORD": str(len(words)),
    }
    program = "import sys; sys.argv = ['mmer']; from mmer.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | asked, cwd=tmp_path
    )
    assert done.stdout.splitlines() == expected, done.stderr


SCRIPT = """
mmer() { :; }
_mmer_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _MMER_COMPLETE=complete_bash "$PYTHON" -c \
        "import sys; sys.argv = ['mmer']; from mmer.cli.main import main; main()" ) )
}
complete -o default -F _mmer_completion mmer
PS1='ready> '
"""
"""What `--install-completion` writes for bash, with this Python."""


@pytest.mark.skipif(not shutil.which("bash") or os.name == "nt", reason="no bash")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("mmer train iemocap-p", "mmer train iemocap-paper "),
        ("mmer train compact training.ep", "mmer train compact training.epochs="),
        ("mmer train compact model.fusion=t", "mmer train compact model.fusion=text "),
    ],
)
def test_completion_at_a_terminal(tmp_path: Path, typed: str, expected: str) -> None:
    import pty

    (tmp_path / "rc").write_text(SCRIPT)
    process, terminal = pty.fork()
    if process == 0:
        os.environ |= {"TERM": "dumb", "PYTHON": sys.executable}
        os.execvp("bash", ["bash", "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"])
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        while text not in shown and select.select([terminal], [], [], 60)[0]:
            shown += os.read(terminal, 4096).decode().replace("\a", "")

    try:
        until("ready> ")
        os.write(terminal, f"{typed}\t".encode())
        until(expected)
    finally:
        os.kill(process, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(process, 0)
    assert expected in shown


def strings_of_library() -> list[tuple[str, str]]:
    """Every text outside `cli` that is no docstring, with its place."""
    found = []
    for path in SOURCE.rglob("*.py"):
        if path.is_relative_to(SOURCE / "cli"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            (f"{path.relative_to(SOURCE)}:{node.lineno}", node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented
        ]
    return found


def test_the_library_names_no_option_and_no_command() -> None:
    names = "|".join(typer.main.get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]
    named = re.compile(rf"(?<![\w-])--[a-z][a-z-]+|\bmmer ({names})\b")
    # Of other programs, of CSS, of a process.
    theirs = re.compile(r"torchrun|tensorboard|pip install|var\(--|^--(out|nproc)|--local-dir")
    spoken = "made on this machine by mmer corpus prepare spoken"  # where a corpus comes from
    strings = strings_of_library()
    assert [each for each in strings if named.search(each[1]) and not theirs.search(each[1])] == [
        each for each in strings if each[1] == spoken
    ]


def test_every_function_that_a_message_names_has_a_command() -> None:
    named = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"\bFunction\(\s*\"(\w+)\"", text)) | set(
            re.findall(r"@writes\(\"(\w+)\"", text)
        )
    assert {"train", "calibrate", "read_from"} <= named <= set(spelling._COMMANDS)  # pyright: ignore[reportPrivateUsage]
    assert set(spelling._COMMANDS.values()) <= set(dict(commands()))  # pyright: ignore[reportPrivateUsage]
