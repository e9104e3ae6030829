"""What every importer hands over, and how annotations become prompts: frames, objects, ids, masks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from sam2_video.prompts.clip_facts import ClipFacts, FrameFinder, Picture
from sam2_video.prompts.placed import PlacedPrompt, merge
from sam2_video.prompts.problems import Problems
from sam2_video.prompts.shapes import Box, Clicks, PictureMask, Shape, Size, other_size
from sam2_video.types import ObjectInfo, Prompt, PromptError

SAME_LENGTH = 0.01  # by which lengths may differ: sound can be longer than the frames
Frames = Literal["auto", "first", "all"]


@dataclass(frozen=True)
class Annotation:
    """One shape of one object on one picture, as a file has it.

    `key` tells objects apart, None where the file does not say which object it is; `object_id` is the id in
    the file. `size` is that of the picture, where the file states it. `relative`: coordinates are fractions
    of the picture's sides. `keyframe` is False for what a tool interpolated. `score` is what a detector
    gave it.
    """

    picture: Picture
    shape: Shape
    where: object
    key: Hashable | None = None
    object_id: int | None = None
    info: ObjectInfo = field(default_factory=ObjectInfo)
    size: Size | None = None
    relative: bool = False
    keyframe: bool = True
    score: float | None = None


@dataclass
class Found:
    """What an importer found in a file.

    `sparse`: annotations are keyframes that somebody chose, so all become prompts; otherwise the first of
    each object. `strict`: ids and coordinates are taken as they are, boxes are not cut to the picture.
    `frame_count`: how many frames the tool took the clip to have, where it says so.
    """

    annotations: list[Annotation] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)  # also those that nothing is drawn on
    sparse: bool = False
    strict: bool = False
    frame_count: int | None = None
    notes: list[str] = field(default_factory=list)

    def note_skipped(self, counts: dict[str, int], expected: str) -> None:
        """Remark on kinds of annotation that were left out."""
        if counts:
            what = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            self.notes.append(f"left out: {what}; {expected} are read")


@dataclass(frozen=True)
class _Located:
    """An annotation on a frame of the clip, what tells its object apart, and its turn in the file."""

    frame: int
    key: Hashable
    turn: int
    annotation: Annotation


def place(found: Found, clip: ClipFacts, frames: Frames, problems: Problems) -> tuple[PlacedPrompt, ...]:
    """Turn annotations into prompts for a clip; what is wrong goes to `problems`."""
    _note_other_length(found, clip)
    finder = FrameFinder([*found.pictures, *(a.picture for a in found.annotations)], clip)
    located = []
    for turn, annotation in enumerate(found.annotations):
        with problems.at(annotation.where):
            frame = finder.find(annotation.picture)
            located.append(_Located(frame, annotation.key, turn, annotation))
    chosen = _choose(_identify(located, found, frames, problems), found.sparse, frames)
    chosen.sort(key=lambda one: (one.frame, one.turn))
    ids = _number_objects(chosen, found)
    groups: dict[tuple[int, int], list[Annotation]] = defaultdict(list)
    for one in _of_right_size(chosen, clip, problems):
        groups[one.frame, ids[one.key]].append(one.annotation)
    parts = []
    for (frame, object_id), group in groups.items():
        with problems.at(group[0].where):
            parts += _prompts(frame, object_id, group, clip, found.strict)
    return merge(parts, problems)


def _note_other_length(found: Found, clip: ClipFacts) -> None:
    """Remark on a tool that counted frames by another rate: its frame numbers are not those of the clip."""
    if found.frame_count is None or clip.count is None:
        return
    if abs(found.frame_count - clip.count) > max(1, SAME_LENGTH * clip.count):
        found.notes.append(
            f"the tool took the clip to have {found.frame_count} frames, but it has {clip.count}: frame "
            "numbers are wrong if another rate was set there than that of the clip (Label Studio: frameRate)"
        )


def _identify(
    located: Sequence[_Located], found: Found, frames: Frames, problems: Problems
) -> list[_Located]:
    """Give annotations of unknown objects a key.

    A class that has one instance on every frame is one object. Of other classes the instances of their first
    frame are an object each, and later frames are left out: which is which cannot be told.
    """
    known = [one for one in located if one.key is not None]
    by_class: dict[str, list[_Located]] = defaultdict(list)
    for one in located:
        if one.key is None:
            by_class[one.annotation.info.category].append(one)
    for category, group in by_class.items():
        counts = Counter(one.frame for one in group)
        if max(counts.values()) == 1:
            known += [replace(one, key=("class", category)) for one in group]
            continue
        first = min(counts)
        instances = [one for one in group if one.frame == first]
        known += [replace(one, key=("instance", category, k)) for k, one in enumerate(instances)]
        left = len(group) - len(instances)
        if left and frames == "all":
            problems.add(
                next(one.annotation.where for one in group if counts[one.frame] > 1),
                f"several objects of class {category!r} without ids, so which is which on other frames "
                "cannot be told; give them ids, or take frames='first'",
            )
        elif left:
            found.notes.append(
                f"left out: {left} annotations of class {category!r} after frame {first}, because nothing "
                "says which object they belong to"
            )
    return known


def _choose(located: Sequence[_Located], sparse: bool, frames: Frames) -> list[_Located]:
    """Choose the annotations that become prompts."""
    if frames == "all":
        return list(located)
    drawn = {one.key for one in located if one.annotation.keyframe}
    keyframes = [one for one in located if one.annotation.keyframe or one.key not in drawn]
    first: dict[Hashable, int] = {}
    for one in keyframes:
        first[one.key] = min(one.frame, first.get(one.key, one.frame))
    if frames == "auto" and sparse:
        return [one for one in keyframes if one.annotation.keyframe or one.frame == first[one.key]]
    return [one for one in keyframes if one.frame == first[one.key]]


def _number_objects(chosen: Sequence[_Located], found: Found) -> dict[Hashable, int]:
    """Give each object its id: the file's where it has one, else the next free one, from 1."""
    wanted: dict[Hashable, int | None] = {}
    for one in chosen:
        wanted.setdefault(one.key, one.annotation.object_id)
    stated = [number for number in wanted.values() if number is not None]
    raise_by = 0
    if 0 in stated and not found.strict:
        # 0 is background in mask pictures, and CVAT's tracks begin with it.
        raise_by = 1
        found.notes.append("the file has an object 0, which elsewhere is background: all ids are one higher")
    ids: dict[Hashable, int] = {}
    taken: set[int] = set()
    for key, number in wanted.items():
        if number is not None and number + raise_by not in taken:
            ids[key] = number + raise_by
            taken.add(ids[key])
    free = 1
    for key in wanted:
        if key not in ids:
            while free in taken:
                free += 1
            ids[key] = free
            taken.add(free)
    return ids


def _of_right_size(chosen: Iterable[_Located], clip: ClipFacts, problems: Problems) -> list[_Located]:
    """Return the annotations for pictures of the clip's size; note other sizes, each once."""
    told: set[Size] = set()
    fitting = []
    for one in chosen:
        stated = one.annotation.size
        if stated is None or one.annotation.relative or clip.size is None or clip.size == stated:
            fitting.append(one)
        elif stated not in told:
            told.add(stated)
            problems.add(one.annotation.where, other_size(stated, clip.size))
    return fitting


def _prompts(
    frame: int, object_id: int, group: Sequence[Annotation], clip: ClipFacts, strict: bool
) -> list[PlacedPrompt]:
    """The prompts of one object on one frame, to be joined by `merge`. Its regions are united."""
    parts: list[PlacedPrompt] = []
    regions: list[PlacedPrompt] = []
    for one in group:
        shape, size = _in_pixels(one, clip)
        blank = PlacedPrompt(frame, object_id, Prompt(), info=one.info, where=str(one.where))
        if isinstance(shape, Clicks):
            parts.append(replace(blank, prompt=Prompt(shape.points, shape.labels)))
        elif isinstance(shape, Box):
            corners = shape.corners if strict else _cut(shape, size)
            parts.append(replace(blank, prompt=Prompt(box=corners)))
        elif size is None:
            raise PromptError("the size of the frames must be known to draw it; name the clip (clip=...)")
        else:
            file = shape.file if isinstance(shape, PictureMask) else None
            mask = shape.draw(size)
            if not mask.any():
                raise PromptError(f"the mask of {blank} covers no pixel")
            regions.append(replace(blank, prompt=Prompt(mask=mask), mask_file=file))
    if len(regions) > 1 and not strict:
        masks = [region.prompt.mask for region in regions if region.prompt.mask is not None]
        united = Prompt(mask=np.logical_or.reduce(masks))
        regions = [replace(regions[0], prompt=united, mask_file=None)]
    return parts + regions


def _in_pixels(annotation: Annotation, clip: ClipFacts) -> tuple[Shape, Size | None]:
    """Return the shape in pixels, and the size of its picture."""
    shape, stated = annotation.shape, annotation.size
    if isinstance(shape, PictureMask) and stated is None:
        stated = shape.size()
    if not annotation.relative:
        return shape, clip.size or stated
    size = clip.size or stated
    if size is None:
        raise PromptError(
            "coordinates are fractions of a picture whose size is not in the file; name the clip (clip=...)"
        )
    return shape.scaled(size[1], size[0]), size


def _cut(box: Box, size: Size | None) -> tuple[float, float, float, float]:
    """Return a box, upright, without what is outside of the picture. Raises PromptError if that is all."""
    x0, y0, x1, y1 = box.upright()
    if size is not None:
        x0, x1 = (float(np.clip(x, 0, size[1])) for x in (x0, x1))
        y0, y1 = (float(np.clip(y, 0, size[0])) for y in (y0, y1))
    if x1 <= x0 or y1 <= y0:
        corners = ", ".join(f"{v:g}" for v in box.corners)
        raise PromptError(f"box ({corners}) is empty, or outside of the picture")
    return x0, y0, x1, y1
