"""The sound of a clip in the videos made from it: in step, copied where that can be, and never in the way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2_video.cli_run import ModelOptions
from sam2_video.cli_track import TrackOptions, TrackRun, _job
from sam2_video.sinks import OverlaySink, Sound, VideoWriter
from sam2_video.sinks.registry import SINKS, SinkOrder
from sam2_video.sources import open_source
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
    ],
)
def test_other_containers_and_codecs(name: str, codec: str, copied: str, tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / name, 2.0, codec)
    out = write_video(tmp_path / "out.mp4", Sound(clip, FPS), range(10, 40))
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
    assert not has_sound(out) and "only PyAV keeps sound" in caplog.text


def test_videos_with_sound_are_the_same_each_time(tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4")
    first, again = (write_video(tmp_path / f"{k}.mp4", Sound(clip, FPS), range(20, 60)) for k in range(2))
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("kind", ["overlay", "green", "blur"])
def test_registered_videos_keep_the_sound_from_their_first_frame_on(kind: str, tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4")
    # Every second frame from frame 30 on, whatever the order thinks the first frame is.
    order = SinkOrder(tmp_path, "clip", fps=FPS / 2, start=0, stride=2, file=clip)
    with SINKS[kind].make(order) as sink:
        for frame in range(30, 70, 2):
            sink.write(numbered_frame(frame), disc_result(frame), f"{frame:06d}")
    heard, source = listen(tmp_path / f"{kind}.mp4"), listen(clip)
    assert heard.video_seconds == pytest.approx(1.6)
    start = round(30 / FPS * RATE)
    assert np.abs(heard.samples[:RATE] - source.samples[start : start + RATE]).max() < 1e-3


def green_of(address: str, out: Path, fps: float | None, frames: range) -> Path:
    """Write what `sam2-video track ADDRESS --fps FPS --save green` writes of frames, without a model."""
    options = TrackOptions(fps=fps, start=frames.start, save=("green",))
    with open_source(address, fps=fps) as source:
        session: Any = SimpleNamespace(source=source, objects=[1])
        order = _job(session, TrackRun(address, [], out, ModelOptions(), options)).order
        with SINKS["green"].make(order) as sink:
            for frame in frames:
                sink.write(source.read(frame), disc_result(frame), f"{frame:06d}")
    return out / "green.mp4"


@pytest.mark.parametrize(("fps", "frames"), [(None, range(30, 70)), (12.5, range(15, 35))])
def test_clips_behind_addresses_keep_their_sound(fps: float | None, frames: range, tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4")
    begin = round(1.2 * RATE)
    meant = listen(clip).samples[begin : begin + RATE]

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        fetched = green_of(f"http://127.0.0.1:{http.server_port}/clip.mp4", tmp_path / "http", fps, frames)
        http.shutdown()
        thread.join()
    for out in (fetched, green_of(clip.as_uri(), tmp_path / "file", fps, frames)):
        assert np.abs(listen(out).samples[:RATE] - meant).max() < 1e-3


def test_frames_in_a_folder_have_no_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "frames").mkdir()
    for k in range(2):
        Image.fromarray(numbered_frame(k)).save(tmp_path / "frames" / f"{k}.png")
    with caplog.at_level(logging.INFO):
        out = green_of(str(tmp_path / "frames"), tmp_path / "out", None, range(2))
    assert not has_sound(out) and not caplog.records


def test_the_index_stays_in_front(tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "clip.mp4", 1.0)
    with OverlaySink(tmp_path / "a.mp4", FPS, sound=Sound(clip, FPS)) as sink:
        for frame in range(25):
            sink.write(numbered_frame(frame), disc_result(frame), "x")
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat") and has_sound(tmp_path / "a.mp4")


BEEPS = (0.1, 0.9, 1.31, 2.2, 2.9)  # seconds into the clip


def write_with_beeps(
    path: Path,
    codec: str,
    rate: int = RATE,
    layout: str = "mono",
    spans: Sequence[tuple[float, float]] = ((0, 3),),
) -> Path:
    """A clip of 3 s with beeps of 20 ms, each channel louder than the next; sound in these seconds only."""
    time = np.arange(3 * rate) / rate
    wave = sum(np.sin(2 * np.pi * 1500 * time) * ((time >= t) & (time < t + 0.02)) for t in BEEPS)
    channels = av.AudioLayout(layout).nb_channels
    waves = np.stack([wave * 0.8 / (k + 1) for k in range(channels)]).astype(np.float32)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.height, video.width = 48, 64
        # FFmpeg's own encoder of Vorbis counts as an experiment
        audio = container.add_stream(codec, rate=rate, options={"strict": "experimental"})
        audio.layout = layout
        for k in range(3 * FPS):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered_frame(k), format="rgb24")))
        container.mux(video.encode())
        for at in range(0, 3 * rate, rate // 50):
            if not any(begin * rate <= at < end * rate for begin, end in spans):
                continue
            piece = np.ascontiguousarray(waves[:, at : at + rate // 50])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), at
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def beeps_of(path: Path) -> tuple[list[float], NDArray[np.float32], int]:
    """When beeps begin, in seconds after the first picture; (channels, samples) from it on; and their rate.

    FFmpeg fills the last packet up and leaves it to players to end where the track does, as is done here.
    """
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        assert audio.time_base is not None
        length = float(((audio.start_time or 0) + (audio.duration or 2**40)) * audio.time_base)
        pieces = list(container.decode(audio))
    rate = pieces[0].sample_rate
    assert pieces[0].pts is not None and pieces[0].time_base is not None
    begin = round(pieces[0].pts * pieces[0].time_base * rate)
    wave = np.concatenate([piece.to_ndarray() for piece in pieces], axis=1)[:, max(-begin, 0) :]
    wave = np.pad(wave, ((0, 0), (max(begin, 0), 0)))
    wave = wave[:, : round(length * rate)]
    loud = np.flatnonzero(np.abs(wave[0]) > 0.3 * np.abs(wave[0]).max())
    starts = loud[np.diff(loud, prepend=-rate) > rate // 20]
    return [float(start / rate) for start in starts], wave, rate


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "heard"),
    [
        ("a.mov", "pcm_s16le", 48_000, "stereo", (48_000, "stereo")),
        ("a.mov", "pcm_s24be", 44_100, "mono", (44_100, "mono")),
        ("a.avi", "pcm_s16le", 44_100, "stereo", (44_100, "stereo")),
        ("a.avi", "pcm_u8", 11_025, "mono", (11_025, "mono")),
        ("a.mov", "pcm_s16le", 48_000, "5.1", (48_000, "5.1")),
        ("a.mov", "pcm_s16le", 48_000, "2.1", (48_000, "3.0")),
        ("a.mkv", "vorbis", 48_000, "stereo", (48_000, "stereo")),
        ("a.avi", "adpcm_ms", 22_050, "mono", (22_050, "mono")),
        ("a.mkv", "pcm_s16le", 37_800, "mono", (44_100, "mono")),
        ("a.mov", "pcm_s16le", 192_000, "mono", (96_000, "mono")),
        ("a.mkv", "libmp3lame", 8_000, "mono", (8_000, "mono")),  # FFmpeg writes no such MP3 into mp4
    ],
)
def test_what_mp4_does_not_take_is_encoded_in_step(
    name: str,
    codec: str,
    rate: int,
    layout: str,
    heard: tuple[int, str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clip = write_with_beeps(tmp_path / name, codec, rate, layout)
    with caplog.at_level(logging.INFO):
        out = write_video(tmp_path / "out.mp4", Sound(clip, FPS), range(20, 65))  # 0.8 to 2.6 s
    with av.open(str(out)) as container:
        audio = container.streams.audio[0]
        assert audio.codec_context.name == "aac" and (audio.rate, audio.layout.name) == heard
    times, wave, found = beeps_of(out)
    # Matroska does not tell the delay of an MP3 encoder: its beeps are late in the clip already.
    meant = beeps_of(clip)[0] if codec == "libmp3lame" else BEEPS
    assert [0.8 + t for t in times] == pytest.approx(meant[1:4], abs=0.01)
    assert wave.shape[1] / found == pytest.approx(1.8, abs=1.5 / found), "exactly the written frames"
    assert not caplog.records


@pytest.mark.parametrize("stride", [1, 4])
def test_encoded_sound_keeps_its_gaps_its_delay_and_its_speed(stride: int, tmp_path: Path) -> None:
    clip = write_with_beeps(tmp_path / "a.mkv", "pcm_s16le", spans=((0.5, 1.5), (2, 3)))
    out = write_video(tmp_path / "out.mp4", Sound(clip, FPS), range(0, 75, stride), FPS / stride)
    times, wave, rate = beeps_of(out)
    assert times == pytest.approx(BEEPS[1:], abs=0.01)
    assert np.abs(wave[0, : int(0.45 * rate)]).max() < 0.01
    written = len(range(0, 75, stride)) * stride / FPS
    assert wave.shape[1] == pytest.approx(min(3.0, written) * rate, abs=1.5)


def test_encoded_sound_is_the_same_each_time_and_sounds_like_the_clip(tmp_path: Path) -> None:
    clip = write_with_sound(tmp_path / "a.mov", codec="pcm_s16le")
    first, again = (write_video(tmp_path / f"{k}.mp4", Sound(clip, FPS), range(20, 60)) for k in range(2))
    assert first.read_bytes() == again.read_bytes()
    assert b"Lavc" not in first.read_bytes(), "no version of the encoder, which is not the same everywhere"
    heard, source = listen(first).samples, listen(clip).samples[round(0.8 * RATE) :]
    middle = slice(RATE // 20, round(1.55 * RATE))
    assert np.corrcoef(heard[middle], source[middle])[0, 1] > 0.99


def test_a_video_shorter_than_one_packet_of_aac(tmp_path: Path) -> None:
    clip = write_with_beeps(tmp_path / "a.mov", "pcm_s16le")
    out = write_video(tmp_path / "out.mp4", Sound(clip, 100.0), range(10, 11), 100.0)
    assert beeps_of(out)[1].shape[1] == pytest.approx(0.01 * RATE, abs=1)


def test_sound_that_changes_its_rate_and_channels_on_the_way(tmp_path: Path) -> None:
    parts = [
        write_with_beeps(tmp_path / "0.ts", "mp2", 48_000, "stereo", ((0, 1.5),)),
        write_with_beeps(tmp_path / "1.ts", "mp2", 44_100, "mono", ((1.5, 3),)),
    ]
    clip = tmp_path / "clip.ts"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    out = write_video(tmp_path / "out.mp4", Sound(clip, FPS), range(75))
    assert beeps_of(out)[0] == pytest.approx(BEEPS, abs=0.02)  # with the delay of the encoder of MP2


def test_damaged_sound_is_silent_for_a_moment(tmp_path: Path) -> None:
    clip = write_with_beeps(tmp_path / "a.mkv", "vorbis", layout="stereo")
    with av.open(str(clip)) as container:
        packets = [p for p in container.demux(audio=0) if p.size]
    data = bytearray(clip.read_bytes())
    for packet in packets:
        assert packet.pts is not None and packet.time_base is not None and packet.pos is not None
        if not 1.6 < packet.pts * packet.time_base < 1.8:
            continue
        at = data.index(bytes(packet), packet.pos)
        data[at : at + packet.size] = b"\xff" * packet.size
    clip.write_bytes(data)
    out = write_video(tmp_path / "out.mp4", Sound(clip, FPS), range(75))
    times, wave, rate = beeps_of(out)
    assert times == pytest.approx(BEEPS, abs=0.01)
    assert wave.shape[1] / rate == pytest.approx(3.0, abs=0.0015), "times of Matroska have milliseconds"
