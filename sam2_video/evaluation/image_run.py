"""The click protocol on pictures as a run: images.csv, and a manifest beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sam2_video.evaluation.image_clicks import ImageClickReport, evaluate_images
from sam2_video.evaluation.locks import run_lock
from sam2_video.evaluation.manifest import (
    VERSION,
    check_free,
    model_facts,
    now,
    read_manifest,
    surroundings,
    write_manifest,
)
from sam2_video.evaluation.plan import ModelSetup, device_of
from sam2_video.image_predictor import ImagePredictor
from sam2_video.types import SinkError

TABLE = "images.csv"


def run_images(
    root: Path,
    setup: ModelSetup,
    seed: int,
    out: Path,
    progress: Callable[[int, int], object] | None = None,
    held_out: float | None = None,
) -> ImageClickReport:
    """Click on the objects of all pictures below `root`; write OUT/images.csv and OUT/manifest.json.

    `root`, `progress` and `held_out`: see `evaluate_images`. Begins anew in a folder with another run on
    pictures. Raises SinkError where a run of another kind is there, or at work.
    """
    import torch

    from sam2_video.checkpoint import load_model

    with run_lock(out, None):
        before = read_manifest(out)
        if before is not None and before.get("command") != "images":
            raise SinkError(f"{out} holds another run; choose another --out")
        if before is None:
            check_free(out, (TABLE,))
        model = model_facts(setup)
        side = model["config"].get("image_size")
        manifest = {
            "version": VERSION,
            "command": "images",
            "began": now(),
            "model": model,
            "protocol": {"name": "image", "seed": seed, "held_out": held_out},
            "resolution": {"model": f"{side}x{side}", "results": "size of the pictures"},
            "post_processing": {"threshold": "logit > 0", "holes": 0, "sprinkles": 0},
            "data": {"root": str(root)},
            **surroundings(),
            "identity": {},
        }
        threads = torch.get_num_threads()
        torch.set_num_threads(setup.threads)
        try:
            network = load_model(
                setup.model,
                checkpoint=setup.checkpoint,
                device=device_of(setup),
                dtype=setup.dtype,
                overrides=setup.overrides,
            )
            predictor = ImagePredictor(network)
            report = evaluate_images(predictor, root, held_out=held_out, seed=seed, progress=progress)
        finally:
            torch.set_num_threads(threads)
        report.write(out / TABLE)
        told = {
            "clicks": list(report.clicks),
            "pictures": len(report.pictures),
            "objects": report.objects,
            "fingerprint": report.fingerprint,
            "without_objects": len(report.without_objects),
            "failed": dict(report.failed),
        }
        write_manifest(out, manifest | {"pictures": told, "ended": now()})
    return report
