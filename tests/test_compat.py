"""Names, arguments and rules of the reference, one by one; whole scripts are in test_compat_scripts."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sam2_video
from sam2_video import compat
from sam2_video.compat import CompatError, SAM2ImagePredictor, SAM2VideoPredictor, notes
from sam2_video.compat.inference_state import InferenceState
from sam2_video.compat.overrides import Settings, config_name, read_overrides
from sam2_video.memory import MemoryPolicy
from sam2_video.tracker import segment_prompt
from sam2_video.transforms import FrameTransform
from sam2_video.types import ABSENT_LOGIT, CheckpointError, ConfigError, Prompt, PromptError, Sam2VideoError
from tests.toys import FRAME_SIZE, SIDE, toy_clip, toy_model

FRAMES = 6
HEIGHT, WIDTH = FRAME_SIZE
NOWHERE = ABSENT_LOGIT + 1  # interpolation rounds
CLICK: dict[str, Any] = {"points": [[13, 16]], "labels": [1]}
NANO = {"hydra_overrides_extra": ["++model.image_size=64"], "device": "cpu"}


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "_said", set())


@pytest.fixture
def predictor() -> SAM2VideoPredictor:
    return SAM2VideoPredictor(toy_model())


@pytest.fixture
def state(predictor: SAM2VideoPredictor) -> InferenceState:
    return predictor.init_state(toy_clip(FRAMES))


# ---------------------------------------------------------------------------------------------- signatures


REQUIRED = inspect.Parameter.empty
PROMPTED = {"inference_state": REQUIRED, "frame_idx": REQUIRED, "obj_id": REQUIRED}
SIGNATURES: list[tuple[Any, dict[str, Any]]] = [
    (
        compat.build_sam2,
        {
            "config_file": REQUIRED,
            "ckpt_path": None,
            "device": "cuda",
            "mode": "eval",
            "hydra_overrides_extra": (),
            "apply_postprocessing": True,
        },
    ),
    (
        compat.build_sam2_video_predictor,
        {
            "config_file": REQUIRED,
            "ckpt_path": None,
            "device": "cuda",
            "mode": "eval",
            "hydra_overrides_extra": (),
            "apply_postprocessing": True,
            "vos_optimized": False,
        },
    ),
    (
        SAM2VideoPredictor.init_state,
        {
            "video_path": REQUIRED,
            "offload_video_to_cpu": False,
            "offload_state_to_cpu": False,
            "async_loading_frames": False,
        },
    ),
    (
        SAM2VideoPredictor.add_new_points_or_box,
        {
            **PROMPTED,
            "points": None,
            "labels": None,
            "clear_old_points": True,
            "normalize_coords": True,
            "box": None,
        },
    ),
    (SAM2VideoPredictor.add_new_mask, {**PROMPTED, "mask": REQUIRED}),
    (
        SAM2VideoPredictor.propagate_in_video,
        {
            "inference_state": REQUIRED,
            "start_frame_idx": None,
            "max_frame_num_to_track": None,
            "reverse": False,
        },
    ),
    (SAM2VideoPredictor.clear_all_prompts_in_frame, {**PROMPTED, "need_output": True}),
    (
        SAM2VideoPredictor.remove_object,
        {"inference_state": REQUIRED, "obj_id": REQUIRED, "strict": False, "need_output": True},
    ),
    (SAM2VideoPredictor.reset_state, {"inference_state": REQUIRED}),
    (
        SAM2ImagePredictor.__init__,
        {"sam_model": REQUIRED, "mask_threshold": 0.0, "max_hole_area": 0.0, "max_sprinkle_area": 0.0},
    ),
    (SAM2ImagePredictor.set_image, {"image": REQUIRED}),
    (SAM2ImagePredictor.set_image_batch, {"image_list": REQUIRED}),
    (
        SAM2ImagePredictor.predict,
        {
            "point_coords": None,
            "point_labels": None,
            "box": None,
            "mask_input": None,
            "multimask_output": True,
            "return_logits": False,
            "normalize_coords": True,
        },
    ),
    (
        SAM2ImagePredictor.predict_batch,
        {
            "point_coords_batch": None,
            "point_labels_batch": None,
            "box_batch": None,
            "mask_input_batch": None,
            "multimask_output": True,
            "return_logits": False,
            "normalize_coords": True,
        },
    ),
]


@pytest.mark.parametrize(("function", "expected"), SIGNATURES, ids=lambda v: getattr(v, "__qualname__", ""))
def test_arguments_are_the_references(function: Any, expected: dict[str, Any]) -> None:
    parameters = inspect.signature(function).parameters.values()
    named = {p.name: p.default for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD}
    assert list(named.items()) == list(expected.items())  # positions count


# ------------------------------------------------------------------------------------------------ builders


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny"),
        ("configs/sam2.1/sam2.1_hiera_b+.yaml", "sam2.1_hiera_base_plus"),
        ("configs/sam2/sam2_hiera_s.yaml", "sam2_hiera_small"),
        ("sam2_hiera_l.yaml", "sam2_hiera_large"),
        ("sam2_hiera_l", "sam2_hiera_large"),
        ("//home/me/sam2/configs/sam2.1/sam2.1_hiera_s.yaml", "sam2.1_hiera_small"),
        ("nano", "nano"),
        ("my/own.yaml", "my/own.yaml"),
        ("sam2.1_hiera_b+_MOSE_finetune.yaml", "sam2.1_hiera_b+_MOSE_finetune.yaml"),
    ],
)
def test_configuration_names(theirs: str, ours: str) -> None:
    assert config_name(theirs) == ours
    if ours.startswith("sam2") and not ours.endswith(".yaml"):
        assert ours in [info.name for info in sam2_video.list_models()]


def test_a_file_of_a_released_name_is_not_read_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "sam2_hiera_t.yaml"
    file.write_text("model: {_target_: sam2.something}", encoding="utf-8")
    assert config_name(file) == "sam2_hiera_tiny"
    assert "is not read" in caplog.text


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("++model.fill_hole_area=3", Settings(fill_hole_area=3)),
        ("++model.non_overlap_masks=true", Settings(non_overlap_masks=True)),
        ("model.non_overlap_masks=False", Settings()),
        ("++model.add_all_frames_to_correct_as_cond=false", Settings(keep_corrections=False)),
        ("+model.max_cond_frames_in_attn=4", Settings(memory=MemoryPolicy(prompted=4))),
        ("++model.max_cond_frames_in_attn=-1", Settings()),
        ("++model.max_obj_ptrs_in_encoder=9", Settings(memory=MemoryPolicy(pointers=8))),
        ("++model.memory_temporal_stride_for_eval=2", Settings(memory=MemoryPolicy(stride=2))),
        ("++model.image_size=512", Settings(architecture=("image_size=512",))),
        ("++model.num_maskmem=5", Settings(architecture=("model.memory_slots=5",))),
        (
            "++model.image_encoder.trunk.stages=[1, 1, 1, 1]",
            Settings(architecture=("model.trunk.stages=[1, 1, 1, 1]",)),
        ),
        ("++model.compile_image_encoder=True", Settings()),
        ("++model._target_=sam2.sam2_video_predictor.SAM2VideoPredictorVOS", Settings()),
        ("++model.binarize_mask_from_pts_for_mem_enc=true", Settings()),
        ("++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05", Settings()),
    ],
)
def test_overrides_are_translated(override: str, expected: Settings) -> None:
    assert read_overrides([override], Settings()) == expected


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.1", "0.05"),
        ("++model.binarize_mask_from_pts_for_mem_enc=false", "not on offer"),
        ("++model.not_a_thing=1", "not translated; names that are"),
        ("++model._target_=os.system", "not translated"),
        ("++trainer.lr=1", "++model.NAME=VALUE"),
        ("~model.fill_hole_area", "++model.NAME=VALUE"),
        ("++model.fill_hole_area=many", "whole number from 0"),
        ("++model.fill_hole_area=true", "whole number from 0"),
        ("++model.non_overlap_masks=1", "true or false"),
        ("++model.max_cond_frames_in_attn=0", "whole number from 1"),
    ],
)
def test_overrides_without_a_meaning_are_refused(override: str, says: str) -> None:
    with pytest.raises(CompatError, match=says.replace("+", r"\+")) as told:
        read_overrides([override], Settings())
    assert override in str(told.value)
    assert isinstance(told.value, NotImplementedError)


def test_every_released_override_of_the_reference_is_known() -> None:
    """What its builders add, and what its VOS script asks for."""
    extra = "++model.sam_mask_decoder_extra_args.dynamic_multimask_"
    said = [
        "++model._target_=sam2.sam2_video_predictor.SAM2VideoPredictor",
        f"{extra}via_stability=true",
        f"{extra}stability_delta=0.05",
        f"{extra}stability_thresh=0.98",
        "++model.binarize_mask_from_pts_for_mem_enc=true",
        "++model.fill_hole_area=8",
        "++model.non_overlap_masks=false",
    ]
    assert read_overrides(said, Settings()) == Settings(fill_hole_area=8)


def test_builders_set_what_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    default = compat.build_sam2_video_predictor_hf("nano", **NANO)
    assert (default.fill_hole_area, default.non_overlap_masks) == (8, False)
    assert default.add_all_frames_to_correct_as_cond and default.memory == MemoryPolicy()
    assert default.image_size == 64 and default.device == torch.device("cpu") and not default.training
    assert caplog.text == ""

    changed = SAM2VideoPredictor.from_pretrained(
        "nano",
        device=torch.device("cpu"),
        hydra_overrides_extra=["++model.non_overlap_masks=true", "++model.max_cond_frames_in_attn=2"],
        apply_postprocessing=False,
    )
    assert (changed.fill_hole_area, changed.non_overlap_masks) == (0, True)
    state = changed.init_state(toy_clip(2))
    assert state.session.options.memory == changed.memory == MemoryPolicy(prompted=2)
    assert "apply_postprocessing=False" in caplog.text


def test_an_override_of_the_script_wins_over_postprocessing() -> None:
    overrides = [*NANO["hydra_overrides_extra"], "++model.fill_hole_area=0"]
    made = compat.build_sam2_video_predictor_hf("nano", device="cpu", hydra_overrides_extra=overrides)
    assert made.fill_hole_area == 0


def test_a_model_with_fewer_time_codes_looks_back_less() -> None:
    toy = [f"++model.image_size={SIDE}", "++model.num_maskmem=4"]
    made = compat.build_sam2_video_predictor("nano", None, "cpu", hydra_overrides_extra=toy)
    assert made.memory is not None and made.memory.recent == 3
    assert made.init_state(toy_clip(2)).session.options.memory == made.memory


def test_without_a_checkpoint_weights_are_random_and_it_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = compat.build_sam2("nano", device="cpu", hydra_overrides_extra=["++model.image_size=64"])
    assert model.image_size == 64 and not model.training
    assert "its weights are random" in caplog.text


def test_mode_train() -> None:
    assert compat.build_sam2_hf("nano", mode="train", **NANO).training
    assert not compat.build_sam2_video_predictor_hf("nano", mode="train", **NANO).model.training


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("builder", [compat.build_sam2, compat.build_sam2_video_predictor])
def test_the_default_device_is_cuda_and_missing_here(builder: Any) -> None:
    with pytest.raises(CheckpointError, match="use device='cpu'"):
        builder("configs/sam2.1/sam2.1_hiera_t.yaml")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sam2\.1_hiera_tiny"):
        compat.build_sam2("sam2_hiera_xxl", device="cpu")
    with pytest.raises(CheckpointError, match="known are"):
        SAM2ImagePredictor.from_pretrained("sam2_hiera_xxl", device="cpu")


def test_what_has_no_effect_is_explained_once(
    predictor: SAM2VideoPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sam2_video.compat")
    for _ in range(2):
        state = predictor.init_state(toy_clip(2), offload_video_to_cpu=True, offload_state_to_cpu=True)
        compat.build_sam2_video_predictor_hf("nano", vos_optimized=True, use_kernels=True, **NANO)
    assert caplog.text.count("offload_state_to_cpu") == 1
    assert caplog.text.count("vos_optimized=True") == 1
    assert caplog.text.count("use_kernels") == 1
    assert state["offload_video_to_cpu"] and state["offload_state_to_cpu"]


def test_automatic_masks_by_name() -> None:
    generator = compat.SAM2AutomaticMaskGenerator.from_pretrained(
        "nano", device="cpu", points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0
    )
    found = generator.generate(toy_clip(1)[0])
    assert found and found[0]["segmentation"].shape == FRAME_SIZE


# ------------------------------------------------------------------------------------------- state, clips


def test_fields_of_the_state(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    assert (state["num_frames"], state["video_height"], state["video_width"]) == (FRAMES, HEIGHT, WIDTH)
    assert state["device"] == torch.device("cpu") and state["obj_ids"] == []
    predictor.add_new_points_or_box(state, 0, "cup", **CLICK)
    predictor.add_new_points_or_box(state, 1, 7, **CLICK)
    assert state["obj_ids"] == ["cup", 7]
    assert state["obj_id_to_idx"] == {"cup": 0, 7: 1} and state["obj_idx_to_id"] == {0: "cup", 1: 7}
    assert "images" in state and "output_dict" not in state and len(state) == len(dict(state))
    with pytest.raises(KeyError, match=r"no field 'output_dict'; it has .*num_frames"):
        state["output_dict"]
    with pytest.raises(CompatError, match="cannot be written"):
        state["images"] = []


def test_images_of_the_state_are_what_the_model_sees(state: InferenceState) -> None:
    images, expected = state["images"], FrameTransform(SIDE)
    assert len(images) == FRAMES and images[0].shape == (3, SIDE, SIDE)
    assert torch.equal(images[-1], expected.pixels(toy_clip(FRAMES)[-1])[0])
    assert images[1:3].shape == (2, 3, SIDE, SIDE)
    with pytest.raises(IndexError):
        images[FRAMES]


def test_jpeg_folders_are_read_as_the_reference_reads_them(
    predictor: SAM2VideoPredictor, tmp_path: Path
) -> None:
    for number in (2, 10, 1):
        Image.fromarray(toy_clip(11)[number]).save(tmp_path / f"{number}.JPG")
    (tmp_path / "notes.txt").write_text("not a frame", encoding="utf-8")
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "2.png")
    state = predictor.init_state(str(tmp_path))
    assert state["num_frames"] == 3
    with Image.open(tmp_path / "10.JPG") as picture:
        pixels = np.asarray(picture)
    assert torch.equal(state["images"][2], FrameTransform(SIDE, "bicubic_pil").pixels(pixels)[0])


def test_other_folders_are_read_by_our_rules(predictor: SAM2VideoPredictor, tmp_path: Path) -> None:
    for number in (10, 9):
        Image.fromarray(toy_clip(11)[number]).save(tmp_path / f"frame{number}.png")
    state = predictor.init_state(tmp_path)
    expected = FrameTransform(SIDE, "bicubic_pil").pixels(toy_clip(11)[9])[0]
    assert state["num_frames"] == 2 and torch.equal(state["images"][0], expected)


def test_a_clip_of_unknown_length_is_refused(predictor: SAM2VideoPredictor) -> None:
    with pytest.raises(CompatError, match="length is known"):
        predictor.init_state(iter(toy_clip(2)))


# --------------------------------------------------------------------------------------------- video prompts


def test_prompts_return_all_objects_absent_ones_too(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    frame, ids, logits = predictor.add_new_points_or_box(state, 0, 4, **CLICK)
    assert (frame, ids, logits.shape) == (0, [4], (1, 1, HEIGHT, WIDTH))
    assert logits.dtype == torch.float32
    frame, ids, later = predictor.add_new_points_or_box(state, 2, 1, points=[[40, 20]], labels=[1])
    assert (frame, ids, later.shape) == (2, [4, 1], (2, 1, HEIGHT, WIDTH))
    assert (later[0] < NOWHERE).all() and (later[1] > NOWHERE).any()
    _, _, again = predictor.add_new_points_or_box(state, 0, 1, points=[[40, 20]], labels=[1])
    assert torch.equal(again[0], logits[0])


@pytest.mark.parametrize("obj_id", ["left cup", 0, -3, (1, 2), 2.5])
def test_objects_are_called_anything(
    predictor: SAM2VideoPredictor, state: InferenceState, obj_id: Any
) -> None:
    predictor.add_new_points_or_box(state, 0, obj_id, **CLICK)
    assert next(predictor.propagate_in_video(state))[1] == [obj_id]


def test_scalars_are_the_same_object_as_their_number(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    for obj_id in (3, np.int64(3), torch.tensor(3)):
        predictor.add_new_points_or_box(state, 0, obj_id, **CLICK)
    assert state["obj_ids"] == [3]
    with pytest.raises(PromptError, match="hashable"):
        predictor.add_new_points_or_box(state, 0, [3], **CLICK)


def test_points_come_as_lists_arrays_and_tensors(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    forms = [
        ([[13, 16], [40, 20]], [1, 0]),
        (np.array([[[13, 16], [40, 20]]], np.float32), np.array([[1, 0]], np.int32)),
        (torch.tensor([[13.0, 16.0], [40.0, 20.0]]), torch.tensor([1, 0])),
        (np.array([[13, 16], [40, 20], [0, 0]]), np.array([1, 0, -1])),  # padded
    ]
    found = []
    for points, labels in forms:
        predictor.reset_state(state)
        found.append(predictor.add_new_points_or_box(state, 0, 1, points, labels)[2])
    predictor.reset_state(state)
    shares = np.array([[13 / WIDTH, 16 / HEIGHT], [40 / WIDTH, 20 / HEIGHT]])
    found.append(predictor.add_new_points_or_box(state, 0, 1, shares, [1, 0], normalize_coords=False)[2])
    assert all(torch.allclose(found[0], other, atol=1e-4) for other in found[1:])


def test_labels_two_and_three_are_a_box(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    corners = predictor.add_new_points(state, 0, 1, [[9, 10], [28, 30], [15, 20]], [2, 3, 1])[2]
    box = predictor.add_new_points_or_box(
        state, 0, 2, points=[[15, 20]], labels=[1], box=torch.tensor([[9, 10], [28, 30]])
    )[2]
    assert torch.equal(corners[0], box[1])


def refined(points: Any, labels: Any, previous: torch.Tensor) -> torch.Tensor:
    """What the network makes of clicks on frame 0 and a mask that came before them."""
    model, transform = toy_model(), FrameTransform(SIDE)
    prompt = Prompt(tuple(map(tuple, points)), tuple(labels))
    tensors = transform.prompt_tensors(prompt, FRAME_SIZE, previous)
    with torch.inference_mode():
        features = model.encode_image(transform.pixels(toy_clip(1)[0]))
        return segment_prompt(model, features, tensors).logits


def test_new_points_replace_the_old_ones_and_refine_their_mask(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    first = state.session.track(0).predictions[0].logits.clone()
    predictor.add_new_points_or_box(state, 0, 1, [[40, 20]], [0])
    replaced = state.session.track(0)
    assert replaced.prompts[0].points == ((40.0, 20.0),)
    assert torch.allclose(replaced.predictions[0].logits, refined([(40, 20)], [0], first), atol=1e-5)


def test_old_points_can_be_kept(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    first = state.session.track(0).predictions[0].logits.clone()
    predictor.add_new_points_or_box(state, 0, 1, [[40, 20]], [0], clear_old_points=False)
    both = state.session.track(0)
    assert both.prompts[0].points == ((13.0, 16.0), (40.0, 20.0))
    expected = refined([(13, 16), (40, 20)], [1, 0], first)
    assert torch.allclose(both.predictions[0].logits, expected, atol=1e-5)


def test_a_refused_prompt_changes_nothing(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    with pytest.raises(PromptError, match="labels are 1"):
        predictor.add_new_points_or_box(state, 0, 1, [[13, 16]], [7])
    assert state["obj_ids"] == []
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    before = state.session.track(0).prompts[0]
    with pytest.raises(PromptError):
        predictor.add_new_points_or_box(state, 0, 1, [[40, 20]], [7])
    assert state.session.track(0).prompts[0] == before


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({}, "points with labels, or a box"),
        ({"points": [[1, 2]]}, "go together"),
        ({"labels": [1]}, "go together"),
        ({"points": [[1, 2]], "labels": [1, 1]}, "1 points need 1 labels"),
        ({"points": [[1, 2, 3]], "labels": [1]}, r"\(P, 2\)"),
        ({"points": "ab", "labels": [1]}, "must be numbers"),
        ({"points": [[float("nan"), 2]], "labels": [1]}, "finite"),
        ({"box": [1, 2, 3]}, "four numbers"),
        ({"box": [30, 10, 10, 30]}, "swapped"),
        ({"box": [100, 10, 120, 30]}, "empty"),  # beside the frame
        ({"box": [1, 2, 30, 40], "clear_old_points": False}, "clear_old_points=True"),
    ],
)
def test_prompts_that_mean_nothing_are_refused(
    predictor: SAM2VideoPredictor, state: InferenceState, said: dict[str, Any], says: str
) -> None:
    with pytest.raises(PromptError, match=says):
        predictor.add_new_points_or_box(state, 0, 1, **said)


def test_coordinates_outside_are_moved_to_the_edge(
    predictor: SAM2VideoPredictor, state: InferenceState, caplog: pytest.LogCaptureFixture
) -> None:
    predictor.add_new_points_or_box(state, 0, 1, box=[-0.4, 10, WIDTH + 0.3, 30])
    assert state.session.track(0).prompts[0].box == (0, 10, WIDTH, 30)
    assert caplog.text == "", "a detector's fraction of a pixel is not worth a word"
    predictor.add_new_points_or_box(state, 0, 2, [[WIDTH, HEIGHT + 5]], [1])
    (point,) = state.session.track(1).prompts[0].points
    assert point == pytest.approx((WIDTH, HEIGHT)) and point[0] < WIDTH
    assert "moved to its edge" in caplog.text


def test_masks_of_every_kind(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    mask = np.zeros(FRAME_SIZE, dtype=bool)
    mask[10:30, 20:50] = True
    forms = [
        mask,
        mask.astype(np.uint8) * 255,
        torch.from_numpy(mask),
        torch.from_numpy(mask).float() * 0.7 + 0.2,  # probabilities
        mask.repeat(2, axis=0).repeat(2, axis=1),  # another size
        mask.astype(int) * 3 + (np.arange(WIDTH) % 2 * mask),  # several values
    ]
    for form in forms:
        predictor.add_new_mask(state, 0, 1, form)
        kept = state.session.track(0).prompts[0].mask
        assert kept is not None and np.array_equal(kept, mask)
    with pytest.raises(PromptError, match="two dimensions"):
        predictor.add_new_mask(state, 0, 1, mask[None])
    with pytest.raises(PromptError, match="empty"):
        predictor.add_new_mask(state, 0, 1, torch.zeros(FRAME_SIZE))


# ------------------------------------------------------------------------------------------------- tracking


def frames_of(results: Any) -> list[int]:
    return [frame for frame, _, _ in results]


def test_which_frames_are_tracked(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    predictor.add_new_points_or_box(state, 3, 1, **CLICK)
    predictor.add_new_points_or_box(state, 2, 2, **CLICK)

    def run(*how: Any) -> list[int]:
        return frames_of(predictor.propagate_in_video(state, *how))

    assert run() == [2, 3, 4, 5]  # from the earliest prompt on
    assert run(None, None, True) == [2, 1, 0]  # in reverse too
    assert run(0) == [0, 1, 2, 3, 4, 5]
    assert run(1, 2) == [1, 2, 3]  # two frames besides the first
    assert run(4, 99) == [4, 5]
    assert run(4, 0) == [4]
    assert run(5, 2, True) == [5, 4, 3]
    assert run(2, 99, True) == [2, 1, 0]
    assert run(0, None, True) == []  # as in the reference


def test_all_objects_are_tracked_from_the_start(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    predictor.add_new_points_or_box(state, 4, 1, **CLICK)
    predictor.add_new_points_or_box(state, 0, 2, **CLICK)
    _, ids, logits = next(predictor.propagate_in_video(state))
    assert ids == [1, 2]
    assert (logits[0] > NOWHERE).any(), "from the memory of the prompt that lies ahead"


def test_nothing_to_track(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    results = predictor.propagate_in_video(state)
    with pytest.raises(PromptError, match="nothing to propagate"):
        next(results)
    predictor.propagate_in_video_preflight(state)


@pytest.mark.parametrize("kept", [True, False])
def test_corrections_are_kept_unless_asked_otherwise(kept: bool) -> None:
    overrides = [] if kept else ["++model.add_all_frames_to_correct_as_cond=false"]
    settings = read_overrides(overrides, Settings())
    predictor = SAM2VideoPredictor(toy_model(), add_all_frames_to_correct_as_cond=settings.keep_corrections)
    state = predictor.init_state(toy_clip(FRAMES))
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    tracked = {frame: logits for frame, _, logits in predictor.propagate_in_video(state)}
    mask = np.zeros(FRAME_SIZE, dtype=bool)
    mask[30:, 60:] = True
    _, _, corrected = predictor.add_new_mask(state, 3, 1, mask)
    again = {frame: logits for frame, _, logits in predictor.propagate_in_video(state)}
    if kept:
        assert torch.equal(again[3], corrected)
        assert not torch.equal(again[5], tracked[5])
    else:
        assert torch.equal(again[3], tracked[3]), "tracked once more, as the reference does"


def test_masks_do_not_overlap_if_asked() -> None:
    for apart in (False, True):
        predictor = SAM2VideoPredictor(toy_model(), non_overlap_masks=apart)
        state = predictor.init_state(toy_clip(FRAMES))
        mask = np.zeros(FRAME_SIZE, dtype=bool)
        mask[10:30, 20:50] = True
        predictor.add_new_mask(state, 0, 1, mask)
        _, _, prompted = predictor.add_new_mask(state, 0, 2, mask | np.roll(mask, 5, axis=1))
        tracked = [logits for _, _, logits in predictor.propagate_in_video(state)]
        for logits in (prompted, *tracked[1:]):
            overlap = bool(((logits > 0).sum(dim=0) > 1).any())
            assert not (apart and overlap)
        assert apart or bool(((prompted > 0).sum(dim=0) > 1).any())


def test_holes_are_filled_and_specks_stay() -> None:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[16:48, 16:48] = True
    mask[24:32, 24:32] = False  # a hole of four low-resolution pixels
    mask[0:8, 0:8] = True
    found = {}
    for area in (0, 8):
        predictor = SAM2VideoPredictor(toy_model(), fill_hole_area=area)
        state = predictor.init_state(toy_clip(2, (SIDE, SIDE)))
        found[area] = predictor.add_new_mask(state, 0, 1, mask)[2][0, 0]
    assert found[0][28, 28] < 0 < found[8][28, 28]
    assert found[8][4, 4] > 0
    changed = found[0] != found[8]
    assert changed.any() and not changed[:20].any()


def test_prompts_of_a_frame_can_be_taken_back(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_points_or_box(state, 2, 1, [[40, 20]], [1])
    returned = predictor.clear_all_prompts_in_frame(state, 2, 1)
    assert returned is not None
    frame, ids, logits = returned
    assert (frame, ids) == (2, [1]) and (logits < NOWHERE).all()
    assert predictor.clear_all_prompts_in_frame(state, 2, 1, need_output=False) is None  # none left: no harm
    assert frames_of(predictor.propagate_in_video(state)) == list(range(FRAMES))
    with pytest.raises(PromptError, match="no object 9; known objects: 1"):
        predictor.clear_all_prompts_in_frame(state, 0, 9)


def test_objects_can_be_removed(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    predictor.add_new_points_or_box(state, 0, "a", **CLICK)
    predictor.add_new_points_or_box(state, 3, "a", **CLICK)
    _, _, logits = predictor.add_new_points_or_box(state, 0, "b", [[40, 20]], [1])
    assert predictor.remove_object(state, "c") == (["a", "b"], [])
    with pytest.raises(PromptError, match="no object 'c'"):
        predictor.remove_object(state, "c", strict=True)
    ids, updated = predictor.remove_object(state, "a")
    assert ids == ["b"] and [frame for frame, _ in updated] == [0, 3]
    assert torch.equal(updated[0][1], logits[1:])
    predictor.add_new_points_or_box(state, 0, "a", **CLICK)  # a new object of an old name
    assert state["obj_ids"] == ["b", "a"]
    assert predictor.remove_object(state, "a", need_output=False) == (["b"], [])
    assert predictor.remove_object(state, "b") == ([], [])
    assert state["obj_ids"] == []


def test_resetting_forgets_all(predictor: SAM2VideoPredictor, state: InferenceState) -> None:
    first = predictor.add_new_points_or_box(state, 0, 1, **CLICK)[2]
    list(predictor.propagate_in_video(state))
    predictor.reset_state(state)
    assert state["obj_ids"] == [] and state["num_frames"] == FRAMES
    assert torch.equal(predictor.add_new_points_or_box(state, 0, 1, **CLICK)[2], first)


def test_the_predictor_stands_for_its_network(predictor: SAM2VideoPredictor) -> None:
    model = toy_model()
    assert predictor.image_size == SIDE and predictor.image_encoder is model.image_encoder
    assert predictor.state_dict().keys() == model.state_dict().keys()
    assert predictor.to("cpu") is predictor and predictor.eval() is predictor
    predictor.load_state_dict(model.state_dict())
    with pytest.raises(AttributeError, match="_run_single_frame_inference"):
        _ = predictor._run_single_frame_inference


# ---------------------------------------------------------------------------------------------------- images


@pytest.fixture
def image_predictor() -> SAM2ImagePredictor:
    predictor = SAM2ImagePredictor(toy_model())
    predictor.set_image(toy_clip(1)[0])
    return predictor


def test_what_predict_returns(image_predictor: SAM2ImagePredictor) -> None:
    masks, scores, logits = image_predictor.predict(np.array([[20, 24]]), np.array([1]))
    assert (masks.shape, scores.shape, logits.shape) == ((3, HEIGHT, WIDTH), (3,), (3, SIDE // 4, SIDE // 4))
    assert masks.dtype == scores.dtype == logits.dtype == np.float32
    soft, _, _ = image_predictor.predict(np.array([[20, 24]]), np.array([1]), return_logits=True)
    assert np.array_equal(soft > 0, masks.astype(bool))
    shares = np.array([[20 / WIDTH, 24 / HEIGHT]])
    again, _, _ = image_predictor.predict(shares, [1], normalize_coords=False)
    assert np.array_equal(again, masks)


def test_several_objects_at_once(image_predictor: SAM2ImagePredictor) -> None:
    points = np.array([[[20, 24], [0, 0]], [[50, 30], [10, 10]]])
    masks, scores, logits = image_predictor.predict(points, np.array([[1, -1], [1, 0]]))
    assert (masks.shape, scores.shape) == ((2, 3, HEIGHT, WIDTH), (2, 3))
    first = image_predictor.predict(np.array([[20, 24]]), np.array([1]))[0]
    second = image_predictor.predict(points[1], np.array([1, 0]))[0]
    assert np.array_equal(masks[0], first) and np.array_equal(masks[1], second)
    one_mask, _, _ = image_predictor.predict(
        points, np.array([[1, -1], [1, 0]]), mask_input=logits[0, :1], multimask_output=False
    )
    assert one_mask.shape == (2, 1, HEIGHT, WIDTH)
    with pytest.raises(PromptError, match="equal numbers"):
        image_predictor.predict(
            points[:1], np.array([[1, 1]]), box=np.array([[1, 2, 30, 40], [3, 4, 30, 40]])
        )
    with pytest.raises(PromptError, match="mask_input must have 3 dimensions"):
        image_predictor.predict(points[0], [1, 1], mask_input=logits[0, 0])


def test_thresholds_and_small_regions() -> None:
    click = np.array([[20, 24]]), np.array([1])
    picture = toy_clip(1)[0]
    plain = SAM2ImagePredictor(toy_model())
    plain.set_image(picture)
    soft, _, low = plain.predict(*click, return_logits=True)

    strict = SAM2ImagePredictor(toy_model(), mask_threshold=0.3)
    strict.set_image(picture)
    assert np.array_equal(strict.predict(*click)[0], (soft > 0.3).astype(np.float32))

    whole = SAM2ImagePredictor(toy_model(), max_hole_area=10**6)
    whole.set_image(picture)
    full, _, untouched = whole.predict(*click, return_logits=True)
    assert np.array_equal(untouched, low), "logits to be fed back are as they came"
    assert (full > 0).all() and not (soft > 0).all(), "every hole is small"

    clean = SAM2ImagePredictor(toy_model(), max_sprinkle_area=2)
    clean.set_image(picture)
    assert (clean.predict(*click, return_logits=True)[0] <= soft + 1e-4).all()


def test_pictures_that_are_taken(image_predictor: SAM2ImagePredictor) -> None:
    expected = image_predictor.predict([[20, 24]], [1])[2]
    image_predictor.set_image(Image.fromarray(toy_clip(1)[0]))
    assert np.array_equal(image_predictor.predict([[20, 24]], [1])[2], expected)
    assert image_predictor._orig_hw == [FRAME_SIZE] and image_predictor._is_image_set
    for wrong, error in [("photo.jpg", CompatError), (np.zeros(5), PromptError), (None, CompatError)]:
        with pytest.raises(error):
            image_predictor.set_image(wrong)
        assert not image_predictor._is_image_set, "a refused picture leaves none behind"


def test_embeddings(image_predictor: SAM2ImagePredictor) -> None:
    embedding = image_predictor.get_image_embedding()
    assert embedding.shape == (1, 64, SIDE // 16, SIDE // 16)
    features = image_predictor._features
    assert features is not None and torch.equal(features["image_embed"], embedding)
    assert image_predictor.device == torch.device("cpu")
    image_predictor.reset_predictor()
    assert image_predictor._features is None
    for call in (image_predictor.get_image_embedding, lambda: image_predictor.predict([[1, 2]], [1])):
        with pytest.raises(Sam2VideoError, match="set_image first"):
            call()


def test_batches(image_predictor: SAM2ImagePredictor) -> None:
    with pytest.raises(Sam2VideoError, match="set_image_batch first"):
        image_predictor.predict_batch([[[1, 2]]], [[1]])
    with pytest.raises(CompatError, match="a list of pictures"):
        image_predictor.set_image_batch(np.zeros((2, 8, 8, 3), np.uint8))  # type: ignore[arg-type]
    image_predictor.set_image_batch(toy_clip(2))
    assert image_predictor.get_image_embedding().shape[0] == 2
    points = [np.array([[20, 24]]), np.array([[[20, 24]], [[50, 30]]])]
    labels = [np.array([1]), np.array([[1], [1]])]
    masks, scores, logits = image_predictor.predict_batch(points, labels, multimask_output=False)
    assert [m.shape for m in masks] == [(1, HEIGHT, WIDTH), (2, 1, HEIGHT, WIDTH)]
    assert [s.shape for s in scores] == [(1,), (2, 1)]
    assert logits[1].shape == (2, 1, SIDE // 4, SIDE // 4)
    with pytest.raises(PromptError, match="1 entries for 2 pictures"):
        image_predictor.predict_batch(points[:1], labels)
    with pytest.raises(Sam2VideoError, match="use predict_batch"):
        image_predictor.predict([[1, 2]], [1])


def test_image_predictors_are_made_of_whatever_holds_a_model(predictor: SAM2VideoPredictor) -> None:
    assert SAM2ImagePredictor(predictor).model is predictor.model
    loaded = SAM2ImagePredictor.from_pretrained("nano", mask_threshold=0.5, **NANO)
    assert loaded.mask_threshold == 0.5 and loaded.model.image_size == 64
    with pytest.raises(AttributeError, match="_transforms; docs"):
        _ = loaded._transforms


def test_contexts_of_torch_are_harmless(image_predictor: SAM2ImagePredictor) -> None:
    expected = image_predictor.predict([[20, 24]], [1])[0]
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        image_predictor.set_image(toy_clip(1)[0])
        masks, scores, logits = image_predictor.predict([[20, 24]], [1])
    assert masks.dtype == scores.dtype == logits.dtype == np.float32
    assert (masks == expected).mean() > 0.9


def test_import_paths_are_the_references() -> None:
    from sam2_video.compat.automatic_mask_generator import SAM2AutomaticMaskGenerator
    from sam2_video.compat.build_sam import build_sam2, build_sam2_video_predictor
    from sam2_video.compat.sam2_image_predictor import SAM2ImagePredictor as Images
    from sam2_video.compat.sam2_video_predictor import SAM2VideoPredictor as Videos

    assert compat.__all__ == sorted(compat.__all__)
    assert compat.build_sam2 is build_sam2 and compat.SAM2VideoPredictor is Videos
    assert compat.build_sam2_video_predictor is build_sam2_video_predictor
    assert compat.SAM2ImagePredictor is Images
    assert compat.SAM2AutomaticMaskGenerator is SAM2AutomaticMaskGenerator
