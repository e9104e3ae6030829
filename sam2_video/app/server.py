"""The server: requests to handlers, guarded, and how it is started and ended."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from sam2_video.app.access import Guard
from sam2_video.app.desk import Desk
from sam2_video.app.errors import RequestError
from sam2_video.app.pictures import Pictures
from sam2_video.app.requests import on_error
from sam2_video.app.routes import picture_routes, server_routes
from sam2_video.app.session_routes import SessionRoutes
from sam2_video.app.settings import AppSettings

STATIC = Path(__file__).parent / "static"
GRACE = 3  # seconds that open connections get at the end


def build_app(desk: Desk, token: str, host: str, port: int) -> Guard:
    """The ASGI application of a server that is reached at `host` and `port`; at its end it closes `desk`."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(desk.close)

    async def index(request: Request) -> Response:
        if not (STATIC / "index.html").is_file():
            raise RequestError("this installation has no page; its requests can be made all the same", 404)
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-store"})

    routes: list[Route | Mount] = [
        Route("/", index),
        *server_routes(desk),
        *SessionRoutes(desk).routes(),
        *picture_routes(Pictures(desk.places, desk.models, desk.worker)),
    ]
    if STATIC.is_dir():
        routes.append(Mount("/static", _Static(directory=STATIC)))
    inner = Starlette(routes=routes, lifespan=lifespan, exception_handlers=_handlers())
    return Guard(inner, token, host, port)


class _Static(StaticFiles):
    """Files of the page; browsers ask each time whether they have changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def _handlers() -> dict[Any, Any]:
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    from sam2_video.types import Sam2VideoError

    return dict.fromkeys((HTTPException, ClientDisconnect, Sam2VideoError, Exception), on_error)


def serve(settings: AppSettings, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Run a server until it is ended; `announce` is given its address.

    Raises SinkError where another server holds the same state, Sam2VideoError for an address that is taken.
    """
    import torch
    import uvicorn

    from sam2_video.app.holding import held

    torch.set_num_threads(settings.threads or max(1, (os.cpu_count() or 1) - 1))
    with held(settings.state), bound(host, port) as listening:
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(32)
        desk = Desk(settings)
        desk.worker.do(lambda: desk.models.predictor)  # a model that cannot be loaded is told at once
        config = uvicorn.Config(
            build_app(desk, token, host, port),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE,
            server_header=False,
        )
        name = f"[{host}]" if ":" in host else host
        address = f"http://{'127.0.0.1' if host == '0.0.0.0' else name}:{port}/?token={token}"
        announce(address)
        server = uvicorn.Server(config)
        shutdown = server.shutdown

        async def hang_up(sockets: list[socket.socket] | None = None) -> None:
            desk.hang_up()  # pages that listen would keep the server waiting
            await shutdown(sockets)

        server.shutdown = hang_up  # type: ignore[method-assign]
        server.run(sockets=[listening])


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any that is free. Raises Sam2VideoError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        reason = error.strerror or error
        raise RequestError(f"cannot listen at {host}:{port}: {reason}; choose another --port") from error
    return listening
