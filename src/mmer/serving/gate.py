"""Who may ask, and how often: what is refused before a request is read."""

import hmac
import math
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mmer.extras import import_extra
from mmer.serving.settings import ServiceSettings, ServiceState

GUARDED = ("/v1/", "/metrics")
Scope = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status and its reason, in one line."""

    status: int
    detail: str
    headers: dict[str, str]


class Gate:
    """ASGI middleware that lets a request in, or refuses it with 401, 403, 429 or 503.

    Args:
        app: what it guards.
        settings: of the service.
        state: of the service; the gate counts what is in flight.
    """

    def __init__(self, app: Any, settings: ServiceSettings, state: ServiceState) -> None:
        limits = import_extra("limits", "mmer serve", "serve")
        self._app, self._settings, self._state = app, settings, state
        self._rate = limits.RateLimitItemPerMinute(settings.max_per_minute or 1)
        self._window = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request, as ASGI asks for it."""
        if scope["type"] == "lifespan" or not scope["path"].startswith(GUARDED):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            from starlette.responses import JSONResponse

            response = JSONResponse({"detail": refusal.detail}, refusal.status, refusal.headers)
            await response(scope, receive, send)
            return
        self._state.in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._state.in_flight -= 1

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._knows(headers.get("authorization", "")):
            wanted = "this service asks for a token: send the header 'Authorization: Bearer TOKEN'"
            return Refusal(401, wanted, {"WWW-Authenticate": "Bearer"})
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return Refusal(403, f"pages of {origin} may not ask this service", {})
        if scope["path"] == "/metrics":
            return None
        if self._state.draining:
            return Refusal(503, "the service is stopping; ask again later", {"Retry-After": "5"})
        wait = self._wait((scope.get("client") or ("unknown",))[0])
        if wait is not None:
            allowed = f"at most {self._settings.max_per_minute} requests a minute are answered"
            again = {"Retry-After": str(wait)}
            return Refusal(429, f"too many requests: {allowed}; ask again in {wait} s", again)
        if self._state.in_flight >= self._settings.max_concurrent:
            busy = f"{self._state.in_flight} requests are being answered, and no more at a time"
            return Refusal(503, f"the service is busy: {busy}; ask again soon", {"Retry-After": "1"})
        return None

    def _knows(self, authorization: str) -> bool:
        if self._settings.token is None:
            return True
        kind, _, token = authorization.partition(" ")
        same = hmac.compare_digest(token.strip().encode(), self._settings.token.encode())
        return kind.lower() == "bearer" and same

    def _wait(self, address: str) -> int | None:
        """Seconds until a request from there is answered again; null if it is now."""
        if not self._settings.max_per_minute or self._window.hit(self._rate, address):
            return None
        reset = self._window.get_window_stats(self._rate, address).reset_time
        return max(1, math.ceil(reset - time.time()))
