"""Access control, rate limits and deadlines: refusal of requests before they are read or instead of an answer."""

import asyncio
import hmac
import math
import re
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from mmer.extras import import_extra
from mmer.plain_text import counted
from mmer.serving.settings import ServiceSettings, ServiceState

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

GUARDED = ("/v1/", "/metrics")
PATIENCE = 1.0  # s for which an upload keeps its place while others wait
AUTHORITY = r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{0,5})?"
HOST = re.compile(AUTHORITY, re.IGNORECASE | re.ASCII)
ORIGIN = re.compile(rf"null|[a-z][a-z0-9+.-]*://{AUTHORITY}", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Refusal:
    """HTTP status and its reason, in one line."""

    status: int
    detail: str
    headers: dict[str, str]


@dataclass(eq=False, slots=True)
class Request:
    """Request that is being read or answered.

    Attributes:
        since: arrival of its header, by the clock of the event loop.
        limit: timeout that cancels it.
        state: `uploads` until the request is complete, then `waits` for its answer; or why it was ended.
        begun: whether its answer has begun.
    """

    since: float
    limit: asyncio.Timeout
    state: Literal["uploads", "waits", "gone", "yields"] = "uploads"
    begun: bool = False

    def end(self, why: Literal["gone", "yields"]) -> None:
        """Cancel the work on it, unless its answer has begun."""
        if not self.begun:
            self.state = why
            self.limit.reschedule(0)


class RateLimit:
    """Number of requests per minute that one address may send.

    Args:
        max_per_minute: the number; 0 for no limit.
    """

    def __init__(self, max_per_minute: int) -> None:
        limits = import_extra("limits", "the HTTP service", "serve")
        self._most = max_per_minute
        self._rate = limits.RateLimitItemPerMinute(max_per_minute or 1)
        self._window = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())

    def refusal(self, address: str | None, cost: int = 1) -> Refusal | None:
        """Count requests of an address; return why they are refused, or None if they are not.

        Args:
            address: of the client; None if unknown.
            cost: number of requests.
        """
        address = address or "unknown"
        if not self._most or cost < 1 or self._window.hit(self._rate, address, cost=cost):
            return None
        reset = self._window.get_window_stats(self._rate, address).reset_time
        wait = max(1, math.ceil(reset - time.time()))
        allowed = f"at most {counted(self._most, 'request')} a minute"
        detail = f"too many requests: {allowed}; ask again in {wait} s"
        return Refusal(429, detail, {"Retry-After": str(wait)})


class Admission:
    """ASGI middleware that admits a request, or refuses it with 400, 401, 403, 429, 503 or 504.

    The middleware cancels the work on a request whose client has left or whose answer takes too long. While all places
    are taken, the request with the longest-running upload gives its place to the next one.

    Args:
        app: the application behind it.
        settings: settings of the service.
        state: state of the service; the middleware counts requests in flight.
        rate: rate limit of the clients.
    """

    def __init__(
        self, app: "ASGIApp", settings: ServiceSettings, state: ServiceState, rate: RateLimit
    ) -> None:
        self._app, self._settings, self._state, self._rate = app, settings, state, rate
        self._requests: set[Request] = set()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        is_guarded = scope["path"].startswith(GUARDED)
        refusal = self._stranger(scope, headers)
        if refusal is None and is_guarded:
            refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
        elif not is_guarded:
            await self._app(scope, receive, send)
        else:
            self._state.in_flight += 1
            answer = self._answer if scope["type"] == "http" else self._app
            try:
                await answer(scope, receive, send)
            except asyncio.CancelledError:
                if not self._state.cut_off:
                    raise
            finally:
                self._state.in_flight -= 1

    async def _answer(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request, unless its client leaves or it takes too long."""
        clock, seconds = asyncio.get_running_loop().time, self._settings.answer_seconds
        request = Request(clock(), asyncio.timeout(None))
        watch: asyncio.Task[None] | None = None

        async def watch_client() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            request.end("gone")

        async def read() -> "Message":
            nonlocal watch
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and watch is None:
                request.state = "waits"
                request.limit.reschedule(clock() + seconds)
                watch = asyncio.create_task(watch_client())
            return message

        async def write(message: "Message") -> None:
            request.begun = True
            if request.state in ("uploads", "waits"):
                request.limit.reschedule(None)
            await send(message)

        self._requests.add(request)
        try:
            async with request.limit:
                await self._app(scope, read, write)
        except TimeoutError:
            if not request.limit.expired():
                raise
            if request.begun or request.state == "gone":
                return
            if request.state == "waits":
                late = f"no answer within {seconds:g} s; send less at a time, or ask again later"
                await _refuse(Refusal(504, late, {}), scope, receive, send)
            else:
                slow = "the service is busy, and this request was slow to come; ask again soon"
                await _refuse(Refusal(503, slow, {"Retry-After": "1"}), scope, receive, send)
        finally:
            self._requests.discard(request)
            if watch is not None:
                watch.cancel()

    def _stranger(self, scope: "Scope", headers: list[tuple[str, str]]) -> Refusal | None:
        """Return why a request is refused as cross-origin or as DNS rebinding; None if it is not."""
        host, origin = (_only(name, headers) for name in ("host", "origin"))
        for name, value, form in (("Host", host, HOST), ("Origin", origin, ORIGIN)):
            if value is not None and not form.fullmatch(value):
                return Refusal(400, f"the header {name} is malformed", {})
        if host is not None and not self._is_ours(host, scope):
            return Refusal(403, f"this service is not called {host}; the operator can allow that name", {})
        if origin is not None and origin.partition("://")[2].lower() != (host or "").lower():
            return Refusal(403, f"pages of {origin} may not ask this service", {})
        return None

    def _is_ours(self, host: str, scope: "Scope") -> bool:
        """Tell whether a `Host` names this service; a foreign name may be DNS rebinding."""
        found = HOST.fullmatch(host)
        assert found is not None
        name = found["name"].strip("[]").rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost") or name in self._settings.allowed_hosts:
            return True
        try:
            address, own = ip_address(name), ip_address((scope.get("server") or ("",))[0])
        except ValueError:
            return False
        return address.is_loopback or address == own

    def _refusal(self, scope: "Scope", headers: list[tuple[str, str]]) -> Refusal | None:
        given = _only("authorization", headers)
        if not self._knows(given or ""):
            wrong = "this is not the token of this service" if given else "this service asks for a token"
            told = f"{wrong}: send the header 'Authorization: Bearer TOKEN'"
            return Refusal(401, told, {"WWW-Authenticate": "Bearer"})
        if scope["path"] == "/metrics":
            return None
        if self._state.draining:
            return Refusal(503, "the service is stopping; ask again later", {"Retry-After": "5"})
        refusal = self._rate.refusal((scope.get("client") or (None,))[0])
        if refusal is not None:
            return refusal
        if scope["type"] == "http" and not self._has_place():
            busy = f"{counted(len(self._requests), 'request', 'is', 'are')} being answered, and no more at a time"
            return Refusal(503, f"the service is busy: {busy}; ask again soon", {"Retry-After": "1"})
        return None

    def _has_place(self) -> bool:
        if len(self._requests) < self._settings.max_concurrent:
            return True
        uploads = [request for request in self._requests if request.state == "uploads"]
        slowest = min(uploads, key=lambda request: request.since, default=None)
        if slowest is None or asyncio.get_running_loop().time() - slowest.since < PATIENCE:
            return False
        slowest.end("yields")
        self._requests.discard(slowest)
        return True

    def _knows(self, authorization: str) -> bool:
        if self._settings.token is None:
            return True
        kind, _, token = authorization.partition(" ")
        same = hmac.compare_digest(token.strip().encode(), self._settings.token.encode())
        return kind.lower() == "bearer" and same


def _only(name: str, headers: list[tuple[str, str]]) -> str | None:
    """Return the value of a header; repeated headers are joined, which makes a single-valued one malformed."""
    values = [value for each, value in headers if each == name]
    return ", ".join(values) if values else None


async def _refuse(refusal: Refusal, scope: "Scope", receive: "Receive", send: "Send") -> None:
    from starlette.responses import JSONResponse

    response = JSONResponse({"detail": refusal.detail}, refusal.status, refusal.headers)
    await response(scope, receive, send)
