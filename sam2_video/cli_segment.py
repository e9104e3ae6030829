"""The work behind `sam2-video segment`: a picture and prompts in, its objects cut out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.cli_prompts import PlacedPrompt, check_bounds, gather_prompts
from sam2_video.cli_run import (
    ModelOptions,
    check_folder,
    clear_results,
    input_files,
    load,
    locked,
    model_record,
)
from sam2_video.types import FrameResult, PromptError

if TYPE_CHECKING:
    from sam2_video.image_predictor import ImagePredictor, ImageResult


def gather_on_picture(
    clicks: Iterable[str], boxes: Iterable[str], masks: Iterable[str] = ()
) -> tuple[PlacedPrompt, ...]:
    """Parse `[OBJECT:]X,Y[:-]`, `[OBJECT:]X0,Y0,X1,Y1` and `FILE.png`. Raises PromptError."""
    said = [_placed(text) for text in clicks], [_placed(text) for text in boxes]
    files = [f"0:{text}" for text in masks]
    if not any((*said, files)):
        raise PromptError(
            "no prompt: say what to cut out with --click X,Y, --box X0,Y0,X1,Y1 or --mask FILE.png"
        )
    return gather_prompts(*said, files)


def segment(
    picture: str, prompts: Sequence[PlacedPrompt], out: Path, model: ModelOptions, overwrite: bool
) -> Iterator[str]:
    """Segment the objects of one picture, write masks, overlay and run.json, and yield a line per object."""
    with locked(out):
        yield from _segment(picture, prompts, out, model, overwrite)


def _segment(
    picture: str, prompts: Sequence[PlacedPrompt], out: Path, model: ModelOptions, overwrite: bool
) -> Iterator[str]:
    from sam2_video.image_predictor import ImagePredictor
    from sam2_video.sinks import MaskPngSink, write_run_json
    from sam2_video.sinks.masks import check_ids
    from sam2_video.sources import read_picture

    check_folder(out, overwrite, input_files(picture, prompts))
    bits = check_ids([placed.object_id for placed in prompts])
    path = Path(picture)
    rgb = read_picture(path)
    size = rgb.shape[0], rgb.shape[1]
    check_bounds(prompts, 1, size)
    predictor = ImagePredictor(load(model))
    predictor.set_image(rgb)
    result = as_frame(predict(predictor, prompts), prompts, size)
    clear_results(out)
    with MaskPngSink(out / "masks", bits) as sink:
        sink.write(rgb, result, path.stem)
    write_overlay(out / "overlay.png", rgb, result)
    write_run_json(
        out / "run.json",
        {
            "command": "segment",
            "model": model_record(model),
            "source": path.resolve(),
            "prompts": [placed.as_json() for placed in prompts],
            "status": "complete",
        },
    )
    for object_id, mask, iou in zip(result.object_ids, result.masks, result.iou.tolist(), strict=True):
        yield f"object {object_id}: {mask.sum()} pixels, predicted IoU {iou:.2f}"
    yield f"results are in {out}"


def predict(predictor: ImagePredictor, prompts: Sequence[PlacedPrompt]) -> list[ImageResult]:
    """Find every object; a single click can mean several things, so it gets three answers.

    The box of a mask is said too: models learnt to refine masks that they see with other prompts.
    """
    found: dict[int, ImageResult] = {}
    for single in (True, False):
        rows = [k for k, placed in enumerate(prompts) if _is_single_click(placed) == single]
        said = [_with_box(prompts[k].said()) for k in rows]
        if rows:
            results = predictor.predict_many(
                points=[one.get("points") for one in said],
                labels=[one.get("labels") for one in said],
                boxes=[one.get("box") for one in said],
                masks=[one.get("mask") for one in said],
                multimask=single,
            )
            found |= dict(zip(rows, results, strict=True))
    return [found[k] for k in range(len(prompts))]


def _with_box(said: dict[str, Any]) -> dict[str, Any]:
    if "mask" not in said:
        return said
    rows, columns = (np.flatnonzero(said["mask"].any(axis=axis)) for axis in (1, 0))
    return said | {"box": (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)}


def _is_single_click(placed: PlacedPrompt) -> bool:
    return len(placed.prompt.points) == 1 and placed.prompt.box is None


def as_frame(
    results: Sequence[ImageResult], prompts: Sequence[PlacedPrompt], size: tuple[int, int]
) -> FrameResult:
    """Put the best mask of each object together, as on a clip of one frame."""
    import torch

    rows = [int(result.iou.argmax()) for result in results]
    return FrameResult(
        frame=0,
        object_ids=tuple(placed.object_id for placed in prompts),
        logits=torch.stack(
            [result.logits_over_picture(row) for result, row in zip(results, rows, strict=True)]
        ),
        iou=torch.stack([result.iou[row] for result, row in zip(results, rows, strict=True)]),
        presence=torch.tensor([result.presence for result in results]),
        size=size,
        prompted=(True,) * len(results),
    )


def write_overlay(path: Path, rgb: NDArray[np.uint8], result: FrameResult) -> None:
    """Write the picture with its masks painted on it. Raises SinkError."""
    from PIL import Image

    from sam2_video.sinks.base import write_whole
    from sam2_video.sinks.overlay import paint

    buffer = io.BytesIO()
    Image.fromarray(paint(rgb, result)).save(buffer, "PNG")
    write_whole(path, buffer.getvalue())


def _placed(text: str) -> str:
    """Complete `X,Y` to `0:1:X,Y`: there is one frame, and object 1 unless another is named."""
    return f"0:{text}" if "," not in text.split(":")[0] else f"0:1:{text}"
