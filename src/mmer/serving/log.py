"""What a service writes to standard error, which no client can make longer than it should be."""

import logging
import time
from logging.config import dictConfig

MOST = 10  # lines of one kind in a period
PERIOD = 60.0  # s


class Limited(logging.Filter):
    """Lets so many records of each line of code through in a period, and counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}  # when the period began, and how many came

    def filter(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), time.monotonic()
        begun, count = self._seen.get(place, (now, 0))
        if now - begun > PERIOD:
            left_out = max(count - MOST, 0)
            if left_out:
                record.msg = f"{record.getMessage()}\n({left_out} more like this were not written)"
                record.args = None
            begun, count = now, 0
        self._seen[place] = begun, count + 1
        return count < MOST


def limit_log() -> None:
    """Write warnings and errors of the whole process to standard error, each kind so often and no more."""
    dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"limited": {"()": Limited}},
            "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "filters": ["limited"],
                    "formatter": "plain",
                }
            },
            "root": {"level": "WARNING", "handlers": ["stderr"]},
        }
    )
