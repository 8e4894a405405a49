"""How a service is set up, and what it is doing."""

from dataclasses import dataclass
from pathlib import Path

from mmer.errors import MMERError
from mmer.files.regular import refuse_special

SHORTEST_TOKEN = 16  # characters


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Limits and access of a service.

    Attributes:
        token: what clients must send as `Authorization: Bearer ...`; None lets everybody in.
        allowed_hosts: names of the service in the header `Host`, besides those of this machine and the address that
            a client connected to; lower case, without port.
        max_upload: bytes of a request.
        max_duration: seconds of a recording or a stream that is divided into segments; a clip is bounded by the model.
        max_concurrent: requests at a time.
        max_streams: streams at a time.
        max_waiting: connections of one address that may keep the service waiting for longer than a second.
        max_per_minute: requests from one address; 0 for no limit.
        batch_size: utterances that the model answers at a time.
        batch_wait: seconds that an utterance waits for more requests.
        header_seconds: until the header of a request has come.
        body_seconds: until the body of a request has come, and one more for each 20 kB of it; also until a client
            takes more of its answer.
        silence_seconds: in which a stream must bring a second of sound.
        answer_seconds: from the end of a request to its answer.
        ready_seconds: in which the model must answer for the service to be ready.
        grace: seconds from the order to stop to the end of the process, at most.
        trusted_proxies: addresses, separated by commas, whose X-Forwarded-For is believed; None for none.
    """

    token: str | None = None
    allowed_hosts: frozenset[str] = frozenset()
    max_upload: int = 25_000_000
    max_duration: float = 3600.0
    max_concurrent: int = 256
    max_streams: int = 32
    max_waiting: int = 64
    max_per_minute: int = 600
    batch_size: int = 16
    batch_wait: float = 0.005
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    silence_seconds: float = 30.0
    answer_seconds: float = 600.0
    ready_seconds: float = 10.0
    grace: float = 30.0
    trusted_proxies: str | None = None


@dataclass(slots=True)
class ServiceState:
    """What a running service is doing.

    Attributes:
        draining: it was told to stop, and takes no more requests.
        cut_off: time is over for what is in flight.
        in_flight: requests and streams that are being answered.
    """

    draining: bool = False
    cut_off: bool = False
    in_flight: int = 0


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        MMERError: there is no such file, or it does not hold one line of at least 16 visible ASCII characters.
    """
    refuse_special(path, MMERError)
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise MMERError(f"token file {path} cannot be read ({reason})") from error
    if len(token) < SHORTEST_TOKEN or not all("!" <= character <= "~" for character in token):
        raise MMERError(
            f"token file {path} holds {len(token)} characters; it must hold one token of at least {SHORTEST_TOKEN} "
            "visible ASCII characters without spaces, such as the output of: openssl rand -hex 32"
        )
    return token
