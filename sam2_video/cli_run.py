"""What the commands share: loading the model, claiming the output folder, and the record of a run."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.types import PromptError, SinkError

if TYPE_CHECKING:
    from sam2_video.cli_prompts import PlacedPrompt
    from sam2_video.model.sam2 import SAM2

# What runs leave in their folder; `clear_results` removes these of an earlier run and nothing else.
RESULTS = ("masks/*.png", "overlay.mp4", "overlay.png", "objects.csv", "masks.jsonl", "run.json")
LARGEST_ID = 65_535  # of an object in a 16-bit mask picture


@dataclass(frozen=True)
class ModelOptions:
    """Which model runs, where and how. No device means a CUDA GPU where there is one."""

    model: str = "nano"
    device: str | None = None
    dtype: str = "float32"
    threads: int | None = None
    overrides: tuple[str, ...] = ()


def load(options: ModelOptions) -> SAM2:
    """Load the model. Raises CheckpointError and ConfigError."""
    import torch

    from sam2_video.checkpoint import load_model

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return load_model(
        options.model, device=_device(options), dtype=options.dtype, overrides=options.overrides
    )


def claim_folder(out: Path, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Make the output folder and see that it can be written to.

    Raises SinkError if not, if it holds files that must stay, or if a result would take the place of one of
    `inputs`.
    """
    from sam2_video.sinks.base import make_folder, reported

    make_folder(out)
    with reported(out):
        filled = any(out.iterdir())
    if filled and not overwrite:
        raise SinkError(f"{out} is not empty; choose another --out, or --overwrite the results in it")
    at_risk = {file.resolve() for file in _results_in(out)}
    for file in inputs:
        if file.resolve() in at_risk:
            raise SinkError(f"{file} is needed by this run, which would replace it; choose another --out")


def check_ids(object_ids: Iterable[int]) -> int:
    """Return the bits of mask pictures for these objects, 8 or 16. Raises PromptError for an id too large."""
    ids = list(object_ids)
    for object_id in ids:
        if not 0 < object_id <= LARGEST_ID:
            raise PromptError(
                f"object id {object_id} does not fit a mask picture: 1 to {LARGEST_ID}, 0 is background"
            )
    return 8 if max(ids) < 256 else 16


def clear_results(out: Path) -> None:
    """Remove the results of an earlier run, so that no old mask is taken for a new one.

    A folder without run.json was not filled by a run: nothing is removed there.
    """
    if not (out / "run.json").is_file():
        return
    for file in _results_in(out):
        try:
            file.unlink()
        except OSError as error:
            raise SinkError(f"cannot replace {file}: {error.strerror or error}") from error


def input_files(source: str, prompts: Iterable[PlacedPrompt]) -> list[Path]:
    """The files that a run reads: its clip or the pictures of its folder, and the masks of its prompts."""
    from sam2_video.sources.folder import PICTURE_TYPES

    path = Path(source)
    files = [path, *(placed.mask_file for placed in prompts if placed.mask_file is not None)]
    with suppress(OSError):  # no folder, or not a readable one: who opens the source says so
        files += [file for file in path.iterdir() if file.suffix.lower() in PICTURE_TYPES]
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
        "device": _device(options),
        "dtype": options.dtype,
        "threads": options.threads,
    }


def _results_in(out: Path) -> list[Path]:
    return [file for pattern in RESULTS for file in out.glob(pattern)]


def _device(options: ModelOptions) -> str:
    import torch

    return options.device or ("cuda" if torch.cuda.is_available() else "cpu")
