"""The requests of docs/app.md that are about one clip and the work on it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from sam2_video.app import exports
from sam2_video.app.desk import DOWNLOAD, Desk
from sam2_video.app.errors import RequestError
from sam2_video.app.events import Listener
from sam2_video.app.requests import answering, mask_of, named, number, text, whole
from sam2_video.app.work import Work

SAID = ("points", "labels", "box")
A_WHILE = "private, max-age=300"  # a clip may be forgotten, and another one opened under its name


class SessionRoutes:
    """Handlers; each is called in a thread of the pool but for `events`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        at = "/api/sessions/{id}"
        return [
            Route("/api/sessions", answering(self.listed)),
            Route("/api/sessions", answering(self.opened, body=True), methods=["POST"]),
            Route(at, answering(self.session)),
            Route(at, answering(self.forget), methods=["DELETE"]),
            Route(f"{at}/frames/{{frame:int}}.jpg", answering(self.frame)),
            Route(f"{at}/masks/{{frame:int}}", answering(self.masks)),
            Route(f"{at}/timeline", answering(self.timeline)),
            Route(f"{at}/events", self.events),
            Route(f"{at}/objects", answering(self.add_object, body=True), methods=["POST"]),
            Route(f"{at}/objects/{{object:int}}", answering(self.describe, body=True), methods=["PATCH"]),
            Route(f"{at}/objects/{{object:int}}", answering(self.remove), methods=["DELETE"]),
            Route(f"{at}/prompts", answering(self.prompt, body=True), methods=["POST"]),
            Route(f"{at}/prompts", answering(self.clear), methods=["DELETE"]),
            Route(f"{at}/undo", answering(self.undo), methods=["POST"]),
            Route(f"{at}/redo", answering(self.redo), methods=["POST"]),
            Route(f"{at}/track", answering(self.track, body=True, status=202), methods=["POST"]),
            Route(f"{at}/pause", answering(self.pause), methods=["POST"]),
            Route(f"{at}/resume", answering(self.resume, status=202), methods=["POST"]),
            Route(f"{at}/cancel", answering(self.cancel), methods=["POST"]),
            Route(f"{at}/save", answering(self.save), methods=["POST"]),
            Route(f"{at}/file", answering(self.file)),
            Route(f"{at}/export", answering(self.export, body=True, status=202), methods=["POST"]),
            Route(f"{at}/exports", answering(self.exports)),
            Route(f"{at}/exports/{{name}}", answering(self.export_file)),
        ]

    def _work(self, request: Request) -> Work:
        return self._desk.work(request.path_params["id"])

    # --- looking ---

    def listed(self, request: Request) -> dict[str, Any]:
        return {"sessions": self._desk.kept()}

    def session(self, request: Request) -> dict[str, Any]:
        return self._work(request).as_json()

    def frame(self, request: Request) -> Response:
        frame, width = request.path_params["frame"], whole(request.query_params, "width")
        self._work(request).check_frame(frame)
        data = self._desk.frames(request.path_params["id"]).jpeg(frame, width)
        return Response(data, media_type="image/jpeg", headers={"cache-control": A_WHILE})

    def masks(self, request: Request) -> dict[str, Any]:
        return self._work(request).masks(request.path_params["frame"])

    def timeline(self, request: Request) -> dict[str, Any]:
        return self._work(request).timeline()

    async def events(self, request: Request) -> Response:
        work = await run_in_threadpool(self._work, request)
        listener = Listener(asyncio.get_running_loop())
        work.news.join(listener)
        listener.tell("session", await run_in_threadpool(work.as_json))

        async def messages() -> AsyncIterator[bytes]:
            try:
                async for message in listener.messages():
                    yield message
            finally:
                work.news.leave(listener)

        return StreamingResponse(messages(), media_type="text/event-stream")

    # --- changing ---

    def opened(self, request: Request, said: dict[str, Any]) -> dict[str, Any]:
        return self._desk.open(named(said, "path")).as_json()

    def forget(self, request: Request) -> dict[str, Any]:
        self._desk.forget(request.path_params["id"])
        return {}

    def add_object(self, request: Request, said: dict[str, Any]) -> dict[str, Any]:
        work, object_id = self._work(request), whole(said, "id")
        name, category = text(said, "name") or "", text(said, "category") or ""
        return work.change(lambda: work.add_object(object_id, name, category), whole(said, "revision"))

    def describe(self, request: Request, said: dict[str, Any]) -> dict[str, Any]:
        work, object_id = self._work(request), request.path_params["object"]
        name, category = text(said, "name"), text(said, "category")
        return work.change(lambda: work.describe(object_id, name, category), whole(said, "revision"))

    def remove(self, request: Request) -> dict[str, Any]:
        work, object_id = self._work(request), request.path_params["object"]
        return work.change(lambda: work.remove(object_id), whole(request.query_params, "revision"))

    def prompt(self, request: Request, said: dict[str, Any]) -> dict[str, Any]:
        work = self._work(request)
        prompt = {key: said[key] for key in SAID if said.get(key)}
        if said.get("mask") is not None:
            prompt["mask"] = mask_of(said["mask"], work.session.size)
        object_id, frame = number(said, "object"), number(said, "frame")
        if object_id < 1:
            raise RequestError(f"object ids count from 1 here; got {object_id}")
        work.check_frame(frame)
        prompt |= {"frame": frame, "object_id": object_id, "add": not said.get("replace", False)}
        return work.prompt(prompt, whole(said, "revision"))

    def clear(self, request: Request) -> dict[str, Any]:
        work, asked = self._work(request), request.query_params
        frame, object_id = number(asked, "frame"), number(asked, "object")
        return {"session": work.change(lambda: work.clear(frame, object_id), whole(asked, "revision"))}

    def undo(self, request: Request) -> dict[str, Any]:
        work = self._work(request)
        return {"session": work.change(work.undo)}

    def redo(self, request: Request) -> dict[str, Any]:
        work = self._work(request)
        return {"session": work.change(work.redo)}

    # --- long jobs ---

    def track(self, request: Request, said: dict[str, Any]) -> dict[str, Any]:
        direction: Any = said.get("direction", "forward")
        self._work(request).jobs.track(direction, whole(said, "start"), whole(said, "stop"))
        return self._work(request).as_json()

    def pause(self, request: Request) -> dict[str, Any]:
        self._work(request).jobs.stop("paused")
        return self._work(request).as_json()

    def resume(self, request: Request) -> dict[str, Any]:
        self._work(request).jobs.resume()
        return self._work(request).as_json()

    def cancel(self, request: Request) -> dict[str, Any]:
        self._work(request).jobs.stop("cancelled")
        return self._work(request).as_json()

    def export(self, request: Request, said: dict[str, Any]) -> dict[str, Any]:
        formats = said.get("formats")
        if not isinstance(formats, list) or not all(isinstance(name, str) for name in formats):
            raise RequestError(f"formats is {formats!r}; expected a list of names")
        work = self._work(request)
        return exports.begin_export(work, formats, self._desk.places.find(work.clip.path)).as_json()

    # --- files ---

    def save(self, request: Request) -> dict[str, Any]:
        self._work(request).save()
        return {}

    def file(self, request: Request) -> Response:
        work = self._work(request)
        path = work.clip.folder / f"{DOWNLOAD}{secrets.token_hex(8)}.sam2"
        work.write(path)
        name = f"{work.clip.name}.sam2"
        gone = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, filename=name, media_type="application/octet-stream", background=gone)

    def exports(self, request: Request) -> list[dict[str, Any]]:
        return exports.list_exports(self._work(request))

    def export_file(self, request: Request) -> Response:
        path = exports.export_file(self._work(request), request.path_params["name"])
        return FileResponse(path, filename=path.name, media_type="application/zip")
