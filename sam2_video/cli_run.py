"""What the commands share: loading the model, the output folder and its lock, and the record of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.types import ObjectInfo, SinkError

if TYPE_CHECKING:
    from sam2_video.cli_prompts import PlacedPrompt
    from sam2_video.model.sam1 import AnyModel

RECORD = "run.json"
# Pages of `masks` on folders. Patterns of file names know no "any number of digits".
SHEETS = tuple(f"contact_sheet_{'[0-9]' * digits}.jpg" for digits in range(2, 7))
# What runs leave beside that and what `--save` names; `clear_results` removes these and nothing else.
MORE_RESULTS = (
    "overlay.png",
    *("json/*.json", "labels/*.png", "overlays/*.jpg", *SHEETS),  # of `masks` on pictures
)
HIDDEN = ".run"  # in the folder of results: the lock, and what an unfinished run needs to go on


@dataclass(frozen=True)
class ModelOptions:
    """Which model runs, where and how. No device means a CUDA GPU where there is one."""

    model: str = "nano"
    device: str | None = None
    dtype: str = "float32"
    threads: int | None = None
    overrides: tuple[str, ...] = ()


def load(options: ModelOptions) -> AnyModel:
    """Load the model. Raises CheckpointError and ConfigError."""
    import torch

    from sam2_video.checkpoint import load_model

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return load_model(
        options.model, device=device_of(options), dtype=options.dtype, overrides=options.overrides
    )


@contextmanager
def locked(out: Path) -> Iterator[Path]:
    """Keep other runs out of a folder, which is made if need be; gives the hidden folder in it.

    The lock ends with the process, however that ends. Raises SinkError where another run holds it, and where
    the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    from sam2_video.sinks.base import make_folder, remove, reported

    hidden = out / HIDDEN
    make_folder(out)
    lock = FileLock(str(hidden / "lock"))
    with reported(hidden):
        hidden.mkdir(exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            message = f"another run is writing into {out}; wait until it has ended, or choose another --out"
            raise SinkError(message) from None
    try:
        yield hidden
    finally:
        remove(hidden / "lock")  # before it is released: a later one could be another run's
        lock.release()
        with suppress(OSError):  # what an unfinished run needs stays
            hidden.rmdir()


def check_folder(out: Path, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """See that a run may begin in this folder.

    Raises SinkError if it holds files that must stay, or if a result would take the place of one of `inputs`.
    """
    from sam2_video.sinks.base import reported

    with reported(out):
        filled = any(path.name != HIDDEN for path in out.iterdir())
    if filled and not overwrite:
        raise SinkError(f"{out} is not empty; choose another --out, or --overwrite the results in it")
    at_risk = {file.resolve() for file in [*_results_in(out), out / RECORD]}
    for file in inputs:
        if file.resolve() in at_risk:
            raise SinkError(f"{file} is needed by this run, which would replace it; choose another --out")


def check_saves(save: Iterable[str], prompts: Iterable[PlacedPrompt]) -> None:
    """Raise PromptError or SinkError for objects that a kind of `--save` has no place for."""
    from sam2_video.sinks.registry import SINKS

    objects: dict[int, ObjectInfo] = {}
    for placed in prompts:  # as a session takes them: the last word on a name counts
        known = objects.get(placed.object_id, ObjectInfo())
        name, category = placed.info.name or known.name, placed.info.category or known.category
        objects[placed.object_id] = ObjectInfo(name, category)
    for kind in (SINKS[name] for name in save):
        kind.check(objects)


def clear_results(out: Path) -> None:
    """Remove the results of an earlier run, so that no old mask is taken for a new one.

    A folder without run.json was not filled by a run: nothing is removed there. That record itself stays
    until the new one takes its place: prompts may come from it.
    """
    if not (out / RECORD).is_file():
        return
    for file in _results_in(out):
        try:
            file.unlink()
        except OSError as error:
            raise SinkError(f"cannot replace {file}: {error.strerror or error}") from error


def input_files(source: str, prompts: Iterable[PlacedPrompt], more: Iterable[Path] = ()) -> list[Path]:
    """The files that a run reads: its clip or the pictures of its folder, and those of `prompt_files`."""
    from sam2_video.sources.folder import PICTURE_TYPES

    path = Path(source)
    files = [path, *prompt_files(prompts, more)]
    with suppress(OSError):  # no folder, or not a readable one: who opens the source says so
        files += [file for file in path.iterdir() if file.suffix.lower() in PICTURE_TYPES]
    return files


def prompt_files(prompts: Iterable[PlacedPrompt], more: Iterable[Path] = ()) -> list[Path]:
    """The masks of prompts, and `more` files and whole folders that prompts were read from.

    A run.json is not among them: it gives its place to one that says the same.
    """
    files = [placed.mask_file for placed in prompts if placed.mask_file is not None]
    for other in more:
        files += [file for file in (other, *other.rglob("*")) if file.name != RECORD]
    return files


def model_record(options: ModelOptions) -> dict[str, Any]:
    """Name, weights file, its SHA-256, and how it ran."""
    from sam2_video.checkpoint import identify_weights

    path, digest = identify_weights(options.model)
    return {
        "name": options.model,
        "weights": str(path),
        "sha256": digest,
        "overrides": list(options.overrides),
        "device": device_of(options),
        "dtype": options.dtype,
        "threads": options.threads,
    }


def _results_in(out: Path) -> list[Path]:
    from sam2_video.sinks.base import part_name
    from sam2_video.sinks.registry import SINKS

    patterns = [*MORE_RESULTS, *(pattern for kind in SINKS.values() for pattern in kind.files)]
    unfinished = [str(part_name(Path(pattern))) for pattern in patterns]  # of a run that was killed
    return sorted({file for pattern in (*patterns, *unfinished) for file in out.glob(pattern)})


def device_of(options: ModelOptions) -> str:
    """The device that a model runs on."""
    import torch

    return options.device or ("cuda" if torch.cuda.is_available() else "cpu")
