"""One picture: a click, its best mask refined, a box with a click, several boxes at once."""

import sys

import numpy as np
from PIL import Image

from sam2_video.compat.build_sam import build_sam2
from sam2_video.compat.sam2_image_predictor import SAM2ImagePredictor

model_cfg, sam2_checkpoint, picture, out_file = sys.argv[1:]
sam2_model = build_sam2(model_cfg, sam2_checkpoint, device="cpu")
predictor = SAM2ImagePredictor(sam2_model)

image = np.array(Image.open(picture).convert("RGB"))
predictor.set_image(image)

input_point = np.array([[20, 24]])
input_label = np.array([1])
masks, scores, logits = predictor.predict(
    point_coords=input_point,
    point_labels=input_label,
    multimask_output=True,
)
sorted_ind = np.argsort(scores)[::-1]
masks = masks[sorted_ind]
scores = scores[sorted_ind]
logits = logits[sorted_ind]
assert masks.shape == (3, *image.shape[:2])  # (number_of_masks) x H x W

input_point = np.array([[20, 24], [40, 10]])
input_label = np.array([1, 0])
mask_input = logits[np.argmax(scores), :, :]  # Choose the model's best mask
refined, _, _ = predictor.predict(
    point_coords=input_point,
    point_labels=input_label,
    mask_input=mask_input[None, :, :],
    multimask_output=False,
)
assert refined.shape == (1, *image.shape[:2])

boxed, _, _ = predictor.predict(
    point_coords=np.array([[18, 18]]),
    point_labels=np.array([0]),
    box=np.array([8, 9, 30, 33]),
    multimask_output=False,
)

input_boxes = np.array([[8, 9, 30, 33], [40, 5, 70, 40], [2, 2, 79, 47]])
many, many_scores, _ = predictor.predict(
    point_coords=None,
    point_labels=None,
    box=input_boxes,
    multimask_output=False,
)
assert many.shape == (3, 1, *image.shape[:2])  # (batch_size) x (num_predicted_masks_per_input) x H x W

np.savez(out_file, masks=masks, scores=scores, logits=logits, refined=refined, boxed=boxed, many=many)
