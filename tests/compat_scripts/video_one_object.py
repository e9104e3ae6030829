"""One object in a folder of JPEG frames: a click, a second click, tracking, a correction, tracking again."""

import sys

import numpy as np

from sam2_video.compat.build_sam import build_sam2_video_predictor

model_cfg, sam2_checkpoint, video_dir, out_file = sys.argv[1:]
device = "cpu"
predictor = build_sam2_video_predictor(model_cfg, sam2_checkpoint, device=device)

inference_state = predictor.init_state(video_path=video_dir)
predictor.reset_state(inference_state)

ann_frame_idx = 0  # the frame index we interact with
ann_obj_id = 1  # give a unique id to each object we interact with (it can be any integers)

# Let's add a positive click at (x, y)
points = np.array([[13, 16]], dtype=np.float32)
# for labels, `1` means positive click and `0` means negative click
labels = np.array([1], np.int32)
_, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
    inference_state=inference_state,
    frame_idx=ann_frame_idx,
    obj_id=ann_obj_id,
    points=points,
    labels=labels,
)
first_mask = (out_mask_logits[0] > 0.0).cpu().numpy()

# Let's add a 2nd positive click to refine the mask, sending all clicks (and their labels)
points = np.array([[13, 16], [18, 20]], dtype=np.float32)
labels = np.array([1, 1], np.int32)
_, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
    inference_state=inference_state,
    frame_idx=ann_frame_idx,
    obj_id=ann_obj_id,
    points=points,
    labels=labels,
)
second_mask = (out_mask_logits[0] > 0.0).cpu().numpy()


def track():
    """Run propagation throughout the video and collect the results in a dict."""
    video_segments = {}  # video_segments contains the per-frame segmentation results
    for out_frame_idx, out_obj_ids, out_mask_logits in predictor.propagate_in_video(inference_state):
        video_segments[out_frame_idx] = {
            out_obj_id: (out_mask_logits[i] > 0.0).cpu().numpy() for i, out_obj_id in enumerate(out_obj_ids)
        }
    return video_segments


before = track()

# Add a negative click on a later frame to refine the masklet, then propagate again
_, _, out_mask_logits = predictor.add_new_points_or_box(
    inference_state=inference_state,
    frame_idx=3,
    obj_id=ann_obj_id,
    points=np.array([[30, 30]], dtype=np.float32),
    labels=np.array([0], np.int32),
)
corrected = (out_mask_logits[0] > 0.0).cpu().numpy()
after = track()

np.savez(
    out_file,
    first=first_mask,
    second=second_mask,
    corrected=corrected,
    before=np.stack([before[t][ann_obj_id] for t in range(inference_state["num_frames"])]),
    after=np.stack([after[t][ann_obj_id] for t in range(inference_state["num_frames"])]),
)
