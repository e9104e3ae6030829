"""Which models there are, which are loaded, and downloads of others."""

from __future__ import annotations

import threading
from typing import Any

from sam2_video.app.errors import RequestError
from sam2_video.app.settings import AppSettings
from sam2_video.checkpoint import list_models, load_model
from sam2_video.download import cached_file, download
from sam2_video.registry import ModelInfo
from sam2_video.types import Sam2VideoError
from sam2_video.video_predictor import VideoPredictor


class Models:
    """The models of one server. Each is loaded once and shared; the worker's thread loads and runs them."""

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self._loaded: dict[str, VideoPredictor] = {}
        self._downloads: dict[str, threading.Thread] = {}
        self._errors: dict[str, str] = {}
        self.current = settings.model

    @property
    def device(self) -> str:
        """Where models run."""
        import torch

        return self._settings.device or ("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def predictor(self) -> VideoPredictor:
        """What new work is done with."""
        return self.load(self.current)

    @property
    def latest(self) -> VideoPredictor | None:
        """The current model, where it is loaded."""
        return self._loaded.get(self.current)

    def load(self, name: str) -> VideoPredictor:
        """Raises CheckpointError and ConfigError; a model that is not here is not downloaded unasked."""
        if name not in self._loaded:
            info = next((info for info in self.known() if info.name == name), None)
            if info is not None and not is_available(info):
                raise RequestError(f"the model {name} is not on this machine yet: download it first", 409)
            model = load_model(name, device=self.device, dtype=self._settings.dtype, progress=False)
            self._loaded[name] = VideoPredictor(model)
        return self._loaded[name]

    def put(self, name: str, predictor: VideoPredictor) -> None:
        """Use a model that is loaded already under this name."""
        self._loaded[name] = predictor

    def keep(self, names: set[str]) -> None:
        """Let go of all models but these and the current one."""
        self._loaded = {n: held for n, held in self._loaded.items() if n in names | {self.current}}

    def switch(self, name: str) -> None:
        """Use another model for new work. Raises RequestError, CheckpointError."""
        if name not in {info.name for info in self.known()} | {self.current, self._settings.model}:
            raise RequestError(f"there is no model {name!r}", 404)
        self.load(name)
        self.current = name

    def download(self, name: str) -> None:
        """Begin to fetch the weights of a model; `as_json` tells how far it is. Raises RequestError."""
        info = next((info for info in self.known() if info.name == name), None)
        if info is None:
            raise RequestError(f"there is no model {name!r}", 404)
        thread = self._downloads.get(name)
        if is_available(info) or (thread is not None and thread.is_alive()):
            return
        self._errors.pop(name, None)
        thread = threading.Thread(target=self._fetch, args=(info,), name=f"download {name}", daemon=True)
        self._downloads[name] = thread
        thread.start()

    def as_json(self) -> list[dict[str, Any]]:
        """All models for a page."""
        return [
            {
                "name": info.name,
                "parameters": info.parameters,
                "bytes": info.size_bytes,
                "licence": info.licence,
                "available": is_available(info),
                "downloading": self._progress(info),
                "error": self._errors.get(info.name),
            }
            for info in self.known()
        ]

    @staticmethod
    def known() -> list[ModelInfo]:
        """The models that track; SAM 1's are for pictures alone."""
        return [info for info in list_models() if not info.name.startswith("sam_vit")]

    def _fetch(self, info: ModelInfo) -> None:
        try:
            download(info, progress=False)
        except Sam2VideoError as error:
            self._errors[info.name] = str(error)

    def _progress(self, info: ModelInfo) -> dict[str, int | None] | None:
        thread = self._downloads.get(info.name)
        if thread is None or not thread.is_alive():
            return None
        file = cached_file(info)
        part = file.with_name(f"{file.name}.part")
        return {"done": part.stat().st_size if part.exists() else 0, "total": info.size_bytes}


def is_available(info: ModelInfo) -> bool:
    """Are the weights on this machine?"""
    return cached_file(info).is_file() if info.path is None else info.path.is_file()
