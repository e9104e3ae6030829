"""What the commands share: loading the model, claiming the output folder, and the record of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.types import PromptError, SinkError

if TYPE_CHECKING:
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


def claim_folder(out: Path, overwrite: bool) -> None:
    """Make the output folder. Raises SinkError if that fails or if it holds files that must stay."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        filled = any(out.iterdir())
    except OSError as error:
        raise SinkError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    if filled and not overwrite:
        raise SinkError(f"{out} is not empty; choose another --out, or --overwrite the results in it")


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
    for pattern in RESULTS:
        for file in out.glob(pattern):
            try:
                file.unlink()
            except OSError as error:
                raise SinkError(f"cannot replace {file}: {error.strerror or error}") from error


def model_record(options: ModelOptions) -> dict[str, Any]:
    """Name, weights file, its SHA-256, and how it ran."""
    path, digest = _weights(options.model)
    return {
        "name": options.model,
        "weights": None if path is None else str(path),
        "sha256": digest,
        "overrides": list(options.overrides),
        "device": _device(options),
        "dtype": options.dtype,
        "threads": options.threads,
    }


def _device(options: ModelOptions) -> str:
    import torch

    return options.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _weights(model: str) -> tuple[Path | None, str | None]:
    from sam2_video.checkpoint import download_model, list_models
    from sam2_video.download import hash_file

    info = next((info for info in list_models() if info.name == model), None)
    path = Path(model).expanduser() if info is None else info.path or download_model(model, offline=True)
    if info is not None and info.sha256 is not None:
        return path, info.sha256
    return (path, hash_file(path)) if path.is_file() else (None, None)
