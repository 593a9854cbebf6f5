"""The session over HTTP: files of the page, JSON, JPEG and masks; nothing here decides anything."""

import gzip
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib import resources
from typing import Annotated, Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wsss.errors import WsssError, first_line
from wsss.review.edits import Actions
from wsss.review.guard import Guard
from wsss.review.record import ConflictError, Decision
from wsss.review.session import Session

MOST_BYTES = 8_000_000
"""That a request may hold."""
PAGE = resources.files("wsss.review") / "page"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
PRIVATE = {"Cache-Control": "private, max-age=3600"}
NOT_KEPT = {"Cache-Control": "no-store"}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str


class _Work(_Body):
    actions: Actions
    version: int
    who: Annotated[str, Field(max_length=80)] = ""
    keep: bool = True


class _Decided(_Work):
    decision: Decision
    seconds: Annotated[float, Field(ge=0, le=1e6)] = 0.0


class _UnknownError(Exception):
    """An id that the run doesn't have."""


def make_app(session: Session, guard: Middleware) -> Starlette:
    """The application.

    Args:
        session: that it serves.
        guard: that decides who may talk to it.
    """

    def known(image_id: str) -> str:
        if image_id not in session.desk.samples:
            raise _UnknownError
        return image_id

    def about(request: Request) -> Response:
        return JSONResponse(session.about(), headers=NOT_KEPT)

    def queue(request: Request) -> Response:
        return JSONResponse(session.queue(), headers=NOT_KEPT)

    def changes(request: Request) -> Response:
        since = request.query_params.get("since", "")
        found = session.changes(int(since) if since.isdecimal() and len(since) < 12 else 0)
        return JSONResponse(found, headers=NOT_KEPT)

    def item(request: Request) -> Response:
        return JSONResponse(session.item(_id(request, known)), headers=NOT_KEPT)

    def image(request: Request) -> Response:
        opened = session.desk.open(_id(request, known))
        return Response(opened.jpeg, media_type="image/jpeg", headers=PRIVATE)

    def thumbnail(request: Request) -> Response:
        data = session.thumbnail(_id(request, known))
        return Response(data, media_type="image/jpeg", headers=PRIVATE)

    async def mask(request: Request) -> Response:
        work = _Work.model_validate_json(await _body(request))
        return await run_in_threadpool(make_mask, work)

    def make_mask(work: _Work) -> Response:
        version = work.version
        if work.keep:
            version = session.keep(known(work.id), version, work.who, work.actions).version
        labels = session.mask(known(work.id), work.actions)
        headers = {
            **NOT_KEPT,
            "Content-Encoding": "gzip",
            "X-Width": str(labels.shape[1]),
            "X-Height": str(labels.shape[0]),
            "X-Version": str(version),
        }
        data = gzip.compress(labels.tobytes(), 1)
        return Response(data, media_type="application/octet-stream", headers=headers)

    async def decide(request: Request) -> Response:
        work = _Decided.model_validate_json(await _body(request))
        return await run_in_threadpool(make_decision, work)

    def make_decision(work: _Decided) -> Response:
        session.decide(
            known(work.id), work.version, work.who, work.actions, work.decision, work.seconds
        )
        return JSONResponse(session.row(work.id))

    async def prepare(request: Request) -> Response:
        session.prepare(known(_Body.model_validate_json(await _body(request)).id))
        return Response(status_code=204)

    def calibrate(request: Request) -> Response:
        return JSONResponse(session.calibrate(), 202)

    async def conflict(request: Request, error: Exception) -> Response:
        assert isinstance(error, ConflictError)
        record = error.record
        found = {"version": record.version, "who": record.who, "when": record.when}
        return JSONResponse({"error": "changed", **found, "state": record.state}, 409)

    routes = [
        Route("/", _file("index.html")),
        *(Route(f"/page/{name}", _file(name)) for name in page_files() if name != "index.html"),
        Route("/api/about", about),
        Route("/api/queue", queue),
        Route("/api/changes", changes),
        Route("/api/item", item),
        Route("/api/image", image),
        Route("/api/thumbnail", thumbnail),
        Route("/api/mask", mask, methods=["POST"]),
        Route("/api/decide", decide, methods=["POST"]),
        Route("/api/prepare", prepare, methods=["POST"]),
        Route("/api/calibrate", calibrate, methods=["POST"]),
    ]
    errors: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
        ConflictError: conflict,
        _UnknownError: _answer(404, "The run has no such image."),
        ValidationError: _answer(400, "The page and the server don't fit: load the page again."),
        WsssError: _answer(422),
        OSError: _answer(507),
    }
    compressed = Middleware(GZipMiddleware, minimum_size=2000, compresslevel=3)
    return Starlette(routes=routes, middleware=[guard, compressed], exception_handlers=errors)


def make_server(
    session: Session, port: int, names: Sequence[str], token: str | None = None
) -> uvicorn.Server:
    """A server that isn't started.

    Args:
        session: that is served.
        port: that it will listen on.
        names: that it goes by.
        token: that is asked for; None asks for none.
    """
    guard = Middleware(Guard, names=names, token=token, port=port)
    settings = uvicorn.Config(
        make_app(session, guard),
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(settings)


def serve(
    session: Session, bound: socket.socket, names: Sequence[str], token: str | None = None
) -> None:
    """Answer at a socket until the process is interrupted; see `make_server`."""
    with suppress(KeyboardInterrupt):
        make_server(session, bound.getsockname()[1], names, token).run(sockets=[bound])
    session.close()


def page_files() -> list[str]:
    """Names of the page's files."""
    return sorted(file.name for file in PAGE.iterdir() if "." in file.name)


def _file(name: str) -> Callable[[Request], Response]:
    data = (PAGE / name).read_bytes()
    kind = TYPES[name[name.rindex(".") :]]

    def answer(request: Request) -> Response:
        return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer


def _id(request: Request, known: Callable[[str], str]) -> str:
    return known(request.query_params.get("id", ""))


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise WsssError("A request holds no JSON: load the page again.")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise WsssError(
                f"A request holds more than {MOST_BYTES // 10**6} MB: accept the image, then go on."
            )
    return bytes(data)


def _answer(status: int, sentence: str = "") -> Callable[[Request, Exception], Awaitable[Response]]:
    """An error as JSON: in this sentence, or in its own."""

    async def handle(request: Request, error: Exception) -> Response:
        own = str(error) if isinstance(error, WsssError) else f"{first_line(error)}."
        return JSONResponse({"error": sentence or own}, status)

    return handle
