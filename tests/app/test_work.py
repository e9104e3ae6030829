"""A clip from opening to masks: prompts, passes, corrections, undo, names, exports."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import sam2_video
from sam2_video.app import shown
from sam2_video.app.tracking import Observer
from sam2_video.mask_runs import Runs
from sam2_video.review import Notice
from sam2_video.sinks.registry import SINKS
from sam2_video.types import FrameResult
from sam2_video.video_predictor import VideoPredictor
from tests.app.conftest import FRAMES
from tests.app.served import WAIT, Page, error_of, mask_of, served
from tests.toys import toy_model

BOX = [90, 40, 150, 90]


def library_masks(clip: Path, corrections: bool = False) -> list[np.ndarray]:
    """What the package itself finds with the clicks of these tests."""
    with VideoPredictor(toy_model()).open(clip) as session:
        session.prompt(frame=0, object_id=1, points=[(13, 16)], labels=[1])
        results = list(session.propagate())
        if corrections:
            session.prompt(frame=4, object_id=1, box=BOX)
            results = list(session.propagate())
        return [result.masks[0] for result in results]


def shown_masks(page: Page, session: str) -> list[np.ndarray]:
    return [mask_of(found["objects"][0]) for found in page.masks(session, FRAMES)]


def test_a_pass_gives_what_the_package_gives(page: Page, folder: Path) -> None:
    session = page.open("clip.mp4")
    assert (session["frames"], session["height"], session["width"]) == (FRAMES, 96, 160)
    answer = page.click(session["id"], 0, 13, 16)
    assert answer["session"]["revision"] == session["revision"] + 1
    assert [found["id"] for found in answer["masks"]["objects"]] == [1]
    after = page.track(session["id"])
    assert after["task"] | {"frame": 9} == after["task"]
    assert (after["task"]["state"], after["task"]["done"], after["known"]) == ("done", FRAMES, [[0, 9]])
    expected = library_masks(folder / "clip.mp4")
    np.testing.assert_array_equal(shown_masks(page, session["id"]), expected)


def test_a_correction_tracks_only_what_depends_on_it(page: Page, folder: Path) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 0, 13, 16)
    page.track(session)
    before = shown_masks(page, session)
    page.post(f"/api/sessions/{session}/prompts", frame=4, object=1, box=BOX)
    page.track(session)
    after = shown_masks(page, session)
    np.testing.assert_array_equal(after, library_masks(folder / "clip.mp4", corrections=True))
    assert any((a != b).any() for a, b in zip(after, before, strict=True))
    made = page.desk.work(session).session.track(1).bank.made
    page.track(session)  # from the same memories: nothing is tracked again
    assert page.desk.work(session).session.track(1).bank.made == made


def test_both_directions_and_a_range(page: Page, folder: Path) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 5, 28, 26)
    after = page.track(session, "both", start=2, stop=8)
    assert after["known"] == [[2, 7]]
    assert after["task"]["total"] == after["task"]["done"] == 3 + 6  # the way back, then all of them
    with VideoPredictor(toy_model()).open(folder / "clip.mp4") as own:
        own.prompt(frame=5, object_id=1, points=[(28, 26)], labels=[1])
        expected = [result.masks[0] for result in own.propagate("both", 2, 8)]
    found = [mask_of(m["objects"][0]) for m in page.masks(session, 8)[2:]]
    np.testing.assert_array_equal(found, expected)


def test_undo_and_redo(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    first = page.click(session, 0, 13, 16)
    second = page.click(session, 0, 40, 40, label=0)
    undone = page.post(f"/api/sessions/{session}/undo")["session"]
    assert len(undone["prompts"][0]["points"]) == 1 and undone["can_redo"]
    assert page.get(f"/api/sessions/{session}/masks/0") == first["masks"]
    redone = page.post(f"/api/sessions/{session}/redo")["session"]
    assert len(redone["prompts"][0]["points"]) == 2 and not redone["can_redo"]
    assert page.get(f"/api/sessions/{session}/masks/0") == second["masks"]
    for _ in range(2):
        left = page.post(f"/api/sessions/{session}/undo")["session"]
    assert left["prompts"] == left["known"] == [] and not left["can_undo"]
    assert [entry["id"] for entry in left["objects"]] == [1]
    message = error_of(page.client.post(f"/api/sessions/{session}/undo"), 400)
    assert "nothing to undo" in message


def test_objects_have_names_before_they_have_masks(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    at = f"/api/sessions/{session}/objects"
    assert page.post(at, name="square", category="shape")["objects"][0]["id"] == 1
    page.click(session, 0, 13, 16)
    named = page.client.patch(f"{at}/1", json={"name": "left square"}).json()["objects"]
    assert [(o["name"], o["category"], o["color"]) for o in named] == [("left square", "shape", "#0072b2")]
    assert error_of(page.client.post(at, json={"id": 1}), 409)
    gone = page.client.delete(f"{at}/1").json()
    assert gone["objects"] == gone["prompts"] == []
    back = page.post(f"/api/sessions/{session}/undo")["session"]
    assert [o["name"] for o in back["objects"]] == ["left square"] and back["known"] == [[0, 0]]


def test_names_are_not_undone(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    at = f"/api/sessions/{session}"
    page.post(f"{at}/objects", name="square")
    page.click(session, 0, 13, 16)
    page.client.patch(f"{at}/objects/1", json={"name": "left square"})
    for way in ("undo", "redo", "undo"):
        after = page.post(f"{at}/{way}")["session"]
        assert [entry["name"] for entry in after["objects"]] == ["left square"]
    page.post(f"{at}/redo")
    assert page.desk.work(session).session.track(1).info.name == "left square"


def test_clips_that_nobody_looks_at_are_closed_and_opened_again(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam2_video.app.desk.MOST_OPEN", 1)
    first = page.open("clip.mp4")["id"]
    page.click(first, 0, 13, 16)
    second = page.open("pictures")["id"]
    assert {kept["id"]: kept["open"] for kept in page.get("/api/sessions")["sessions"]} == {
        first: False,
        second: True,
    }
    assert page.get(f"/api/sessions/{first}")["known"] == [[0, 0]]
    assert not next(k["open"] for k in page.get("/api/sessions")["sessions"] if k["id"] == second)


def test_painted_masks_come_at_any_size(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    painted = np.zeros((48, 80), bool)
    painted[10:30, 20:50] = True
    said = {"size": [48, 80], "counts": sam2_video.postprocess.encode_rle(painted)["counts"]}
    answer = page.post(f"/api/sessions/{session}/prompts", frame=3, object=2, mask=said)
    assert answer["session"]["prompts"] == [
        {"frame": 3, "object": 2, "points": [], "labels": [], "box": None, "mask": True}
    ]
    found = mask_of(answer["masks"]["objects"][0])
    whole = cv2.resize(painted.astype(np.uint8), (160, 96), interpolation=cv2.INTER_NEAREST) > 0
    assert (found & whole).sum() / (found | whole).sum() > 0.9
    wrong = page.client.post(
        f"/api/sessions/{session}/prompts", json={"frame": 3, "object": 2, "mask": {**said, "counts": [5]}}
    )
    assert "cannot be read" in error_of(wrong, 400)


def test_an_object_without_prompts_does_not_stop_the_others(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 0, 13, 16)
    page.click(session, 0, 70, 60, object_id=2)
    left = page.client.delete(f"/api/sessions/{session}/prompts", params={"frame": 0, "object": 2}).json()
    assert [said["object"] for said in left["session"]["prompts"]] == [1]
    assert [entry["id"] for entry in left["session"]["objects"]] == [1, 2]
    assert page.track(session)["known"] == [[0, 9]]


def test_timeline_and_frames_worth_a_look(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 0, 13, 16)
    page.track(session)
    said = page.get(f"/api/sessions/{session}/timeline")
    assert said["stride"] == 1 and len(said["objects"]) == 1
    track = said["objects"][0]
    assert track["prompted"] == [0] and len(track["iou"]) == len(track["presence"]) == FRAMES
    assert track["iou"] == pytest.approx(
        [m["objects"][0]["iou"] for m in page.masks(session, FRAMES)], abs=1e-3
    )
    assert all(0 <= entry["frame"] < FRAMES and entry["reason"] for entry in said["review"])


def test_pictures_are_the_frames_of_the_clip(page: Page, folder: Path) -> None:
    session = page.open("clip.mp4")["id"]
    with sam2_video.sources.open_source(folder / "clip.mp4") as source:
        for frame in (7, 2, 9):
            data = page.client.get(f"/api/sessions/{session}/frames/{frame}.jpg").content
            shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            assert np.abs(shown.astype(int) - source.read(frame)).mean() < 6
    small = page.client.get(f"/api/sessions/{session}/frames/3.jpg", params={"width": 80})
    assert small.headers["content-type"] == "image/jpeg" and "max-age" in small.headers["cache-control"]
    assert "0 to 9" in error_of(page.client.get(f"/api/sessions/{session}/frames/10.jpg"), 404)


def test_a_folder_of_pictures_is_a_clip(page: Page) -> None:
    session = page.open("pictures")
    assert session["frames"] == 4
    page.click(session["id"], 0, 13, 16)
    assert page.track(session["id"])["known"] == [[0, 3]]


def test_every_format_is_exported(page: Page, folder: Path) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 0, 13, 16)
    page.track(session)
    names = [entry["name"] for entry in page.get("/api/info")["formats"]]
    assert names == list(SINKS)
    page.post(f"/api/sessions/{session}/export", formats=names)
    task = page.wait(session)["task"]
    assert (task["state"], task["kind"], task["done"]) == ("done", "export", FRAMES), task
    listed = page.get(f"/api/sessions/{session}/exports")
    assert [entry["name"] for entry in listed] == [task["message"]]
    data = page.client.get(f"/api/sessions/{session}/exports/{task['message']}").content
    assert len(data) == listed[0]["bytes"]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        held = archive.namelist()
        labels = cv2.imdecode(np.frombuffer(archive.read("masks/000004.png"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert not any("part" in name for name in held)
    for kind in SINKS.values():
        for pattern in kind.files:
            assert any(Path(name).match(pattern) for name in held), pattern
    assert labels.shape[:2] == (96, 160)
    wrong = page.client.post(f"/api/sessions/{session}/export", json={"formats": ["gif"]})
    assert "'gif'" in error_of(wrong, 400)


def test_boxes_are_in_pixels_of_the_frame() -> None:
    mask = np.zeros((54, 96), bool)
    assert shown._box(Runs.of_mask(mask), (1080, 1920)) is None
    mask[10:20, 30:41] = True
    assert shown._box(Runs.of_mask(mask), (1080, 1920)) == [600, 200, 819, 399]
    assert shown.shown_size((1080, 1920)) == (720, 1280) and shown.shown_size((96, 160)) == (96, 160)


def test_long_clips_have_buckets() -> None:
    frames, values = np.array([0, 1, 5, 9]), np.array([0.5, 0.25, 0.75, 1.0])
    assert shown._lowest(frames, values, 2, 10) == [0.25, None, 0.75, None, 1.0]


def test_nothing_to_export(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    assert "no results yet" in error_of(
        page.client.post(f"/api/sessions/{session}/export", json={"formats": ["masks"]}), 409
    )


def test_a_saved_file_is_opened_by_the_package_and_by_the_app(
    page: Page, folder: Path, tmp_path: Path
) -> None:
    session = page.open("clip.mp4")["id"]
    page.post(f"/api/sessions/{session}/objects", name="square")
    page.click(session, 0, 13, 16)
    page.track(session)
    masks = shown_masks(page, session)
    data = page.client.get(f"/api/sessions/{session}/file")
    assert 'filename="clip.mp4.sam2"' in data.headers["content-disposition"]
    (folder / "work.sam2").write_bytes(data.content)
    with VideoPredictor(toy_model()).resume(folder / "work.sam2") as resumed:
        np.testing.assert_array_equal([result.masks[0] for result in resumed.results()], masks)
    assert "work on clip.mp4 already" in error_of(
        page.client.post("/api/sessions", json={"path": "work.sam2"}), 409
    )
    with served(folder, tmp_path / "other") as other:
        again: Any = other.open("work.sam2")
        assert again["known"] == [[0, 9]] and again["objects"][0]["name"] == "square"
        np.testing.assert_array_equal(shown_masks(other, again["id"]), masks)


@pytest.fixture
def at_frame_three(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Passes wait on frame 3, once, until this is set."""
    gate, notices = threading.Event(), Observer.notices

    def slow(observer: Observer, result: FrameResult) -> list[Notice]:
        if result.frame == 3:
            assert gate.wait(WAIT)
        return notices(observer, result)

    monkeypatch.setattr(Observer, "notices", slow)
    return gate


def test_pause_resume_and_cancel_keep_what_was_done(
    page: Page, folder: Path, at_frame_three: threading.Event
) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 0, 13, 16)
    at = f"/api/sessions/{session}"
    page.post(f"{at}/track", direction="forward")
    assert "busy" in error_of(page.client.post(f"{at}/track", json={}), 409)
    page.post(f"{at}/pause")
    page.post(f"{at}/resume")  # taken back before it came to it
    page.post(f"{at}/pause")
    at_frame_three.set()
    paused = page.wait(session)
    assert (paused["task"]["state"], paused["task"]["done"], paused["known"]) == ("paused", 4, [[0, 3]])
    page.post(f"{at}/export", formats=["objects"])  # a pass that is paused can be gone on with after that
    assert page.wait(session)["task"]["kind"] == "export"
    page.post(f"{at}/resume")
    after = page.wait(session)
    assert (after["task"]["done"], after["known"]) == (FRAMES, [[0, 9]])
    np.testing.assert_array_equal(shown_masks(page, session), library_masks(folder / "clip.mp4"))
    at_frame_three.clear()
    page.post(f"{at}/prompts", frame=0, object=1, points=[[40, 40]], labels=[0])
    page.post(f"{at}/track", direction="forward")
    page.post(f"{at}/cancel")
    at_frame_three.set()
    assert page.wait(session)["task"]["state"] == "cancelled"
    for request in ("resume", "pause", "cancel"):
        assert error_of(page.client.post(f"{at}/{request}"), 409)


def test_a_click_is_answered_between_two_frames(page: Page, at_frame_three: threading.Event) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 0, 13, 16)
    page.post(f"/api/sessions/{session}/track", direction="forward")
    with ThreadPoolExecutor(1) as tab:
        clicked = tab.submit(page.click, session, 9, 70, 60, 2)
        end = time.monotonic() + WAIT
        while page.desk.worker._short.empty() and time.monotonic() < end:
            time.sleep(0.001)
        at_frame_three.set()
        during = clicked.result(WAIT)["session"]
    assert during["task"]["state"] == "running" and during["task"]["done"] < FRAMES
    assert [said["object"] for said in during["prompts"]] == [1, 2]
    page.wait(session)


def test_passes_that_cannot_be(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    at = f"/api/sessions/{session}/track"
    assert "nothing to propagate" in error_of(page.client.post(at, json={}), 400)
    page.click(session, 0, 13, 16)
    assert "sideways" in error_of(page.client.post(at, json={"direction": "sideways"}), 400)
    assert "99" in error_of(page.client.post(at, json={"start": 99}), 400)
    assert "whole number" in error_of(page.client.post(at, json={"start": "a"}), 400)
    outside = {"frame": 0, "object": 1, "points": [[1000, 10]]}
    assert "1000" in error_of(page.client.post(f"/api/sessions/{session}/prompts", json=outside), 400)
    assert error_of(page.client.post(f"/api/sessions/{session}/prompts", json={"frame": 0}), 400)
