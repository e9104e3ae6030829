"""Looks a data set over before hours are spent on it: what is missing, damaged, odd or suspicious.

for finding in check_dataset(Path("DAVIS")):
    print(finding)      # error: DAVIS/Annotations/480p/bear/00007.png: is 853x480, the frames are 854x480
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sam2_video.evaluation.datasets import Finding, Findings, Found, Kind, Severity, read_found
from sam2_video.evaluation.datasets.clip import Clip
from sam2_video.evaluation.datasets.frames import PictureFrames, irregular_names, is_cut_off, picture_size
from sam2_video.evaluation.datasets.layout import ALL, Request
from sam2_video.evaluation.datasets.rules import FirstMask
from sam2_video.evaluation.datasets.truth import VOID, LabelMaps, values_of
from sam2_video.evaluation.labels import label_size, read_label_png
from sam2_video.evaluation.sequences import Bools, EvaluatedObject
from sam2_video.types import DataError

Size = tuple[int, int]


def check_dataset(
    root: Path | str,
    name: str = "auto",
    split: str | None = None,
    *,
    deep: bool = False,
    resolution: str = "480p",
    every_frame: bool = False,
    sequences: Collection[str] | None = None,
    progress: Callable[[str], object] | None = None,
) -> list[Finding]:
    """Return all that is found, in the order of sequences; the arguments are those of `open_dataset`.

    Reads the headers of all pictures and decodes the masks that objects begin with; `deep` decodes every
    frame and mask. `progress` is called with the name of each sequence. A finding of severity "error" makes
    figures wrong or a run fail, a "warning" may, a "note" is good to know. Raises nothing for bad data.
    """
    findings = Findings()
    request = Request(Path(root), split, resolution, every_frame, sequences, findings)
    try:
        kind, found = read_found(request, name)
    except DataError as error:
        findings.add("error", Path(root), str(error))
        return findings.found
    _check_count(request, kind, found)
    for clip in found.clips:
        if progress is not None:
            progress(clip.name)
        check_clip(clip, findings, deep=deep)
    return findings.found


def check_clip(clip: Clip, findings: Findings, *, deep: bool) -> None:
    """Add what is wrong with one clip to `findings`; see `check_dataset`."""
    _ClipCheck(clip, findings).run(deep)


def _check_count(request: Request, kind: Kind, found: Found) -> None:
    """Compare the number of sequences with what the authors say."""
    expected = kind.counts.get(found.split)
    count = len(found.clips)
    if expected is not None and request.sequences is None and found.split != ALL and count != expected:
        message = f"{kind.title} {found.split} has {expected} sequences, {count} can be used here"
        request.findings.add("warning", request.root, message + "; figures cannot be compared with others")


class _ClipCheck:
    """Checks one clip; what cannot be read is reported and passed over."""

    def __init__(self, clip: Clip, findings: Findings) -> None:
        self._clip, self._findings = clip, findings
        self._objects: Mapping[int, EvaluatedObject] = {}

    def run(self, deep: bool) -> None:
        size = self._check_frames()
        if size is None:
            return
        damaged = self._check_masks(size)
        if not damaged:
            self._check_objects()
        if deep:
            self._decode_frames()
            self._decode_masks(damaged)

    @contextmanager
    def _reported(self, path: Path) -> Iterator[None]:
        """Turn a DataError into a finding."""
        try:
            yield
        except DataError as error:
            self._add("error", path, str(error))

    def _add(self, severity: Severity, path: Path, message: str) -> None:
        self._findings.add(severity, path, message, self._clip.name)

    def _check_frames(self) -> Size | None:
        """Look at all headers and names; return the size of most frames, None where none can be read."""
        frames = self._clip.frames
        if not isinstance(frames, PictureFrames):
            of_video = None
            with self._reported(frames.files[0]):
                of_video = frames.size
            return of_video
        found: dict[Path, Size] = {}
        for file in frames.files:
            with self._reported(file):
                found[file] = picture_size(file)
                self._check_end(file)
        usual = Counter(found.values()).most_common(1)[0][0] if found else None
        for file, size in found.items():
            if usual is not None and size != usual:
                self._add("error", file, f"is {_by(size)}, most frames of the sequence are {_by(usual)}")
        for name in irregular_names(frames.names):
            message = "is followed by a gap or an irregular step in the numbers: are frames missing?"
            self._add("warning", frames.files[frames.names.index(name)], message)
        return usual

    def _check_end(self, path: Path) -> None:
        if is_cut_off(path):
            self._add("error", path, "is cut off: the end of the file is missing; get it again")

    def _check_masks(self, size: Size) -> set[Path]:
        """Look at all headers; return the files that cannot be used."""
        damaged = set()
        for _, path in self._clip.truth.files():
            found = None
            if path.suffix.lower() != ".png":
                continue
            with self._reported(path):
                found = label_size(path)
                self._check_end(path)
                if found != size:
                    self._add("error", path, f"is {_by(found)}, the frames are {_by(size)}")
            if found != size:
                damaged.add(path)
        return damaged

    def _check_objects(self) -> None:
        """Does every object begin with a mask, and are the ids without gaps?"""
        clip, place = self._clip, next(path for _, path in self._clip.truth.files())
        with self._reported(place):
            self._objects = {one.object_id: one for one in clip.objects}
        for k, one in self._objects.items():
            path, masks = self._mask_path(one), None
            with self._reported(path):
                masks = clip.masks(one.first) or {}
            if masks is not None and k not in masks:
                drawn = _list(masks) or "nothing"
                begin = clip.frame_names[one.first]
                self._add("error", path, f"shows {drawn} and not object {k}, which begins on frame {begin}")
        gaps = sorted(set(range(1, max(self._objects, default=0) + 1)) - set(self._objects))
        if gaps and isinstance(clip.rule, FirstMask):
            message = f"ids go up to {max(self._objects)} and leave out {_list(gaps)}: evaluators that count "
            self._add("warning", place, message + "up to the largest id score these as objects, too")

    def _decode_frames(self) -> None:
        files = self._clip.frames.files
        for frame in range(len(self._clip.frame_names)):
            before = len(self._findings.found)
            with self._reported(files[min(frame, len(files) - 1)]):
                self._clip.image(frame)
            if len(files) == 1 and len(self._findings.found) > before:
                return  # a video that breaks off fails on all that follows

    def _decode_masks(self, damaged: set[Path]) -> None:
        """Decode every mask: objects that are not tracked, objects never shown, void pixels."""
        files: dict[int, Path] = {}
        for frame, path in self._clip.truth.files():
            files.setdefault(frame, path)
        bad = {frame for frame, path in self._clip.truth.files() if path in damaged}
        seen: set[int] = set()
        void: list[Path] = []
        for frame in self._clip.annotated:
            path = files.get(frame, next(iter(files.values())))
            masks: Mapping[int, Bools] | None = None
            if frame not in bad:
                with self._reported(path):
                    masks = self._clip.masks(frame) or {}
            if masks is None:
                continue
            seen |= {k for k, one in self._objects.items() if k in masks and frame in one.scored}
            strangers = sorted(set(masks) - set(self._objects))
            if strangers and self._objects:
                message = f"shows {_list(strangers)}, but only {_list(self._objects)} can be tracked"
                self._add("warning", path, message)
            if isinstance(self._clip.truth, LabelMaps) and _has_void(path):
                void.append(path)
        self._sum_up(seen, void)

    def _sum_up(self, seen: set[int], void: list[Path]) -> None:
        for k, one in self._objects.items():
            if one.scored and k not in seen:
                message = f"object {k} is on none of the {len(one.scored)} frames that count"
                self._add("note", self._mask_path(one), message)
        truth = self._clip.truth
        if void and isinstance(truth, LabelMaps) and not truth.foreground:
            how = "do not count" if truth.ignores else "are background, as in the published evaluators"
            message = f"has pixels of value {VOID} beside objects, and {len(void) - 1} other masks do, too"
            self._add("note", void[0], f"{message}; they {how}")

    def _mask_path(self, one: EvaluatedObject) -> Path:
        """The file in which an object begins."""
        files = list(self._clip.truth.files())
        return next((path for frame, path in files if frame == one.first), files[0][1])


def _has_void(path: Path) -> bool:
    values = values_of(read_label_png(path))
    return VOID in values and len(values) > 1


def _list(ids: Collection[int]) -> str:
    return ", ".join(map(str, sorted(ids)))


def _by(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
