"""Archives: the rows of `predict`, each once, with their provenance, whatever interrupts."""

import hashlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile
from audio.test_audio import encode
from filelock import FileLock
from inference.conftest import save_model
from processes import Process

from mmer.corpora.corpus import Corpus
from mmer.errors import MMERError
from mmer.inference import EmotionRecognizer
from mmer.inference.archive.score import Scored, score
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.inputs import corpus_utterances

SPEAKERS = ("anna", "ben", None, "cleo")


@pytest.fixture(scope="module")
def per_speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose features are standardized per speaker."""
    folder = tmp_path_factory.mktemp("per_speaker")
    return save_model(folder, speech="wav2vec2-bert", normalization="speaker")


@pytest.fixture(scope="module")
def archive(clips: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of forty recordings, one of them twice in parts."""
    rows = [
        {
            "utterance_id": f"u{n}",
            "audio_path": clip,
            "transcript": "la " * (n % 5),
            "speaker": SPEAKERS[n % 4],
        }
        for n, clip in enumerate(clips)
    ]
    rows += [
        {**rows[0], "utterance_id": "begins", "end": 0.5},
        {**rows[0], "utterance_id": "ends", "start": 0.5},
    ]
    table = tmp_path_factory.mktemp("archive") / "archive.parquet"
    pd.DataFrame(rows).to_parquet(table)
    return table


def predicted(model: Path, table: Path) -> pd.DataFrame:
    """What predict says of all of it."""
    recognizer = EmotionRecognizer.from_pretrained(model, device="cpu")
    answers = recognizer.predict(corpus_utterances(Corpus.read(table)))
    return pd.DataFrame([answer.to_row(recognizer.labels) for answer in answers])


def assert_same_answers(scored: pd.DataFrame, expected: pd.DataFrame) -> None:
    numbers = list(expected.filter(regex="^(confidence|probability|contribution|duration|start|end)"))
    for name in expected:
        if name in numbers:
            values = expected[name].astype(float)
            np.testing.assert_allclose(scored[name].astype(float), values, atol=2e-6)
        else:
            assert scored[name].fillna("").tolist() == expected[name].fillna("").tolist(), name


class TestRows:
    @pytest.mark.parametrize("kind", ["model_folder", "per_speaker"])
    def test_are_those_of_predict(
        self, kind: str, archive: Path, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        model = request.getfixturevalue(kind)
        done = score(model, str(archive), tmp_path / "out", shard_rows=10, batch_size=4, device="cpu")
        assert [file.name for file in done.files] == [f"part-0000{n}.parquet" for n in range(5)]
        assert [len(pd.read_parquet(file)) for file in done.files] == [10, 10, 10, 10, 2]
        assert (done.rows, done.new_rows, done.errors) == (42, 42, [])
        assert_same_answers(pd.read_parquet(tmp_path / "out"), predicted(model, archive))

    def test_say_where_they_come_from(self, model_folder: Path, clips: list[str], tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        samples, _ = soundfile.read(clips[0])
        soundfile.write(folder / "a stereo.wav", np.stack([samples, samples], 1), 44_100)
        content = (folder / "a stereo.wav").read_bytes()
        (folder / "b cut off.wav").write_bytes(content[:-1000])
        (folder / "c no sound.wav").write_text("not a recording")
        shutil.copy(clips[0], folder / "d.opus")
        soundfile.write(folder / "e long.wav", np.zeros(16_000 * 11), 16_000)
        done = score(model_folder, str(folder), tmp_path / "out", device="cpu")
        rows = pd.read_parquet(tmp_path / "out").set_index(
            pd.Index([Path(file).name[0] for file in pd.read_parquet(tmp_path / "out")["audio_path"]])
        )
        assert list(rows.index) == list("abcde")
        assert rows["audio_sha256"]["a"] == hashlib.sha256(content).hexdigest()
        assert rows["audio_sha256"]["c"] == hashlib.sha256(b"not a recording").hexdigest()
        assert rows["audio_sha256"]["d"] == hashlib.sha256(Path(clips[0]).read_bytes()).hexdigest()
        assert rows["sampling_rate"].tolist()[0] == 44_100
        assert rows["channels"].tolist()[0] == 2
        assert rows["file_duration"]["a"] == pytest.approx(len(samples) / 44_100)
        assert rows["file_duration"]["e"] == 11
        assert rows["sampling_rate"].isna().tolist() == [False, True, True, False, False]
        assert rows["truncated"].tolist() == [False, True, None, False, None]
        assert rows["error"].isna().tolist() == [True, False, False, True, False]
        assert "truncated, its header states" in rows["error"]["b"]
        assert len(done.errors) == 3
        assert set(rows["model_sha256"]) == {model_hash(model_folder)}
        for name in ("mmer", "torch", "transformers"):
            assert rows[f"{name}_version"].map(bool).all()

    def test_files_that_no_decoder_likes_are_rows(
        self, model_folder: Path, clips: list[str], tmp_path: Path
    ) -> None:
        """Pipes, devices, bombs, and a tag that is not UTF-8."""
        os.mkfifo(tmp_path / "pipe.wav")
        soundfile.write(tmp_path / "bomb.ogg", np.zeros((1000, 255), np.float32), 192_000)
        tagged = encode(tmp_path / "tagged.mp3", "libmp3lame", 0.1 * np.ones((1, 48_000), np.float32))
        data = tagged.read_bytes()
        tagged.write_bytes(data.replace(b"Lavf", b"caf\xe9"))
        assert tagged.read_bytes() != data
        names = ["pipe.wav", "bomb.ogg", "tagged.mp3"]
        paths = [*(str(tmp_path / name) for name in names), "/dev/zero", clips[0]]
        table = tmp_path / "table.csv"
        pd.DataFrame({"utterance_id": list("abcde"), "audio_path": paths}).to_csv(table, index=False)
        score(model_folder, str(table), tmp_path / "out", device="cpu")
        rows = pd.read_parquet(tmp_path / "out").set_index("audio_path").loc[paths]
        assert rows["error"].isna().tolist() == [False, False, True, False, True]
        assert rows["audio_sha256"].isna().tolist() == [True, False, False, True, False]

    def test_padding_is_told(self, model_folder: Path, tmp_path: Path) -> None:
        """Batches of two, longest first: of 2 × 2.0 s and 2 × 1.0 s, 0.5 s and 0.25 s are padding."""
        for name, seconds in (("a", 1.0), ("b", 1.5), ("c", 2.0), ("d", 0.75)):
            noise = np.random.default_rng(0).normal(size=round(16_000 * seconds)) / 10
            soundfile.write(tmp_path / f"{name}.wav", noise, 16_000)
        done = score(model_folder, str(tmp_path), tmp_path / "out", batch_size=2, device="cpu")
        assert done.padding == 0.75 / 6
        assert re.search(r" a second, \d+ times real time; 12\.5% of the batches is padding$", str(done))

    def test_of_texts_without_sound(self, versatile_folder: Path, tmp_path: Path) -> None:
        table = tmp_path / "texts.csv"
        table.write_text("utterance_id,audio_path,transcript\n1a,,I never said that!\n2b,,What a day.\n")
        done = score(versatile_folder, str(table), tmp_path / "out", device="cpu")
        assert re.search(r"; 2 rows answered now in \d+ s: [\d.]+ a second$", str(done))
        rows = pd.read_parquet(tmp_path / "out")
        assert rows["utterance_id"].tolist() == ["1a", "2b"]
        assert rows["label"].notna().all()
        assert rows[["audio_sha256", "truncated", "file_duration"]].isna().all(axis=None)

    def test_of_a_dataset_of_hugging_face(
        self, model_folder: Path, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        sounds = [{"bytes": Path(clip).read_bytes(), "path": Path(clip).name} for clip in clips[:3]]
        made = datasets.Dataset.from_dict({"audio": sounds, "text": ["a", "b", "c"]})
        (tmp_path / "set").mkdir()
        made.cast_column("audio", datasets.Audio()).to_parquet(tmp_path / "set" / "train.parquet")
        source, out = f"hf:{tmp_path / 'set'}", tmp_path / "out"
        score(model_folder, source, out, shard_rows=2, device="cpu")
        rows = pd.read_parquet(out)
        hashes = [hashlib.sha256(Path(clip).read_bytes()).hexdigest() for clip in clips[:3]]
        assert rows["audio_sha256"].tolist() == hashes
        assert rows["transcript"].tolist() == ["a", "b", "c"]
        (out / "part-00001.parquet").unlink()
        shutil.rmtree(tmp_path / "set")  # what was read once is not read again
        assert score(model_folder, source, out, shard_rows=2, device="cpu").new_rows == 1
        assert pd.read_parquet(out).equals(rows)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.parquet"))}


def command(model: Path, table: Path, out: Path, *more: str) -> list[str]:
    run = ["score", str(model), str(table), "--out", str(out)]
    return [*run, "--shard-rows", "4", "--batch-size", "4", "--device", "cpu", *more]


def workers_of(running: Process) -> list[psutil.Process]:
    """Return the processes that answer shards."""
    return [
        process
        for process in psutil.Process(running.pid).children()
        if "spawn_main" in " ".join(process.cmdline())
    ]


def killed_midway(arguments: list[str], out: Path) -> list[psutil.Process]:
    """Kill -9 the command when two parts are there; the processes that it had begun."""
    running = Process(*arguments, start_new_session=True)
    while len(list(out.glob("part-*"))) < 2:
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    begun = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGKILL)
    running.wait()
    return begun


@pytest.fixture
def long_archive(nemo_samples: Path, tmp_path: Path) -> Path:
    """A hundred and sixty recordings of several speakers."""
    files = sorted(nemo_samples.glob("*.opus"))[::19][:160]
    rows = [
        {"utterance_id": file.stem, "audio_path": str(file), "transcript": "la", "speaker": file.stem[:3]}
        for file in files
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "long.parquet")
    return tmp_path / "long.parquet"


class TestInterruption:
    def test_a_killed_one_goes_on_to_the_same_files(
        self, per_speaker: Path, archive: Path, tmp_path: Path
    ) -> None:
        out, other = tmp_path / "killed", tmp_path / "other"
        pd.read_parquet(archive)[:26].to_parquet(archive := tmp_path / "some.parquet")
        killed_midway(command(per_speaker, archive, out), out)
        kept = contents(out)
        done = [name for name in kept if name.startswith("part")]
        assert 2 <= len(done) < 7
        (out / ".part-00006.parquet.0a1b2c3d.part").write_bytes(b"PAR1 cut o")
        resumed = score(per_speaker, str(archive), out, shard_rows=4, batch_size=4, device="cpu")
        whole = score(per_speaker, str(archive), other, shard_rows=4, batch_size=4, device="cpu")
        assert resumed.new_rows == 26 - 4 * len(done)
        assert whole.new_rows == 26
        assert contents(out) == contents(other)
        assert kept.items() <= contents(out).items()
        assert not list(out.glob(".part*"))
        rows = pd.read_parquet(out)
        assert rows["utterance_id"].tolist() == pd.read_parquet(archive)["utterance_id"].tolist()

    @pytest.mark.slow
    def test_processes_end_with_the_first_and_give_the_same(
        self, per_speaker: Path, long_archive: Path, tmp_path: Path
    ) -> None:
        out, other = tmp_path / "killed", tmp_path / "other"
        begun = killed_midway(command(per_speaker, long_archive, out, "--workers", "2"), out)
        assert len(begun) >= 2
        assert not psutil.wait_procs(begun, timeout=20)[1]
        score(per_speaker, str(long_archive), out, shard_rows=4, batch_size=4, workers=2, device="cpu")
        score(per_speaker, str(long_archive), other, shard_rows=4, batch_size=4, device="cpu")
        assert pd.read_parquet(out).equals(pd.read_parquet(other))

    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [1, 2])
    def test_ctrl_c(self, per_speaker: Path, long_archive: Path, tmp_path: Path, workers: int) -> None:
        out = tmp_path / "out"
        arguments = command(per_speaker, long_archive, out, "--workers", str(workers))
        running = Process(*arguments, start_new_session=True)
        while not list(out.glob("part-*")):
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate()
        assert running.returncode == 130
        assert said == f"mmer: interrupted: what is done is in {out}; the same command goes on from there\n"
        assert not list(out.glob(".part-*"))

    def test_ctrl_c_while_processes_start(self, per_speaker: Path, archive: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        running = Process(*command(per_speaker, archive, out, "--workers", "2"), start_new_session=True)
        while len(workers_of(running)) < 2:
            time.sleep(0.01)
        time.sleep(0.2)  # they import
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate()
        assert running.returncode == 130
        assert said == f"mmer: interrupted: what is done is in {out}; the same command goes on from there\n"

    @pytest.mark.slow
    def test_a_lost_process_is_told(self, per_speaker: Path, long_archive: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        running = Process(*command(per_speaker, long_archive, out, "--workers", "2"))
        while not list(out.glob("part-*")):
            time.sleep(0.01)
        workers_of(running)[0].kill()
        _, said = running.communicate()
        assert running.returncode == 2
        (line,) = said.strip().splitlines()
        assert line.startswith(
            "mmer: a process that answered was killed, or ran out of memory; what is done is kept"
        )


@pytest.fixture(scope="module")
def begun(
    model_folder: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Scored]:
    """The same call again, something changed."""
    out = tmp_path_factory.mktemp("begun") / "out"
    usual = {"model": model_folder, "source": str(archive), "out": out, "shard_rows": 30, "device": "cpu"}
    score(**usual)
    return lambda **changed: score(**usual | changed)


class TestRefusals:
    def test_what_is_done_is_not_done_again(self, begun: Callable[..., Scored]) -> None:
        again = begun()
        assert (again.rows, again.new_rows) == (42, 0)
        assert str(again).startswith("42 rows in 2 files in ")

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"shard_rows": 31}, "shard_rows (30 before); use another folder"),
            ({"transcription": "none"}, "transcription (given before); use another folder"),
        ],
    )
    def test_other_settings(
        self, begun: Callable[..., Scored], changed: dict[str, object], said: str
    ) -> None:
        with pytest.raises(MMERError, match="holds answers to something else, different in") as raised:
            begun(**changed)
        assert str(raised.value).endswith(said)

    def test_another_model(self, begun: Callable[..., Scored], versatile_folder: Path) -> None:
        with pytest.raises(MMERError, match="different in the model; use another folder"):
            begun(model=versatile_folder)

    def test_other_inputs(self, begun: Callable[..., Scored], archive: Path, tmp_path: Path) -> None:
        table = pd.read_parquet(archive)
        for number, other in enumerate((table[1:], table[::-1], table.assign(speaker="x"))):
            other.to_parquet(tmp_path / f"{number}.parquet")
            with pytest.raises(MMERError, match="different in the inputs; use another folder"):
                begun(source=str(tmp_path / f"{number}.parquet"))

    def test_a_folder_of_something_else(self, begun: Callable[..., Scored], tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(
            MMERError, match=r"is neither a folder of scores nor an empty folder, it holds thesis\.tex"
        ):
            begun(out=tmp_path)
        with pytest.raises(MMERError, match="cannot be written to"):
            begun(out=tmp_path / "thesis.tex")

    def test_two_at_once(self, begun: Callable[..., Scored], tmp_path: Path) -> None:
        with (
            FileLock(tmp_path / ".lock"),
            pytest.raises(MMERError, match=r"another score\(\) is writing there"),
        ):
            begun(out=tmp_path)

    def test_a_damaged_manifest(self, begun: Callable[..., Scored], tmp_path: Path) -> None:
        (tmp_path / "_manifest.json").write_text('{"rows": 4')
        with pytest.raises(
            MMERError, match=r"_manifest\.json cannot be read, it may be damaged .*; use another folder"
        ):
            begun(out=tmp_path)

    @pytest.mark.parametrize("name", ["part-00001.parquet", "_recordings.parquet"])
    def test_a_damaged_file_is_made_again_once_it_is_deleted(
        self, begun: Callable[..., Scored], tmp_path: Path, name: str
    ) -> None:
        out = shutil.copytree(begun().folder, tmp_path / "out")
        (out / name).write_bytes(b"PAR1")
        with pytest.raises(MMERError, match=rf"{name} cannot be read, .*; delete it, and the same command"):
            begun(out=out)
        (out / name).unlink()
        assert begun(out=out).new_rows == (12 if name.startswith("part") else 0)

    def test_what_cannot_be_meant(self, begun: Callable[..., Scored], tmp_path: Path) -> None:
        with pytest.raises(MMERError, match="no engine 'spark'; it must be local or ray"):
            begun(engine="spark")
        with pytest.raises(MMERError, match=r"not standard input; use predict\(MODEL, -\)"):
            begun(source="-", out=tmp_path / "new")
        with pytest.raises(MMERError, match="hf:: "):
            begun(source="hf:", out=tmp_path / "new")
        assert not (tmp_path / "new").exists()
        with pytest.raises(MMERError, match="no transcription 'siri'"):
            begun(transcription="siri")
        with pytest.raises(MMERError, match="no model folder at"):
            begun(model=tmp_path / "nowhere")


def test_the_manifest_says_what_was_asked(model_folder: Path, archive: Path, tmp_path: Path) -> None:
    score(model_folder, str(archive), tmp_path, device="cpu")
    manifest = json.loads((tmp_path / "_manifest.json").read_text())
    assert manifest["source"] == str(archive)
    assert manifest["rows"] == 42
    assert manifest["model_sha256"] == model_hash(model_folder)
    asked = pd.read_parquet(tmp_path / "_inputs.parquet")
    assert asked["utterance_id"].tolist() == pd.read_parquet(archive)["utterance_id"].tolist()
    assert asked["end"].dropna().tolist() == [0.5]


def test_a_ray_that_cannot_start_is_one_line(
    model_folder: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("deep" * 40)))  # too long for the path of a socket
    with pytest.raises(MMERError, match=r"engine='ray': .*; what is done is kept, the same command goes on$"):
        score(model_folder, str(archive), tmp_path / "out", engine="ray", device="cpu")


@pytest.mark.slow
def test_ray_gives_the_same_though_a_worker_is_killed(
    per_speaker: Path, long_archive: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    out, other = tmp_path / "ray", tmp_path / "local"
    running = Process(*command(per_speaker, long_archive, out, "--engine", "ray", "--workers", "2"))
    while len(list(out.glob("part-*"))) < 2:
        assert running.poll() is None, "it ended before a worker could be killed"
        time.sleep(0.002)
    mine = psutil.Process(running.pid).children(recursive=True)
    actors = [process for process in mine if "MapWorker" in " ".join(process.cmdline())]
    assert len(actors) == 2
    actors[0].kill()
    _, said = running.communicate()
    assert running.returncode == 0, said
    assert "160 rows in 40 files" in said
    score(per_speaker, str(long_archive), other, shard_rows=4, batch_size=4, device="cpu")
    assert pd.read_parquet(out).equals(pd.read_parquet(other))


def test_replaced_recordings_are_not_taken_for_answered(
    clips: list[str], model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    for clip in clips[:4]:
        shutil.copy(clip, folder)
    out, names = tmp_path / "scores", sorted(folder.iterdir())
    score(model_folder, str(folder), out, shard_rows=2, device="cpu")
    os.utime(names[0])
    assert score(model_folder, str(folder), out, shard_rows=2, device="cpu").new_rows == 0
    shutil.copy(names[1], names[0])
    for _ in range(2):
        with pytest.raises(
            MMERError,
            match=rf"earlier recordings, 1 recording has changed since \({names[0]}\); use another folder",
        ):
            score(model_folder, str(folder), out, shard_rows=2, device="cpu")
    (out / "_recordings.parquet").unlink()  # as an earlier version left it
    with pytest.raises(MMERError, match="1 recording has changed since"):
        score(model_folder, str(folder), out, shard_rows=2, device="cpu")
    for part in out.glob("part-00000*"):
        part.unlink()  # not answered yet
    assert score(model_folder, str(folder), out, shard_rows=2, device="cpu").new_rows == 2
