"""The `masks` command: its options, and whether it is about pictures or about a clip."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from sam2_video import cli_masks_options as m
from sam2_video import cli_options as o
from sam2_video.types import PromptError

SOME_FAILED, INTERRUPTED = 1, 130  # exit codes
EXAMPLES = (
    "Examples:\n\n"
    "sam2-video masks photo.jpg --out out\n\n"
    "sam2-video masks photos/ --points-per-side 16 --crop-n-layers 1 --out out\n\n"
    "sam2-video masks clip.mp4 --every 30 --limit 16 --out out"
)


def masks(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A picture, a folder of them, or a video.")],
    overrides: o.Overrides = None,
    points_per_side: m.PointsPerSide = None,
    points_per_batch: m.PointsPerBatch = None,
    pred_iou_thresh: m.PredIouThresh = None,
    stability_score_thresh: m.StabilityScoreThresh = None,
    stability_score_offset: m.StabilityScoreOffset = None,
    mask_threshold: m.MaskThreshold = None,
    box_nms_thresh: m.BoxNmsThresh = None,
    crop_n_layers: m.CropNLayers = None,
    crop_nms_thresh: m.CropNmsThresh = None,
    crop_overlap_ratio: m.CropOverlapRatio = None,
    crop_n_points_downscale_factor: m.CropNPointsDownscaleFactor = None,
    point_grids: m.PointGrids = None,
    min_mask_region_area: m.MinMaskRegionArea = None,
    max_hole_area: m.MaxHoleArea = None,
    max_sprinkle_area: m.MaxSprinkleArea = None,
    use_m2m: m.UseM2m = None,
    multimask_output: m.MultimaskOutput = None,
    every: m.Every = 0,
    limit: m.Limit = 32,
    same: m.Same = 0.5,
    covered: m.Covered = 0.5,
    least: m.Least = 0.001,
    lost_looks: m.LostLooks = 2,
    start: m.Start = 0,
    stop: m.Stop = None,
    as_clip: Annotated[
        bool, typer.Option("--clip", help="The folder is a clip.", rich_help_panel=m.CLIP)
    ] = False,
    model: o.Model = "nano",
    device: o.Device = None,
    dtype: o.DtypeOption = "float32",
    threads: o.Threads = None,
    memory_mb: m.MemoryMb = None,
    out: o.Out = Path("out"),
    save: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT,...",
            help="Of pictures: json, labels, overlays, sheet (all). Of clips: as for track.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = None,
    overwrite: o.Overwrite = False,
) -> None:
    """Find masks of everything in pictures, or track everything in a clip.

    What is left out has the value that suits the model. The same command on pictures again does those that
    are new, changed or were not reached.
    """
    from sam2_video.cli import checked_overrides
    from sam2_video.cli_run import ModelOptions
    from sam2_video.track_everything import EverythingRules

    changes = _said(
        points_per_side=points_per_side,
        points_per_batch=points_per_batch,
        pred_iou_thresh=pred_iou_thresh,
        stability_score_thresh=stability_score_thresh,
        stability_score_offset=stability_score_offset,
        mask_threshold=mask_threshold,
        box_nms_thresh=box_nms_thresh,
        crop_n_layers=crop_n_layers,
        crop_nms_thresh=crop_nms_thresh,
        crop_overlap_ratio=crop_overlap_ratio,
        crop_n_points_downscale_factor=crop_n_points_downscale_factor,
        point_grids=None if point_grids is None else read_grids(point_grids),
        min_mask_region_area=min_mask_region_area,
        max_hole_area=max_hole_area,
        max_sprinkle_area=max_sprinkle_area,
        use_m2m=use_m2m,
        multimask_output=multimask_output,
    )
    network = ModelOptions(model, device, dtype, threads, checked_overrides(overrides))
    if as_clip or not is_pictures(source):
        rules = EverythingRules(every, limit, same, covered, least, lost_looks)
        _clip(source, out, network, changes, rules, save, overwrite, memory_mb, (start, stop))
    else:
        _check_no_clip_options(
            every=every, limit=limit, same=same, covered=covered, least=least, lost_looks=lost_looks,
            start=start, stop=stop,
        )  # fmt: skip
        _pictures(source, out, network, changes, save, overwrite, memory_mb)


def _check_no_clip_options(**given: Any) -> None:
    """Raise PromptError for options that would be passed over in silence."""
    usual = {name: parameter.default for name, parameter in signature(masks).parameters.items()}
    said = [f"--{name.replace('_', '-')}" for name, value in given.items() if value != usual[name]]
    if said:
        raise PromptError(
            f"{', '.join(said)} are for clips, and this is about pictures; leave them out, or give --clip for"
            " a folder whose pictures are the frames of a clip"
        )


def _said(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _pictures(
    source: str, out: Path, model: Any, changes: Mapping[str, Any], save: str | None, *more: Any
) -> None:
    from sam2_video.cli_masks_pictures import SAVES, mask_pictures, parse_saves

    names = parse_saves(",".join(SAVES) if save is None else save)
    overwrite, memory_mb = more
    say = partial(typer.echo, err=True)
    run = mask_pictures(Path(source), out, model, changes, names, overwrite, memory_mb, say)
    typer.echo(f"{'interrupted after ' if run.was_stopped else ''}{run}; results are in {out}")
    if run.was_stopped:
        typer.echo("the same command goes on with it")
        raise typer.Exit(INTERRUPTED)
    if run.broken:
        typer.echo(f"{len(run.broken)} could not be used: {', '.join(run.broken)}", err=True)
        raise typer.Exit(SOME_FAILED)


def _clip(
    source: str,
    out: Path,
    model: Any,
    changes: Mapping[str, Any],
    rules: Any,
    save: str | None,
    *more: Any,
) -> None:
    from sam2_video.cli_masks_video import mask_video
    from sam2_video.cli_write import parse_saves

    names = parse_saves(o.SAVES if save is None else save)
    summary, everything = mask_video(source, out, model, changes, rules, names, *more)
    objects = f"{len(everything.lives)} objects"
    before = "" if summary.stopped_by is None else "interrupted after "
    typer.echo(f"{before}{objects}, {summary}; results are in {out}")
    if summary.review:
        typer.echo(summary.review)
    if summary.stopped_by is not None:
        typer.echo("what was found is there; the same command with --overwrite begins anew")
        raise typer.Exit(INTERRUPTED)


def is_pictures(source: str) -> bool:
    """Is it a folder, or a picture that does not move?"""
    from sam2_video.sources.folder import PICTURE_TYPES
    from sam2_video.sources.pages import count_pages

    path = Path(source)
    if path.is_dir():
        return True
    return path.is_file() and path.suffix.lower() in PICTURE_TYPES and count_pages(path) <= 1


def read_grids(path: Path) -> list[Any]:
    """Read a file of point grids. Raises PromptError."""
    try:
        grids = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PromptError(f"cannot read the point grids of {path}: {error}") from error
    if not isinstance(grids, list):
        raise PromptError(f"{path} must hold a list of grids, each a list of [x, y] from 0 to 1")
    return grids
