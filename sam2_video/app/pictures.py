"""The picture tab: prompts on one picture, its candidates, and masks of everything in it."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.app.errors import RequestError, told
from sam2_video.app.models import Models
from sam2_video.app.places import Places
from sam2_video.app.previews import encode_jpeg, scaled
from sam2_video.app.shown import shown_size
from sam2_video.app.task import Task
from sam2_video.app.worker import Worker
from sam2_video.image_predictor import ImagePredictor
from sam2_video.image_result import ImageResult
from sam2_video.mask_generator import AutoMask, MaskGenerator
from sam2_video.mask_runs import Runs
from sam2_video.model.sam1 import AnyModel
from sam2_video.sources import read_picture

MOST_OPEN = 4  # pictures; what a model saw of one takes up to 17 MB at 1024 x 1024
MOST_POINTS = 64  # a side


@dataclass
class Picture:
    """One open picture."""

    id: str
    name: str
    rgb: NDArray[np.uint8]
    predictor: ImagePredictor
    latest: ImageResult | None = None
    everything: list[AutoMask] | None = None
    task: Task | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size(self) -> tuple[int, int]:
        return self.rgb.shape[0], self.rgb.shape[1]


class PolitePredictor(ImagePredictor):
    """Lets others have their turn between two batches of points."""

    def __init__(self, model: AnyModel, give_way: Callable[[], None]) -> None:
        super().__init__(model)
        self._give_way = give_way

    def predict_batch(self, *args: Any, **kwargs: Any) -> Any:
        self._give_way()
        return super().predict_batch(*args, **kwargs)


class Pictures:
    """The pictures that are open; they are not kept."""

    def __init__(self, places: Places, models: Models, worker: Worker) -> None:
        self._places, self._models, self._worker = places, models, worker
        self._open: OrderedDict[str, Picture] = OrderedDict()

    def open(self, path: str) -> Picture:
        """Look at a picture. Raises RequestError and SourceError."""
        file = self._places.find(path)
        rgb = read_picture(file)

        def look() -> Picture:
            predictor = ImagePredictor(self._models.predictor.model)
            predictor.set_image(rgb)
            tag = hashlib.sha256(f"{path} {self._models.current}".encode()).hexdigest()[:12]
            return Picture(tag, file.stem, rgb, predictor)

        picture = self._worker.do(look)
        self._open[picture.id] = picture
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        return picture

    def get(self, picture_id: str) -> Picture:
        """Raises RequestError for one that is not open (any more)."""
        picture = self._open.get(picture_id)
        if picture is None:
            raise RequestError("this picture is not open any more: open it again", 404)
        return picture

    def predict(self, picture: Picture, said: dict[str, Any], mask_from: int | None) -> dict[str, Any]:
        """The candidates for a prompt; `mask_from` refines one of those before. Raises PromptError."""

        def find() -> ImageResult:
            if mask_from is None:
                return picture.predictor.predict(**said, multimask=_is_vague(said))
            logits = self._candidate(picture, mask_from).logits[mask_from]
            return picture.predictor.predict(**said, mask_logits=logits, multimask=False)

        picture.latest = result = self._worker.do(find)
        masks = [_runs_json(mask, picture.size) for mask in result.masks]
        scores = [round(float(iou), 4) for iou in result.iou]
        return {"candidates": [{"iou": iou, **mask} for iou, mask in zip(scores, masks, strict=True)]}

    def mask_png(self, picture: Picture, candidate: int) -> bytes:
        """One candidate at the size of the picture, 255 inside. Raises RequestError."""
        return _png(self._candidate(picture, candidate).masks[candidate])

    def everything(self, picture: Picture, points: int | None) -> None:
        """Begin to find masks of everything. Raises RequestError."""
        with picture.lock:
            if picture.task is not None and not picture.task.is_over:
                raise RequestError("masks of this picture are being looked for already", 409)
            options = {} if points is None else {"points_per_side": points}
            if points is not None and not 1 <= points <= MOST_POINTS:
                raise RequestError(f"points_per_side is {points}; expected 1 to {MOST_POINTS}")
            picture.task = task = Task("everything", None)
        self._worker.ask(lambda: self._find_everything(picture, task, options), long=True)

    def _find_everything(self, picture: Picture, task: Task, options: dict[str, Any]) -> None:
        def give_way() -> None:
            task.step()
            self._worker.give_way()

        try:
            model = picture.predictor.model
            generator = MaskGenerator(model, **options)
            generator.predictor = PolitePredictor(model, give_way)
            picture.everything = generator.generate(picture.rgb)
            task.end("done")
        except Exception as error:
            task.end("failed", told(error)[1])

    def everything_json(self, picture: Picture) -> dict[str, Any]:
        """How far that is, and the masks once they are found."""
        masks = [] if picture.everything is None else picture.everything
        shown = [
            {
                "iou": round(mask.predicted_iou, 4),
                "stability": round(mask.stability_score, 4),
                "area": mask.area,
                **_runs_json(mask.mask, picture.size),
            }
            for mask in masks
        ]
        return {"task": None if picture.task is None else picture.task.as_json(), "masks": shown}

    def everything_zip(self, picture: Picture) -> bytes:
        """All masks as PNG files. Raises RequestError while there are none."""
        if not picture.everything:
            raise RequestError("there are no masks of this picture yet", 404)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for k, mask in enumerate(picture.everything):
                archive.writestr(f"{k:03d}.png", _png(mask.mask))
        return buffer.getvalue()

    @staticmethod
    def _candidate(picture: Picture, candidate: int) -> ImageResult:
        result = picture.latest
        if result is None or not 0 <= candidate < len(result.iou):
            raise RequestError(f"there is no candidate {candidate}: prompt the picture first", 404)
        return result

    @staticmethod
    def jpeg(picture: Picture, width: int | None) -> bytes:
        """The picture, at most `width` pixels wide."""
        return encode_jpeg(picture.rgb if width is None else scaled(picture.rgb, max(16, width)))


def _is_vague(said: dict[str, Any]) -> bool:
    """A single click can mean several things."""
    return said.get("box") is None and len(said.get("points") or ()) <= 1


def _runs_json(mask: NDArray[np.bool_], size: tuple[int, int]) -> dict[str, Any]:
    import cv2

    height, width = shown_size(size)
    if (height, width) != size:
        small = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
        mask = np.asarray(small, bool)
    return dict(Runs.of_mask(mask).lengths())


def _png(mask: NDArray[np.bool_]) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1])
