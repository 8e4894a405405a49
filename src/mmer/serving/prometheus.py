"""Prometheus metrics of the service."""

import time
from typing import TYPE_CHECKING

from mmer.extras import import_extra
from mmer.inference.prediction import Prediction
from mmer.serving.settings import ServiceState

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROUTES = frozenset(
    {
        *("/", "/health", "/ready", "/metrics"),
        *("/v1/model", "/v1/predict", "/v1/predict/batch", "/v1/timeline", "/v1/explain", "/v1/stream"),
    }
)
"""Paths counted under their own name; all others count as `other`."""


class Metrics:
    """Counters of one service.

    Args:
        state: state of the service.
    """

    def __init__(self, state: ServiceState) -> None:
        prometheus = import_extra("prometheus_client", "the HTTP service", "serve")
        self._prometheus = prometheus
        self._registry = registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "mmer_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self._seconds = prometheus.Histogram(
            "mmer_request_seconds", "Time to the answer.", ["route"], registry=registry
        )
        self._batches = prometheus.Histogram(
            "mmer_batch_size",
            "Utterances answered together.",
            buckets=[1, 2, 4, 8, 16, 32, 64, 128],
            registry=registry,
        )
        self._answers = prometheus.Counter("mmer_answers", "Answers given.", ["label"], registry=registry)
        self._sound = prometheus.Counter("mmer_sound_seconds", "Sound that was read.", registry=registry)
        in_flight = prometheus.Gauge("mmer_in_flight", "Requests being answered.", registry=registry)
        in_flight.set_function(lambda: state.in_flight)

    def batch(self, size: int) -> None:
        """Count a batch."""
        self._batches.observe(size)

    def answer(self, prediction: Prediction) -> None:
        """Count an answer."""
        self._answers.labels(prediction.label or "dimensions").inc()
        self._sound.inc(prediction.duration or 0)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        route = path if path in ROUTES else "other"
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def page(self) -> tuple[bytes, str]:
        """Return the counters in the Prometheus text format, and their content type."""
        return self._prometheus.generate_latest(self._registry), self._prometheus.CONTENT_TYPE_LATEST


class Watch:
    """ASGI middleware that counts answers and adds security headers.

    Args:
        app: the application behind it.
        metrics: the counters.
    """

    def __init__(self, app: "ASGIApp", metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, path = time.perf_counter(), scope["path"]

        async def answer(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_safety(path)]
                self._metrics.request(path, message["status"], time.perf_counter() - start)
            await send(message)

        await self._app(scope, receive, answer)


def _safety(path: str) -> list[tuple[bytes, bytes]]:
    """Return security headers that allow only what our page needs."""
    # Swagger's page uses inline scripts and styles
    own = "'self'" if not path.startswith("/docs") else "'self' 'unsafe-inline'"
    policy = (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src 'self' data: blob:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
