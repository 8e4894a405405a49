"""Shards of an archive answered on a Ray cluster."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from mmer.errors import MMERError, Parameter
from mmer.extras import import_extra
from mmer.inference.archive.shard import Job, Report, Shard, ShardScorer, Work
from mmer.inference.archive.workers import Answer
from mmer.memory import keep_freed_memory

_OBJECT_STORE = 128 * 2**20  # bytes; rows pass through it, not sound


@contextmanager
def on_ray(job: Job, workers: int) -> Iterator[Answer]:
    """Answer shards with Ray Data in `workers` actors; a lost actor is replaced and its shard answered again.

    The cluster is that of `RAY_ADDRESS`, or a temporary instance on this machine. The model and the recordings must
    have the same paths on all nodes; only this process writes files.

    Yields:
        See `Answer`; raises MMERError if the model cannot be loaded there. Reports whole shards.

    Raises:
        MissingExtraError: Ray is not installed.
        MMERError: there is no such cluster.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray: Any = import_extra("ray", "engine ray", extra="ray")
    data: Any = import_extra("ray.data", "engine ray", extra="ray")
    own = {"num_cpus": workers, "object_store_memory": _OBJECT_STORE, "include_dashboard": False}
    try:
        ray.init(
            logging_level=logging.ERROR, log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else own)
        )
    except Exception as error:
        # Ray raises errors of many kinds, and bare ones where this machine is too busy
        raise _reason(error) from error
    try:
        data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield lambda shards, report: _on_ray(ray, job, workers, shards, report)
    except ray.exceptions.RayError as error:
        raise _reason(error) from error
    finally:
        ray.shutdown()


def _on_ray(
    ray: Any, job: Job, workers: int, shards: Sequence[Shard], report: Report
) -> Iterator[tuple[str, bytes]]:
    gpu = 1 if job.device != "cpu" and ray.cluster_resources().get("GPU") else 0
    asked = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
    answered = asked.map(_Worker, fn_constructor_args=(job,), concurrency=workers, num_gpus=gpu)
    for row in answered.iter_rows():
        report(Work(**row["work"]))
        yield row["file"], row["content"]


class _Worker:
    """Ray actor with a model."""

    def __init__(self, job: Job) -> None:
        keep_freed_memory()
        self._scorer = ShardScorer(job)

    def __call__(self, row: dict[str, Shard]) -> dict[str, str | bytes | dict[str, int | float]]:
        parts: list[Work] = []
        content = self._scorer(row["shard"], parts.append)
        return {"file": row["shard"].file, "content": content, "work": asdict(sum(parts, Work()))}


def _reason(error: BaseException) -> MMERError:
    """Unwrap the error of mmer inside an error of Ray, or quote Ray's own."""
    cause: BaseException | None = error
    while cause is not None:
        inner = getattr(cause, "cause", None) or cause.__cause__
        if isinstance(cause, MMERError):
            return cause
        cause = inner
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return MMERError(Parameter("engine", "ray"), f": {first}; what is done is kept, the same command goes on")
