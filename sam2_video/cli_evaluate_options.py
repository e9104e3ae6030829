"""The options of `sam2-video evaluate` as types, beside those of `cli_options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam2_video.cli_options import MODEL, OUTPUT

DATA, HOW, SCORES = "Data", "How it runs", "Scores"

Root = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Folder of a data set; for the protocol image also a COCO file."),
]
Dataset = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="davis2016, davis2017, youtubevos2018, youtubevos2019, mose1, mose2, lvos1, lvos2, sav, vost, "
        "folder; auto: as its layout tells.",
        rich_help_panel=DATA,
    ),
]
Split = Annotated[
    str | None,
    typer.Option(help="Left out: the usual one; all: whatever is there.", rich_help_panel=DATA),
]
Resolution = Annotated[str, typer.Option(help="Of DAVIS: 480p, Full-Resolution.", rich_help_panel=DATA)]
EveryFrame = Annotated[
    bool, typer.Option("--every-frame", help="Of YouTube-VOS: 30 frames a second.", rich_help_panel=DATA)
]
Sequences = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME,...", help="Only these sequences. May be repeated.", rich_help_panel=DATA),
]
MaxFrames = Annotated[
    int | None,
    typer.Option(help="Of each sequence, at most: quicker, easier, not comparable.", rich_help_panel=DATA),
]
HeldOut = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="With --protocol image: only this share of the pictures, by a hash of their names.",
        rich_help_panel=DATA,
    ),
]
Check = Annotated[
    bool,
    typer.Option("--check", help="Look the data over, and track nothing. 1: errors.", rich_help_panel=DATA),
]
Deep = Annotated[bool, typer.Option("--deep", help="With --check: decode every file.", rich_help_panel=DATA)]

Protocols = Annotated[
    str,
    typer.Option(
        "--protocol",
        metavar="NAME,...",
        help="mask, box, click1, click3, click5: given on the first frame; offline, online: clicks that "
        "correct; image: clicks on pictures.",
        rich_help_panel=MODEL,
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Weights in place of those that belong to a name.", rich_help_panel=MODEL
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        min=1, help="CPU threads of each process; another number rounds differently.", rich_help_panel=HOW
    ),
]
Seed = Annotated[int, typer.Option(help="Of what is drawn at random.", rich_help_panel=HOW)]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes, or with --ray actors. Left out: 1; all.", rich_help_panel=HOW),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Run on a Ray cluster: its address, auto for the one that this machine is in, local for one on "
        "this machine alone.",
        rich_help_panel=HOW,
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Do the I-th of N parts, in the same --out.", rich_help_panel=HOW
    ),
]

ScoreOnly = Annotated[
    Path | None,
    typer.Option(metavar="PRED", help="Score the masks in this folder.", rich_help_panel=SCORES),
]
AllowIncomplete = Annotated[
    bool,
    typer.Option(
        "--allow-incomplete", help="Missing predictions count as empty masks.", rich_help_panel=SCORES
    ),
]
NoBoundary = Annotated[
    bool, typer.Option("--no-f", help="Leave out F, which takes most of the time.", rich_help_panel=SCORES)
]
BoundaryPixels = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How far apart outlines may be for F; left out: 0.008 of the diagonal.",
        rich_help_panel=SCORES,
    ),
]
Measures = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help="Besides J and F: hota, mose, vost; left out: what the authors of the data report.",
        rich_help_panel=SCORES,
    ),
]
Submission = Annotated[
    Path | None,
    typer.Option(metavar="ZIP", help="Also write what the server of the data takes.", rich_help_panel=OUTPUT),
]
