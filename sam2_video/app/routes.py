"""The requests of docs/app.md that are about the server, its files and its pictures."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sam2_video.app.desk import Desk
from sam2_video.app.exports import formats_json
from sam2_video.app.listing import list_folder
from sam2_video.app.machine import memory_json
from sam2_video.app.pictures import Picture, Pictures
from sam2_video.app.requests import answering, named, number, whole
from sam2_video.app.uploads import receive


def server_routes(desk: Desk) -> list[Route]:
    """Information, models, files and uploads."""

    def info(request: Request) -> dict[str, Any]:
        from sam2_video import __version__

        models, settings = desk.models, desk.settings
        return {
            "version": __version__,
            "model": models.current,
            "device": models.device,
            "dtype": settings.dtype,
            "memory": memory_json(models),
            "folder": str(desk.places.folder),
            "state": str(settings.state),
            "upload_limit": settings.upload_limit,
            "formats": formats_json(),
            "models": models.as_json(),
        }

    def switch(request: Request, said: dict[str, Any]) -> dict[str, Any]:
        name = named(said, "name")
        desk.worker.do(lambda: desk.models.switch(name))
        return info(request)

    def download(request: Request) -> dict[str, Any]:
        desk.models.download(request.path_params["name"])
        return info(request)

    def files(request: Request) -> dict[str, Any]:
        return list_folder(desk.places, request.query_params.get("path", ""))

    async def upload(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        path = await receive(
            request.stream(),
            request.path_params["name"],
            desk.settings.uploads,
            desk.settings.upload_limit,
            int(length) if length.isdecimal() else None,
        )
        return JSONResponse({"path": path}, 201)

    return [
        Route("/api/info", answering(info)),
        Route("/api/model", answering(switch, body=True), methods=["POST"]),
        Route("/api/models/{name}/download", answering(download, status=202), methods=["POST"]),
        Route("/api/files", answering(files)),
        Route("/api/uploads/{name:path}", upload, methods=["PUT"]),
    ]


def picture_routes(pictures: Pictures) -> list[Route]:
    """The picture tab."""

    def found(request: Request) -> Picture:
        return pictures.get(request.path_params["id"])

    def opened(request: Request, said: dict[str, Any]) -> dict[str, Any]:
        picture = pictures.open(named(said, "path"))
        return {"id": picture.id, "height": picture.size[0], "width": picture.size[1]}

    def jpeg(request: Request) -> Response:
        width = whole(request.query_params, "width")
        return Response(pictures.jpeg(found(request), width), media_type="image/jpeg")

    def predict(request: Request, said: dict[str, Any]) -> dict[str, Any]:
        prompt = {key: said[key] for key in ("points", "labels", "box") if said.get(key)}
        return pictures.predict(found(request), prompt, whole(said, "mask_from"))

    def begin(request: Request, said: dict[str, Any]) -> dict[str, Any]:
        pictures.everything(found(request), whole(said, "points_per_side"))
        return pictures.everything_json(found(request))

    def everything(request: Request) -> dict[str, Any]:
        return pictures.everything_json(found(request))

    def mask(request: Request) -> Response:
        picture = found(request)
        data = pictures.mask_png(picture, number(request.query_params, "candidate"))
        return _attachment(data, "image/png", f"{picture.name}.png")

    def archive(request: Request) -> Response:
        picture = found(request)
        return _attachment(pictures.everything_zip(picture), "application/zip", f"{picture.name}.zip")

    return [
        Route("/api/pictures", answering(opened, body=True), methods=["POST"]),
        Route("/api/pictures/{id}.jpg", answering(jpeg)),
        Route("/api/pictures/{id}/predict", answering(predict, body=True), methods=["POST"]),
        Route("/api/pictures/{id}/everything", answering(begin, body=True, status=202), methods=["POST"]),
        Route("/api/pictures/{id}/everything", answering(everything)),
        Route("/api/pictures/{id}/mask.png", answering(mask)),
        Route("/api/pictures/{id}/everything.zip", answering(archive)),
    ]


def _attachment(data: bytes, kind: str, name: str) -> Response:
    from urllib.parse import quote

    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
    return Response(data, media_type=kind, headers=headers)
