"""The options of the `masks` command as types; see `cli_options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FOUND, CLIP, MODEL = "Which masks", "Clips", "Model"

PointsPerSide = Annotated[
    int | None,
    typer.Option(help="Clicks along a side of the grid.", rich_help_panel=FOUND),
]
PointsPerBatch = Annotated[
    int | None,
    typer.Option(help="Clicks decoded at once, at most.", rich_help_panel=FOUND),
]
PredIouThresh = Annotated[
    float | None,
    typer.Option(help="Least predicted IoU; 0 lets all pass.", rich_help_panel=FOUND),
]
StabilityScoreThresh = Annotated[
    float | None,
    typer.Option(help="Least stability; 0 lets all pass.", rich_help_panel=FOUND),
]
StabilityScoreOffset = Annotated[
    float | None,
    typer.Option(help="How far the threshold moves to tell stability.", rich_help_panel=FOUND),
]
MaskThreshold = Annotated[float | None, typer.Option(help="Logits above it are mask.", rich_help_panel=FOUND)]
BoxNmsThresh = Annotated[
    float | None,
    typer.Option(help="Box IoU above which a mask is a duplicate.", rich_help_panel=FOUND),
]
CropNLayers = Annotated[
    int | None,
    typer.Option(help="Layers of crops; layer n has 4**n.", rich_help_panel=FOUND),
]
CropNmsThresh = Annotated[
    float | None,
    typer.Option(help="As --box-nms-thresh, between crops.", rich_help_panel=FOUND),
]
CropOverlapRatio = Annotated[
    float | None,
    typer.Option(help="Share that crops of the first layer have in common.", rich_help_panel=FOUND),
]
CropNPointsDownscaleFactor = Annotated[
    int | None,
    typer.Option(help="Grids of layer n are so much thinner, **n.", rich_help_panel=FOUND),
]
PointGrids = Annotated[
    Path | None,
    typer.Option(help="JSON file: for each layer a list of pairs x, y from 0 to 1.", rich_help_panel=FOUND),
]
MinMaskRegionArea = Annotated[
    int | None,
    typer.Option(help="Smaller holes and islands go, in pixels.", rich_help_panel=FOUND),
]
MaxHoleArea = Annotated[
    int | None,
    typer.Option(help="Low-resolution holes up to this are filled.", rich_help_panel=FOUND),
]
MaxSprinkleArea = Annotated[
    int | None,
    typer.Option(help="Low-resolution specks up to this go.", rich_help_panel=FOUND),
]
UseM2m = Annotated[bool | None, typer.Option(help="Refine each mask once.", rich_help_panel=FOUND)]
MultimaskOutput = Annotated[
    bool | None,
    typer.Option(help="Three masks for each click, or one.", rich_help_panel=FOUND),
]
Every = Annotated[
    int,
    typer.Option(
        help="Frames from one look for new objects to the next; 0: only at the first.", rich_help_panel=CLIP
    ),
]
Limit = Annotated[int, typer.Option(help="Most objects at a time.", rich_help_panel=CLIP)]
Same = Annotated[
    float,
    typer.Option(help="Mask IoU from which a mask is a tracked object.", rich_help_panel=CLIP),
]
Covered = Annotated[
    float,
    typer.Option(help="A mask is nothing new if more of it than this is tracked.", rich_help_panel=CLIP),
]
Least = Annotated[
    float,
    typer.Option(help="Share of the frame that an object has at least.", rich_help_panel=CLIP),
]
LostLooks = Annotated[
    int,
    typer.Option(help="Looks without an object after which it is given up.", rich_help_panel=CLIP),
]
Start = Annotated[int, typer.Option(help="First frame.", rich_help_panel=CLIP)]
Stop = Annotated[
    int | None,
    typer.Option(help="Frame to stop before; left out: the end.", rich_help_panel=CLIP),
]
MemoryMb = Annotated[
    int | None,
    typer.Option(help="Memory that decoding may take at once.", rich_help_panel=MODEL),
]
