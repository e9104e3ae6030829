"""Several objects: a box and a click, a mask, both directions, one object removed, then a fresh start."""

import sys

import numpy as np
import torch

from sam2_video.compat.build_sam import build_sam2_video_predictor

model_cfg, sam2_checkpoint, video_path, out_file = sys.argv[1:]
predictor = build_sam2_video_predictor(model_cfg, sam2_checkpoint, device=torch.device("cpu"))

inference_state = predictor.init_state(
    video_path, offload_video_to_cpu=True, offload_state_to_cpu=True, async_loading_frames=True
)
height, width = inference_state["video_height"], inference_state["video_width"]
last = inference_state["num_frames"] - 1

# The ids of objects are up to us
predictor.add_new_points_or_box(
    inference_state,
    frame_idx=2,
    obj_id=20,
    box=np.array([9, 10, 28, 30], dtype=np.float32),
)
# refine the box with a click; the box is sent again together with it
_, _, box_logits = predictor.add_new_points_or_box(
    inference_state=inference_state,
    frame_idx=2,
    obj_id=20,
    points=np.array([[12, 25]], dtype=np.float32),
    labels=np.array([0], np.int32),
    box=np.array([9, 10, 28, 30], dtype=np.float32),
)
mask = np.zeros((height, width), dtype=bool)
mask[20:40, 40:70] = True
_, object_ids, mask_logits = predictor.add_new_mask(inference_state, frame_idx=2, obj_id="shadow", mask=mask)

segments = {}
for frame_idx, _, mask_logits in predictor.propagate_in_video(inference_state):
    segments[frame_idx] = mask_logits
for frame_idx, object_ids, mask_logits in predictor.propagate_in_video(
    inference_state, start_frame_idx=2, max_frame_num_to_track=2, reverse=True
):
    assert object_ids == inference_state["obj_ids"] == [20, "shadow"]
    segments[frame_idx] = mask_logits
assert sorted(segments) == list(range(last + 1))

remaining, updated = predictor.remove_object(inference_state, obj_id=20)
assert remaining == ["shadow"] and [frame for frame, _ in updated] == [2]
alone = {}
for frame_idx, object_ids, mask_logits in predictor.propagate_in_video(inference_state, start_frame_idx=2):
    assert object_ids == ["shadow"]
    alone[frame_idx] = mask_logits

predictor.reset_state(inference_state)
_, object_ids, fresh_logits = predictor.add_new_points(
    inference_state, 0, 5, points=[[13, 16]], labels=[1], normalize_coords=True
)
assert object_ids == [5]

np.savez(
    out_file,
    box=box_logits.cpu().numpy(),
    both=torch.stack([segments[t] for t in sorted(segments)]).cpu().numpy(),
    alone=torch.stack([alone[t] for t in sorted(alone)]).cpu().numpy(),
    fresh=fresh_logits.cpu().numpy(),
)
