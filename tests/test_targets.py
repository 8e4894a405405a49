"""What every command does about a place that it cannot or must not write to, before any work, and hostile names."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import processes
import pytest
from commands import SMALL, Outcome
from inference.conftest import save_model
from processes import Process

from mmer.corpora.corpus import Corpus
from mmer.inference.explain import attribution
from mmer.inference.timeline.output_formats import SUFFIXES
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET

Command = Callable[..., Outcome]
ONE_EPOCH = [*SMALL, "protocol.test=s2", "protocol.validation=0", "protocol.selection=last"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "model", ctc_symbols=WAV2VEC2_ALPHABET)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of words alone, whose graph is small."""
    return save_model(tmp_path_factory.mktemp("models") / "words", fusion="text")


@pytest.fixture
def place(nemo_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: three recordings, with a metadata.csv, as a table and as rows of predictions."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    rows = []
    for number, source in enumerate(sorted(nemo_samples.glob("*.opus"))[:600:200]):
        shutil.copy(source, tmp_path / "in" / f"{number}.opus")
        emotion = "sad" if number else "angry"
        rows.append(
            {"file_name": f"{number}.opus", "emotion": emotion, "speaker": f"s{number}", "transcript": "x"}
        )
    pd.DataFrame(rows).to_csv(tmp_path / "in" / "metadata.csv", index=False)
    Corpus.read(tmp_path / "in").write(tmp_path / "corpus.csv")
    (tmp_path / "map.csv").write_text("from,to\nsad,angry\n")
    (tmp_path / "turns.csv").write_text("start,end\n0,1\n")
    for link in ("link.csv", "link.json"):
        (tmp_path / link).symlink_to("corpus.csv")
    (tmp_path / "hard.csv").hardlink_to("corpus.csv")
    (tmp_path / "file").write_text("not a folder")
    shutil.copy(tmp_path / "corpus.csv", tmp_path / "other.csv")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


OVER_INPUTS = [
    ("predict MODEL corpus.csv -o corpus.csv", "is an input"),
    ("predict MODEL corpus.csv -o link.csv", "is an input"),
    ("predict MODEL corpus.csv -o hard.csv", "is an input"),
    ("predict MODEL corpus.csv -o in/../corpus.csv", "is an input"),
    ("predict MODEL in -o in/metadata.csv", "is an input"),
    ("timeline MODEL in/0.opus --segments turns.csv -o turns.csv", "is an input"),
    ("timeline MODEL in/0.opus -o a.csv -o ./a.csv", "is to be written twice"),
    ("timeline MODEL in/0.opus -o MODEL/config.json", "is an input"),
    ("explain MODEL in/0.opus -o MODEL/config.json", "is an input"),
    ("evaluate MODEL corpus.csv --out RUN", "is the folder of a run"),
    ("compare other.csv corpus.csv --column predicted=emotion -o link.json", "is an input"),
    ("corpus audit corpus.csv -o link.json", "is an input"),
    ("corpus prepare corpus.csv -o hard.csv", "is an input"),
    ("corpus prepare corpus.csv -o map.csv --rename map.csv", "is an input"),
    ("corpus prepare in -o in/metadata.csv", "is an input"),
    ("corpus prepare corpus.csv in -o corpus.csv", "is an input"),
    ("corpus prepare corpus.csv in -o in/metadata.csv", "is an input"),
    ("corpus prepare nemo in -o in/metadata.csv", "is an input"),
    ("corpus transcribe corpus.csv --with whisper:none -o corpus.csv", "is an input"),
    ("train RUN/recipe.yaml data.corpus=corpus.csv --out RUN", "is an input"),
    ("crossval RUN/recipe.yaml data.corpus=corpus.csv --out RUN", "is an input"),
    (
        "crossval compact --system egemaps data.corpus=corpus.csv --features corpus.csv --out base",
        "is an input",
    ),
]


@pytest.mark.parametrize(("line", "told"), OVER_INPUTS)
def test_an_input_is_never_written_over(
    mmer: Command, model: Path, place: Path, line: str, told: str
) -> None:
    (place / "RUN").mkdir()
    (place / "RUN" / "recipe.yaml").write_text("extends: compact\n# what I noted\n")
    before, inside = contents(place), contents(model)
    done = mmer(*line.replace("MODEL", str(model)).split())
    assert done.code == 2
    assert done.err.startswith("mmer: ")
    assert told in done.err
    assert done.err.count("\n") == 1
    assert (contents(place), contents(model)) == (before, inside)


UNWRITABLE = [
    "predict MODEL in -o none/a.csv",
    "predict MODEL in -o file/a.jsonl",
    "predict MODEL in -o full.parquet",
    "timeline MODEL in/0.opus -o none/a.srt",
    "timeline MODEL in/0.opus -o full.csv",
    "timeline MODEL in -o file",
    "timeline MODEL in -o file/a --each .json",
    "explain MODEL in/0.opus -o file/a.json",
    "evaluate MODEL corpus.csv --out file/a",
    "robustness MODEL corpus.csv --out file",
    "score MODEL in --out file",
    "model export MODEL -o none/a.mmer",
    "model export MODEL -o file/a",
    "compare other.csv corpus.csv --column predicted=emotion -o none/a.json",
    "corpus audit corpus.csv -o file",
    "corpus audit corpus.csv -o file/a.json",
    "corpus prepare in -o none/a.csv",
    "corpus prepare in -o kaldi:file",
    "corpus prepare in -o emobox:file/a",
    "corpus prepare in -o audformat:file",
    "corpus prepare in -o full.csv",
    "corpus prepare nemo in -o none/a.csv",
    "corpus transcribe in --with whisper:none -o none/a.csv",
    "augment in --out file --speech effects every_split=true",
    "train compact data.corpus=in --out file",
    "train compact data.corpus=in --out file/run",
    "crossval compact data.corpus=in --out file/run",
    "ablate compact data.corpus=in --out file/run",
    "crossval compact --system majority data.corpus=in --out file/run",
    "demo --out file",
    "model import file -o file/a",
]


@pytest.mark.parametrize("line", UNWRITABLE)
def test_what_cannot_be_written_is_told_before_the_work(
    mmer: Command, model: Path, place: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "full.csv").symlink_to("/dev/full")
    (place / "full.parquet").symlink_to("/dev/full")

    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was done for nothing")

    for name in (
        "mmer.inference.recognizer.EmotionRecognizer.from_pretrained",
        "mmer.audio.load.open_recording",
    ):
        monkeypatch.setattr(name, work)
    before = sorted(contents(place))
    done = mmer(*line.replace("MODEL", str(model)).split())
    assert done.code == 2, done.err
    assert done.err.startswith("mmer: ")
    assert done.err.count("\n") == 1
    assert sorted(contents(place)) == before


def test_what_is_not_allowed_to_be_written(mmer: Command, model: Path, place: Path) -> None:
    """As a user who may read everything and write nothing, also as root, who gives up that right."""
    # CAP_DAC_OVERRIDE is bit 1 of the first number; the others are what a process may have, and what it hands on.
    program = (
        "import ctypes, json, os, sys; from mmer.cli.main import main\n"
        "if os.getuid() == 0:\n"
        "    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
        "    libc = ctypes.CDLL(None)\n"
        "    assert libc.capget(header, sets) == 0\n"
        "    sets[0] &= ~2\n"
        "    assert libc.capset(header, sets) == 0\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['mmer', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as end: print('code', end.code, file=sys.stderr)\n"
    )
    lines = [
        *("predict MODEL in/0.opus -o a.csv", "timeline MODEL in/0.opus -o a.srt", "calibrate MODEL in"),
        *("evaluate MODEL in --out a", "corpus prepare in -o a.csv", "train compact data.corpus=in --out a"),
        *(
            "score MODEL in --out a",
            "model export MODEL -o a.mmer",
            "demo --out a",
            "predict packed.mmer in/0.opus",
        ),
    ]
    assert mmer("model", "export", model, "-o", "packed.mmer").code == 0
    for folder in (place, model):
        folder.chmod(0o555)
    arguments = json.dumps([line.replace("MODEL", str(model)).split() for line in lines])
    environment = {**os.environ, "XDG_CACHE_HOME": str(place), "HOME": str(place), "MPLCONFIGDIR": "/tmp"}
    done = processes.run(arguments, program=program, env=environment)
    for folder in (place, model):
        folder.chmod(0o755)
    told = [line for line in done.stderr.splitlines() if line.startswith("mmer: ")]
    assert done.stderr.count("code 2") == len(lines), done.stderr
    assert len(told) == len(lines)
    assert all("ermission denied" in line for line in told), told
    assert "Traceback" not in done.stderr


FULL = [
    ("train compact data.corpus=in ONE_EPOCH --out a", 120_000, "a/checkpoints/checkpoint-1"),
    ("model export WORDS -o a", 50_000, "a"),
    ("model export MODEL -o a.mmer", 50_000, "a.mmer"),
    ("score MODEL in --out a", 2000, "a/_recordings.parquet"),
    ("corpus transcribe in --with ctc:MODEL -o a.csv", 50, "a.csv.part.jsonl"),
    ("evaluate MODEL in --out a", 500, "a/predictions.part.jsonl"),
    ("robustness MODEL in --axes loudness:-20 --out a", 100, "a/settings.json"),
]


@pytest.mark.parametrize(("line", "most", "file"), FULL)
def test_a_disk_that_fills_is_one_line_and_no_half_file(
    model: Path, words: Path, place: Path, line: str, most: int, file: str
) -> None:
    """A limit on the size of files stands for the disk: every library that writes meets it in its own way."""
    program = (
        "import resource, sys; from mmer.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY)); main()"
    )
    arguments = [part for word in line.split() for part in (ONE_EPOCH if word == "ONE_EPOCH" else [word])]
    arguments = [argument.replace("MODEL", str(model)).replace("WORDS", str(words)) for argument in arguments]
    done = processes.run(most, *arguments, program=program)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    told = [each for each in done.stderr.splitlines() if each.startswith("mmer: ")]
    assert len(told) == 1
    assert f"{file}: cannot be written (File too large)" in told[0]
    unfinished = {".part", ".safetensors", ".pt", ".onnx", ".mmer"}
    assert [path for path in place.rglob("*") if path.suffix in unfinished] == []
    if not line.startswith("train"):  # which is seen to go on elsewhere
        assert processes.run(*arguments).returncode == 0


def test_a_table_of_the_user_beside_a_matrix_of_embeddings_is_left(
    mmer: Command, model: Path, place: Path
) -> None:
    (place / "e.csv").write_text("my,own\n1,2\n")
    done = mmer("embed", model, "in", "-o", "e.npy")
    assert done.code == 2
    assert "mmer: e.csv is there, and is not what" in done.err
    assert (place / "e.csv").read_text() == "my,own\n1,2\n"


def test_odd_names_in_a_folder(mmer: Command, model: Path, place: Path) -> None:
    folder = os.fsencode(place / "odd")
    os.mkdir(folder)
    sound = (place / "in" / "0.opus").read_bytes()
    names = [b"caf\xe9.opus", "\u2028 \x85.opus".encode(), b"\x1b[2J\x1b]0;x\x07.opus", b"line\nbreak.opus"]
    names += [b"[bold].opus", b"$a^$_.opus", b"=1+1.opus", "怒り.opus".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(sound)
    Path(os.fsdecode(os.path.join(folder, b"bad\xff\x1b[2J.wav"))).write_text("no sound")
    paths = []
    for out in ("a.jsonl", "a.csv", "a.parquet"):
        done = mmer("predict", model, "odd", "-o", out)
        assert done.code == 2  # for the one that is no sound
        assert "\x1b" not in done.err
        assert "odd/bad\\xff␛[2J.wav: is no audio" in done.err
        assert f"9 predictions in {out}, 1 without an answer" in done.err
        read = {"a.jsonl": pd.read_json, "a.csv": pd.read_csv, "a.parquet": pd.read_parquet}[out]
        paths.append(read(out, **({"lines": True} if out == "a.jsonl" else {}))["audio_path"].tolist())
    assert paths[0] == paths[1] == paths[2]
    # What a spreadsheet takes for a formula is data like everything else: scripts read it back as it is.
    assert {"odd/caf\\xe9.opus", "odd/=1+1.opus", "odd/line\nbreak.opus"} < set(paths[0])
    printed = mmer("predict", model, "odd")
    assert [json.loads(line)["audio_path"] for line in printed.out.splitlines()] == paths[0]
    assert mmer("score", model, "odd", "--out", "scores").code == 2
    assert sorted(pd.read_parquet(place / "scores")["audio_path"]) == sorted(paths[0])
    one = os.fsdecode(os.path.join(folder, names[0]))
    for suffix in SUFFIXES:
        assert mmer("timeline", model, one, "-o", f"one{suffix}").code == 0, suffix
    assert (place / "one.rttm").read_text("utf-8").startswith("SPEAKER caf\\xe9 1 ")


def test_a_folder_whose_name_is_not_utf8_is_named(mmer: Command, place: Path) -> None:
    folder = os.fsdecode(b"caf\xe9")
    shutil.copytree(place / "in", place / folder)
    done = mmer("corpus", "prepare", folder, "-o", "kaldi:data")
    assert done.code == 2
    assert "Traceback" not in done.err
    told = "caf\\xe9/0.opus: this name is not UTF-8, which is needed here; rename that file or folder"
    assert done.err.endswith(f"{told}\n")


def test_a_killed_prediction_leaves_no_half_file(model: Path, place: Path, clips_many: Path) -> None:
    process = Process("predict", model, clips_many, "-o", "a.csv", "--batch-size", "1")
    part = place / "a.csv.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size > 5000):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "predictions are in a.csv.part\n" in told
    assert "Traceback" not in told
    assert not (place / "a.csv").exists()
    assert len(pd.read_csv(part)) > 1


@pytest.fixture
def clips_many(place: Path) -> Path:
    folder = place / "many"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number:03}.opus").symlink_to(place / "in" / "0.opus")
    return folder


def test_labels_of_any_kind_through_every_command(
    mmer: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Markup of the terminal, mathematics, HTML, Markdown, a spreadsheet's formula, other scripts."""
    labels = ["[/angry]", "$a^$_", "<script>alert(1)</script>", "=1+1", "怒り|x", "*غضب*"]
    table = pd.read_csv(place / "corpus.csv")
    rows = pd.concat([table] * len(labels), ignore_index=True)
    rows["utterance_id"] = [f"[u{n}]" for n in range(len(rows))]
    rows["emotion"] = [labels[n % len(labels)] for n in range(len(rows))]
    rows["speaker"] = [f"[s{n // 6}]" for n in range(len(rows))]
    rows["transcript"] = "$$ [x] \x1b[2J"
    Corpus(rows).write(place / "data [v1].csv")
    shown = mmer("corpus", "show", "data [v1].csv")
    assert shown.code == 0, shown.err
    assert all(label in shown.out for label in [*labels, "data [v1].csv"])
    assert mmer("corpus", "audit", "data [v1].csv", "--by", "speaker").code == 0
    done = mmer(
        *("train", "compact", 'data.corpus="data [v1].csv"', *SMALL, 'protocol.test=["[s0]"]'),
        *("--out", "run [1]"),
    )
    assert done.code == 0, done.err
    assert {path.name for path in (place / "run [1]").glob("*.png")} == {"confusion_matrix.png", "curves.png"}
    judged = mmer("evaluate", "run [1]/model", "data [v1].csv", "--out", "judged [x]")
    assert judged.code == 0, judged.err
    assert all(label in judged.out for label in labels)
    assert pd.read_csv("judged [x]/slices.csv")["group"].isin(["[s0]"]).any()
    reported = mmer("report", "run [1]")
    assert reported.code == 0, reported.err
    assert "<script>alert" not in (place / "run [1]" / "report" / "report.html").read_text("utf-8")
    text = (place / "run [1]" / "model" / "README.md").read_text("utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    clip = "in/0.opus"
    monkeypatch.setattr(attribution, "STEPS", (1,))  # shares are no matter here
    for command in (["explain"], ["timeline"]):
        out = place / f"{command[0]}.png"
        assert mmer(*command, "run [1]/model", clip, "-o", out).code in (0, 2)
        assert out.exists()
    explained = mmer("explain", "run [1]/model", clip, "--transcript", "$$ [/x] \x1b[2J")
    assert explained.code == 0, explained.err
    assert "$$" in explained.out
    assert "\x1b" not in explained.out
