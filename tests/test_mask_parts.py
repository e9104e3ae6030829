"""Grids, run lengths, enlarging and filters of automatic masks, against small cases worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_video.mask_enlarge import Enlarger
from sam2_video.mask_filters import box_iou, cut_off, nms, without_small_regions
from sam2_video.mask_grid import checked_grids, crops_of, layer_grids, point_grid
from sam2_video.mask_options import MaskOptions
from sam2_video.mask_runs import Runs, mask_iou
from sam2_video.postprocess import encode_rle
from sam2_video.transforms import FrameTransform, PaddedTransform
from sam2_video.types import PromptError
from tests.naive_masks import layer_boxes, suppressed, without_small

# Where is looked


def test_grid_goes_row_by_row_half_a_step_from_the_edges() -> None:
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert [len(grid) for grid in layer_grids(8, 2, 2)] == [64, 16, 4]
    assert [len(grid) for grid in layer_grids(5, 1, 2)] == [25, 4]  # rounded down


def test_crops_of_a_picture_by_hand() -> None:
    crops = crops_of(
        (60, 100), 1, 0.5
    )  # 30 pixels are shared: (30 + 100) / 2 = 65 wide, (30 + 60) / 2 = 45 high
    assert [(c.layer, c.box) for c in crops] == [
        (0, (0, 0, 100, 60)),
        (1, (0, 0, 65, 45)),
        (1, (0, 15, 65, 60)),
        (1, (35, 0, 100, 45)),
        (1, (35, 15, 100, 60)),
    ]
    assert crops[0].area == 6000 and crops[1].size == (45, 65)


@pytest.mark.parametrize("size", [(37, 91), (480, 640), (4000, 6000)])
def test_crops_of_later_layers(size: tuple[int, int]) -> None:
    crops = crops_of(size, 3, 512 / 1500)
    for layer in (1, 2, 3):
        boxes = [c.box for c in crops if c.layer == layer]
        assert boxes == layer_boxes(size, layer - 1, 512 / 1500) and len(boxes) == 4**layer
        seen = np.zeros(size, dtype=bool)
        for x0, y0, x1, y1 in boxes:
            seen[y0:y1, x0:x1] = True
        assert seen.all()


def test_grids_and_crops_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="leave none in the last"):
        layer_grids(4, 3, 2)
    with pytest.raises(ValueError, match="one grid for the picture and one for each of 1 crop"):
        checked_grids([[(0.5, 0.5)]], 1)
    for grid in ([(0.5, 1.5)], [0.5, 0.5], [], [(0.5, float("nan"))]):
        with pytest.raises(ValueError, match="grid"):
            checked_grids([grid], 0)
    with pytest.raises(ValueError, match="3x50 is too small for 2 crop layers"):
        crops_of((50, 3), 2, 0.3)


# Run lengths

masks = st.integers(0, 10**6).map(
    lambda seed: np.random.default_rng(seed).random((seed % 7 + 1, seed % 5 + 1)) < (seed % 11) / 10
)


@given(masks)
def test_runs_are_those_of_the_whole_mask(mask: np.ndarray) -> None:
    runs = Runs.of_mask(mask)
    assert runs.lengths() == encode_rle(mask)
    assert (runs.mask() == mask).all() and runs.area == mask.sum()
    back = Runs.of_lengths(encode_rle(mask))
    assert (back.starts == runs.starts).all() and (back.ends == runs.ends).all()
    ys, xs = mask.nonzero()
    if len(ys):
        assert runs.box == (xs.min(), ys.min(), xs.max(), ys.max())
        x0, y0, x1, y1 = runs.box
        assert (runs.window() == mask[y0 : y1 + 1, x0 : x1 + 1]).all()
        again = Runs.of_window(runs.window(), x0, y0, runs.size)
        assert again.lengths() == runs.lengths()
    else:
        assert runs.box == (0, 0, 0, 0)


@given(masks, masks, st.integers(0, 3), st.integers(0, 3))
def test_moving_and_comparing(left: np.ndarray, right: np.ndarray, x: int, y: int) -> None:
    size = (12, 10)
    boards = []
    for mask, (dx, dy) in ((left, (x, y)), (right, (0, 0))):
        board = np.zeros(size, dtype=bool)
        board[dy : dy + mask.shape[0], dx : dx + mask.shape[1]] = mask
        moved = Runs.of_mask(mask).moved(dx, dy, size)
        assert moved.lengths() == encode_rle(board)
        boards.append((board, moved))
    (a, first), (b, second) = boards
    assert first.overlap(second) == (a & b).sum()
    either = (a | b).sum()
    assert mask_iou([first], [second])[0, 0] == ((a & b).sum() / either if either else 0)


def test_a_run_goes_on_in_the_next_column() -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[1:, 1] = mask[:2, 2] = True
    runs = Runs.of_mask(mask)
    assert runs.lengths()["counts"] == [4, 4, 4] and runs.box == (1, 0, 2, 2)
    with pytest.raises(ValueError, match="11 pixels do not fill 3 x 4"):
        Runs.of_lengths({"size": [3, 4], "counts": [4, 7]})


# Enlarging


def test_measures_by_hand() -> None:
    enlarger = Enlarger(FrameTransform(8), 2, (2, 2), torch.device("cpu"))  # nothing is enlarged
    logits = torch.tensor(
        [[[3.0, 0.5], [-0.5, -3.0]], [[-5.0, -5.0], [-5.0, -5.0]], [[-0.5, -0.5], [-9, -9]]]
    )
    some, nothing, nearly = enlarger.measure(logits, 0.0, 1.0)
    assert (some.inner, some.outer, some.area, some.box) == (1, 3, 2, (0, 0, 1, 0))
    assert some.stability == np.float32(1 / 3)
    assert np.isnan(nothing.stability) and nothing.box == (0, 0, 0, 0)
    assert nearly.stability == 0 and nearly.area == 0
    (higher,) = enlarger.measure(logits[:1], 1.0, 0.25)  # above 1.25, above 0.75: the pixel of 3 each time
    assert higher.stability == 1 and higher.box == (0, 0, 0, 0) and higher.area == 1


@pytest.mark.parametrize("transform", [FrameTransform(64), PaddedTransform(64)], ids=["squashed", "padded"])
@pytest.mark.parametrize("size", [(50, 90), (16, 16), (9, 200), (7, 5)])
def test_windows_show_what_restoring_the_whole_shows(
    transform: FrameTransform, size: tuple[int, int]
) -> None:
    source = torch.Generator().manual_seed(1)
    coarse = torch.randn(12, 1, 4, 4, generator=source) * 4
    logits = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bicubic")[:, 0]
    logits[0, :, 8:] = logits[1, 5:] = -9  # small masks, small windows
    logits[2] = 9  # everything
    enlarger = Enlarger(transform, 16, size, torch.device("cpu"))
    whole, shown = transform.restore(logits, size), 0
    for mask, low, full in zip(enlarger.measure(logits, 0.3, 0.5), logits, whole, strict=True):
        assert mask.inner == int((full > 0.8).sum()) and mask.outer == int((full > -0.2).sum())
        expected = (full > 0.3).numpy()
        assert mask.area == expected.sum()
        if not mask.area:
            continue
        shown += 1
        patch = enlarger.patch(low, mask.box)
        x0, y0, x1, y1 = mask.box
        assert (enlarger.bits(patch, 0.3) == expected[y0 : y1 + 1, x0 : x1 + 1]).all()
        assert expected[y0 : y1 + 1, x0 : x1 + 1].sum() == expected.sum()
    assert shown > 8


@pytest.mark.parametrize(
    ("transform", "size", "cell"),
    [
        (PaddedTransform(64), (30, 60), (14, 3)),  # in the padding below
        (PaddedTransform(64), (60, 30), (3, 14)),
        (FrameTransform(64), (3, 60), (0, 3)),  # between the rows that pixels are made of
        (FrameTransform(64), (60, 3), (3, 0)),
    ],
)
def test_what_no_pixel_shows_is_no_mask(
    transform: FrameTransform, size: tuple[int, int], cell: tuple[int, int]
) -> None:
    logits = torch.full((1, 16, 16), -5.0)
    logits[0][cell] = 5.0
    assert not (transform.restore(logits, size) > -4.9).any()
    (found,) = Enlarger(transform, 16, size, torch.device("cpu")).measure(logits, 0.0, 1.0)
    assert (found.inner, found.outer, found.area, found.box) == (0, 0, 0, (0, 0, 0, 0))


def test_windows_keep_little() -> None:
    logits = torch.full((64, 64), -9.0)
    logits[10:14, 20:24] = 9
    enlarger = Enlarger(FrameTransform(256), 64, (4000, 6000), torch.device("cpu"))
    (mask,) = enlarger.measure(logits[None], 0.0, 1.0)
    patch = enlarger.patch(logits, mask.box)
    assert patch.logits.shape == (6, 6) and enlarger.bits(patch, 0.0).size < 200_000


# Filters


def boxes_of(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def test_box_iou_by_hand() -> None:
    a, b = boxes_of((0, 0, 10, 10), (5, 5, 5, 9)), boxes_of((5, 0, 15, 10), (5, 5, 5, 9))
    iou = box_iou(a, b)
    assert iou[0, 0] == pytest.approx(50 / 150) and iou[0, 1] == 0
    assert np.isnan(iou[1, 1])  # a line has no area: the reference's sides are x1 - x0


def test_nms_by_hand() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 8), (50, 50, 60, 60), (50, 50, 60, 60))
    scores = np.array([0.8, 0.9, 0.7, 0.5, 0.5], dtype=np.float32)
    # 1 is best; 0 has IoU 0.9 with it; 2 has 8/9 with it; of 3 and 4, equal in all, the first stays.
    assert nms(boxes, scores, 0.7).tolist() == [1, 3]
    # 0.85: 1 pushes out 0 and 2 (0.889). 0.895: 2 stays, as 0, which would push it out nowhere, is gone.
    assert nms(boxes, scores, 0.895).tolist() == [1, 2, 3]
    assert nms(boxes, scores, 1.0).tolist() == [1, 0, 2, 3, 4]  # IoU 1 is not above 1
    assert nms(boxes_of(), np.zeros(0, np.float32), 0.7).tolist() == []


def test_who_is_pushed_out_pushes_out_nobody() -> None:
    boxes = boxes_of((0, 0, 100, 10), (30, 0, 130, 10), (60, 0, 160, 10))  # neighbours overlap by 70 of 130
    scores = np.array([3, 2, 1], dtype=np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [0, 2]


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_nms_of_many_is_that_of_a_loop(threshold: float) -> None:
    rng = np.random.default_rng(5)
    corners = rng.integers(0, 60, (2500, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 40, (2500, 2))], axis=1).astype(np.float32)
    scores = rng.integers(0, 200, 2500).astype(np.float32)  # with many that are equal
    records = [{"box": tuple(int(v) for v in box), "row": row} for row, box in enumerate(boxes)]
    expected = [r["row"] for r in suppressed(records, scores.tolist(), threshold)]
    assert nms(boxes, scores, threshold).tolist() == expected and len(expected) > 50


def test_cut_off_by_hand() -> None:
    crop, size = (100, 0, 200, 100), (100, 400)
    boxes = boxes_of(
        (121, 30, 170, 60), (120, 30, 170, 60), (130, 0, 170, 60), (130, 30, 180, 60), (130, 30, 179, 99)
    )
    # 20 pixels from the crop's left edge is near, 21 is not; its top is the picture's top: nothing is cut.
    assert cut_off(boxes, crop, size).tolist() == [False, True, False, True, False]
    assert not cut_off(boxes_of((0, 0, 399, 99)), (0, 0, 400, 100), size).any()


def cleaned(rows: list[str], area: int) -> list[str]:
    mask = np.array([[cell == "#" for cell in row] for row in rows])
    out = without_small_regions(Runs.of_mask(mask), area).mask()
    return ["".join("#" if cell else "." for cell in row) for row in out]


def test_small_regions_by_hand() -> None:
    before = [
        "####.....",
        "#..#...#.",
        "####.....",
        ".....####",
        "##...#..#",
        "##...#..#",
        ".....####",
    ]
    assert cleaned(before, 3) == [  # the hole of 2 and the speck of 1
        "####.....",
        "####.....",
        "####.....",
        ".....####",
        "##...#..#",
        "##...#..#",
        ".....####",
    ]
    assert cleaned(before, 5) == [  # the hole of 4 and the island of 4 as well
        "####.....",
        "####.....",
        "####.....",
        ".....####",
        ".....####",
        ".....####",
        ".....####",
    ]
    assert cleaned(["#.##"], 3) == ["####"] and cleaned(["#..#"], 2)[0].count("#") == 1  # the first of equals
    untouched = Runs.of_mask(np.ones((4, 4), dtype=bool))
    assert without_small_regions(untouched, 9) is untouched


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_small_regions_as_of_whole_pictures(seed: int, area: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(3, 14)), int(rng.integers(3, 14))
    mask = np.zeros(size, dtype=bool)
    y, x = rng.integers(0, size[0] - 1), rng.integers(0, size[1] - 1)
    part = mask[y : y + 1 + rng.integers(1, size[0]), x : x + 1 + rng.integers(1, size[1])]
    part[:] = rng.random(part.shape) < rng.choice([0.3, 0.7, 1.0])
    runs = Runs.of_mask(mask)
    out, expected = without_small_regions(runs, area), without_small(mask, area)
    assert (out.mask() == expected).all()
    assert (out is runs) == (expected is mask)


# Options


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"points_per_side": 0}, "points_per_side must be at least 1"),
        ({"points_per_side": None}, "either points_per_side or point_grids"),
        ({"points_per_side": 4, "point_grids": [[(0.5, 0.5)]]}, "either points_per_side or point_grids"),
        ({"point_grids": [[(2, 2)]]}, "from 0 to 1"),
        ({"crop_n_layers": 6}, "leave none in the last"),
        (
            {"points_per_side": 2000},
            "2000 points per side with 0 .* come to 4000000 clicks in 1 crop of each",
        ),
        ({"points_per_side": 10**400}, "points per side are too many"),
        ({"points_per_side": 900, "crop_n_layers": 1}, "come to 1620000 clicks in 5 crops of each picture"),
        ({"crop_n_layers": 7}, "7 crop layers are too many.*6 layers, the limit, are 5461 pictures"),
        ({"crop_n_layers": 10**9}, "crop layers are too many"),
        (
            {"point_grids": [np.full((900, 2), 0.5)] * 7, "crop_n_layers": 6},
            "point_grids with 6 crop layers come to 4914900 clicks in 5461 crops",
        ),
        ({"point_grids": [], "crop_n_layers": 40}, "40 crop layers are too many"),
        ({"crop_n_layers": -1}, "crop_n_layers must be a whole number"),
        ({"pred_iou_thresh": "0.8"}, "pred_iou_thresh must be a finite number"),
        ({"pred_iou_thresh": True}, "pred_iou_thresh must be a finite number"),
        ({"use_m2m": "no"}, "use_m2m must be True or False; got 'no'"),
        ({"multimask_output": 3}, "multimask_output must be True or False; got 3"),
        ({"point_grids": 5}, "point_grids must be a list of grids"),
        ({"point_grids": [[{"x": 1}]]}, "a point grid is a list of .x, y. pairs"),
        ({"point_grids": [[(0.1, 0.2), (0.3,)]]}, "a point grid is a list of .x, y. pairs"),
        ({"crop_overlap_ratio": 1.0}, "0 to below 1"),
        ({"stability_score_offset": -1.0}, "must not be negative"),
        ({"points": 3}, "'points' is no option.*points_per_side"),
    ],
)
def test_options_that_mean_nothing(given: dict, complaint: str) -> None:
    with pytest.raises(PromptError, match=complaint):
        MaskOptions(points_per_side=4, crop_n_points_downscale_factor=2).but(**given)


def test_the_most_that_may_be_asked_for() -> None:
    assert len(MaskOptions(points_per_side=1000).grids[0]) == 10**6
    deep = MaskOptions(points_per_side=64, crop_n_layers=6, crop_n_points_downscale_factor=2)
    assert [len(grid) for grid in deep.grids] == [4096, 1024, 256, 64, 16, 4, 1]
    assert sum(crop.layer >= 0 for crop in crops_of((600, 800), 6, 0.2)) == 5461


def test_numbers_of_numpy_are_numbers() -> None:
    options = MaskOptions().but(pred_iou_thresh=np.float32(0.5), use_m2m=np.bool_(True))
    assert json.dumps(options.record()) == json.dumps(MaskOptions(pred_iou_thresh=0.5, use_m2m=True).record())


def test_defaults_are_the_references() -> None:
    ours = MaskOptions().record()
    assert {key: ours[key] for key in ours if "area" not in key} == {
        "points_per_side": 32, "points_per_batch": 64, "pred_iou_thresh": 0.8, "stability_score_thresh": 0.95,
        "stability_score_offset": 1.0, "mask_threshold": 0.0, "box_nms_thresh": 0.7, "crop_n_layers": 0,
        "crop_nms_thresh": 0.7, "crop_overlap_ratio": 512 / 1500, "crop_n_points_downscale_factor": 1,
        "point_grids": None, "use_m2m": False, "multimask_output": True,
    }  # fmt: skip
    assert MaskOptions.sam1() == MaskOptions(pred_iou_thresh=0.88)
