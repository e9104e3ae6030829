"""The few lines of the reference's README, inference mode and autocast included."""

import sys

import numpy as np
import torch

from sam2_video.compat.build_sam import build_sam2_video_predictor

model_cfg, checkpoint, video, out_file = sys.argv[1:]
predictor = build_sam2_video_predictor(model_cfg, checkpoint, device="cpu")
seen = {}

with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
    state = predictor.init_state(video)

    # add new prompts and instantly get the output on the same frame
    frame_idx, object_ids, masks = predictor.add_new_points_or_box(
        state, frame_idx=0, obj_id=1, points=[[13, 16]], labels=[1]
    )
    first = masks

    # propagate the prompts to get masklets throughout the video
    for frame_idx, object_ids, masks in predictor.propagate_in_video(state):
        assert object_ids == [1]
        seen[frame_idx] = masks

tracked = torch.stack([seen[t] for t in sorted(seen)])
np.savez(out_file, first=first.float().cpu().numpy(), tracked=tracked.float().cpu().numpy())
