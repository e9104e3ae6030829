"""The `sam2-video` command: options in; the work is in `cli_track`, `cli_demo` and `cli_segment`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from sam2_video.types import PromptError, Sam2VideoError

FAILED = 2  # exit code for errors that have a readable message
INTERRUPTED = 130  # what shells give a program that Ctrl-C ended
SAVES = "masks,overlay,objects"


class _ReadableErrors(TyperGroup):
    """Turns errors that this package raises on purpose into one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Sam2VideoError as error:
            if ctx.params.get("traceback"):
                raise
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(FAILED) from None


app = typer.Typer(
    name="sam2-video",
    cls=_ReadableErrors,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with:  sam2-video demo --out out",
)


Direction = Literal["forward", "backward", "both"]
Dtype = Literal["float32", "bfloat16", "float16"]
PROMPTS, FRAMES, MODEL, OUTPUT = "What to track", "Which frames", "Model", "Output"
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Overrides of the model's configuration, as image_size=512."),
]
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
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.", rich_help_panel=OUTPUT)]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the results of an earlier run in DIR.", rich_help_panel=OUTPUT),
]


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    traceback: Annotated[
        bool,
        typer.Option("--traceback", envvar="SAM2_VIDEO_TRACEBACK", help="Show where an error comes from."),
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
) -> None:
    """Click an object in a video and get its mask on every frame."""
    from sam2_video import __version__

    if version:
        typer.echo(f"sam2-video {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command(
    epilog="Examples:\n\n"
    "sam2-video track clip.mp4 --click 0:1:420,260 --out out\n\n"
    "sam2-video track clip.mp4 --click 0:1:420,260 --click 0:1:500,300:- --box 0:2:30,40,200,310\n\n"
    "sam2-video track frames/ --mask 0:first.png --save masks,rle --model sam2.1_hiera_tiny --out out"
)
def track(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A video file, a folder of pictures, or a picture.")
    ],
    overrides: Overrides = None,
    click: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAME:OBJECT:X,Y[:-]",
            help="A point on an object, in pixels; with ':-' at the end a point off it. May be repeated.",
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAME:OBJECT:X0,Y0,X1,Y1",
            help="Left upper, then right lower corner of a box around an object. May be repeated.",
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAME:FILE.png",
            help="Label picture: every value but 0 is an object; only 0 and 255: object 1. May be repeated.",
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    prompts: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="JSON list of {frame, object, points, labels, box, mask}, or the run.json of a run.",
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    direction: Annotated[
        Direction, typer.Option(help="Which way to go from the prompts.", rich_help_panel=FRAMES)
    ] = "forward",
    start: Annotated[
        int | None,
        typer.Option(help="First frame; left out: the first prompted one.", rich_help_panel=FRAMES),
    ] = None,
    stop: Annotated[
        int | None, typer.Option(help="Frame to stop before; left out: the end.", rich_help_panel=FRAMES)
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Take every n-th frame.", rich_help_panel=FRAMES)] = 1,
    model: Model = "nano",
    device: Device = None,
    dtype: DtypeOption = "float32",
    threads: Threads = None,
    out: Out = Path("out"),
    save: Annotated[
        str,
        typer.Option(
            metavar="WHAT,...",
            help="Any of masks (PNG), overlay (mp4), objects (CSV), rle (JSON).",
            rich_help_panel=OUTPUT,
        ),
    ] = SAVES,
    overwrite: Overwrite = False,
) -> None:
    """Track the objects you point at through a clip.

    Frames count from 0, object ids are yours from 1, coordinates are pixels.
    DIR gets masks/FRAME.png (pixel = object id), overlay.mp4, objects.csv,
    and run.json, which says how to repeat the run.
    """
    from sam2_video.cli_prompts import gather_prompts
    from sam2_video.cli_run import ModelOptions
    from sam2_video.cli_track import TrackOptions
    from sam2_video.cli_track import track as run
    from sam2_video.cli_write import parse_saves

    options = TrackOptions(direction, start, stop, stride, parse_saves(save), overwrite)
    network = ModelOptions(model, device, dtype, threads, _checked(overrides))
    placed = gather_prompts(click or (), box or (), mask or (), prompts or ())
    summary = run(source, placed, out, network, options, partial(typer.echo, err=True))
    typer.echo(f"{'' if summary.stopped_by is None else 'interrupted after '}{summary}; results are in {out}")
    if summary.stopped_by is not None:
        raise typer.Exit(INTERRUPTED)


@app.command()
def demo(
    out: Out = Path("out"),
    model: Model = "nano",
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw a small clip with an occlusion, track it, and compare with the drawn truth."""
    from sam2_video.cli_demo import demo as run
    from sam2_video.cli_run import ModelOptions

    summary = run(out, ModelOptions(model, device, threads=threads), overwrite, typer.echo)
    if summary.stopped_by is not None:
        raise typer.Exit(INTERRUPTED)


@app.command(epilog="Example:\n\nsam2-video segment photo.jpg --click 420,260 --click 500,300:- --out out")
def segment(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="A picture file.")],
    overrides: Overrides = None,
    click: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[OBJECT:]X,Y[:-]",
            help="A point on an object, in pixels; with ':-' at the end a point off it. May be repeated.",
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[OBJECT:]X0,Y0,X1,Y1",
            help="Left upper, then right lower corner of a box around an object. May be repeated.",
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    model: Model = "nano",
    device: Device = None,
    dtype: DtypeOption = "float32",
    threads: Threads = None,
    out: Out = Path("out"),
    overwrite: Overwrite = False,
) -> None:
    """Cut objects out of one picture.

    Without OBJECT: everything is said of object 1.
    DIR gets masks/NAME.png (pixel = object id), overlay.png and run.json.
    """
    from sam2_video.cli_run import ModelOptions
    from sam2_video.cli_segment import gather_on_picture
    from sam2_video.cli_segment import segment as run

    placed = gather_on_picture(click or (), box or ())
    network = ModelOptions(model, device, dtype, threads, _checked(overrides))
    for line in run(picture, placed, out, network, overwrite):
        typer.echo(line)


@app.command()
def models() -> None:
    """List the models that can be named, with size and licence."""
    from sam2_video.checkpoint import list_models

    typer.echo(f"{'name':24}{'parameters':>12}{'file':>10}  {'licence':12}source")
    for info in list_models():
        parameters = "?" if info.parameters is None else f"{info.parameters / 1e6:.1f} M"
        size = "?" if info.size_bytes is None else f"{info.size_bytes / 1e6:.0f} MB"
        source = "in this package" if info.bundled else info.hub_id or info.url
        typer.echo(f"{info.name:24}{parameters:>12}{size:>10}  {info.licence:12}{source}")


@app.command()
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `sam2-video models`.")],
    cache_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to keep it.")] = None,
) -> None:
    """Fetch the weights of a model, check them, and say where they are."""
    from sam2_video.checkpoint import download_model

    typer.echo(download_model(name, cache_dir=cache_dir))


@app.command()
def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A packaged training configuration, or a .yaml file.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides, as stills=FOLDER.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.")] = Path("runs/train"),
) -> None:
    """Train a model, or go on with a training that was stopped: DIR holds all that it needs."""
    from sam2_video.training.loop import train as run
    from sam2_video.training.settings import load_settings

    best = run(load_settings(config, _checked(overrides)), out)
    typer.echo(f"best weights: {best}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leaves with SystemExit."""
    app(args=None if arguments is None else list(arguments), prog_name="sam2-video")


def _checked(overrides: Sequence[str] | None) -> tuple[str, ...]:
    for text in overrides or ():
        if "=" not in text:
            raise PromptError(f"{text!r} is not understood: only key=value may follow the first argument")
    return tuple(overrides or ())


if __name__ == "__main__":
    main()
