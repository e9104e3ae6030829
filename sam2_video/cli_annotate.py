"""The `annotate` command: its options, turned into a run, and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sam2_video import cli_evaluate_options as e
from sam2_video import cli_masks_options as m
from sam2_video import cli_options as o

if TYPE_CHECKING:
    from sam2_video.annotation import Outcome, Plan
    from sam2_video.annotation.numbering import Material

OK, SOME_FAILED, INTERRUPTED, TERMINATED = 0, 1, 130, 143  # exit codes
ASKED, KEPT = "What is asked for", "What is kept"
SHOWN = 8  # files in a message
EXAMPLES = (
    "Examples:\n\n"
    "sam2-video annotate photos/ --out annotated\n\n"
    "sam2-video annotate photos/ --mode semi --workers 4 --out annotated\n\n"
    "sam2-video annotate photos/ --mode assisted --prompts detections.json --out annotated\n\n"
    "sam2-video annotate a.mp4 b.mp4 --every 30 --out annotated"
)
_OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w.@/]*=.*", re.DOTALL)
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="FOLDER|FILE... [KEY=VALUE...]",
        help="Folders of pictures and clips, pictures, clips; then overrides of the model's configuration.",
    ),
]
Mode = Annotated[
    Literal["auto", "semi", "assisted"],
    typer.Option(
        help="auto: all that passes the filters is kept; semi: what the model is sure of, the rest is listed "
        "for a person; assisted: what --prompts ask for.",
        rich_help_panel=KEPT,
    ),
]
Prompts = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Boxes and clicks: what track takes, COCO and YOLO with scores, COCO's list of results. May be "
        "repeated.",
        rich_help_panel=ASKED,
    ),
]
PromptsFormat = Annotated[
    str | None,
    typer.Option(metavar="FORMAT", help="Left out: as the content tells.", rich_help_panel=ASKED),
]
PromptsSequence = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="One of several folders or videos in FILE.", rich_help_panel=ASKED),
]
ImageInfo = Annotated[
    Path | None,
    typer.Option(
        metavar="COCO.json", help="What a list of results calls images and classes.", rich_help_panel=ASKED
    ),
]
MinScore = Annotated[float, typer.Option(help="Of a detection, at least.", rich_help_panel=ASKED)]
SureIou = Annotated[
    float | None,
    typer.Option(help="Predicted IoU from which the model is sure.", rich_help_panel=KEPT),
]
SureStability = Annotated[
    float | None, typer.Option(help="Stability from which the model is sure.", rich_help_panel=KEPT)
]
MinArea = Annotated[int, typer.Option(min=0, help="Pixels of a mask, at least.", rich_help_panel=KEPT)]
MaxAreaShare = Annotated[
    float, typer.Option(help="Share of the picture that a mask has at most.", rich_help_panel=KEPT)
]
Outlines = Annotated[Literal["rle", "polygons"], typer.Option(help="In coco.json.", rich_help_panel=o.OUTPUT)]


def annotate(
    sources: Sources,
    mode: Mode = "auto",
    prompts: Prompts = None,
    prompts_format: PromptsFormat = None,
    prompts_sequence: PromptsSequence = None,
    image_info: ImageInfo = None,
    min_score: MinScore = 0.0,
    sure_iou: SureIou = None,
    sure_stability: SureStability = None,
    min_area: MinArea = 0,
    max_area_share: MaxAreaShare = 1.0,
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
    model: o.Model = "nano",
    checkpoint: e.Checkpoint = None,
    device: o.Device = None,
    dtype: o.DtypeOption = "float32",
    memory_mb: m.MemoryMb = None,
    threads: e.Threads = 1,
    workers: e.Workers = None,
    ray: e.Ray = None,
    out: o.Out = Path("out"),
    outlines: Outlines = "rle",
) -> None:
    """Annotate folders of pictures: SA-1B files, one COCO file, and review pages; clips as SA-V has them.

    A run that was broken off, or a folder that has grown, goes on with the same command. Ends with 1 where a
    file could not be annotated.
    """
    from sam2_video.annotation import ModelSetup, Plan, Settings
    from sam2_video.annotation import Sources as PromptFiles
    from sam2_video.annotation.numbering import find_material
    from sam2_video.cli_masks import read_grids
    from sam2_video.track_everything import EverythingRules

    said = {
        "points_per_side": points_per_side,
        "points_per_batch": points_per_batch,
        "pred_iou_thresh": pred_iou_thresh,
        "stability_score_thresh": stability_score_thresh,
        "stability_score_offset": stability_score_offset,
        "mask_threshold": mask_threshold,
        "box_nms_thresh": box_nms_thresh,
        "crop_n_layers": crop_n_layers,
        "crop_nms_thresh": crop_nms_thresh,
        "crop_overlap_ratio": crop_overlap_ratio,
        "crop_n_points_downscale_factor": crop_n_points_downscale_factor,
        "point_grids": None if point_grids is None else read_grids(point_grids),
        "min_mask_region_area": min_mask_region_area,
        "max_hole_area": max_hole_area,
        "max_sprinkle_area": max_sprinkle_area,
        "use_m2m": use_m2m,
        "multimask_output": multimask_output,
    }
    masks = {name: value for name, value in said.items() if value is not None}
    files, overrides = split_sources(sources)
    plan = Plan(
        Settings(mode, masks, sure_iou, sure_stability, min_area, max_area_share, min_score),
        ModelSetup(model, checkpoint, device, dtype, threads, overrides),
        PromptFiles(tuple(prompts or ()), prompts_format, prompts_sequence, image_info),
        EverythingRules(every, limit, same, covered, least, lost_looks),
        outlines,
        memory_mb,
    )
    raise typer.Exit(_run(find_material(files), plan, out, workers, ray))


def split_sources(words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Tell files and folders from KEY=VALUE; a file that is there is one, whatever it is called."""
    overrides = [word for word in words if _OVERRIDE.fullmatch(word) and not Path(word).exists()]
    return [word for word in words if word not in overrides], tuple(overrides)


def _run(material: Material, plan: Plan, out: Path, workers: int | None, ray: str | None) -> int:
    """Do it, say how it went, and return the exit code."""
    from sam2_video.annotation.run import annotate as run
    from sam2_video.cli_workers import Terminated, ended_by_sigterm, progress_bar, workers_for

    say = partial(typer.echo, err=True)
    try:
        with (
            workers_for(workers, ray, plan.model) as everybody,
            progress_bar(say, "frames" if material.clips else "pictures") as progress,
            ended_by_sigterm(),
        ):
            if ray is not None:  # what the cluster has, not what is here
                plan = replace(plan, model=replace(plan.model, device=everybody.device))
            outcome = run(material, plan, out, workers=everybody, progress=progress)
    except KeyboardInterrupt as end:
        typer.echo(f"interrupted; what is done is in {out}, and the same command goes on with it")
        return TERMINATED if isinstance(end, Terminated) else INTERRUPTED
    for line in _lines(outcome, out):
        typer.echo(line)
    if outcome.failed:
        names = list(outcome.failed)
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        say(f"{len(names)} could not be annotated: {shown}; the same command tries again")
    return SOME_FAILED if outcome.failed else OK


def _lines(outcome: Outcome, out: Path) -> list[str]:
    before = f", {outcome.kept} were done before" if outcome.kept else ""
    lines = [f"{outcome.done} done{before}; {outcome.annotations} masks in {out / 'coco.json'}"]
    if outcome.masklets:
        lines.append(f"{outcome.masklets} masklets in {out / 'masklets'}")
    if outcome.undecided:
        lines.append(f"{outcome.undecided} masks are for a person to decide on")
    if outcome.to_review:
        lines.append(f"{outcome.to_review} files should be looked at: {out / 'review.json'}")
    return [*lines, f"to look at: {out / 'review.html'}"]
