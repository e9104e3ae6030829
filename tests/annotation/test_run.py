"""Folders annotated: files that others read, runs that go on, and nothing lost."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from sam2_video.annotation import Outcome, Plan, annotate, annotate_folder, find_material
from sam2_video.annotation.asked import Sources
from sam2_video.annotation.files import IDS, Record, clip_name
from sam2_video.evaluation.locks import run_lock
from sam2_video.evaluation.ray_runner import RayWorkers
from sam2_video.evaluation.workers import LocalWorkers, Progress
from sam2_video.types import CheckpointError, DataError, PromptError, SinkError, SourceError
from tests.annotation.toys import make_pictures, picture, plan
from tests.evaluation.small import contents, save_toy

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
NAMES = ["a.png", "b.jpg", "broken.jpg", "c2.png", "c10.png"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("weights") / "toy.safetensors")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """A folder `pics`, and results in `out`, of one process."""
    here = tmp_path_factory.mktemp("done")
    make_pictures(here / "pics", NAMES)
    outcome = run(here / "pics", plan(weights), here / "out")
    assert (outcome.done, list(outcome.failed)) == (4, ["broken.jpg"])
    assert outcome.annotations > 8
    return here


def run(source: Path, how: Plan, out: Path, **more: Any) -> Outcome:
    return annotate(find_material([source]), how, out, **more)


def results(out: Path) -> dict[str, bytes]:
    """Every file but the manifest, which knows the time."""
    return {name: data for name, data in contents(out).items() if name != "manifest.json" and name[0] != "."}


def read(out: Path, name: str, folder: str = "annotations") -> dict[str, Any]:
    return json.loads((out / folder / f"{name}.json").read_text())


def test_files_are_those_of_sa_1b(done: Path) -> None:
    found = read(done / "out", "a")
    assert found["image"] == {"image_id": 1, "width": 80, "height": 48, "file_name": "a.png"}
    assert {p.name for p in (done / "out/annotations").iterdir()} == {
        "a.json",
        "b.json",
        "c2.json",
        "c10.json",
    }
    keys = {
        "id",
        "segmentation",
        "bbox",
        "area",
        "predicted_iou",
        "stability_score",
        "crop_box",
        "point_coords",
    }
    for entry in found["annotations"]:
        assert set(entry) == keys
        mask = coco_masks.decode(entry["segmentation"])
        assert mask.shape == (48, 80)
        assert int(mask.sum()) == entry["area"] > 0
        assert coco_masks.toBbox(entry["segmentation"]).tolist() == entry["bbox"]
        assert entry["crop_box"] == [0, 0, 80, 48]


def test_pycocotools_reads_all_of_it(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = COCO(str(done / "out/coco.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [
        "a.png",
        "b.jpg",
        "c2.png",
        "c10.png",
    ]
    assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "object", "supercategory": ""}]
    for name, number in (("a", 1), ("c10", 5)):
        own = read(done / "out", name)["annotations"]
        listed = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert [one["id"] for one in listed] == [number * IDS + k for k in range(1, len(own) + 1)]
        for one, entry in zip(listed, own, strict=True):
            assert (coco.annToMask(one) == coco_masks.decode(entry["segmentation"])).all()


def test_polygons_have_the_same_pixels(done: Path, weights: Path, tmp_path: Path) -> None:
    how = replace(plan(weights), outlines="polygons")
    run(done / "pics", how, tmp_path)
    coco, exact = COCO(str(tmp_path / "coco.json")), COCO(str(done / "out/coco.json"))
    numbers = coco.getAnnIds()
    assert numbers == exact.getAnnIds() and len(numbers) > 8
    for one, other in zip(coco.loadAnns(numbers), exact.loadAnns(numbers), strict=True):
        assert isinstance(one["segmentation"], list)
        holes = coco.annToMask(one) != exact.annToMask(other)
        assert holes.mean() < 0.002


def test_pictures_stand_upright(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pics"
    folder.mkdir()
    exif = Image.Exif()
    exif[274] = 6  # turn right
    Image.fromarray(picture(3)).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(picture(3)[..., 0]).save(folder / "grey.png")
    Image.fromarray(picture(3)).save(folder / "moves.gif", save_all=True, append_images=[])
    run(folder, plan(weights), tmp_path / "out")
    assert read(tmp_path / "out", "turned")["image"]["width"] == 48
    assert read(tmp_path / "out", "grey")["image"]["width"] == 80
    size = read(tmp_path / "out", "turned")["annotations"][0]["segmentation"]["size"]
    assert size == [80, 48]


def test_the_same_call_does_nothing_twice(done: Path, weights: Path, tmp_path: Path) -> None:
    how, out = plan(weights), tmp_path / "out"
    make_pictures(tmp_path / "pics", NAMES)
    run(tmp_path / "pics", how, out)
    before = results(out)
    changed = {path: path.stat().st_mtime_ns for path in (out / "annotations").iterdir()}
    told: list[str] = []
    again = run(tmp_path / "pics", how, out, progress=Progress(say=told.append))
    assert (again.done, again.kept, list(again.failed)) == (0, 4, ["broken.jpg"])
    assert {path: path.stat().st_mtime_ns for path in (out / "annotations").iterdir()} == changed
    assert "4 of 5 files are done already" in told
    assert results(out) == before
    # What can be read now is done, and what joins gets the next number.
    assert cv2.imwrite(str(tmp_path / "pics/broken.jpg"), picture(9))
    make_pictures(tmp_path / "pics", ["aa.png"])
    third = run(tmp_path / "pics", how, out)
    assert (third.done, third.kept, third.failed) == (2, 4, {})
    assert read(out, "aa")["image"]["image_id"] == 6
    assert read(out, "broken")["image"]["image_id"] == 3
    assert results(out)["annotations/c10.json"] == before["annotations/c10.json"]
    assert json.loads((out / "coco.json").read_text())["images"][-1]["file_name"] == "aa.png"


def test_a_run_that_was_ended_goes_on(done: Path, weights: Path, tmp_path: Path) -> None:
    def stop(_: int) -> None:
        if (tmp_path / "records/b.json").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(done / "pics", plan(weights), tmp_path, progress=Progress(advance=stop))
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "interrupted"
    assert sorted(p.name for p in (tmp_path / "records").iterdir()) == ["a.json", "b.json"]
    rest = run(done / "pics", plan(weights), tmp_path)
    assert (rest.done, rest.kept) == (2, 2)
    assert results(tmp_path) == results(done / "out")


def test_other_settings_are_refused(done: Path, weights: Path, tmp_path: Path) -> None:
    before = contents(done / "out")
    other = plan(weights, masks={"points_per_side": 4}, min_area=7)
    with pytest.raises(SinkError, match="--points-per-side was 3, and is 4 now") as error:
        run(done / "pics", other, done / "out")
    assert "--min-area was 0, and is 7 now" in str(error.value)
    semi = plan(weights, mode="semi")
    with pytest.raises(SinkError, match="--mode was 'auto', and is 'semi' now"):
        run(done / "pics", semi, done / "out")
    other_weights = tmp_path / weights.name
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    other_weights.write_bytes(bytes(data))
    with pytest.raises(SinkError, match="the weights differ"):
        run(done / "pics", plan(other_weights), done / "out")
    assert contents(done / "out") == before


def test_a_picture_that_changed_keeps_its_annotations(weights: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", ["a.png", "b.png"])
    run(tmp_path / "pics", plan(weights), tmp_path / "out")
    before = results(tmp_path / "out")
    assert cv2.imwrite(str(tmp_path / "pics/a.png"), picture(77))
    outcome = run(tmp_path / "pics", plan(weights), tmp_path / "out")
    assert "the file is another than when it was annotated" in outcome.failed["a.png"]
    assert results(tmp_path / "out") == before
    (tmp_path / "out/records/a.json").unlink()  # what the message says
    assert run(tmp_path / "pics", plan(weights), tmp_path / "out").done == 1
    assert results(tmp_path / "out")["annotations/a.json"] != before["annotations/a.json"]


def test_what_people_changed_stays(weights: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", ["a.png", "b.png"])
    run(tmp_path / "pics", plan(weights), tmp_path / "out")
    path = tmp_path / "out/annotations/a.json"
    edited = read(tmp_path / "out", "a")
    del edited["annotations"][1:]
    path.write_text(json.dumps(edited))
    outcome = run(tmp_path / "pics", plan(weights), tmp_path / "out")
    assert (outcome.done, outcome.kept) == (0, 2)
    assert outcome.annotations == 1 + len(read(tmp_path / "out", "b")["annotations"])


def test_folders_of_others_are_left_alone(done: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SinkError, match=r"holds thesis.txt, but no manifest.json"):
        run(done / "pics", plan(weights), tmp_path)
    with pytest.raises(SinkError, match="choose another --out"):
        run(done / "pics", plan(weights), done / "pics")
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text('{"version": 1, "command": "evaluate", "identity": {}}')
    with pytest.raises(SinkError, match="holds results of evaluate"):
        run(done / "pics", plan(weights), other)
    with run_lock(tmp_path / "locked", None), pytest.raises(SinkError, match="another run is writing"):
        run(done / "pics", plan(weights), tmp_path / "locked")


def test_names_tell_pictures_apart(weights: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", ["a.png"])
    run(tmp_path / "pics", plan(weights), tmp_path / "out")
    make_pictures(tmp_path / "pics", ["b.png", "a.jpg", "A.bmp"])
    run(tmp_path / "pics", plan(weights), tmp_path / "out")
    names = {p.name for p in (tmp_path / "out/annotations").iterdir()}
    assert names == {"a.json", "b.json", "a.jpg.json", "A.bmp.json"}
    make_pictures(tmp_path / "more", ["a.png"])
    with pytest.raises(SourceError, match=r"have one name"):
        find_material([tmp_path / "pics", tmp_path / "more"])
    with pytest.raises(SourceError, match="does not exist"):
        find_material([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no pictures and no clips"):
        find_material([tmp_path / "empty"])


def test_prompts_of_detectors(weights: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", ["a.png", "b.png", "c.png"])
    boxes = [
        {"image_id": "a", "category_id": 2, "bbox": [10, 10, 30, 20], "score": 0.75},
        {"image_id": "a", "category_id": 5, "bbox": [-10, 10, 30, 20], "score": 0.5},
        {"image_id": "b", "category_id": 5, "bbox": [100, 10, 30, 20], "score": 0.5},
        {"image_id": "z", "category_id": 5, "bbox": [1, 1, 3, 2], "score": 0.5},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    how = plan(weights, mode="assisted", prompts=Sources((tmp_path / "boxes.json",)))
    told: list[str] = []
    outcome = run(tmp_path / "pics", how, tmp_path / "out", progress=Progress(say=told.append))
    assert (outcome.done, outcome.failed) == (3, {})
    assert "the prompts speak of a picture that is not here: z" in told
    first, second = read(tmp_path / "out", "a")["annotations"]
    assert (first["input_box"], first["score"], first["category"]) == ([10, 10, 30, 20], 0.75, "2")
    assert second["input_box"] == [0, 10, 20, 20]  # cut to the picture
    coco = json.loads((tmp_path / "out/coco.json").read_text())
    assert [one["name"] for one in coco["categories"]] == ["2", "5"]
    assert [(one["category_id"], one["score"]) for one in coco["annotations"]] == [(1, 0.75), (2, 0.5)]
    review = json.loads((tmp_path / "out/review.json").read_text())["pictures"]
    reasons = {one["file_name"]: one["reasons"] for one in review}
    assert reasons["b.png"] == ["prompt", "no mask"] and reasons["c.png"] == ["no prompt"]
    boxes[0]["bbox"] = [11, 10, 30, 20]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    again = run(tmp_path / "pics", how, tmp_path / "out")
    assert again.kept == 2 and "its prompts are others" in again.failed["a.png"]


def test_modes_and_prompts_go_together(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="needs prompts"):
        plan(weights, mode="assisted")
    with pytest.raises(PromptError, match="prompts are for the assisted mode"):
        plan(weights, prompts=Sources((tmp_path / "boxes.json",)))


def test_what_nobody_is_sure_of_is_listed(done: Path, weights: Path, tmp_path: Path) -> None:
    everything = read(done / "out", "a")["annotations"]
    middle = float(np.median([one["stability_score"] for one in everything]))
    how = plan(weights, mode="semi", sure_iou=0.0, sure_stability=middle)
    outcome = run(done / "pics", how, tmp_path)
    kept, left = read(tmp_path, "a")["annotations"], read(tmp_path, "a", "undecided")["annotations"]
    assert kept and left and len(kept) + len(left) == len(everything)
    ids = [one["id"] for one in (*kept, *left)]
    assert ids == [IDS + k for k in range(1, len(ids) + 1)]
    assert all(one["doubts"] == ["stability"] and one["stability_score"] < middle for one in left)
    listed = json.loads((tmp_path / "review.json").read_text())["pictures"]
    entry = next(one for one in listed if one["file_name"] == "a.png")
    assert [one["id"] for one in entry["masks"]] == [one["id"] for one in left]
    assert outcome.undecided == sum(len(one["masks"]) for one in listed)
    broken = next(one for one in listed if one["file_name"] == "broken.jpg")
    assert broken["reasons"] == ["error"] and "not a readable picture" in broken["remarks"][0]


@pytest.mark.slow
def test_workers_write_the_same_bytes(done: Path, weights: Path, tmp_path: Path) -> None:
    with LocalWorkers(2) as workers:
        run(done / "pics", plan(weights), tmp_path, workers=workers)
    assert results(tmp_path) == results(done / "out")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayWorkers]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray leaves a token in the home folder
    with RayWorkers(count=1, device="cpu") as workers:
        yield workers


@pytest.mark.slow
def test_ray_writes_the_same_bytes(done: Path, weights: Path, tmp_path: Path, cluster: RayWorkers) -> None:
    run(done / "pics", plan(weights), tmp_path, workers=cluster)
    assert results(tmp_path) == results(done / "out")


def test_the_function_for_scripts(weights: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", ["a.png"])
    masks = plan(weights).settings.masks
    outcome = annotate_folder(tmp_path / "pics", tmp_path / "out", model=str(weights), masks=masks)
    assert outcome.done == 1 and outcome.annotations == len(read(tmp_path / "out", "a")["annotations"]) > 0


def test_a_folder_in_which_nothing_was_done_is_free(weights: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", ["a.png"])
    wrong = plan(tmp_path / "missing.safetensors")
    with pytest.raises(CheckpointError):
        run(tmp_path / "pics", wrong, tmp_path / "out")

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "pics", plan(weights, min_area=3), tmp_path / "out", progress=Progress(begin=stop))
    assert run(tmp_path / "pics", plan(weights), tmp_path / "out").done == 1


def test_clips_of_one_plain_name_do_not_meet() -> None:
    known = [Record(name, f"{name}.mp4", k, "", "", "") for k, name in enumerate(("a b", "a_b"))]
    assert [clip_name(record) for record in known] == ["a_b_0", "a_b"]
    assert len(clip_name(replace(known[0], name="x " * 100, image_id=7))) < 60


def test_pictures_that_move(weights: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", ["a.png"])
    moves = [Image.fromarray(picture(k)) for k in range(3)]
    moves[0].save(tmp_path / "pics/moves.gif", save_all=True, append_images=moves[1:])
    (tmp_path / "pics/clip.mp4").write_bytes(b"")
    folder, alone = find_material([tmp_path / "pics"]), find_material([tmp_path / "pics/moves.gif"])
    assert [path.name for path in folder.pictures] == ["a.png", "moves.gif"]
    assert [path.name for path in (*folder.clips, *alone.clips)] == ["clip.mp4", "moves.gif"]
    told: list[str] = []
    how, tell = plan(weights, mode="semi"), Progress(say=told.append)
    outcome = run(tmp_path / "pics", how, tmp_path / "out", progress=tell)
    assert "holds 3 pictures; annotate it as a clip" in outcome.failed["moves.gif"]
    assert outcome.done == 1 and any("left out, as clips" in text and "clip.mp4" in text for text in told)


def test_no_picture_takes_the_name_of_another(weights: Path, tmp_path: Path) -> None:
    long, other = "x" * 249 + ".png", "x" * 249 + ".bmp"
    make_pictures(tmp_path / "pics", ["a.jpg", "a.jpg.png", "a.png", long, other])
    outcome = run(tmp_path / "pics", plan(weights), tmp_path / "out")
    assert (outcome.done, outcome.failed) == (5, {})
    images = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.jpg", "a.jpg.png", "a.png", other, long]
    assert len(list((tmp_path / "out/annotations").iterdir())) == 5
    assert run(tmp_path / "pics", plan(weights), tmp_path / "out").kept == 5


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="file names are Unicode there")
def test_names_that_are_no_text(weights: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", ["a.png", "broken.png"])
    for name in ("a", "broken"):
        (tmp_path / f"pics/{name}.png").rename(tmp_path / "pics" / os.fsdecode(name.encode() + b"\xff.png"))
    outcome = run(tmp_path / "pics", plan(weights), tmp_path / "out")
    assert (outcome.done, list(outcome.failed)) == (1, ["broken\udcff.png"])
    assert "a\N{REPLACEMENT CHARACTER}.png" in (tmp_path / "out/review.html").read_text(encoding="utf-8")
    assert run(tmp_path / "pics", plan(weights), tmp_path / "out").kept == 1


def test_what_people_edit(weights: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", ["a.png", "b.png"])
    run(tmp_path / "pics", plan(weights), tmp_path / "out")
    path = tmp_path / "out/annotations/a.json"
    found = json.loads(path.read_text())
    drawn = {"id": IDS + 900, "segmentation": [[1, 1, 9, 1, 9, 9]], "bbox": [1, 1, 8, 8], "area": 32}
    first = found["annotations"][0]
    listed = {**first, "id": IDS + 901, "segmentation": {"size": [48, 80], "counts": [0, 48 * 80]}}
    edited = {**found, "annotations": [{**first, "category": "dog"}, drawn, listed]}
    path.write_text(json.dumps(edited))
    for outlines in ("rle", "polygons"):
        run(tmp_path / "pics", replace(plan(weights), outlines=outlines), tmp_path / "out")
        coco = COCO(str(tmp_path / "out/coco.json"))
        anns = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
        assert [coco.cats[one["category_id"]]["name"] for one in anns] == ["dog", "object", "object"]
        assert coco.annToMask(anns[1]).sum() > 0 and coco.annToMask(anns[2]).all()
    # Every entry that cannot be used is told, with the file.
    wrong = {
        "it has no area": {key: value for key, value in first.items() if key != "area"},
        "is not a number of its own from 100001 to 199999": drawn,
        "category 3 is no name": {**first, "category": 3},
        r"is of the size \[8, 8\]": {**first, "segmentation": {"size": [8, 8], "counts": "0"}},
        "another number of pixels": {**first, "segmentation": {"size": [48, 80], "counts": "1"}},
        "TypeError": None,
    }
    for said, entry in wrong.items():
        path.write_text(json.dumps({**found, "annotations": [drawn, entry]}))
        with pytest.raises(DataError, match=rf"a\.json, which was changed.*{said}.*mend it, or remove"):
            run(tmp_path / "pics", replace(plan(weights), outlines="polygons"), tmp_path / "out")
    path.unlink()
    assert run(tmp_path / "pics", plan(weights), tmp_path / "out").done == 1


def test_who_has_decided_is_asked_no_more(done: Path, weights: Path, tmp_path: Path) -> None:
    how = plan(weights, mode="semi", sure_iou=0.0, sure_stability=2.0)  # nothing is sure
    first = run(done / "pics", how, tmp_path)
    kept, left = tmp_path / "annotations/a.json", tmp_path / "undecided/a.json"
    accepted = json.loads(left.read_text())["annotations"][0]
    assert accepted.pop("doubts") == ["stability"]
    edited = {**json.loads(kept.read_text()), "annotations": [accepted]}
    kept.write_text(json.dumps(edited))
    count = len(json.loads(left.read_text())["annotations"])
    left.unlink()
    (tmp_path / "thumbnails/a.jpg").unlink()
    second = run(done / "pics", how, tmp_path)
    assert (second.done, second.kept) == (0, 4)
    assert json.loads(kept.read_text()) == edited and not left.exists(), "the person's work is lost"
    assert (second.annotations, second.undecided) == (1, first.undecided - count)
    listed = json.loads((tmp_path / "review.json").read_text())["pictures"]
    assert "a.png" not in {one["file_name"] for one in listed}
    assert second.to_review == first.to_review - 1
    card = (
        (tmp_path / "review.html")
        .read_text(encoding="utf-8")
        .split('<article id="p1"')[1]
        .split("</article>")[0]
    )
    assert "1 kept" in card and "to decide on" not in card
