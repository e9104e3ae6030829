"""Streams to read in tests: MJPEG over HTTP, RTSP, and what FFmpeg sends; all of them on this machine."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
Clip = Sequence[NDArray[np.uint8]]


def shades(count: int, size: tuple[int, int] = (48, 64)) -> Clip:
    """Frames that can be told apart by their brightness, whatever a codec does to them: 20, 24, 28, ..."""
    return [np.full((*size, 3), 20 + 4 * k, np.uint8) for k in range(count)]


def number_of(rgb: NDArray[np.uint8]) -> int:
    """Which of `shades` is it?"""
    return round((float(rgb.mean()) - 20) / 4)


@contextmanager
def mjpeg_server(
    clip: Clip, *, seconds: float = 0.0, endless: bool = False
) -> Iterator[tuple[str, list[int]]]:
    """Serve a clip as multipart JPEG, anew to each who asks; gives the address and a list of visits.

    `seconds` between frames; an `endless` one starts over.
    """
    visits: list[int] = []
    pictures = [cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes() for frame in clip]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visits.append(len(visits))
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with suppress(ConnectionError):
                while True:
                    for data in pictures:
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        self.wfile.flush()
                        time.sleep(seconds)
                    if not endless:
                        break

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/video.mjpg", visits
    finally:
        server.shutdown()
        server.socket.close()  # `server_close` would wait for those who still read an endless stream
        thread.join()


@contextmanager
def rtsp_server(clip: Path) -> Iterator[str]:
    """Serve a clip in an endless loop, as a camera does: RTSP, with RTP inside the same connection.

    FFmpeg cuts the clip into RTP packets and sends them to a port of this machine; what arrives there is
    passed on to the one client, in the frames that RTSP has for it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets, socket.socket() as door:
        packets.bind(("127.0.0.1", 0))
        packets.settimeout(0.1)
        door.bind(("127.0.0.1", 0))
        door.listen(1)
        door.settimeout(0.1)
        port = packets.getsockname()[1]
        command = [
            FFMPEG,
            "-v",
            "error",
            "-re",
            "-stream_loop",
            "-1",
            "-i",
            str(clip),
            "-an",
            "-c:v",
            "mpeg4",
        ]
        sdp = clip.with_suffix(".sdp")
        command += ["-g", "5", "-sdp_file", str(sdp), "-f", "rtp", f"rtp://127.0.0.1:{port}?pkt_size=1200"]
        sender = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while not sdp.exists() or b"a=fmtp" not in sdp.read_bytes():
            assert sender.poll() is None
            time.sleep(0.02)
        over = threading.Event()
        thread = threading.Thread(target=_serve_rtsp, args=(door, packets, sdp.read_bytes(), over))
        thread.start()
        try:
            yield f"rtsp://127.0.0.1:{door.getsockname()[1]}/live"
        finally:
            over.set()
            thread.join()
            sender.kill()
            sender.wait()


def _serve_rtsp(door: socket.socket, packets: socket.socket, sdp: bytes, over: threading.Event) -> None:
    while not over.is_set():
        with suppress(TimeoutError), suppress(ConnectionError):
            client, _ = door.accept()
            with client:
                client.settimeout(5.0)
                _answer_rtsp(client, sdp)
                client.setblocking(True)
                while not over.is_set():
                    with suppress(TimeoutError):
                        packet = packets.recv(2048)
                        client.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)


def _answer_rtsp(client: socket.socket, sdp: bytes) -> None:
    """Talk until the client says PLAY."""
    asked = client.makefile("rb")
    while True:
        method = asked.readline().split(b" ")[0].decode()
        headers = dict(line.decode().strip().split(": ", 1) for line in iter(asked.readline, b"\r\n"))
        lines = ["RTSP/1.0 200 OK", f"CSeq: {headers['CSeq']}", "Session: 1"]
        body = b""
        if method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        if method == "DESCRIBE":
            body = sdp + b"a=control:track\r\n"
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        if method == "SETUP":
            lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        client.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        if method == "PLAY":
            return
