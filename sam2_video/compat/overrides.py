"""The reference's configuration names and Hydra overrides -> what they mean here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sam2_video.compat.notes import CompatError, explain, warn
from sam2_video.memory import MemoryPolicy

_CONFIG_NAME = re.compile(r"(?:.*[/\\])?(sam2(?:\.1)?_hiera)_(t|s|b\+|l)(?:\.yaml)?")
_SIZES = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}
_OVERRIDE = re.compile(r"\+{0,2}model\.([\w.]+)=(.*)", re.DOTALL)

# How every released model is run, which is how ours run: nothing to set, and nothing else on offer.
_FIXED: dict[str, object] = {
    "binarize_mask_from_pts_for_mem_enc": True,
    "clear_non_cond_mem_around_input": False,
    "clear_non_cond_mem_for_multi_obj": False,
    "directly_add_no_mem_embed": True,
    "fixed_no_obj_ptr": True,
    "iou_prediction_use_sigmoid": True,
    "multimask_max_pt_num": 1,
    "multimask_min_pt_num": 0,
    "multimask_output_for_tracking": True,
    "multimask_output_in_sam": True,
    "non_overlap_masks_for_mem_enc": False,
    "only_obj_ptrs_in_the_past_for_eval": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_delta": 0.05,
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh": 0.98,
    "sam_mask_decoder_extra_args.dynamic_multimask_via_stability": True,
    "sigmoid_bias_for_mem_enc": -10.0,
    "sigmoid_scale_for_mem_enc": 20.0,
    "soft_no_obj_ptr": False,
    "use_high_res_features_in_sam": True,
    "use_mask_input_as_output_without_sam": True,
    "use_mlp_for_obj_ptr_proj": True,
    "use_multimask_token_for_obj_ptr": True,
    "use_obj_ptrs_in_encoder": True,
}
_WITHOUT_EFFECT = {
    "compile_image_encoder": "compile the model from outside, with torch.compile",
    "memory_attention.layer.self_attention.feat_sizes": "tables are sized by the features that come in",
    "memory_attention.layer.cross_attention.feat_sizes": "tables are sized by the features that come in",
}
# Architecture: the reference's node -> ours; values are passed on as they were written.
_ARCHITECTURE = {
    "image_size": "image_size",
    "num_maskmem": "model.memory_slots",
    "image_encoder.trunk.embed_dim": "model.trunk.embed_dim",
    "image_encoder.trunk.num_heads": "model.trunk.num_heads",
    "image_encoder.trunk.stages": "model.trunk.stages",
    "image_encoder.trunk.global_att_blocks": "model.trunk.global_att_blocks",
    "image_encoder.trunk.window_spec": "model.trunk.window_spec",
    "image_encoder.trunk.window_pos_embed_bkg_spatial_size": "model.trunk.window_pos_embed_bkg_spatial_size",
    "image_encoder.neck.backbone_channel_list": "model.neck.backbone_channel_list",
    "memory_attention.num_layers": "model.memory_attention.num_layers",
}
_TARGETS = ("sam2.modeling.sam2_base.SAM2Base", "sam2.sam2_video_predictor.SAM2VideoPredictor")


@dataclass(frozen=True)
class Settings:
    """What a list of overrides asks for; the defaults are explained in docs/compat.md."""

    architecture: tuple[str, ...] = ()  # overrides of `build_model`
    fill_hole_area: int = 0
    non_overlap_masks: bool = False
    keep_corrections: bool = True
    memory: MemoryPolicy = field(default_factory=MemoryPolicy)


def config_name(config_file: str | Path) -> str | Path:
    """Our name of a configuration of the reference; anything else stays, it may be one of ours."""
    match = _CONFIG_NAME.fullmatch(str(config_file))
    if match is None:
        return config_file
    name = f"{match[1]}_{_SIZES[match[2]]}"
    if Path(config_file).is_file():
        warn(
            f"{config_file} is not read: our own configuration {name} takes its place; if the file was "
            "edited, say what was changed with hydra_overrides_extra"
        )
    return name


def read_overrides(overrides: Sequence[str], settings: Settings) -> Settings:
    """Apply overrides in the reference's words to settings, the last one wins.

    Raises CompatError for what has no meaning here.
    """
    for override in overrides:
        match = _OVERRIDE.fullmatch(override.strip())
        if match is None:
            raise CompatError(
                f"override {override!r} is not translated; expected '++model.NAME=VALUE' (models of your own "
                "are built by sam2_video.build_model)"
            )
        settings = _apply(match[1], match[2].strip(), settings, override)
    return settings


def _apply(name: str, text: str, settings: Settings, override: str) -> Settings:
    if name in _ARCHITECTURE:
        return replace(settings, architecture=(*settings.architecture, f"{_ARCHITECTURE[name]}={text}"))
    if name in _WITHOUT_EFFECT:
        explain(f"override {override!r} has no effect: {_WITHOUT_EFFECT[name]}")
        return settings
    if name == "_target_" and text.removesuffix("VOS") in _TARGETS:
        return settings
    value = _value(text)
    if name in _FIXED:
        if value != _FIXED[name]:
            raise CompatError(
                f"override {override!r} is not on offer: models run as the released ones do, "
                f"with {name}={_FIXED[name]}"
            )
        return settings
    if name not in _BEHAVIOUR:
        known = ", ".join(sorted([*_BEHAVIOUR, *_ARCHITECTURE, *_WITHOUT_EFFECT, *_FIXED]))
        raise CompatError(f"override {override!r} is not translated; names that are: {known}")
    try:
        return _BEHAVIOUR[name](settings, value)
    except ValueError as error:
        raise CompatError(f"override {override!r}: {error}") from error


def _value(text: str) -> Any:
    import yaml  # type: ignore[import-untyped, unused-ignore]

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {value!r}")
    return value


def _whole(value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"expected a whole number from {least} on, got {value!r}")
    return value


def _fill_hole_area(settings: Settings, value: Any) -> Settings:
    return replace(settings, fill_hole_area=_whole(value, 0))


def _non_overlap_masks(settings: Settings, value: Any) -> Settings:
    return replace(settings, non_overlap_masks=_flag(value))


def _keep_corrections(settings: Settings, value: Any) -> Settings:
    return replace(settings, keep_corrections=_flag(value))


def _attended_prompts(settings: Settings, value: Any) -> Settings:
    prompted = None if value == -1 else _whole(value, 1)
    return replace(settings, memory=replace(settings.memory, prompted=prompted))


def _pointers(settings: Settings, value: Any) -> Settings:
    # The reference counts the prompted frame as well.
    return replace(settings, memory=replace(settings.memory, pointers=_whole(value, 1) - 1))


def _stride(settings: Settings, value: Any) -> Settings:
    return replace(settings, memory=replace(settings.memory, stride=_whole(value, 1)))


_BEHAVIOUR: dict[str, Callable[[Settings, Any], Settings]] = {
    "add_all_frames_to_correct_as_cond": _keep_corrections,
    "fill_hole_area": _fill_hole_area,
    "max_cond_frames_in_attn": _attended_prompts,
    "max_obj_ptrs_in_encoder": _pointers,
    "memory_temporal_stride_for_eval": _stride,
    "non_overlap_masks": _non_overlap_masks,
}
