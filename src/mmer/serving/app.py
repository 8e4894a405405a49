"""Routes of the service."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer import __version__
from mmer.corpora.emotion_colors import emotion_colors
from mmer.corpora.labels import nearest
from mmer.errors import MMERError
from mmer.extras import import_extra
from mmer.inference.known_speakers import SPEAKER_NOT_USED
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.transcription import TRANSCRIPT_NOT_USED
from mmer.plain_text import one_line, shortened
from mmer.serving.access_log import AccessLog
from mmer.serving.admission import Admission, RateLimit
from mmer.serving.batching import Batching
from mmer.serving.longer_work import add_longer_work, explains
from mmer.serving.predict_batch import add_predict_batch, most_files
from mmer.serving.prometheus import Metrics, Watch
from mmer.serving.readiness import Readiness
from mmer.serving.schemas import Answer, Limits, ModelCard, Problem, Question, Status
from mmer.serving.service import REFUSALS, Responses, Service, bodies
from mmer.serving.settings import ServiceSettings, ServiceState
from mmer.serving.stream import add_stream
from mmer.serving.uploads import read_question, upload_minutes

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGE = Path(__file__).parent / "page"
LONGEST_PATH = 100  # characters of an unknown path that an answer repeats
DESCRIPTION = """\
Emotions of recordings, of transcripts, or of both. A score says which label raters or directors would probably have
given; it is not what a person feels. Do not use it to decide about people, nor to monitor them without their informed
consent."""

TAGS = [
    {"name": "predictions", "description": "Emotions of utterances and recordings."},
    {"name": "service", "description": "The model, the limits of the service, and its state."},
]


def create_app(
    load: Callable[[], EmotionRecognizer],
    name: str,
    model: str,
    settings: ServiceSettings,
    state: ServiceState,
) -> Any:
    """Create the service as an ASGI application.

    Args:
        load: loads a recognizer; called again for each further one.
        name: display name of the model.
        model: hash of the model, see `model_hash`.
        settings: limits and access.
        state: state shared with the code that stops the service.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        MMERError: `load` raises it.
    """
    import_extra("fastapi", "the HTTP service", "serve")
    from fastapi import FastAPI, HTTPException, Request

    recognizer, metrics = load(), Metrics(state)
    batching = Batching(
        recognizer, batch_size=settings.batch_size, wait=settings.batch_wait, observe=metrics.batch
    )
    rate = RateLimit(settings.max_per_minute)
    service = Service(recognizer, load, name, model, settings, state, metrics, batching, rate)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for pool in service.pools:
            pool.shutdown(wait=False, cancel_futures=True)
        await batching.stop()

    app = FastAPI(
        title="mmer",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_tags=TAGS,
        responses={status: {"model": Problem} for status in (400, 401, 403, 408, 429, 503, 504)},
    )
    _add_errors(app)

    @app.post(
        "/v1/predict",
        operation_id="predict",
        tags=["predictions"],
        summary="Predict the emotion of an utterance",
        responses=REFUSALS,
        openapi_extra=bodies(Question),
    )
    async def predict(request: Request) -> Answer:
        """Predict the emotion of a recording, of its transcript, or of both."""
        question = await read_question(request, Question, settings.max_upload)
        try:
            answer = await service.answer(question)
        except MMERError as error:
            raise HTTPException(422, str(error)) from None
        if question.speaker is not None and not recognizer.processor.per_speaker:
            answer.warnings.append(SPEAKER_NOT_USED)
        if question.transcript is not None and not recognizer.processor.uses_text:
            answer.warnings.append(TRANSCRIPT_NOT_USED)
        return answer

    add_predict_batch(app, service)
    add_longer_work(app, service)
    add_stream(app, service)

    @app.get("/v1/model", operation_id="get_model", tags=["service"], summary="Describe the model")
    async def about() -> ModelCard:
        """Describe the model and the limits of the service."""
        return _model_card(service)

    _add_state(app, service, Readiness(batching, recognizer, settings.ready_seconds))
    _add_pages(app)
    watched = Watch(Admission(app, settings, state, rate), metrics)
    return AccessLog(watched) if settings.access_log else watched


def _add_errors(app: "FastAPI") -> None:
    """Answer unknown paths, wrong methods and failures with `Problem`."""
    from fastapi import HTTPException, Request, Response
    from fastapi.responses import JSONResponse
    from starlette.requests import ClientDisconnect
    from starlette.routing import Route

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: Exception) -> Response:
        return Response(status_code=499)  # no client is left to receive it

    @app.exception_handler(404)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        path = shortened(one_line(request.scope["path"]), LONGEST_PATH)
        paths = sorted({route.path for route in app.routes if isinstance(route, Route)})
        return JSONResponse(
            {"detail": f"there is no {path}{nearest(path, paths)}; there are {', '.join(paths)}"}, 404
        )

    @app.exception_handler(405)
    async def not_allowed(request: Request, error: HTTPException) -> JSONResponse:
        allowed = (error.headers or {}).get("Allow", "GET, HEAD")  # files of the page name none
        told = f"{one_line(request.scope['path'])} does not take {request.method}; it takes {allowed}"
        return JSONResponse({"detail": told}, 405, {"Allow": allowed})

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the service failed; its log says why"}, 500)


def _model_card(service: Service) -> ModelCard:
    recognizer, settings = service.recognizer, service.settings
    processor = recognizer.processor
    return ModelCard(
        name=service.name,
        model=service.model,
        version=__version__,
        labels=recognizer.labels,
        colors={label: color.css for label, color in emotion_colors(recognizer.labels).items()},
        dimensions=recognizer.dimensions,
        listens=processor.uses_speech,
        reads=processor.uses_text,
        needs_both=processor.uses_speech and not processor.missing_modality_embeddings,
        transcription=recognizer.transcription.name,
        calibrated=recognizer.calibration is not None,
        explains=explains(recognizer),
        limits=Limits(
            upload_bytes=settings.max_upload,
            upload_minutes=upload_minutes(settings.max_upload),
            batch_files=most_files(settings),
            clip_seconds=processor.max_duration if processor.uses_speech else None,
            timeline_seconds=settings.max_duration,
            requests_per_minute=settings.max_per_minute,
            concurrent=settings.max_concurrent,
            streams=settings.max_streams,
            answer_seconds=settings.answer_seconds,
        ),
    )


def _add_state(app: "FastAPI", service: Service, is_ready: Readiness) -> None:
    """Add the routes for health, readiness and metrics."""
    from fastapi import Response

    open_to_all: Responses = {status: {} for status in (401, 408, 429, 503, 504)}

    @app.head("/health", include_in_schema=False)
    @app.get(
        "/health",
        operation_id="get_health",
        tags=["service"],
        summary="Tell whether the process is alive",
        responses=open_to_all,
    )
    async def health() -> Status:
        """Tell whether the process is alive."""
        return Status(status="ok")

    @app.head("/ready", include_in_schema=False)
    @app.get(
        "/ready",
        operation_id="get_readiness",
        tags=["service"],
        summary="Tell whether the model answers",
        responses=open_to_all | {503: {"model": Status}},
    )
    async def ready(response: Response) -> Status:
        """Tell whether the service takes requests and the model answers."""
        status = "stopping" if service.state.draining else "ok" if await is_ready() else "stuck"
        response.status_code = 200 if status == "ok" else 503
        return Status(status=status)

    @app.get("/metrics", include_in_schema=False)
    async def counters() -> Response:
        content, media_type = service.metrics.page()
        return Response(content, headers={"Content-Type": media_type})


def _add_pages(app: "FastAPI") -> None:
    """Add the page and the documentation of the routes."""
    from fastapi.openapi.docs import get_swagger_ui_html
    from fastapi.responses import HTMLResponse
    from fastapi.staticfiles import StaticFiles

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse((PAGE / "index.html").read_text(encoding="utf-8"))

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="mmer: HTTP API",
            swagger_js_url="docs/files/swagger-ui-bundle.js",
            swagger_css_url="docs/files/swagger-ui.css",
            swagger_favicon_url="page/icon.svg",
        )

    app.mount("/page", StaticFiles(directory=PAGE))
    app.mount("/docs/files", StaticFiles(packages=[("fastapi_offline", "static")]))
