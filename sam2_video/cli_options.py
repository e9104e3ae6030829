"""The options of the `sam2-video` command as types: their names on the command line, and what help says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sam2_video.prompts import FORMATS
from sam2_video.sinks.registry import SINKS

PROMPTS, FRAMES, MODEL, OUTPUT = "What to track", "Which frames", "Model", "Output"
LIVE = "Cameras, streams and pipes"
SAVES = "masks,overlay,objects,review"
KINDS = "; ".join(f"{name} ({kind.note})" if kind.note else name for name, kind in SINKS.items())

Direction = Literal["forward", "backward", "both"]
Dtype = Literal["float32", "bfloat16", "float16"]
Drop = Literal["block", "drop-oldest"]
Pixels = Literal["rgb24", "bgr24", "gray", "yuv420p"]
PromptedFrames = Literal["auto", "first", "all"]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A video, a folder of pictures, a picture, or the address of one; the number of a camera, "
        "the address of a stream, a named pipe, or - for what is piped in.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Overrides of the model's configuration, as image_size=512."),
]

# What to track

Click = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FRAME:OBJECT:X,Y[:-]",
        help="A point on an object, in pixels; with ':-' at the end a point off it. May be repeated.",
        rich_help_panel=PROMPTS,
    ),
]
Box = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FRAME:OBJECT:X0,Y0,X1,Y1",
        help="Left upper, then right lower corner of a box around an object. May be repeated.",
        rich_help_panel=PROMPTS,
    ),
]
Mask = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FRAME:FILE.png",
        help="Label picture: every value but 0 is an object; only 0 and 255: object 1. May be repeated.",
        rich_help_panel=PROMPTS,
    ),
]
Prompts = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Prompts in a file or folder: our JSON or YAML, the run.json of a run, or what annotation tools "
        "export.",
        rich_help_panel=PROMPTS,
    ),
]
PromptsFormat = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help=f"How to read FILE: {', '.join(FORMATS)}; left out: as its content tells.",
        rich_help_panel=PROMPTS,
    ),
]
PromptsSequence = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which of several clips in FILE; left out: the one that is named as SOURCE.",
        rich_help_panel=PROMPTS,
    ),
]
PromptsFrames = Annotated[
    PromptedFrames,
    typer.Option(
        help="Which annotated frames of FILE count: the first of each object, all, or, for auto, keyframes "
        "that somebody chose.",
        rich_help_panel=PROMPTS,
    ),
]
Name = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OBJECT:NAME[:CLASS]",
        help="What an object is called, and the class it belongs to; results say so. May be repeated.",
        rich_help_panel=PROMPTS,
    ),
]
PictureClick = Annotated[
    list[str] | None,
    typer.Option(
        "--click",
        metavar="[OBJECT:]X,Y[:-]",
        help="A point on an object, in pixels; with ':-' at the end a point off it. May be repeated.",
        rich_help_panel=PROMPTS,
    ),
]
PictureBox = Annotated[
    list[str] | None,
    typer.Option(
        "--box",
        metavar="[OBJECT:]X0,Y0,X1,Y1",
        help="Left upper, then right lower corner of a box around an object. May be repeated.",
        rich_help_panel=PROMPTS,
    ),
]
PictureMask = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        metavar="FILE.png",
        help="Label picture: every value but 0 is an object; only 0 and 255: object 1. May be repeated.",
        rich_help_panel=PROMPTS,
    ),
]

# Which frames

Way = Annotated[Direction, typer.Option(help="Which way to go from the prompts.", rich_help_panel=FRAMES)]
Start = Annotated[
    int | None,
    typer.Option(
        help="First frame; left out: the first prompted one, for both the first of all.",
        rich_help_panel=FRAMES,
    ),
]
Stop = Annotated[
    int | None, typer.Option(help="Frame to stop before; left out: the end.", rich_help_panel=FRAMES)
]
Stride = Annotated[int, typer.Option(min=1, help="Take every n-th frame.", rich_help_panel=FRAMES)]
Fps = Annotated[
    float | None,
    typer.Option(
        help="Take so many frames a second, as if the clip had no others: frames count anew, from 0.",
        rich_help_panel=FRAMES,
    ),
]

# Model

Model = Annotated[
    str,
    typer.Option(
        metavar="NAME|PATH", help="A name of `sam2-video models`, or weights.", rich_help_panel=MODEL
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:1, mps; left out: a CUDA GPU where there is one.", rich_help_panel=MODEL
    ),
]
DtypeOption = Annotated[Dtype, typer.Option(help="Number type of the network.", rich_help_panel=MODEL)]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; left out: one per core.", rich_help_panel=MODEL)
]

# Output

Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.", rich_help_panel=OUTPUT)]
Save = Annotated[str, typer.Option(metavar="WHAT,...", help=f"Any of {KINDS}.", rich_help_panel=OUTPUT)]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the results of an earlier run in DIR.", rich_help_panel=OUTPUT),
]

# Cameras, streams and pipes

Show = Annotated[
    bool,
    typer.Option("--show", help="Open a window to watch, and click, what is tracked.", rich_help_panel=LIVE),
]
Seconds = Annotated[float | None, typer.Option(help="End after so long.", rich_help_panel=LIVE)]
FrameSize = Annotated[
    str | None,
    typer.Option(
        metavar="WIDTHxHEIGHT",
        help="Of a camera: what it is asked for; of a pipe: that raw frames come through it.",
        rich_help_panel=LIVE,
    ),
]
RawPixels = Annotated[Pixels, typer.Option(help="Of raw frames.", rich_help_panel=LIVE)]
DropPolicy = Annotated[
    Drop | None,
    typer.Option(
        help="What frames do that come too fast; left out: a pipe blocks, others drop the oldest.",
        rich_help_panel=LIVE,
    ),
]
Patience = Annotated[
    float,
    typer.Option(help="Seconds to wait for a frame, and for a lost stream to return.", rich_help_panel=LIVE),
]
