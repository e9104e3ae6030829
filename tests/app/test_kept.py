"""Kept work: a killed server loses nothing but the frame in work, and the log holds what happened."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import sam2_video
from sam2_video.app.errors import RequestError
from sam2_video.app.jobs import Jobs
from sam2_video.app.kept import Kept
from sam2_video.app.stored import StoredPredictions, shapes_of
from sam2_video.app.tracking import Observer
from sam2_video.app.work_log import WorkLog
from sam2_video.demo_clip import draw_demo_clip
from sam2_video.review import Notice
from sam2_video.session import VideoSession
from sam2_video.types import DataError, FrameResult, SinkError
from sam2_video.video_predictor import VideoPredictor
from tests.app.served import WAIT, Page, error_of, mask_of, served, server_process
from tests.toys import toy_clip, toy_model

FRAMES = 40


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the server computes: several threads round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_a_killed_server_loses_nothing_but_the_frame_in_work(tmp_path: Path, one_thread: None) -> None:
    folder, state = tmp_path / "clips", tmp_path / "state"
    folder.mkdir()
    click = draw_demo_clip(folder / "clip.mp4", FRAMES).clicks[1]
    with server_process(folder, state) as (page, process):
        session = page.open("clip.mp4")["id"]
        page.post(f"/api/sessions/{session}/objects", name="ball")
        page.click(session, 0, *click)
        page.post(f"/api/sessions/{session}/track", direction="forward")
        seen = page.wait(session, lambda now: now["task"]["done"] >= 8)
        process.send_signal(signal.SIGKILL)
        process.wait()
    known = seen["known"][0][1]
    assert seen["task"]["state"] == "running" and 7 <= known < FRAMES - 1
    with server_process(folder, state) as (page, _):
        kept = page.get("/api/sessions")["sessions"]
        assert [(k["id"], k["path"], k["objects"], k["open"]) for k in kept] == [
            (session, "clip.mp4", 1, False)
        ]
        again = page.open("clip.mp4")
        assert again["id"] == session and again["objects"] == seen["objects"]
        assert again["prompts"] == seen["prompts"] and again["revision"] == seen["revision"]
        assert again["known"][0][1] >= known  # whatever was told is there
        assert again["task"]["state"] == "paused" and again["task"]["total"] == FRAMES
        assert again["task"]["done"] == again["known"][0][1] + 1
        page.post(f"/api/sessions/{session}/resume")
        assert page.wait(session)["known"] == [[0, FRAMES - 1]]
        masks = [mask_of(found["objects"][0]) for found in page.masks(session, FRAMES)]
    with sam2_video.VideoPredictor(sam2_video.load_model("nano")).open(folder / "clip.mp4") as own:
        own.prompt(frame=0, object_id=1, points=[click], labels=[1])
        expected = [result.masks[0] for result in own.propagate()]
    np.testing.assert_array_equal(masks, expected)  # as if nothing had happened


def test_work_is_there_after_a_restart(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with served(folder, state) as page:
        session = page.open("clip.mp4")["id"]
        page.click(session, 0, 13, 16)
        page.track(session)
        page.click(session, 6, 100, 20, object_id=2)
        before = page.masks(session, 10), page.get(f"/api/sessions/{session}/timeline")
        page.client.delete(f"/api/sessions/{session}/objects/2")
        page.post(f"/api/sessions/{session}/undo")
    with served(folder, state) as page:
        assert page.get(f"/api/sessions/{session}")["known"] == [[0, 9]]
        assert (page.masks(session, 10), page.get(f"/api/sessions/{session}/timeline")) == before
        made = page.desk.work(session).session.track(1).bank.made
        page.track(session)  # recipes are kept, too: nothing of object 1 is tracked again
        assert page.desk.work(session).session.track(1).bank.made == made
        page.client.delete(f"/api/sessions/{session}/objects/2")
    with served(folder, state) as page:
        now = page.get(f"/api/sessions/{session}")
        assert [entry["id"] for entry in now["objects"]] == [1] and not now["can_undo"]
        assert [len(found["objects"]) for found in page.masks(session, 10)] == [1] * 10
        page.client.delete(f"/api/sessions/{session}")
        assert page.get("/api/sessions") == {"sessions": []}
    assert list((state / "sessions").iterdir()) == []


def test_a_server_that_ends_stops_its_pass(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices, begun, closing = Observer.notices, threading.Event(), threading.Event()

    def slow(observer: Observer, result: FrameResult) -> list[Notice]:
        if result.frame == 2:
            begun.set()
            assert closing.wait(WAIT)
        return notices(observer, result)

    monkeypatch.setattr(Observer, "notices", slow)
    stop = Jobs.stop

    def told(jobs: Jobs, wanted: Literal["paused", "cancelled"]) -> None:
        stop(jobs, wanted)
        closing.set()

    monkeypatch.setattr(Jobs, "stop", told)
    with served(folder, tmp_path / "state") as page:
        session = page.open("clip.mp4")["id"]
        page.click(session, 0, 13, 16)
        page.post(f"/api/sessions/{session}/track", direction="forward")
        assert begun.wait(WAIT)
    with served(folder, tmp_path / "state") as page:
        now = page.get(f"/api/sessions/{session}")
        assert (now["known"], now["task"]["state"], now["task"]["done"]) == ([[0, 2]], "paused", 3)


def test_work_of_other_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    with served(folder, tmp_path / "state") as page:
        page.click(page.open("clip.mp4")["id"], 0, 13, 16)
    with served(folder, tmp_path / "state") as page:
        page.desk.models.put("nano", VideoPredictor(toy_model(128)))
        message = error_of(page.client.post("/api/sessions", json={"path": "clip.mp4"}), 409)
        assert "other weights" in message
        page.desk.models.put("nano", VideoPredictor(toy_model()))
        assert page.open("clip.mp4")["known"] == [[0, 0]]


def test_another_clip_under_the_same_name_is_refused(folder: Path, tmp_path: Path) -> None:
    with served(folder, tmp_path / "state") as page:
        session = page.open("pictures")["id"]
        page.click(session, 0, 13, 16)
    (folder / "pictures" / "3.png").unlink()
    with served(folder, tmp_path / "state") as page:
        message = error_of(page.client.post("/api/sessions", json={"path": "pictures"}), 409)
        assert "3 frames, not 4" in message and "forget this session" in message
        page.client.delete(f"/api/sessions/{session}")
        assert page.open("pictures")["known"] == []


def test_results_of_a_clip_are_not_in_memory(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 0, 13, 16)
    page.track(session)
    track = page.desk.work(session).session.track(1)
    assert isinstance(track.predictions, StoredPredictions)
    assert len(track.predictions) == 10 and len(track.predictions._recent) == 4


@pytest.fixture
def session() -> Iterator[VideoSession]:
    with VideoPredictor(toy_model()).open(toy_clip(8)) as session:
        session.prompt(frame=0, object_id=1, points=[(13, 16)], labels=[1], name="square")
        yield session


def kept_of(session: VideoSession, path: Path) -> Kept:
    return Kept(path, shapes_of(session.driver.settings()), session.options.memory)


def test_every_step_comes_back_wherever_the_file_was_cut(session: VideoSession, tmp_path: Path) -> None:
    path = tmp_path / "work.log"
    kept = kept_of(session, path)
    kept.commit(session)
    lengths = [path.stat().st_size]
    for result in session.propagate():
        kept.commit(session, [result.frame])
        lengths.append(path.stat().st_size)
    kept.close()
    data = path.read_bytes()
    for cut in {*lengths, *(length - 1 for length in lengths), *(length + 40 for length in lengths[:-1])}:
        whole = sum(length <= cut for length in lengths)
        path.write_bytes(data[:cut])
        again = kept_of(session, path)
        found = again.recover(session.size, session.frame_count)
        again.close()
        if whole == 0:
            assert found.tracks == {}
            continue
        assert sorted(found.tracks[1].predictions) == list(range(max(1, whole - 1)))
        expected = whole - 1 if whole > 1 else 0
        assert (found.pending.legs[0].first if found.pending.legs else 8 if whole > 1 else 0) == expected


def test_a_log_that_is_mostly_waste_is_written_anew(
    session: VideoSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam2_video.app.kept.WASTE", 0)
    path = tmp_path / "work.log"
    kept = kept_of(session, path)
    for k in range(6):  # each click makes what was tracked before useless
        session.prompt(frame=0, object_id=1, points=[(20 + 5 * k, 20)], labels=[1])
        kept.commit(session)
        for result in session.propagate():
            kept.commit(session, [result.frame])
    expected = list(session.results())
    kept.close()
    before = path.stat().st_size
    again = kept_of(session, path)
    found = again.recover(session.size, session.frame_count)
    assert path.stat().st_size < before / 3
    for frame, result in enumerate(expected):
        kept_logits = found.tracks[1].predictions[frame].logits
        assert torch.equal(kept_logits[:, 0], result.logits)
        assert found.tracks[1].recipes.get(frame) == session.track(1).recipes.get(frame)
    again.close()
    last = kept_of(session, path)
    assert len(last.recover(session.size, 8).tracks[1].predictions) == 8
    last.close()


def test_what_follows_a_damaged_step_is_kept_beside_the_log(tmp_path: Path) -> None:
    path = tmp_path / "work.log"
    log = WorkLog(path)
    ends = [path.stat().st_size]
    for step in range(3):
        log.commit({"step": step})
        ends.append(path.stat().st_size)
    log.close()
    data = bytearray(path.read_bytes())
    data[ends[2] - 2] ^= 1
    path.write_bytes(data)
    log = WorkLog(path)
    assert list(log.commits()) == [{"step": 0}] and path.stat().st_size == ends[1]
    log.close()
    assert (tmp_path / "work.damaged").read_bytes() == data[ends[1] :]
    path.write_bytes(data[: ends[2] - 2])  # half-written: nothing is lost
    (tmp_path / "work.damaged").unlink()
    log = WorkLog(path)
    assert list(log.commits()) == [{"step": 0}] and not (tmp_path / "work.damaged").exists()
    log.close()


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "work.log"
    log = WorkLog(path)
    place = log.add(b"tensors")
    log.commit({"a": 1})
    assert log.read(place) == b"tensors" and list(log.commits()) == [{"a": 1}]
    log.close()
    data = bytearray(path.read_bytes())
    data[place.start] ^= 1
    path.write_bytes(data)
    log = WorkLog(path)
    with pytest.raises(DataError, match="damaged at byte"):
        log.read(place)
    log.close()
    with pytest.raises(RequestError, match="closed meanwhile"):
        log.read(place)
    path.write_bytes(json.dumps({"not": "a log at all"}).encode())
    with pytest.raises(DataError, match="no kept work"):
        WorkLog(path)


def test_a_full_disk_stops_a_pass_that_can_be_gone_on_with(
    page: Page, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 0, 13, 16)
    add, room = WorkLog.add, [9]  # of pieces that still fit: four frames and a half

    def full(log: WorkLog, data: bytes) -> object:
        room[0] -= 1
        if room[0] < 0:
            raise SinkError("cannot write: the disk is full")
        return add(log, data)

    monkeypatch.setattr(WorkLog, "add", full)
    page.post(f"/api/sessions/{session}/track", direction="forward")
    failed = page.wait(session)
    # Of frame 5 the mask is there, the memory not.
    assert (failed["task"]["state"], failed["known"]) == ("failed", [[0, 5]])
    assert "the disk is full" in failed["task"]["message"]
    said = {"frame": 7, "object": 2, "points": [[100, 20]], "labels": [1]}
    assert "disk is full" in error_of(page.client.post(f"/api/sessions/{session}/prompts", json=said), 507)
    monkeypatch.setattr(WorkLog, "add", add)
    page.post(f"/api/sessions/{session}/resume")
    assert page.wait(session)["known"] == [[0, 9]]
    with VideoPredictor(toy_model()).open(folder / "clip.mp4") as own:
        own.prompt(frame=0, object_id=1, points=[(13, 16)], labels=[1])
        expected = [result.masks[0] for result in own.propagate()]
    found = [mask_of(masks["objects"][0]) for masks in page.masks(session, 10)]
    np.testing.assert_array_equal(found, expected)


def test_what_could_not_be_committed_is_in_the_next_step(
    session: VideoSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "work.log"
    kept = kept_of(session, path)
    kept.commit(session)

    def full(*_: object) -> None:
        raise SinkError("the disk is full")

    for result in session.propagate():
        with monkeypatch.context() as patched:
            if result.frame == 3:
                patched.setattr(WorkLog, "commit", full)
                with pytest.raises(SinkError):
                    kept.commit(session, [3])
            else:
                kept.commit(session, [result.frame])
    kept.close()
    again = kept_of(session, path)
    assert sorted(again.recover(session.size, session.frame_count).tracks[1].predictions) == list(range(8))
    again.close()
