"""Clients of a service, for programs with threads and for asyncio."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from mmer.client.messages import (
    Call,
    Item,
    ServiceError,
    ask_predict,
    ask_predict_batch,
    ask_timeline,
    groups,
    is_too_large,
    of_line,
    prediction_of,
    read_answer,
    timeline_of,
    unanswered,
)
from mmer.extras import import_extra
from mmer.inference.inputs import Audio, Utterance, as_utterance
from mmer.inference.prediction import Prediction
from mmer.plain_text import one_line
from mmer.serving.schemas import Answer, ModelCard, TimelineAnswer

if TYPE_CHECKING:
    import httpx2

    from mmer.inference.timeline.timeline import Timeline
else:
    httpx2 = import_extra("httpx2", "the client of a service", "client")

CONNECT_SECONDS = 10.0  # longest time to connect
# s before the first retry, if the service does not say how long; then twice as long each time
FIRST_PAUSE = 0.5


@dataclass(kw_only=True, eq=False)
class _Connection:
    """Address, access and patience of a client."""

    url: str = field(kw_only=False)
    token: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    retries: int = 4

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise ServiceError(
                f"no address of a service: {self.url!r}; give one such as http://127.0.0.1:8000"
            )
        if not self.timeout > 0:
            raise ServiceError(f"timeout must be above 0 seconds, not {self.timeout:g}")
        if self.token is not None:
            self.token = self.token.strip()  # as the service reads its file, which ends with a line break
            if not all("!" <= character <= "~" for character in self.token):
                raise ServiceError(
                    "the token holds a blank or a character that is not ASCII; give that of the service"
                )

    @property
    def _address(self) -> str:
        """The address as errors name it: a password in it, as for a proxy, is left out."""
        return str(httpx2.URL(self.url).copy_with(userinfo=b""))

    @property
    def _settings(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = httpx2.Timeout(self.timeout, connect=CONNECT_SECONDS)
        return {"base_url": self.url, "headers": headers, "timeout": timeout}

    def _pause(self, response: "httpx2.Response", attempt: int) -> float:
        """Return the seconds until a refused request is sent again.

        Raises:
            ServiceError: it is not to be sent again.
        """
        detail = _detail(response)
        if response.status_code == 404:
            raise ServiceError(f"there is no service of mmer at {self._address} ({detail})", 404)
        if response.status_code not in (429, 503) or attempt == self.retries:
            raise ServiceError(detail, response.status_code)
        stated = response.headers.get("Retry-After", "")
        if not stated.isdecimal():
            return FIRST_PAUSE * 2**attempt * random.uniform(0.75, 1.25)
        if int(stated) > self.timeout:
            raise ServiceError(
                f"{detail}; that is more than the timeout of {self.timeout:g} s", response.status_code
            )
        return float(stated)

    def _lost(self, error: Exception) -> ServiceError:
        if isinstance(error, httpx2.ReadTimeout):
            return ServiceError(
                f"the service at {self._address} said nothing for {self.timeout:g} s; give a longer timeout, or "
                "shorter recordings"
            )
        said = one_line(str(error)) or "no answer in time"
        return ServiceError(
            f"the service at {self._address} cannot be asked ({type(error).__name__}: {said})"
        )


class Client(_Connection):
    """Client of a service; `AsyncClient` is the same for asyncio.

    A request that the service refuses with 429 or 503 is sent again after the time that its `Retry-After` names.
    Several threads may use one client. Close it after use, or use it in a `with` statement.

    Attributes:
        url: address of the service, such as `https://emotion.example.org/`.
        token: token of the service, if it asks for one.
        timeout: longest time in seconds for which the service may be silent, and longest pause before a retry.
        retries: how often a request is sent again.

    Raises:
        ServiceError: `url` or `token` cannot be one of a service.
    """

    @cached_property
    def _http(self) -> "httpx2.Client":
        return httpx2.Client(**self._settings)

    def predict(
        self,
        audio: Audio | None = None,
        transcript: str | None = None,
        *,
        speaker: str | None = None,
        min_confidence: float = 0.0,
    ) -> Prediction:
        """Predict the emotion of one recording, of its transcript, or of both.

        Args:
            audio: path, bytes or open binary file of audio or video; None for a transcript alone.
            transcript: the words, if they are known.
            speaker: name of a speaker whom the service knows.
            min_confidence: 0-1; an answer with a lower confidence is marked as abstained.

        Raises:
            AudioError: the file cannot be read.
            ServiceError: the service refused the request, or cannot be asked.
        """
        utterance = as_utterance(Utterance(audio, transcript, speaker=speaker), 1)
        return prediction_of(
            utterance, read_answer(Answer, self._send(ask_predict(utterance, min_confidence)))
        )

    def predict_batch(self, items: Iterable[Item], *, min_confidence: float = 0.0) -> Iterator[Prediction]:
        """Predict the emotion of many recordings, and yield each prediction as soon as it is ready.

        The files are sent in as few requests as the limits of the service allow. A file without an answer gets a
        prediction with an `error`, and does not affect the others.

        Args:
            items: utterances with a file, or the paths or bytes of files alone.
            min_confidence: 0-1; an answer with a lower confidence is marked as abstained.

        Raises:
            ServiceError: the service refused a request, or cannot be asked.
        """
        for group in groups(items, self.model().limits):
            if isinstance(group, Prediction):
                yield group
                continue
            waiting = dict(enumerate(group))
            try:
                with self._answer(ask_predict_batch(group, min_confidence)) as response:
                    for line in response.iter_lines():
                        yield of_line(waiting, line)
                yield from unanswered(waiting, ServiceError("the service ended its answers early"))
            except httpx2.TransportError as error:
                yield from unanswered(waiting, self._lost(error))
            except ServiceError as error:
                if not is_too_large(group, error):
                    raise
                yield from unanswered(waiting, error)

    def timeline(self, audio: Audio, *, channel: str = "mix", smoothing: float = 0.0) -> "Timeline":
        """Predict an emotion for each segment of speech in a recording.

        Args:
            audio: path, bytes or open binary file of audio or video.
            channel: `mix`, `left`, `right`, the number of one from 1, or `each`: every channel is one speaker.
            smoothing: time constant of the smoothing in seconds; 0 for none.

        Returns:
            The timeline, without the waveform (`peaks`).

        Raises:
            AudioError: the file cannot be read.
            ServiceError: the service refused the request, or cannot be asked.
        """
        utterance = as_utterance(audio, 1)
        found = self._send(ask_timeline(utterance, channel, smoothing))
        return timeline_of(utterance, read_answer(TimelineAnswer, found))

    def model(self) -> ModelCard:
        """Return the labels of the model, its hash, and the limits of the service.

        Raises:
            ServiceError: the service refused the request, or cannot be asked.
        """
        return read_answer(ModelCard, self._send(Call("GET", "v1/model")))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call) -> bytes:
        try:
            with self._answer(call) as response:
                return response.read()
        except httpx2.TransportError as error:
            raise self._lost(error) from error

    @contextmanager
    def _answer(self, call: Call) -> "Iterator[httpx2.Response]":
        """Send a request until it is not refused for a time, and open its answer."""
        for attempt in count():
            with self._http.stream(call.method, call.path, **call.arguments) as response:
                if response.is_success:
                    yield response
                    return
                response.read()
            time.sleep(self._pause(response, attempt))


class AsyncClient(_Connection):
    """Client of a service for asyncio; see `Client`, whose arguments and methods it has."""

    @cached_property
    def _http(self) -> "httpx2.AsyncClient":
        return httpx2.AsyncClient(**self._settings)

    async def predict(
        self,
        audio: Audio | None = None,
        transcript: str | None = None,
        *,
        speaker: str | None = None,
        min_confidence: float = 0.0,
    ) -> Prediction:
        """Predict the emotion of one recording, of its transcript, or of both; see `Client.predict`."""
        utterance = as_utterance(Utterance(audio, transcript, speaker=speaker), 1)
        found = await self._send(ask_predict(utterance, min_confidence))
        return prediction_of(utterance, read_answer(Answer, found))

    async def predict_batch(
        self, items: Iterable[Item], *, min_confidence: float = 0.0
    ) -> AsyncIterator[Prediction]:
        """Predict the emotion of many recordings, each as soon as it is ready; see `Client.predict_batch`."""
        for group in groups(items, (await self.model()).limits):
            if isinstance(group, Prediction):
                yield group
                continue
            waiting = dict(enumerate(group))
            try:
                async with self._answer(ask_predict_batch(group, min_confidence)) as response:
                    async for line in response.aiter_lines():
                        yield of_line(waiting, line)
                for failed in unanswered(waiting, ServiceError("the service ended its answers early")):
                    yield failed
            except httpx2.TransportError as error:
                for failed in unanswered(waiting, self._lost(error)):
                    yield failed
            except ServiceError as error:
                if not is_too_large(group, error):
                    raise
                for failed in unanswered(waiting, error):
                    yield failed

    async def timeline(self, audio: Audio, *, channel: str = "mix", smoothing: float = 0.0) -> "Timeline":
        """Predict an emotion for each segment of speech in a recording; see `Client.timeline`."""
        utterance = as_utterance(audio, 1)
        found = await self._send(ask_timeline(utterance, channel, smoothing))
        return timeline_of(utterance, read_answer(TimelineAnswer, found))

    async def model(self) -> ModelCard:
        """Return the labels of the model, its hash, and the limits of the service; see `Client.model`."""
        return read_answer(ModelCard, await self._send(Call("GET", "v1/model")))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, call: Call) -> bytes:
        try:
            async with self._answer(call) as response:
                return await response.aread()
        except httpx2.TransportError as error:
            raise self._lost(error) from error

    @asynccontextmanager
    async def _answer(self, call: Call) -> "AsyncIterator[httpx2.Response]":
        """Send a request until it is not refused for a time, and open its answer."""
        for attempt in count():
            async with self._http.stream(call.method, call.path, **call.arguments) as response:
                if response.is_success:
                    yield response
                    return
                await response.aread()
            await asyncio.sleep(self._pause(response, attempt))


def _is_address(url: str) -> bool:
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    return address.scheme in ("http", "https") and bool(address.host) and (address.port or 0) < 2**16


def _detail(response: "httpx2.Response") -> str:
    """Return why a request was refused."""
    try:
        return one_line(str(response.json()["detail"]))
    except (ValueError, KeyError, TypeError):  # of a proxy
        told = f"the service answered {response.status_code} {one_line(response.reason_phrase)}"
        place = response.headers.get("Location")
        return told if place is None else f"{told}; give the address that it names: {one_line(place)}"
