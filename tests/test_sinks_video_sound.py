"""The sound of a clip in the videos made from it: the same packets, in step, and never in the way."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_video.sinks import OverlaySink, Sound, VideoWriter
from sam2_video.sinks.registry import SINKS, SinkOrder
from tests.clips import cut, disc_result, numbered_frame, write_clip

RATE = 48_000  # samples a second
FPS = 25


def write_with_sound(path: Path, seconds: float = 3.0, codec: str = "aac", fps: int = FPS) -> Path:
    """A clip with a tone that rises, so that every moment sounds unlike the others."""
    time = np.arange(int(RATE * seconds)) / RATE
    wave = (0.5 * np.sin(2 * np.pi * (300 + 400 * time) * time)).astype(np.float32)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        audio = container.add_stream(codec, rate=RATE)
        audio.layout = "mono"
        for k in range(round(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(numbered_frame(k), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode())
        whole = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        whole.sample_rate, whole.pts = RATE, 0
        resampler = av.AudioResampler(audio.codec_context.format, "mono", RATE)
        pieces = av.AudioFifo()
        for piece in resampler.resample(whole):
            pieces.write(piece)
        while (piece := pieces.read(audio.codec_context.frame_size or 1024, partial=True)) is not None:
            container.mux(audio.encode(piece))
        container.mux(audio.encode())
    return path


@dataclass(frozen=True)
class Heard:
    """Sound as it is in a file: packets, seconds of video and sound, and samples by their time."""

    codec: str
    packets: list[bytes]
    video_seconds: float
    sound_seconds: float
    samples: NDArray[np.float32]  # from the first picture on


def listen(path: Path) -> Heard:
    with av.open(str(path)) as container:
        audio, video = container.streams.audio[0], container.streams.video[0]
        packets = [bytes(p) for p in container.demux(audio) if p.size]
        codec = audio.codec_context.name.removesuffix("float")  # FFmpeg's name of its decoder
        # Matroska does not tell the lengths of its streams
        lengths = [float((s.duration or 0) * (s.time_base or 0)) for s in (video, audio)]
        first_picture = float((video.start_time or 0) * (video.time_base or 0))
    samples = np.zeros(RATE * 10, np.float32)
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "mono", RATE)
        for frame in container.decode(audio=0):
            for piece in resampler.resample(frame):
                assert piece.pts is not None and piece.time_base is not None
                at, wave = round((piece.pts * piece.time_base - first_picture) * RATE), piece.to_ndarray()[0]
                wave, at = wave[max(-at, 0) :], max(at, 0)
                samples[at : at + len(wave)] = wave
    return Heard(codec, packets, *lengths, samples)


def write_video(
    path: Path, sound: Sound | None, frames: range, fps: float = FPS, encoder: str = "auto"
) -> Path:
    with VideoWriter(path, fps, encoder, sound=sound) as writer:
        for frame in frames:
            writer.write(numbered_frame(frame), frame)
    return path


def has_sound(path: Path) -> bool:
    with av.open(str(path)) as container:
        return bool(container.streams.audio)


def test_sound_is_copied_packet_by_packet(tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4")
    source = listen(clip)
    whole = listen(write_video(tmp_path / "out.mp4", Sound(clip, FPS), range(75)))
    assert whole.codec == "aac" and whole.video_seconds == 3.0
    assert whole.packets == source.packets[: len(whole.packets)] and len(whole.packets) > 100
    assert 0 <= whole.sound_seconds - 3.0 <= 1024 / RATE, "it ends with the last frame"
    assert np.abs(whole.samples[: 2 * RATE]).max() > 0.3
    assert np.array_equal(whole.samples[: 2 * RATE], source.samples[: 2 * RATE])


@pytest.mark.parametrize(("frames", "fps"), [(range(30, 55), 25.0), (range(30, 70, 4), 25 / 4)])
def test_sound_is_trimmed_to_the_frames_and_in_step(frames: range, fps: float, tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4")
    source = listen(clip)
    part = listen(write_video(tmp_path / "out.mp4", Sound(clip, FPS), frames, fps))
    length = len(frames) / fps
    assert part.video_seconds == pytest.approx(length)
    assert 0 <= part.sound_seconds - length <= 2 * 1024 / RATE
    start = round(30 / FPS * RATE)
    shared = int(0.9 * RATE)
    assert np.abs(part.samples[:shared] - source.samples[start : start + shared]).max() < 1e-3
    first = source.packets.index(part.packets[0])
    assert part.packets == source.packets[first : first + len(part.packets)]


@pytest.mark.parametrize(
    ("name", "codec", "copied"),
    [
        ("a.mkv", "aac", "aac"),
        ("a.ts", "aac", "aac"),
        ("a.mp4", "mp3", "mp3"),
        ("a.mkv", "libopus", "opus"),
        ("a.ts", "ac3", "ac3"),
        ("a.mkv", "flac", "flac"),
        ("a.mov", "alac", "alac"),
        ("a.mov", "pcm_s16le", None),
    ],
)
def test_other_containers_and_codecs(
    name: str, codec: str, copied: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_with_sound(tmp_path / name, 2.0, codec)
    with caplog.at_level(logging.INFO):
        out = write_video(tmp_path / "out.mp4", Sound(clip, FPS), range(10, 40))
    if copied is None:
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert not has_sound(out) and len(said) == 1, "who is not asked for a log hears of it, too"
        assert f"{codec} cannot be copied into mp4" in said[0] and "-c:a aac" in said[0]
        return
    heard, source = listen(out), listen(clip)
    assert heard.codec == copied and heard.video_seconds == pytest.approx(1.2)
    at, shared = round(10 / FPS * RATE), RATE // 2
    late = min(
        range(-400, 401, 4),  # samples; the clock of Matroska has milliseconds
        key=lambda by: float(
            np.abs(heard.samples[RATE // 4 :][:shared] - source.samples[at + RATE // 4 + by :][:shared]).sum()
        ),
    )
    assert abs(late) <= RATE // 500 and np.abs(heard.samples[:shared]).max() > 0.3


def test_clips_without_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    silent = write_clip(tmp_path / "silent.mp4", 10)
    (tmp_path / "folder").mkdir()
    text = tmp_path / "text.txt"
    text.write_text("no video")
    sources = [silent, tmp_path / "folder", text, "0", "https://example.org/a.mp4", "x" * 5000]
    with caplog.at_level(logging.INFO):
        for source in sources:
            assert not has_sound(write_video(tmp_path / "out.mp4", Sound(source, FPS), range(3)))
    assert "the sound of silent.mp4 is left out: it has none" in caplog.text
    assert "PyAV cannot open the file" in caplog.text
    assert all(record.levelno < logging.WARNING for record in caplog.records), "nothing is lost"
    assert not has_sound(write_video(tmp_path / "out.mp4", None, range(3)))


def test_a_damaged_clip_costs_the_rest_of_the_sound_only(tmp_path: Path) -> None:
    clip = cut(write_with_sound(tmp_path / "clip.ts"), 0.5, tmp_path / "broken.ts")
    out = write_video(tmp_path / "out.mp4", Sound(clip, FPS), range(75))
    heard = listen(out)
    assert heard.video_seconds == 3.0 and 0.5 < heard.sound_seconds < 2.5


def test_errors_of_reading_sound_end_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = Sound(write_with_sound(tmp_path / "clip.mp4", 1.0), FPS).cut(0)
    assert copy is not None
    first = next(copy.until(Fraction(1)))

    def broken() -> object:
        raise av.error.InvalidDataError(1094995529, "Invalid data found")
        yield

    copy._packets = broken()  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING):
        assert list(copy.until(Fraction(1))) == [] and first.size
    assert "the sound of clip.mp4 ends early" in caplog.text
    copy.close()


@pytest.mark.parametrize("encoder", ["ffmpeg", "opencv"])
def test_encoders_without_sound_say_so(
    encoder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4", 1.0)
    with caplog.at_level(logging.WARNING):
        out = write_video(tmp_path / "out.mp4", Sound(clip, FPS), range(5), encoder=encoder)
    assert not has_sound(out) and "only PyAV copies sound" in caplog.text


def test_videos_with_sound_are_the_same_each_time(tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4")
    first, again = (write_video(tmp_path / f"{k}.mp4", Sound(clip, FPS), range(20, 60)) for k in range(2))
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("kind", ["overlay", "green", "blur"])
def test_registered_videos_keep_the_sound_from_their_first_frame_on(kind: str, tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4")
    # Every second frame from frame 30 on, whatever the order thinks the first frame is.
    order = SinkOrder(tmp_path, "clip", str(clip), fps=FPS / 2, start=0, stride=2)
    with SINKS[kind].make(order) as sink:
        for frame in range(30, 70, 2):
            sink.write(numbered_frame(frame), disc_result(frame), f"{frame:06d}")
    heard, source = listen(tmp_path / f"{kind}.mp4"), listen(clip)
    assert heard.video_seconds == pytest.approx(1.6)
    start = round(30 / FPS * RATE)
    assert np.abs(heard.samples[:RATE] - source.samples[start : start + RATE]).max() < 1e-3


def test_the_index_stays_in_front(tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4", 1.0)
    with OverlaySink(tmp_path / "a.mp4", FPS, sound=Sound(clip, FPS)) as sink:
        for frame in range(25):
            sink.write(numbered_frame(frame), disc_result(frame), "x")
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat") and has_sound(tmp_path / "a.mp4")
