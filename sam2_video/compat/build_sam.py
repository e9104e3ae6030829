"""The reference's builders: `sam2.build_sam`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sam2_video.checkpoint import load_model, resolve_device
from sam2_video.compat.notes import explain, warn
from sam2_video.compat.overrides import Settings, config_name, read_overrides
from sam2_video.compat.sam2_video_predictor import SAM2VideoPredictor
from sam2_video.config import build_model
from sam2_video.model.sam1 import AnyModel, with_memory
from sam2_video.model.sam2 import SAM2

FILL_HOLE_AREA = 8  # low-resolution pixels; what `apply_postprocessing` fills in videos


def build_sam2(
    config_file: str | Path,
    ckpt_path: str | Path | None = None,
    device: str | torch.device = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **kwargs: Any,
) -> SAM2:
    """Build a model for `SAM2ImagePredictor`; without `ckpt_path` its weights are random.

    `config_file` is a name of the reference ("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2_hiera_l.yaml"), one
    of ours, or the path of one of ours. Raises CompatError, ConfigError, CheckpointError.
    """
    settings = _settings(hydra_overrides_extra, apply_postprocessing, kwargs, fill_hole_area=0)
    model = _load(config_file, ckpt_path, device, settings)
    return model if mode == "eval" else model.train()


def build_sam2_video_predictor(
    config_file: str | Path,
    ckpt_path: str | Path | None = None,
    device: str | torch.device = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: Any,
) -> SAM2VideoPredictor:
    """Build a predictor for videos; arguments and errors are those of `build_sam2`."""
    settings = _video_settings(mode, hydra_overrides_extra, apply_postprocessing, vos_optimized, kwargs)
    return _video_predictor(_load(config_file, ckpt_path, device, settings), settings)


def build_sam2_hf(
    model_id: str,
    *,
    device: str | torch.device = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **kwargs: Any,
) -> SAM2:
    """Build a model by hub id, such as "facebook/sam2.1-hiera-tiny", or by a name of `list_models()`."""
    settings = _settings(hydra_overrides_extra, apply_postprocessing, kwargs, fill_hole_area=0)
    model = _of_sam2(load_model(model_id, device=device, overrides=settings.architecture))
    return model if mode == "eval" else model.train()


def build_sam2_video_predictor_hf(
    model_id: str,
    *,
    device: str | torch.device = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: Any,
) -> SAM2VideoPredictor:
    """Build a predictor for videos by hub id, or by a name of `list_models()`."""
    settings = _video_settings(mode, hydra_overrides_extra, apply_postprocessing, vos_optimized, kwargs)
    model = load_model(model_id, device=device, overrides=settings.architecture)
    return _video_predictor(_of_sam2(model), settings)


def _load(
    config_file: str | Path, ckpt_path: str | Path | None, device: str | torch.device, settings: Settings
) -> SAM2:
    name = config_name(config_file)
    if ckpt_path is not None:
        loaded = load_model(name, checkpoint=ckpt_path, device=device, overrides=settings.architecture)
        return _of_sam2(loaded)
    place = resolve_device(device)
    warn(f"{config_file} is built without ckpt_path: its weights are random")
    return _of_sam2(build_model(name, settings.architecture)).to(place).eval()


def _of_sam2(model: AnyModel) -> SAM2:
    return with_memory(model, "sam2_video.compat")


def _settings(
    overrides: Sequence[str], apply_postprocessing: bool, unknown: dict[str, Any], *, fill_hole_area: int
) -> Settings:
    for name in unknown:
        explain(f"the builder's argument {name!r} is not known to the reference either and has no effect")
    if not apply_postprocessing:
        warn(
            "apply_postprocessing=False turns off the filling of holes; the stability fallback and binarised "
            "memory masks, which it turns off in the reference, stay on here"
        )
    return read_overrides(overrides, Settings(fill_hole_area=fill_hole_area if apply_postprocessing else 0))


def _video_settings(
    mode: str,
    overrides: Sequence[str],
    apply_postprocessing: bool,
    vos_optimized: bool,
    unknown: dict[str, Any],
) -> Settings:
    if mode != "eval":
        explain(f"mode={mode!r} has no effect on a video predictor: it always tracks in eval mode")
    if vos_optimized:
        explain("vos_optimized=True has no effect: nothing is compiled behind your back")
    return _settings(overrides, apply_postprocessing, unknown, fill_hole_area=FILL_HOLE_AREA)


def _video_predictor(model: SAM2, settings: Settings) -> SAM2VideoPredictor:
    return SAM2VideoPredictor(
        model,
        fill_hole_area=settings.fill_hole_area,
        non_overlap_masks=settings.non_overlap_masks,
        add_all_frames_to_correct_as_cond=settings.keep_corrections,
        memory=replace(settings.memory, recent=model.memory_slots - 1),
    )
