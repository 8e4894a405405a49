"""Processes of their own that start at once, with what tests need of `subprocess`.

A new interpreter imports PyTorch, transformers and scikit-learn for five to seven seconds of processor time. These
processes are forked from one that has imported them and done nothing else. What is decided while packages are imported
is tested with `subprocess`.
"""

import atexit
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Timer
from typing import BinaryIO, Self, TextIO

NOTHING = Path(os.devnull)
SERVER = multiprocessing.get_context("forkserver")
"""What forks the processes, also for tests that start them in other ways."""
SERVER.set_forkserver_preload(
    ["mmer.cli.main", "mmer.training.run", "mmer.inference.archive.score", "mmer.serving.serve"]
)


class Process:
    """`mmer` with these arguments, or a program in Python, in a process of its own.

    Each of its streams is a file, or a pipe where that is None. It leaves a `with` block killed, if it still runs.
    """

    stdin: BinaryIO
    stdout: TextIO
    stderr: TextIO

    def __init__(
        self,
        *arguments: object,
        program: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | None = NOTHING,
        stdout: Path | None = NOTHING,
        stderr: Path | None = None,
        start_new_session: bool = False,
    ) -> None:
        streams: list[Path | Connection] = []
        for name, file in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
            if file is None:
                reader, writer = SERVER.Pipe(duplex=False)
                if name == "stdin":
                    self.stdin = os.fdopen(os.dup(writer.fileno()), "wb")
                else:
                    setattr(self, name, os.fdopen(os.dup(reader.fileno()), encoding="utf-8"))
                streams.append(reader if name == "stdin" else writer)
            else:
                streams.append(file)
        self._process = SERVER.Process(
            target=_become,
            args=(
                program,
                [os.fsdecode(each) if isinstance(each, bytes) else str(each) for each in arguments],
                dict(os.environ if env is None else env),
                cwd or Path.cwd(),
                start_new_session,
                streams,
            ),
        )
        self._process.start()
        for stream in streams:
            if isinstance(stream, Connection):
                stream.close()
        atexit.register(self.kill)  # before multiprocessing waits for it
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most so many seconds, and return its code."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("mmer", timeout or 0)
        return self.returncode

    def communicate(self, timeout: float = 1200) -> tuple[str, str]:
        """Return what it prints to standard output and standard error, if they are pipes; it is killed if it hangs."""
        pipes = [getattr(self, name, None) for name in ("stdout", "stderr")]
        watch = Timer(timeout, self.kill)
        watch.start()
        with ThreadPoolExecutor() as readers:
            printed = list(readers.map(lambda pipe: pipe.read() if pipe else "", pipes))
        watch.cancel()
        self.wait()
        return printed[0], printed[1]

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def run(
    *arguments: object,
    program: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Path = NOTHING,
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; what it printed is in the answer."""
    process = Process(*arguments, program=program, env=env, cwd=cwd, stdin=stdin, stdout=None)
    out, err = process.communicate()
    return subprocess.CompletedProcess([program or "mmer", *map(str, arguments)], process.wait(), out, err)


def _become(
    program: str | None,
    arguments: list[str],
    environment: dict[str, str],
    folder: Path,
    session: bool,
    streams: list[Path | Connection],
) -> None:
    """In the process: put it in its place, and run the program, or `mmer` where there is none."""
    gc.freeze()  # nothing that was imported is garbage
    if session:
        os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, stream in enumerate(streams):
        if isinstance(stream, Path):
            os.dup2(os.open(stream, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
        else:
            os.dup2(stream.fileno(), number)
            stream.close()
    # Those of the process that this one was forked from know their files.
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    import torch

    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if program is None:
        from mmer.cli.main import main

        sys.argv = ["mmer", *arguments]
        main()
    else:
        sys.argv = ["-c", *arguments]
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
