"""Small clips for tests, each frame unlike the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sam2_video.types import FrameResult


def numbered_frame(number: int, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    """An (H, W, 3) frame that shows its number and differs from all others."""
    height, width = size
    image = np.full((height, width, 3), (number * 7) % 200 + 20, np.uint8)
    cv2.putText(image, str(number), (4, height - 8), 0, height / 60, (255, 255, 255), 1)
    image[:, (number * 3) % width] = (255, 120, 0)
    return image


def write_clip(
    path: Path,
    count: int = 60,
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    vary_rate: bool = False,
    index_first: bool = False,
    same: tuple[int, int] = (0, 0),
    pix_fmt: str = "yuv420p",
    shown: tuple[int, bool] = (0, False),
    pictures: Sequence[NDArray[np.uint8]] = (),
    **tags: int,
) -> Path:
    """Encode numbered frames, or `pictures`; those of the range `same` look alike.

    `vary_rate`: frames last 10 to 90 ms. `shown`: players turn the clip by so many degrees, and mirror it.
    `tags` are set on the stream: color_range, colorspace.
    """
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "+faststart"} if index_first else {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        if any(shown):
            stream.set_display_rotation(shown[0], hflip=shown[1])
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if vary_rate:
            stream.codec_context.time_base = Fraction(1, 1000)
        container.start_encoding()
        time = 0
        for number in range(len(pictures) or count):
            like = same[0] if number in range(*same) else number
            picture = pictures[number] if len(pictures) else numbered_frame(like, size)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if vary_rate:
                frame.time_base, frame.pts = Fraction(1, 1000), time
                time += int(rng.integers(10, 90))
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode() if count else ():
            container.mux(packet)
    return path


def retime(path: Path, out: Path, change: Callable[[int, av.Packet], None]) -> Path:
    """Copy a clip without decoding, its packets changed: `change` gets the number of each and the packet."""
    with av.open(str(path)) as source, av.open(str(out), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None:
                change(number, packet)
                packet.stream = stream
                copy.mux(packet)
    return out


def cut(path: Path, share: float, out: Path) -> Path:
    """Keep only the first part of a file, as a broken download does."""
    data = path.read_bytes()
    out.write_bytes(data[: int(len(data) * share)])
    return out


def disc_result(
    frame: int = 0,
    ids: tuple[int, ...] = (1, 2),
    size: tuple[int, int] = (48, 64),
    centres: tuple[tuple[float, float], ...] = ((4, 4), (11, 11)),
    radius: float = 3.0,
) -> FrameResult:
    """A result of discs at low resolution, 16 x 16; a centre is x, y there."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    discs = [radius - ((x - cx) ** 2 + (y - cy) ** 2).sqrt() for cx, cy in centres[: len(ids)]]
    logits = torch.stack(discs) if discs else torch.zeros(0, 16, 16)
    scores = torch.linspace(0.9, 0.8, len(ids))
    return FrameResult(frame, ids, logits, scores, scores * 5, size, tuple(k == 0 for k in range(len(ids))))
