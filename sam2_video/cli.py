"""The `sam2-video` command: options in; the work is in the other modules of this name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sam2_video import cli_annotate, cli_app, cli_masks
from sam2_video import cli_evaluate_options as e
from sam2_video import cli_options as o
from sam2_video.types import PromptError, Sam2VideoError

FAILED = 2  # exit code for errors that have a readable message
INTERRUPTED = 130  # what shells give a program that Ctrl-C ended
TERMINATED = 143  # and one that SIGTERM ended


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
    "sam2-video track frames/ --mask 0:first.png --save masks,rle --model sam2.1_hiera_tiny --out out\n\n"
    "sam2-video track 0 --show\n\n"
    "ffmpeg -i clip.mp4 -f mpegts - | sam2-video track - --click 0:1:420,260 --out out"
)
def track(
    source: o.Source,
    overrides: o.Overrides = None,
    click: o.Click = None,
    box: o.Box = None,
    mask: o.Mask = None,
    prompts: o.Prompts = None,
    prompts_format: o.PromptsFormat = None,
    prompts_sequence: o.PromptsSequence = None,
    prompts_frames: o.PromptsFrames = "auto",
    name: o.Name = None,
    direction: o.Way = "forward",
    start: o.Start = None,
    stop: o.Stop = None,
    stride: o.Stride = 1,
    fps: o.Fps = None,
    model: o.Model = "nano",
    device: o.Device = None,
    dtype: o.DtypeOption = "float32",
    threads: o.Threads = None,
    out: o.Out = Path("out"),
    save: o.Save = o.SAVES,
    overwrite: o.Overwrite = False,
    show: o.Show = False,
    seconds: o.Seconds = None,
    size: o.FrameSize = None,
    pixels: o.RawPixels = "rgb24",
    drop: o.DropPolicy = None,
    patience: o.Patience = 10.0,
) -> None:
    """Track the objects you point at through a clip.

    Frames count from 0, object ids are yours from 1, coordinates are pixels.
    DIR gets what --save names, and run.json, which says how to repeat the run.
    One that was broken off goes on when the same command is given again.
    """
    from sam2_video.cli_dispatch import Words, track_anything
    from sam2_video.cli_run import ModelOptions
    from sam2_video.cli_stream import LiveRun, parse_size
    from sam2_video.cli_track import TrackOptions
    from sam2_video.cli_write import parse_saves

    options = TrackOptions(
        direction, start, stop, stride, fps, parse_saves(save), overwrite, prompts_sequence
    )
    network = ModelOptions(model, device, dtype, threads, checked_overrides(overrides))
    words = Words(
        clicks=click or (),
        boxes=box or (),
        masks=mask or (),
        files=prompts or (),
        names=name or (),
        format=prompts_format,
        sequence=prompts_sequence,
        frames=prompts_frames,
    )
    live = LiveRun(show, seconds, None if size is None else parse_size(size), pixels, drop, patience)
    say = partial(typer.echo, err=True)
    summary = track_anything(source, words, out, network, options, live, say)
    typer.echo(f"{'' if summary.stopped_by is None else 'interrupted after '}{summary}; results are in {out}")
    if summary.review:
        typer.echo(summary.review)
    if summary.stopped_by is not None:
        typer.echo(summary.advice)
        raise typer.Exit(INTERRUPTED)


@app.command()
def demo(
    out: o.Out = Path("out"),
    model: o.Model = "nano",
    device: o.Device = None,
    threads: o.Threads = None,
    overwrite: o.Overwrite = False,
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
    overrides: o.Overrides = None,
    click: o.PictureClick = None,
    box: o.PictureBox = None,
    mask: o.PictureMask = None,
    model: o.Model = "nano",
    device: o.Device = None,
    dtype: o.DtypeOption = "float32",
    threads: o.Threads = None,
    out: o.Out = Path("out"),
    overwrite: o.Overwrite = False,
) -> None:
    """Cut objects out of one picture.

    Without OBJECT: everything is said of object 1. Masks are refined by the model.
    DIR gets masks/NAME.png (pixel = object id), overlay.png and run.json.
    """
    from sam2_video.cli_run import ModelOptions
    from sam2_video.cli_segment import gather_on_picture
    from sam2_video.cli_segment import segment as run

    placed = gather_on_picture(click or (), box or (), mask or ())
    network = ModelOptions(model, device, dtype, threads, checked_overrides(overrides))
    for line in run(picture, placed, out, network, overwrite):
        typer.echo(line)


app.command(epilog=cli_masks.EXAMPLES)(cli_masks.masks)
app.command(epilog=cli_annotate.EXAMPLES)(cli_annotate.annotate)
app.command(epilog=cli_app.EXAMPLES)(cli_app.app)


@app.command(
    epilog="Examples:\n\nsam2-video benchmark --model sam2.1_hiera_tiny --against transformers\n\n"
    "sam2-video benchmark --objects 1,8 memory.pool=2"
)
def benchmark(
    overrides: o.Overrides = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="A packaged model; random weights.")] = "nano",
    size: Annotated[int | None, typer.Option(metavar="PIXELS", help="Side of the model frame.")] = None,
    objects: Annotated[str, typer.Option(metavar="N,...", help="How many objects are tracked.")] = "1",
    dtypes: Annotated[str, typer.Option(metavar="TYPE,...", help="Of the network.")] = "float32,bfloat16",
    against: Annotated[
        str,
        typer.Option(
            metavar="PEER,...", help="Whom to compare with: transformers, reference (its package), or none."
        ),
    ] = "none",
    rounds: Annotated[int, typer.Option(min=1, help="Frames that count, of each.")] = 5,
    device: o.Device = None,
    threads: o.Threads = None,
) -> None:
    """Time one frame of a long clip on this machine, and say where the time goes."""
    from sam2_video.cli_benchmark import benchmark as run
    from sam2_video.cli_benchmark import parse_options

    more = checked_overrides(overrides)
    for line in run(parse_options(model, size, objects, dtypes, against, rounds, device, threads, more)):
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


@app.command(
    epilog="Examples:\n\n"
    "sam2-video train finetune data=voc data.folder=VOC preset=decoder --out runs/voc\n\n"
    "sam2-video train finetune data=coco data.annotations=instances.json data.folder=images --check\n\n"
    "sam2-video train finetune_video data=davis data.folder=DAVIS preset=lora --out runs/davis\n\n"
    "accelerate launch -m sam2_video.cli train finetune data.folder=VOC --out runs/voc\n\n"
    "sam2-video train nano stills=FOLDER --out runs/nano"
)
def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG", help="finetune, finetune_video, nano (from scratch), or a .yaml file."
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides, as data.folder=FOLDER.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.")] = Path("runs/train"),
    check: Annotated[bool, typer.Option("--check", help="Only look for what is broken in the data.")] = False,
) -> None:
    """Fine-tune a model, or train one; or go on with what was stopped: DIR holds all that it needs."""
    from sam2_video.cli_train import train as run

    code = run(config, checked_overrides(overrides), out, check=check, say=typer.echo)
    if code:
        raise typer.Exit(code)


@app.command(
    epilog="Examples:\n\n"
    "sam2-video evaluate DAVIS --out runs/davis\n\n"
    "sam2-video evaluate DAVIS --protocol mask,box,click3 --workers 4 --out runs/davis\n\n"
    "sam2-video evaluate DAVIS --check\n\n"
    "sam2-video evaluate DAVIS --score-only PRED --out runs/theirs\n\n"
    "sam2-video evaluate MOSE --shard 2/8 --out runs/mose"
)
def evaluate(
    data: e.Root,
    overrides: o.Overrides = None,
    dataset: e.Dataset = "auto",
    split: e.Split = None,
    resolution: e.Resolution = "480p",
    every_frame: e.EveryFrame = False,
    sequences: e.Sequences = None,
    max_frames: e.MaxFrames = None,
    check: e.Check = False,
    deep: e.Deep = False,
    protocol: e.Protocols = "mask",
    model: o.Model = "nano",
    checkpoint: e.Checkpoint = None,
    device: o.Device = None,
    dtype: o.DtypeOption = "float32",
    threads: e.Threads = 1,
    seed: e.Seed = 0,
    workers: e.Workers = None,
    ray: e.Ray = None,
    shard: e.ShardOption = None,
    score_only: e.ScoreOnly = None,
    allow_incomplete: e.AllowIncomplete = False,
    no_f: e.NoBoundary = False,
    boundary_pixels: e.BoundaryPixels = None,
    measures: e.Measures = None,
    held_out: e.HeldOut = None,
    out: o.Out = Path("evaluation"),
    submission: e.Submission = None,
) -> None:
    """Track a benchmark, or score masks that are there: J&F, tables, a report, and what was measured.

    A run that was broken off goes on when the same command is given again. Ends with 1 where a sequence
    failed, or no figures can be given.
    """
    from sam2_video import cli_evaluate as run
    from sam2_video import cli_evaluate_asked as asked
    from sam2_video.cli_workers import Terminated
    from sam2_video.evaluation.plan import ModelSetup

    which = asked.DataOptions(data, dataset, split, resolution, every_frame, _names(sequences))
    scores = asked.MeasureOptions(
        not no_f, boundary_pixels, allow_incomplete, None if measures is None else _names([measures])
    )
    options = asked.EvaluateOptions(
        out=out,
        protocols=_names([protocol]) or (),
        seed=seed,
        max_frames=max_frames,
        workers=workers,
        ray=ray,
        shard=shard,
        submission=submission,
        score_only=score_only,
        measures=scores,
        held_out=held_out,
    )
    setup = ModelSetup(model, checkpoint, device, dtype, threads, checked_overrides(overrides))
    say = partial(typer.echo, err=True)
    try:
        if check:
            code = run.check(which, deep, typer.echo)
        elif score_only is not None:
            code = run.score_only(which, options, typer.echo, say)
        else:
            code = run.evaluate(which, setup, options, typer.echo, say)
    except KeyboardInterrupt as end:
        typer.echo(f"interrupted; what is done is in {out}, and the same command goes on with it")
        raise typer.Exit(TERMINATED if isinstance(end, Terminated) else INTERRUPTED) from None
    raise typer.Exit(code)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leaves with SystemExit."""
    app(args=None if arguments is None else list(arguments), prog_name="sam2-video")


def _names(texts: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names that were given in one text or in several, with commas between them; None where none were."""
    if texts is None:
        return None
    return tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))


def checked_overrides(overrides: Sequence[str] | None) -> tuple[str, ...]:
    for text in overrides or ():
        if "=" not in text:
            raise PromptError(f"{text!r} is not understood: only key=value may follow the first argument")
    return tuple(overrides or ())


if __name__ == "__main__":
    main()
