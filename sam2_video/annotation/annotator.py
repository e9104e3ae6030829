"""One picture annotated: what is kept, what a person should look at, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from sam2_video.annotation.asked import Ask
from sam2_video.annotation.settings import Settings
from sam2_video.image_predictor import picture_rgb
from sam2_video.image_result import ImageResult
from sam2_video.mask_enlarge import Enlarger
from sam2_video.mask_filters import without_small_regions
from sam2_video.mask_generator import AutoMask, MaskGenerator
from sam2_video.mask_runs import Runs
from sam2_video.model.sam1 import AnyModel
from sam2_video.postprocess import clean_logits
from sam2_video.types import Prompt, PromptError

AT_ONCE = 16  # objects whose low-resolution masks are there at once
# Words for why a mask is not kept, in the order in which it is looked at.
REASONS = {
    "score": "the detector's score is too low",
    "prompt": "the prompt does not fit the picture",
    "empty": "nothing was found there",
    "predicted_iou": "low predicted IoU",
    "stability": "not stable",
    "edge": "cut off by the edge of a crop",
    "duplicate": "a duplicate of a better mask",
    "size": "too small or too large",
}


@dataclass(frozen=True)
class Found:
    """A mask of a picture. `doubts` holds words of `REASONS`; `ask` is what it answers, if somebody asked."""

    mask: AutoMask
    doubts: tuple[str, ...] = ()
    ask: Ask | None = None
    prompt: Prompt | None = None  # in pixels


@dataclass
class Findings:
    """What came of a picture.

    `kept` are its annotations. `doubted` are masks for a person to decide on, which are no annotations.
    `counts`: of "candidates", and of those left out by the words of `REASONS`. `remarks`: on prompts.
    `was_asked`: False in the assisted mode where nothing was.
    """

    size: tuple[int, int]
    kept: list[Found] = field(default_factory=list)
    doubted: list[Found] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    was_asked: bool = True

    def reasons(self) -> list[str]:
        """Why a person should look at the picture: words of `REASONS`, "no mask" and "no prompt"."""
        doubts = {word for found in (*self.kept, *self.doubted) for word in found.doubts}
        doubts |= {word for word in ("prompt", "empty") if self.counts[word]}
        out = [word for word in REASONS if word in doubts]
        if not self.kept:
            out.append("no mask" if self.was_asked else "no prompt")
        return out


class Annotator:
    """Annotates pictures with a SAM 2 or a SAM 1 model. Raises PromptError for options that mean nothing."""

    def __init__(
        self, model: AnyModel, settings: Settings | None = None, *, memory_mb: int | None = None
    ) -> None:
        self.settings = settings or Settings()
        changes = self.settings.mask_changes(model.width)
        self.generator = MaskGenerator(model, memory_mb=memory_mb, **changes)
        self._sure = self.settings.sure(model.width)

    def annotate(self, image: Any, asks: Sequence[Ask] = ()) -> Findings:
        """Annotate an (H, W, 3) uint8 RGB array, a file, or a PIL image; `asks` are for the assisted mode.

        Raises SourceError for a file that cannot be read, PromptError for another array.
        """
        rgb = picture_rgb(image)
        findings = Findings((rgb.shape[0], rgb.shape[1]))
        if self.settings.mode == "assisted":
            self._answer(rgb, asks, findings)
        else:
            self._search(rgb, findings)
        return findings

    def _search(self, rgb: Any, findings: Findings) -> None:
        found = self.generator.generate(rgb)
        findings.counts.update({str(word): n for word, n in self.generator.counts.items()})
        for mask in found:
            if self.settings.mode == "auto" and not self._fits(mask, findings.size):
                findings.counts["size"] += 1
                continue
            doubts = self._doubts(mask, findings.size) if self.settings.mode == "semi" else ()
            (findings.doubted if doubts else findings.kept).append(Found(mask, doubts))

    def _answer(self, rgb: Any, asks: Sequence[Ask], findings: Findings) -> None:
        """Find every object that is asked for; masks that raise doubts are kept all the same."""
        findings.counts["candidates"] = len(asks)
        findings.was_asked = bool(asks)
        prompts: list[tuple[Ask, Prompt]] = []
        for place, ask in enumerate(asks):
            if ask.score is not None and ask.score < self.settings.min_score:
                findings.counts["score"] += 1
                continue
            try:
                prompts.append((ask, ask.prompt(findings.size)))
            except PromptError as error:
                findings.counts["prompt"] += 1
                findings.remarks.append(f"object {place + 1} of {len(asks)}: {error}")
        if not prompts:
            return
        predictor = self.generator.predictor
        cells = predictor.model.image_size // 4
        enlarger = Enlarger(predictor.transform, cells, findings.size, predictor.model.device)
        predictor.set_image(rgb)
        try:
            for first in range(0, len(prompts), AT_ONCE):
                part = prompts[first : first + AT_ONCE]
                for (ask, prompt), result in zip(part, self._predict(part), strict=True):
                    self._take(ask, prompt, result, enlarger, findings)
        finally:
            predictor.forget()

    def _predict(self, prompts: Sequence[tuple[Ask, Prompt]]) -> list[ImageResult]:
        """A single click can mean several things, so it gets three answers."""
        out: dict[int, ImageResult] = {}
        for alone in (True, False):
            rows = [k for k, (_, prompt) in enumerate(prompts) if _is_click(prompt) == alone]
            if rows:
                said = [prompts[k][1] for k in rows]
                results = self.generator.predictor.predict_many(
                    points=[prompt.points or None for prompt in said],
                    labels=[prompt.labels or None for prompt in said],
                    boxes=[prompt.box for prompt in said],
                    multimask=alone,
                )
                out |= dict(zip(rows, results, strict=True))
        return [out[k] for k in range(len(prompts))]

    def _take(
        self, ask: Ask, prompt: Prompt, result: ImageResult, enlarger: Enlarger, findings: Findings
    ) -> None:
        options, row = self.generator.options, int(result.iou.argmax())
        threshold = options.mask_threshold
        logits = clean_logits(
            result.raw[row : row + 1], options.max_hole_area, options.max_sprinkle_area, threshold
        ).to(self.generator.predictor.model.device)
        measured = enlarger.measure(logits, threshold, options.stability_score_offset)[0]
        if not measured.area:
            findings.counts["empty"] += 1
            findings.remarks.append(f"nothing was found {_place(prompt)}")
            return
        bits = enlarger.bits(enlarger.patch(logits[0], measured.box), threshold)
        runs = Runs.of_window(bits, measured.box[0], measured.box[1], findings.size)
        if options.min_mask_region_area > 0:
            runs = without_small_regions(runs, options.min_mask_region_area)
        stability = float(measured.stability)
        mask = AutoMask(
            runs,
            float(result.iou[row]),
            stability if isfinite(stability) else 0.0,
            _middle(prompt),
            (0, 0, findings.size[1], findings.size[0]),
        )
        findings.kept.append(Found(mask, self._doubts(mask, findings.size), ask, prompt))

    def _fits(self, mask: AutoMask, size: tuple[int, int]) -> bool:
        most = self.settings.max_area_share * size[0] * size[1]
        return max(self.settings.min_area, 1) <= mask.area <= most

    def _doubts(self, mask: AutoMask, size: tuple[int, int]) -> tuple[str, ...]:
        iou, stability = self._sure
        doubts = {
            "predicted_iou": mask.predicted_iou < iou,
            "stability": mask.stability_score < stability,
            "size": not self._fits(mask, size),
        }
        return tuple(word for word, is_so in doubts.items() if is_so)


def _is_click(prompt: Prompt) -> bool:
    return len(prompt.points) == 1 and prompt.box is None


def _middle(prompt: Prompt) -> tuple[float, float]:
    """The first click on the object, or the middle of the box."""
    on = [point for point, label in zip(prompt.points, prompt.labels, strict=True) if label]
    if on or prompt.box is None:
        return (on or list(prompt.points))[0]
    x, y = np.array(prompt.box).reshape(2, 2).mean(axis=0).tolist()
    return x, y


def _place(prompt: Prompt) -> str:
    if prompt.box is not None:
        return "in the box " + ", ".join(f"{value:g}" for value in prompt.box)
    return "at the click " + ", ".join(f"{value:g}" for value in prompt.points[0])
