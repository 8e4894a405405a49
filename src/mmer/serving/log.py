"""Rate-limited logging to standard error, so that clients cannot flood the log."""

import logging
import time

MOST = 10  # records of one kind per period
PERIOD = 60.0  # s


class Limited(logging.Filter):
    """Log filter that passes a limited number of records per line of code and period, and counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}  # start and count

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
    """Log warnings and errors of the process to standard error, with a rate limit for each kind."""
    handler = logging.StreamHandler()
    handler.addFilter(Limited())
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form, handlers=[handler], force=True)
