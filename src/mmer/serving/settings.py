"""Settings and state of a service."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveInt

from mmer.corpora.labels import nearest
from mmer.errors import MMERError, RecipeError
from mmer.files.regular import refuse_special
from mmer.recipe.errors import not_allowed
from mmer.recipe.parsing import read_settings
from mmer.recipe.values import Section

SHORTEST_TOKEN = 16  # characters
PREFIX = "MMER_"
"""Prefix of environment variables that are settings of the service."""

_UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(kB|MB|GB)", re.IGNORECASE)
_HOST_NAME = re.compile(r"[\w.-]*\w", re.ASCII)
_Seconds = Annotated[float, Field(ge=1)]


class _Size(int):
    """Number of bytes, written in MB."""

    def __str__(self) -> str:
        return f"{self / 1e6:g}MB"


def _bytes(value: Any) -> Any:
    found = _SIZE.fullmatch(str(value))
    size = round(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if size < 1000:
        raise not_allowed("a size from 1kB on with its unit, such as 25MB")
    return size


def _host_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_HOST_NAME.fullmatch(name) or _parses(ip_address, name) for name in names):
        raise not_allowed("names or addresses without scheme and port, such as emotion.example.org")
    return names


def _proxies(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_parses(ip_network if "/" in address else ip_address, address) for address in addresses):
        raise not_allowed("addresses or networks, such as 10.0.0.7 or 10.0.0.0/8")
    return addresses


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


class ServeSettings(Section):
    """Operator's settings of a service, from a file, environment variables or the command line."""

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 for all addresses of this machine."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen at; 0 picks a free one."""
    token_file: Path | None = None
    """File with the token that clients must send as `Authorization: Bearer TOKEN`."""
    allow_host: Annotated[tuple[str, ...], AfterValidator(_host_names)] = ()
    """Names of the service in the header Host, such as emotion.example.org, beside this machine's own names and the
    address that a client connected to."""
    trusted_proxy: Annotated[tuple[str, ...], AfterValidator(_proxies)] = ()
    """Addresses or networks of reverse proxies, such as 10.0.0.7 or 10.0.0.0/8, whose X-Forwarded-For is trusted."""
    max_upload: Annotated[int, BeforeValidator(_bytes)] = _Size(25_000_000)
    """Largest request, such as 25MB."""
    max_duration: _Seconds = 3600.0
    """Longest recording or stream that is divided into segments, in seconds."""
    max_concurrent: PositiveInt = 256
    """Largest number of simultaneous requests."""
    max_streams: PositiveInt = 32
    """Largest number of simultaneous streams."""
    max_per_minute: NonNegativeInt = 600
    """Largest number of requests from one address per minute; 0 for no limit."""
    access_log: bool = False
    """Whether to write a line of JSON to standard output for each request and each stream."""
    time_limit: _Seconds = 600.0
    """Longest time from the end of a request to its answer, in seconds; then it gets 504."""
    grace: _Seconds = 30.0
    """Longest time from the stop signal to the end of the process, in seconds."""
    speakers: Path | None = None
    """Corpus with clips of speakers that requests may name, for a model that standardizes per speaker."""
    label_map: str | None = None
    """Names of the model's labels in its answers: canonical, four, polarity, or a .yaml, .json or .csv file."""
    transcription: str = "given"
    """Source of the transcripts: given, none, ctc or whisper:NAME-OR-FOLDER."""
    batch_size: PositiveInt = 16
    """Number of utterances in a batch."""
    device: str | None = None
    """cpu, cuda or cuda:N; the first GPU if there is one."""

    def service(self) -> "ServiceSettings":
        """Return the limits and access of the service.

        Raises:
            MMERError: the token file cannot be used.
        """
        return ServiceSettings(
            token=read_token(self.token_file) if self.token_file else None,
            max_upload=self.max_upload,
            max_duration=self.max_duration,
            max_concurrent=self.max_concurrent,
            max_streams=self.max_streams,
            access_log=self.access_log,
            answer_seconds=self.time_limit,
            grace=self.grace,
            allowed_hosts=frozenset(name.lower() for name in self.allow_host),
            max_per_minute=self.max_per_minute,
            batch_size=self.batch_size,
            trusted_proxies=",".join(self.trusted_proxy) or None,
        )


def read_serve_settings(
    file: Path | None = None,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> ServeSettings:
    """Read the settings of a service; overrides take precedence over the environment, and both over the file.

    Args:
        file: YAML file, a mapping from names to values.
        overrides: settings as `name=value`.
        environment: environment variables, such as `MMER_PORT` for the setting `port`; empty ones are
            ignored, except that of `token_file`.

    Raises:
        RecipeError: a setting is unknown or its value not allowed, or that of `token_file` is empty, which would leave
            the service open; the message says where it was found.
        MMERError: the file cannot be read.
    """
    text = "" if file is None else _text_of(file, "settings file")
    variables = {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) and (value or name == f"{PREFIX}TOKEN_FILE")
    }
    known = [f"{PREFIX}{name.upper()}" for name in ServeSettings.model_fields]
    if unknown := sorted(set(variables) - set(known)):
        raise MMERError(
            f"the environment variable {unknown[0]} is no setting of a service{nearest(unknown[0], known)}"
        )
    given = [(name, f"{name.removeprefix(PREFIX).lower()}={value}") for name, value in variables.items()]
    given += [(f"setting {override!r}", override) for override in overrides]
    for place, setting in given:
        name, _, value = setting.partition("=")
        if name.strip() == "token_file" and not value.strip():
            raise RecipeError(f"{place} is empty: name the token's file, or leave this out for open access")
    return read_settings(ServeSettings, text, f"settings file {file}", given)


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Limits and access of a service.

    Attributes:
        token: token that clients must send as `Authorization: Bearer ...`; None for open access.
        allowed_hosts: names of the service in the header `Host`, besides those of this machine and the address that
            a client connected to; lower case, without port.
        max_upload: largest request in bytes.
        max_duration: longest recording or stream that is divided into segments, in seconds; the model limits a clip.
        max_concurrent: largest number of simultaneous requests.
        max_streams: largest number of simultaneous streams.
        max_waiting: largest number of connections of one address that keep the service waiting for more than a second.
        max_per_minute: largest number of requests from one address per minute; 0 for no limit.
        access_log: whether to write a line for each request and stream, see `write_access`.
        batch_size: number of utterances in a batch.
        batch_wait: time in seconds that an utterance waits for more requests.
        header_seconds: timeout for the header of a request.
        body_seconds: timeout for the body of a request, plus one second per 20 kB; also for a client to read more of
            its answer.
        silence_seconds: time in which a stream must send a second of sound.
        answer_seconds: timeout from the end of a request to its answer.
        ready_seconds: timeout of the model's answer to the readiness probe.
        grace: longest time from the stop signal to the end of the process, in seconds.
        trusted_proxies: addresses, separated by commas, whose X-Forwarded-For is trusted; None for none.
    """

    token: str | None = None
    allowed_hosts: frozenset[str] = frozenset()
    max_upload: int = 25_000_000
    max_duration: float = 3600.0
    max_concurrent: int = 256
    max_streams: int = 32
    max_waiting: int = 64
    max_per_minute: int = 600
    access_log: bool = False
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
    """State of a running service.

    Attributes:
        draining: the service is stopping and takes no more requests.
        cut_off: the grace period for requests in flight is over.
        in_flight: number of requests and streams in progress.
    """

    draining: bool = False
    cut_off: bool = False
    in_flight: int = 0


def read_token(path: Path) -> str:
    """Read the token in a file.

    Raises:
        MMERError: there is no such file, or it does not hold one line of at least 16 visible ASCII characters.
    """
    token = _text_of(path, "token file").strip()
    if len(token) < SHORTEST_TOKEN or not all("!" <= character <= "~" for character in token):
        raise MMERError(
            f"token file {path} holds {len(token)} characters; it must hold one token of at least {SHORTEST_TOKEN} "
            "visible ASCII characters without spaces, such as the output of: openssl rand -hex 32"
        )
    return token


def _text_of(path: Path, what: str) -> str:
    refuse_special(path, MMERError)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise MMERError(f"{what} {path} cannot be read ({reason})") from error
