"""How a service is set up, and what it is doing."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt

from mmer.corpora.labels import nearest
from mmer.errors import MMERError
from mmer.files.regular import refuse_special
from mmer.recipe.parsing import read_settings
from mmer.recipe.values import Section

SHORTEST_TOKEN = 16  # characters


PREFIX = "MMER_"
"""What the name of an environment variable begins with that is a setting of the service."""

_UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(kB|MB|GB)", re.IGNORECASE)
_Seconds = Annotated[float, Field(ge=1)]


class _Size(int):
    """Bytes, written in MB."""

    def __str__(self) -> str:
        return f"{self / 1e6:g}MB"


def _bytes(value: Any) -> Any:
    found = _SIZE.fullmatch(str(value))
    size = round(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if size < 1000:
        raise ValueError("a size from 1kB on with its unit, such as 25MB")
    return size


class ServeSettings(Section):
    """What whoever runs a service may set: in a file, by environment variables, or on the command line."""

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 for all of this machine's."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen at; 0 takes a free one."""
    token_file: Path | None = None
    """A file with the token that clients must send as `Authorization: Bearer TOKEN`."""
    allow_host: tuple[str, ...] = ()
    """Names of the service in the header Host, such as emotion.example.org, beside this machine's names for itself and
    the address that a client connected to."""
    trusted_proxy: tuple[str, ...] = ()
    """Addresses of reverse proxies whose X-Forwarded-For tells the address of a client."""
    max_upload: Annotated[int, BeforeValidator(_bytes)] = _Size(25_000_000)
    """Size of a request, such as 25MB."""
    max_duration: _Seconds = 3600.0
    """Seconds of a recording or stream that is divided into segments."""
    max_concurrent: PositiveInt = 256
    """Requests at a time."""
    max_streams: PositiveInt = 32
    """Streams at a time."""
    max_per_minute: NonNegativeInt = 600
    """Requests from one address in a minute; 0 for no limit."""
    time_limit: _Seconds = 600.0
    """Seconds from the end of a request to its answer; then it gets 504."""
    grace: _Seconds = 30.0
    """Seconds from the order to stop to the end of the process, at most."""
    speakers: Path | None = None
    """A corpus with clips of speakers that requests may name, for a model that standardizes per speaker."""
    transcription: str = "given"
    """Where the words come from: given, none, ctc or whisper:NAME-OR-FOLDER."""
    batch_size: PositiveInt = 16
    """How many utterances the model computes at a time."""
    device: str | None = None
    """cpu, cuda or cuda:N; the first GPU if there is one."""

    def service(self) -> "ServiceSettings":
        """The limits and access of the service.

        Raises:
            MMERError: the token file cannot be used.
        """
        return ServiceSettings(
            token=read_token(self.token_file) if self.token_file else None,
            max_upload=self.max_upload,
            max_duration=self.max_duration,
            max_concurrent=self.max_concurrent,
            max_streams=self.max_streams,
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
    """Settings of a service: those of a file, over them those of the environment, over them the overrides.

    Args:
        file: YAML, a mapping from names to values.
        overrides: each `name=value`.
        environment: `MMER_PORT` is the setting `port`, and so on; an empty one is not set.

    Raises:
        RecipeError: an unknown setting or a value that is not allowed, with where it was found.
        MMERError: the file cannot be read.
    """
    text = ""
    if file is not None:
        refuse_special(file, MMERError)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise MMERError(f"settings file {file} cannot be read ({reason})") from error
    variables = {name: value for name, value in environment.items() if name.startswith(PREFIX) and value}
    known = [f"{PREFIX}{name.upper()}" for name in ServeSettings.model_fields]
    if unknown := sorted(set(variables) - set(known)):
        raise MMERError(
            f"the environment variable {unknown[0]} is no setting of a service{nearest(unknown[0], known)}"
        )
    given = [(name, f"{name.removeprefix(PREFIX).lower()}={value}") for name, value in variables.items()]
    given += [(f"setting {override!r}", override) for override in overrides]
    return read_settings(ServeSettings, text, f"settings file {file}", given)


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
