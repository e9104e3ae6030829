"""Several pictures at once, with points for one object in the first and boxes for two in the second."""

import sys

import numpy as np
from PIL import Image

from sam2_video.compat.build_sam import build_sam2
from sam2_video.compat.sam2_image_predictor import SAM2ImagePredictor

model_cfg, sam2_checkpoint, picture, out_file = sys.argv[1:]
predictor = SAM2ImagePredictor(build_sam2(model_cfg, sam2_checkpoint, device="cpu"))

image1 = np.array(Image.open(picture).convert("RGB"))
image2 = np.ascontiguousarray(image1[:, ::-1][:40])
img_batch = [image1, image2]
predictor.set_image_batch(img_batch)

image1_pts = np.array([[[20, 24]], [[50, 30]]])  # Bx1x2 where B corresponds to number of objects
image1_labels = np.array([[1], [1]])
image2_boxes = np.array([[50, 9, 72, 33]])

masks_batch, scores_batch, _ = predictor.predict_batch(
    [image1_pts, None], [image1_labels, None], box_batch=[None, image2_boxes], multimask_output=True
)
assert len(masks_batch) == 2

# Select the best single mask per object
best_masks = [
    masks[range(len(masks)), np.argmax(scores, axis=-1)]
    for masks, scores in zip(masks_batch[:1], scores_batch[:1], strict=True)
]
np.savez(out_file, best=best_masks[0], first=masks_batch[0], second=masks_batch[1])
