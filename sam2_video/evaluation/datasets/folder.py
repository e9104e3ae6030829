"""A folder of one's own: frames or videos beside label maps.

IMAGES/SEQ/*.jpg with MASKS/SEQ/*.png, or IMAGES/SEQ.mp4 with MASKS/SEQ/*.png, for many clips;
IMAGES/*.jpg with MASKS/*.png, or one video beside MASKS/*.png, for one.
IMAGES is JPEGImages, images, frames or videos (or the folder itself for videos), MASKS is Annotations, masks
or labels.
"""

from __future__ import annotations

from pathlib import Path

from sam2_video.evaluation.datasets.clip import Clip
from sam2_video.evaluation.datasets.frames import Frames, VideoFrames, picture_files, video_files
from sam2_video.evaluation.datasets.layout import (
    ALL,
    Found,
    NotThere,
    Request,
    by_frame,
    folders,
    masked_clip,
    picture_frames,
)
from sam2_video.evaluation.datasets.rules import FirstAppearance
from sam2_video.evaluation.datasets.truth import LabelMaps
from sam2_video.types import DataError

IMAGES = ("JPEGImages", "images", "frames", "videos")
MASKS = ("Annotations", "masks", "labels")


def read_folder(request: Request) -> Found:
    """Read all clips of a folder; it has no splits."""
    if request.split not in (None, ALL):
        raise DataError(f"a plain folder has no splits, {request.split!r} is asked for; leave it out")
    root = request.root
    masks = next((root / name for name in MASKS if (root / name).is_dir()), None)
    if masks is None:
        raise NotThere(f"there is no folder of masks in {root}; expected {', '.join(MASKS)}")
    images = next((root / name for name in IMAGES if (root / name).is_dir()), root)
    sources = _sources(root, images, masks)
    if not sources:
        raise NotThere(f"there are neither folders of frames nor videos in {images}")
    clips = []
    for name in request.choose(sources, images):
        clip = _clip(name, *sources[name], request)
        clips += [clip] if clip is not None else []
    return Found(ALL, clips)


def _sources(root: Path, images: Path, masks: Path) -> dict[str, tuple[Path, Path]]:
    """Return clip -> (folder of frames or video, folder of masks)."""
    if images != root and picture_files(images):
        return {root.resolve().name: (images, masks)}
    videos = video_files(images)
    if len(videos) == 1 and picture_files(masks):
        return {videos[0].stem: (videos[0], masks)}
    found = {} if images == root else {name: (images / name, masks / name) for name in folders(images)}
    found |= {video.stem: (video, masks / video.stem) for video in videos}
    return found


def _clip(name: str, source: Path, masks: Path, request: Request) -> Clip | None:
    frames: Frames | None = VideoFrames(source)
    if source.is_dir():
        frames = picture_frames(name, source, request.findings)
    if frames is None:
        return None
    try:
        names = frames.names
    except DataError as error:
        request.findings.add("error", source, str(error), name)
        return None
    truth = LabelMaps(by_frame(name, masks, names, request.findings), ignores=True)
    return masked_clip(name, frames, truth, masks, FirstAppearance(), request.findings)
