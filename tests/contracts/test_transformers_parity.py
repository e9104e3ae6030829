"""The network and the tracker against `transformers`' implementation of the same models, at toy size.

Both hold the same random numbers. Where the two disagree in behaviour it says so here, and who agrees with
the outputs of the reference implementation: so far that is us, each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.checkpoint import load_weights
from sam2_video.config import build_model
from sam2_video.key_maps import from_hub_layout
from sam2_video.model.sam2 import SAM2, best, no_prompt
from sam2_video.session import VideoSession
from sam2_video.tracker import segment_prompt
from sam2_video.types import PromptTensors
from sam2_video.video_predictor import VideoPredictor

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

SIDE, FRAMES = 128, 8
WIDTH, MEMORY = 128, 64  # their width of a memory is fixed; a pointer becomes two memory tokens
GRID = SIDE // 16
# The same sums in another order.
CLOSE = 2e-4
GENERATIONS = ["2.0", "2.1"]


def hub_config(version: str) -> Any:
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "image_size": [SIDE, SIDE],
        "hidden_size": 16,
        "embed_dim_per_stage": [16, 32, 64, 128],
        "blocks_per_stage": [1, 2, 2, 1],  # windows 8, 4, 14 (padded: the grid is 8) and 7
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "global_attention_blocks": [4],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [GRID] * 2],
        "fpn_hidden_size": WIDTH,
    }
    return transformers.Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": SIDE},
        mask_decoder_config={
            "hidden_size": WIDTH, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": WIDTH,
        },
        image_size=SIDE,
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=48,
        memory_attention_rope_feat_sizes=[GRID, GRID],
        memory_encoder_hidden_size=WIDTH,
        memory_encoder_output_channels=MEMORY,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=4 * WIDTH,
        enable_occlusion_spatial_embedding=version == "2.1",
        enable_temporal_pos_encoding_for_object_pointers=version == "2.1",
    )  # fmt: skip


def our_overrides(version: str) -> list[str]:
    return [
        f"image_size={SIDE}", f"width={WIDTH}", f"memory_width={MEMORY}", f"version='{version}'",
        "model.trunk.embed_dim=16", "model.trunk.stages=[1,2,2,1]", "model.trunk.global_att_blocks=[4]",
        "model.neck.backbone_channel_list=[128,64,32,16]",
        "model.memory_attention.num_layers=2", "model.memory_attention.hidden=48",
        "model.mask_decoder.transformer.hidden=48", "model.mask_decoder.transformer.heads=4",
    ]  # fmt: skip


@torch.no_grad()
def randomise(model: torch.nn.Module) -> None:
    """Numbers that differ everywhere, attention that is peaky, masks with edges, memory that matters.

    Memory that matters more would make clips chaotic: a rounded digit would soon decide between masks.
    """
    source = torch.Generator().manual_seed(3)
    gains = {"mask_decoder": 2.0, "memory_attention": 1.2, "memory_encoder": 1.2, "object_pointer_proj": 1.2}
    for name, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=source)
        if value.dim() < 2:
            value.copy_(0.1 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
        else:
            value.copy_(gains.get(name.split(".")[0], 1.0) * noise / value[0].numel() ** 0.5)
        if name.endswith("scale"):
            value.fill_(0.5)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.add_(1.5)  # present, as a rule
    matrix = model.prompt_encoder.shared_embedding.positional_embedding
    model.shared_image_embedding.positional_embedding.copy_(matrix)


Pair = tuple[SAM2, Any]


@pytest.fixture(scope="module", params=GENERATIONS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Our model and theirs, with the same weights."""
    theirs = transformers.Sam2VideoModel(hub_config(request.param)).eval()
    randomise(theirs)
    ours = build_model("sam2.1_hiera_tiny", our_overrides(request.param)).eval()
    load_weights(ours, from_hub_layout(theirs.state_dict()), "transformers")
    yield ours, theirs


def toy_clip(frames: int = FRAMES) -> list[NDArray[np.uint8]]:
    """Two textured squares that cross, of model size: nothing is resized."""
    rng = np.random.default_rng(0)
    background = rng.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    patches = rng.integers(100, 255, (2, 40, 40, 3), dtype=np.uint8)
    clip = []
    for t in range(frames):
        frame = background.copy()
        for patch, x, y in zip(patches, (10 + 8 * t, 70 - 8 * t), (20 + 3 * t, 60 - 4 * t), strict=True):
            frame[y : y + 40, x : x + 40] = patch
        clip.append(frame)
    return clip


def disc(x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < radius**2)


def pixels_of(model: SAM2, clip: list[NDArray[np.uint8]]) -> Tensor:
    transform = VideoPredictor(model).transform
    return torch.cat([transform.pixels(frame) for frame in clip])  # (T, 3, S, S)


def assert_close(ours: Tensor, theirs: Tensor, bound: float = CLOSE) -> None:
    assert ours.shape == theirs.shape
    assert theirs.numel() < 100 or theirs.std() > 0.1 or theirs.unique().numel() == 1  # absent
    torch.testing.assert_close(ours, theirs, rtol=bound, atol=bound)


# One frame


@torch.no_grad()
def test_features_of_pictures(pair: Pair) -> None:
    ours, theirs = pair
    pixels = pixels_of(ours, toy_clip(2))
    features = ours.encode_image(pixels)
    hub = theirs.get_image_features(pixels).fpn_hidden_states
    for mine, other in zip((*features.fine, features.coarse), hub, strict=True):
        assert_close(mine.flatten(2).permute(2, 0, 1), other)


PROMPTS: dict[str, tuple[list[list[float]], list[int]]] = {
    "click": ([[30, 40]], [1]),
    "click and click off": ([[30, 40], [100.5, 100.25]], [1, 0]),
    "box": ([[10, 20], [50, 60]], [2, 3]),
    "box and clicks": ([[10, 20], [50, 60], [30, 40], [48, 22]], [2, 3, 1, 0]),
    "nothing": ([], []),
}


@torch.no_grad()
@pytest.mark.parametrize("hint", [False, True], ids=["", "with logits"])
@pytest.mark.parametrize("name", PROMPTS)
def test_masks_of_prompts(pair: Pair, name: str, hint: bool) -> None:
    ours, theirs = pair
    features = ours.encode_image(pixels_of(ours, toy_clip(1)))
    points, labels = PROMPTS[name]
    prompt = no_prompt(1, torch.device("cpu"))
    source = torch.Generator().manual_seed(1)
    previous = 5 * torch.randn(1, 1, SIDE // 4, SIDE // 4, generator=source) if hint else None
    if points:
        prompt = PromptTensors(torch.tensor([points]), torch.tensor([labels]))
    prompt = PromptTensors(prompt.points, prompt.labels, previous)
    pixels = features.coarse + theirs.no_memory_embedding.view(1, -1, 1, 1)
    for multimask in (True, False):
        mine = best(ours.decode(pixels, features.fine, prompt), multimask=multimask)
        other = theirs._single_frame_forward(
            input_points=prompt.points[None] if points else None,
            input_labels=prompt.labels[None] if points else None,
            input_masks=previous,
            image_embeddings=[*features.fine, pixels],
            multimask_output=multimask,
        )
        assert_close(mine.logits, other.pred_masks)
        assert_close(mine.pointer, other.object_pointer[:, 0])
        assert_close(mine.presence, other.object_score_logits.flatten())
        assert_close(mine.iou, other.iou_scores.flatten(1).amax(dim=1))


# Where theirs differs: mask prompts.


@contextmanager
def like_the_reference(theirs: Any) -> Iterator[None]:
    """Make mask prompts of theirs leave behind what those of the reference implementation do.

    Theirs takes the pointer from the best of three masks, the reference from the single mask. Theirs
    remembers the user's mask itself, the reference's video predictor its low-resolution logits, upsampled
    like any others. Our results agree with the reference's (`video_t_mask_prompt`) only this way.
    """
    single, as_output = theirs._single_frame_forward, theirs._use_mask_as_output

    def forward(*args: Any, multimask_output: bool = False, **options: Any) -> Any:
        return single(*args, multimask_output=multimask_output, **options)

    def use_mask(*args: Any) -> Any:
        out = as_output(*args)
        out.high_res_masks = F.interpolate(
            out.pred_masks, size=(SIDE, SIDE), mode="bilinear", align_corners=False
        )
        return out

    theirs._single_frame_forward, theirs._use_mask_as_output = forward, use_mask
    try:
        yield
    finally:
        theirs._single_frame_forward, theirs._use_mask_as_output = single, as_output


@torch.no_grad()
@pytest.mark.parametrize("drawn", [True, False], ids=["a disc", "an empty mask"])
def test_mask_as_prompt(pair: Pair, drawn: bool) -> None:
    """A user's mask becomes logits directly; its pointer is the decoder's, or an absent object's if empty."""
    ours, theirs = pair
    features = ours.encode_image(pixels_of(ours, toy_clip(1)))
    mask = torch.from_numpy(disc(50, 60, 25) & drawn)[None, None].float()
    nothing = no_prompt(1, torch.device("cpu"))
    mine = segment_prompt(ours, features, PromptTensors(nothing.points, nothing.labels, mask=mask))

    with like_the_reference(theirs):
        other = theirs._use_mask_as_output(features.coarse, list(features.fine), mask)
    torch.testing.assert_close(mine.logits, other.pred_masks)
    assert float(mine.presence) == float(other.object_score_logits) == (10 if drawn else -10)
    assert float(mine.iou) == float(other.iou_scores) == 1
    torch.testing.assert_close(mine.pointer, other.object_pointer[:, 0], rtol=CLOSE, atol=CLOSE)


def test_mask_prompts_of_theirs_differ(pair: Pair) -> None:
    """Once this fails, transformers has changed, and `like_the_reference` has to be looked at again."""
    _, said = SCRIPTS["mask, and a click later"]
    other, unchanged = (their_session(pixels_of(pair[0], toy_clip())) for _ in range(2))
    with like_the_reference(pair[1]):
        their_prompt(pair[1], other, *said[0][:2], **said[0][2])
    their_prompt(pair[1], unchanged, *said[0][:2], **said[0][2])
    left, right = (session.output_dict_per_obj[0]["cond_frame_outputs"][0] for session in (other, unchanged))
    assert not torch.equal(left["maskmem_features"], right["maskmem_features"])


# Clips. Memories are rounded to bfloat16 by both, and sums in another order round differently now and then,
# by a part in 256; each frame feeds the next. Logits are tens in size here; over these clips they drifted by
# 8e-3 at most, but by far more where a memory was read wrongly.
DRIFT = 0.03
ROUNDING = 1 / 128  # neighbours in bfloat16


def their_session(pixels: Tensor) -> Any:
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    return Sam2VideoInferenceSession(video=pixels, video_height=SIDE, video_width=SIDE, dtype=torch.float32)


def their_prompt(theirs: Any, session: Any, frame: int, object_id: int, **said: Any) -> None:
    row = session.obj_id_to_idx(object_id)
    if "mask" in said:
        session.add_mask_inputs(row, frame, torch.from_numpy(said["mask"])[None, None].float())
    else:
        corners = [said["box"][:2], said["box"][2:]] if "box" in said else []
        points = torch.tensor([*corners, *said.get("points", [])], dtype=torch.float32)
        labels = torch.tensor([2, 3][: len(corners)] + list(said.get("labels", [])))
        session.add_point_inputs(
            row, frame, {"point_coords": points[None, None], "point_labels": labels[None, None]}
        )
    session.obj_with_new_inputs.append(object_id)
    theirs(session, frame_idx=frame)


# All prompts come before tracking, and objects of one clip are prompted on the same frames. Otherwise theirs
# differs again: a click on a tracked frame does not see the mask it corrects, and its memory counts as a
# tracked one (ours agrees with `video_t_box_refine_reverse`); and where one object is prompted on a frame,
# the memories of all are made as if they were.
Said = tuple[int, int, dict[str, Any]]  # frame, object, prompt
SCRIPTS: dict[str, tuple[str, list[Said]]] = {
    "click": ("forward", [(0, 1, {"points": [(30, 40)], "labels": [1]})]),
    "two objects": (
        "forward",
        [(0, 4, {"points": [(30, 40), (100, 90)], "labels": [1, 0]}), (0, 2, {"box": (70, 60, 110, 100)})],
    ),
    "mask, and a click later": (
        "forward",
        [(0, 1, {"mask": disc(30, 40, 20)}), (3, 1, {"points": [(60, 50)], "labels": [1]})],
    ),
    "backward": ("backward", [(FRAMES - 1, 1, {"points": [(90, 60)], "labels": [1]})]),
    "backward with prompts at both ends": (
        "backward",
        [(FRAMES - 1, 1, {"mask": disc(80, 60, 25)}), (0, 1, {"box": (10, 20, 50, 60)})],
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_clips(pair: Pair, name: str) -> None:
    presence = compare_clip(*pair, *SCRIPTS[name])
    assert min(presence) > 0  # of all frames


def test_objects_that_come_and_go(pair: Pair) -> None:
    ours, theirs = pair
    usual = torch.tensor(compare_clip(ours, theirs, *SCRIPTS["click"])[1:]).median()
    heads = ours.sam_mask_decoder.pred_obj_score_head, theirs.mask_decoder.pred_obj_score_head
    biases = heads[0].layers[-1].bias, heads[1].proj_out.bias
    with torch.no_grad():
        for bias in biases:
            bias.sub_(usual)
        presence = compare_clip(ours, theirs, *SCRIPTS["click"])
        for bias in biases:
            bias.add_(usual)
    assert min(presence) < 0 < max(presence)


def compare_clip(ours: SAM2, theirs: Any, direction: Any, said: list[Said]) -> list[float]:
    """Let both track; returns the presence of every object on every frame."""
    clip = toy_clip()
    other = their_session(pixels_of(ours, clip))
    presence = []
    with VideoPredictor(ours).open(clip) as session, like_the_reference(theirs):
        for frame, object_id, prompt in said:
            session.prompt(frame=frame, object_id=object_id, **prompt)
            their_prompt(theirs, other, frame, object_id, **prompt)
        backward = direction == "backward"
        start = max(frame for frame, _, _ in said) if backward else 0
        outputs = theirs.propagate_in_video_iterator(other, start_frame_idx=start, reverse=backward)
        for result, output in zip(session.propagate(direction), outputs, strict=True):
            assert result.frame == output.frame_idx
            for object_id in result.object_ids:
                compare_frame(session, other, result.frame, object_id)
            presence += result.presence.tolist()
    assert len(presence) == FRAMES * len({object_id for _, object_id, _ in said})
    return presence


def compare_frame(session: VideoSession, other: Any, frame: int, object_id: int) -> None:
    track, row = session.track(object_id), other.obj_id_to_idx(object_id)
    mine = track.predictions[frame]
    stored = other.output_dict_per_obj[row]
    theirs = (stored["cond_frame_outputs"] | stored["non_cond_frame_outputs"])[frame]
    off = (mine.logits - theirs["pred_masks"]).abs()
    assert float(off.quantile(0.999)) <= DRIFT, frame
    assert abs(float(mine.presence - theirs["object_score_logits"])) <= DRIFT, frame
    assert float((mine.pointer - theirs["object_pointer"][:, 0]).abs().max()) <= DRIFT, frame
    memory = (track.bank.prompted | track.bank.tracked)[frame]
    assert memory.features.dtype == theirs["maskmem_features"].dtype == torch.bfloat16
    torch.testing.assert_close(
        memory.features.flatten(2).permute(2, 0, 1), theirs["maskmem_features"], rtol=ROUNDING, atol=DRIFT
    )
