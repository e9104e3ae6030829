"""`sam2-video evaluate`: what was asked for, and what of it does not go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_video.types import ConfigError, DataError, SinkError

if TYPE_CHECKING:
    from sam2_video.evaluation.finish import ScoreOptions
    from sam2_video.evaluation.sequences import DataSet

MANIFEST = "manifest.json"  # of a run
IMAGE = "image"  # the protocol that looks at pictures one by one


@dataclass(frozen=True)
class DataOptions:
    """Which data."""

    root: Path
    name: str = "auto"
    split: str | None = None
    resolution: str = "480p"
    every_frame: bool = False
    sequences: tuple[str, ...] | None = None

    def open(self) -> DataSet:
        """Open it. Raises DataError."""
        from sam2_video.evaluation.datasets import open_dataset

        return open_dataset(
            self.root.resolve(),  # workers may be elsewhere
            self.name,
            self.split,
            resolution=self.resolution,
            every_frame=self.every_frame,
            sequences=self.sequences,
        )


@dataclass(frozen=True)
class MeasureOptions:
    """How predictions are scored. `boundary_pixels`: reach of F; None: 0.008 of the diagonal."""

    boundary: bool = True
    boundary_pixels: int | None = None
    allow_incomplete: bool = False
    measures: tuple[str, ...] | None = None  # None: those that the authors of the data report

    def options(self, data: DataSet) -> ScoreOptions:
        """As the evaluation takes them. Raises DataError for an unknown measure."""
        from sam2_video.evaluation.finish import ScoreOptions
        from sam2_video.evaluation.measures import MEASURES, usual_measures
        from sam2_video.evaluation.scores import MetricOptions

        unknown = sorted(set(self.measures or ()) - set(MEASURES))
        if unknown:
            raise DataError(f"no measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
        metrics = MetricOptions(boundary=self.boundary, allow_incomplete=self.allow_incomplete)
        if self.boundary_pixels is not None:
            metrics = replace(metrics, bound=self.boundary_pixels)
        return ScoreOptions(metrics, usual_measures(data.name) if self.measures is None else self.measures)


@dataclass(frozen=True)
class EvaluateOptions:
    """Everything else that was asked for. `ray`: address of a cluster, "local" for one on this machine."""

    out: Path
    protocols: tuple[str, ...] = ("mask",)
    seed: int = 0
    max_frames: int | None = None
    workers: int | None = None
    ray: str | None = None
    shard: str | None = None
    submission: Path | None = None
    score_only: Path | None = None
    measures: MeasureOptions = field(default_factory=MeasureOptions)
    held_out: float | None = None  # share of the pictures, for the protocol that takes pictures


def known_protocols() -> tuple[str, ...]:
    """Names that `--protocol` takes."""
    from sam2_video.evaluation.protocols import PROTOCOLS

    return (*PROTOCOLS, IMAGE)


def refuse(options: EvaluateOptions, known: Sequence[str], data: DataOptions) -> None:
    """Raise ConfigError for what does not go together, before anything is loaded."""
    unknown = [name for name in options.protocols if name not in known]
    if unknown or not options.protocols:
        raise ConfigError(f"--protocol {','.join(options.protocols)}: expected some of {', '.join(known)}")
    if options.held_out is not None and options.protocols != (IMAGE,):
        raise ConfigError(f"--held-out is about pictures: it goes with --protocol {IMAGE} alone")
    if options.submission is None:
        return
    if options.shard is not None:
        raise ConfigError("--submission needs all sequences: give it to a last call, without --shard")
    if len(options.protocols) > 1 or options.max_frames is not None:
        raise ConfigError("--submission takes one protocol and whole sequences: leave out --max-frames")
    _refuse_part(data)


def _refuse_part(data: DataOptions) -> None:
    """Raise ConfigError for a zip of some sequences only, which no server scores."""
    if data.sequences is not None:
        raise ConfigError("--submission needs all sequences: leave out --sequences")


def refuse_for_scores(data: DataOptions, options: EvaluateOptions) -> None:
    """Raise ConfigError for what would be passed over in silence: masks that are there need no tracking."""
    chosen = {"--shard": options.shard is not None, "--ray": options.ray is not None}
    if given := [name for name, is_given in chosen.items() if is_given]:
        raise ConfigError(
            f"--score-only scores the masks that are there, in one call, and knows no {', '.join(given)}; "
            "leave it out, or use --workers N"
        )
    if options.submission is not None:
        if options.max_frames is not None:
            raise ConfigError("--submission takes whole sequences: leave out --max-frames")
        _refuse_part(data)


def refuse_for_pictures(data: DataOptions, options: EvaluateOptions) -> None:
    """Raise ConfigError for what would be passed over in silence: pictures are taken as they are found."""
    chosen = {
        "--dataset": data.name != "auto",
        "--split": data.split is not None,
        "--resolution": data.resolution != DataOptions.resolution,
        "--every-frame": data.every_frame,
        "--sequences": data.sequences is not None,
        "--max-frames": options.max_frames is not None,
        "--shard": options.shard is not None,
        "--submission": options.submission is not None,
    }
    if options.protocols == (IMAGE,):  # else the other protocols are meant
        chosen |= {
            "--workers": options.workers is not None,
            "--ray": options.ray is not None,
            "--allow-incomplete": options.measures.allow_incomplete,
            "--no-f": not options.measures.boundary,
            "--boundary-pixels": options.measures.boundary_pixels is not None,
            "--measures": options.measures.measures is not None,
        }
    if given := [name for name, is_given in chosen.items() if is_given]:
        raise ConfigError(
            f"the protocol {IMAGE} clicks on all pictures of DATA, and knows no {', '.join(given)}; leave it "
            f"out, or run --protocol {IMAGE} by itself, on a folder with the pictures that are meant"
        )


def refuse_out(root: Path, out: Path) -> None:
    """Raise SinkError for results in a folder of the data; a folder of their own beside those will do."""
    data, place = root.resolve(), out.resolve()
    if not root.is_dir() or data not in (place, *place.parents):
        return
    parts = place.relative_to(data).parts
    top = data / parts[0] if parts else data
    of_runs = top != data and any(found.is_file() for found in (top / MANIFEST, *top.glob(f"*/{MANIFEST}")))
    if not of_runs and top.is_dir() and any(not one.name.startswith(".") for one in top.iterdir()):
        raise SinkError(f"--out {out} is in a folder of the data, {top}: choose another one")
