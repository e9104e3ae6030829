"""The single-image click protocol: mean IoU of what is found after 1, 3 and 5 clicks on each object.

report = evaluate_images(ImagePredictor(model), Path("stills"))
print(report.table())
report.write(Path("images.csv"))

Ravi et al. 2024, section 6.2, and Kirillov et al. 2023 (Segment Anything), section 7.1 and appendix D.1.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.clicks import centre_of_error
from sam2_video.evaluation.labelled_pictures import Labelled, LabelledPicture, find_pictures, is_held_out
from sam2_video.evaluation.metrics import region_similarity
from sam2_video.evaluation.score_tables import percent, text_cell
from sam2_video.evaluation.sequences import Bools
from sam2_video.image_predictor import ImagePredictor, ImageResult
from sam2_video.sinks.base import make_folder, write_whole
from sam2_video.types import DataError

BATCH = 16  # objects of a picture that are worked on together; bounds the masks in memory


@dataclass(frozen=True)
class PictureScore:
    """What was found in one picture: IoU of each object, 0..1."""

    name: str
    object_ids: tuple[int, ...]
    iou: NDArray[np.float64]  # (objects, counts of clicks)
    oracle: NDArray[np.float64]  # (objects,) after one click, of the best of three masks
    fingerprint: str = ""  # of its pixels and masks


@dataclass(frozen=True)
class ImageClickReport:
    """Scores of all pictures; a few hundred bytes for each is all that is kept of them."""

    clicks: tuple[int, ...]
    pictures: tuple[PictureScore, ...]  # that have objects
    failed: tuple[tuple[str, str], ...] = ()  # (picture, why)
    without_objects: tuple[str, ...] = ()

    @property
    def objects(self) -> int:
        return sum(len(picture.object_ids) for picture in self.pictures)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, pixels and masks of all that was scored: equal for the same pictures."""
        lines = "".join(f"{picture.name}\0{picture.fingerprint}\n" for picture in self.pictures)
        return hashlib.sha256(lines.encode()).hexdigest()

    def means(self, *, by_picture: bool = False) -> dict[str, float]:
        """Return mean IoU, 0..1, over objects; or over pictures, of the mean in each.

        Keys: "iou_1", "oracle_1", "iou_3", ... with the counts of clicks.
        """
        rows = [np.column_stack([picture.oracle, picture.iou]) for picture in self.pictures]
        if by_picture:
            rows = [row.mean(axis=0, keepdims=True) for row in rows]
        oracle, *iou = np.concatenate(rows).mean(axis=0)
        return self._named(float(oracle), [float(value) for value in iou])

    def table(self) -> str:
        """Return plain text: the two means, and what could not be scored."""
        over = {"objects": self.means(), "pictures": self.means(by_picture=True)}
        names = list(over["objects"])
        lines = ["".join(f"{cell:>10}" for cell in ("mIoU over", *names))]
        for what, means in over.items():
            lines.append(f"{what:>10}" + "".join(f"{100 * means[name]:10.2f}" for name in names))
        lines.append(f"{self.objects} objects in {len(self.pictures)} pictures")
        if self.without_objects:
            lines.append(f"{len(self.without_objects)} pictures show no object")
        lines += [f"failed: {name}: {why}" for name, why in self.failed]
        return "\n".join(lines)

    def write(self, path: Path) -> Path:
        """Write a CSV of percentages: means, then pictures, then objects. Raises SinkError."""
        make_folder(path.parent)
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = list(self._named(0.0, [0.0] * len(self.clicks)))
        writer.writerow(["level", "picture", "object", "objects", *names, "error"])
        writer.writerows(self._rows(names))
        write_whole(path, text.getvalue().encode("utf-8"))
        return path

    def _rows(self, names: Sequence[str]) -> Iterator[list[str]]:
        for level, by_picture in (("objects", False), ("pictures", True)):
            means = self.means(by_picture=by_picture)
            yield [level, "", "", str(self.objects), *(percent(means[name]) for name in names), ""]
        for picture in self.pictures:
            means = self._named(float(picture.oracle.mean()), picture.iou.mean(axis=0).tolist())
            figures = [percent(means[name]) for name in names]
            yield ["picture", text_cell(picture.name), "", str(len(picture.object_ids)), *figures, ""]
        for picture in self.pictures:
            for object_id, oracle, iou in zip(picture.object_ids, picture.oracle, picture.iou, strict=True):
                found = self._named(float(oracle), iou.tolist())
                figures = [percent(found[name]) for name in names]
                yield ["object", text_cell(picture.name), str(object_id), "1", *figures, ""]
        for name, why in self.failed:
            yield ["failed", text_cell(name), "", "", *[""] * len(names), text_cell(why)]

    def _named(self, oracle: float, iou: Sequence[float]) -> dict[str, float]:
        found: dict[str, float] = {}
        for count, value in zip(self.clicks, iou, strict=True):
            found[f"iou_{count}"] = value
            if count == 1:
                found["oracle_1"] = oracle
        return found


def evaluate_images(
    predictor: ImagePredictor,
    folder: Path,
    *,
    clicks: Sequence[int] = (1, 3, 5),
    images: Path | None = None,
    held_out: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> ImageClickReport:
    """Click on every object of every picture and score what is found.

    `folder` and `images`: see `find_pictures`. `clicks`: after how many of them is scored. `held_out`: only
    this share of the pictures, chosen by file name and `seed`, see `is_held_out`. `progress` is called with
    the number of pictures that are done and of all. A picture that fails is named in the report. Raises
    DataError where no picture can be scored.
    """
    pictures = find_pictures(folder, images=images)
    if held_out is not None:
        pictures = [one for one in pictures if is_held_out(one.key, held_out, seed)]
    return score_pictures(predictor, pictures, folder, clicks=clicks, progress=progress)


def score_pictures(
    predictor: ImagePredictor,
    pictures: Sequence[LabelledPicture],
    folder: Path,
    *,
    clicks: Sequence[int] = (1, 3, 5),
    progress: Callable[[int, int], object] | None = None,
) -> ImageClickReport:
    """As `evaluate_images`, of pictures that were found already; errors name the `folder`."""
    counts = tuple(sorted(set(clicks)))
    if not counts or counts[0] < 1:
        raise DataError(f"clicks are counted from 1 on; got {tuple(clicks)}")
    found: list[PictureScore] = []
    failed: list[tuple[str, str]] = []
    empty: list[str] = []
    for done, picture in enumerate(pictures, start=1):
        try:
            score = _score(predictor, picture, counts)
        except Exception as error:  # whatever is wrong with one picture, the others are scored
            failed.append((picture.name, f"{type(error).__name__}: {error}"))
        else:
            (found.append(score) if score.object_ids else empty.append(score.name))
        if progress is not None:
            progress(done, len(pictures))
    if not found:
        raise DataError(_nothing(folder, len(pictures), failed))
    return ImageClickReport(counts, tuple(found), tuple(failed), tuple(empty))


def _nothing(folder: Path, count: int, failed: Sequence[tuple[str, str]]) -> str:
    if failed:
        name, why = failed[0]
        return f"none of the {count} pictures of {folder} could be scored; {name}: {why}"
    if count:
        return f"none of the {count} pictures of {folder} shows an object; 0 is background and 255 is void"
    return f"there are no pictures to score in {folder}: expected images/X.jpg with masks/X.png"


def _score(predictor: ImagePredictor, picture: LabelledPicture, counts: Sequence[int]) -> PictureScore:
    """Score one picture; it is encoded once."""
    labelled = picture.read()
    ids = [k for k, mask in labelled.masks.items() if _counts(mask, labelled.void)]
    if ids:
        predictor.set_image(labelled.rgb)
    iou, oracle = np.empty((len(ids), len(counts))), np.empty(len(ids))
    for start in range(0, len(ids), BATCH):
        rows = slice(start, start + BATCH)
        users = [_User(labelled.masks[k], labelled.void) for k in ids[rows]]
        for number in range(1, counts[-1] + 1):
            _click(predictor, users)
            if number in counts:
                iou[rows, counts.index(number)] = [user.iou for user in users]
        oracle[rows] = [user.oracle for user in users]
    return PictureScore(picture.name, tuple(ids), iou, oracle, _fingerprint(labelled, ids))


def _fingerprint(labelled: Labelled, ids: Sequence[int]) -> str:
    digest = hashlib.sha256(f"{labelled.rgb.shape} {list(ids)}".encode())
    digest.update(labelled.rgb.tobytes())
    for mask in (*(labelled.masks[k] for k in ids), labelled.void):
        digest.update(b"" if mask is None else np.packbits(mask).tobytes())
    return digest.hexdigest()


def _counts(mask: Bools, void: Bools | None) -> bool:
    """Has an object pixels that are not void?"""
    return bool((mask if void is None else mask & ~void).any())


@dataclass
class _User:
    """A simulated person who wants one object, and what was shown to them last."""

    truth: Bools
    void: Bools | None
    points: list[tuple[float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    shown: Bools | None = None
    logits: Any = None  # of what is shown, to be refined
    iou: float = 0.0
    oracle: float = 0.0

    def click(self) -> bool:
        """Click on the middle of the largest error, if there is one."""
        shown = np.zeros_like(self.truth) if self.shown is None else self.shown
        spot = centre_of_error(shown, self.truth, self.void)
        if spot is not None:
            self.points.append((float(spot[0]), float(spot[1])))
            self.labels.append(spot[2])
        return spot is not None

    def see(self, answer: ImageResult) -> None:
        """Of several masks take the one that the model thinks best, and note the one that is."""
        overlaps = [region_similarity(mask, self.truth, self.void) for mask in answer.masks]
        best = int(answer.iou.argmax())
        if len(self.points) == 1:
            self.oracle = max(overlaps)
        self.iou, self.shown, self.logits = overlaps[best], answer.masks[best], answer.logits[best]


def _click(predictor: ImagePredictor, users: Sequence[_User]) -> None:
    """One click of each person who sees an error; prompts of one shape go through the decoder together."""
    clicking = [user for user in users if user.click()]
    if not clicking:
        return
    first = len(clicking[0].points) == 1
    answers = predictor.predict_many(
        points=[user.points for user in clicking],
        labels=[user.labels for user in clicking],
        mask_logits=None if first else [user.logits for user in clicking],
        multimask=first,
    )
    for user, answer in zip(clicking, answers, strict=True):
        user.see(answer)
