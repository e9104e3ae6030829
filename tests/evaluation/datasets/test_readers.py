"""Each data set in its own layout: which objects, from when on, which frames count, and what is said."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2_video.evaluation.datasets import KINDS, Clip, open_dataset, recognise
from sam2_video.evaluation.datasets.frames import irregular_names, picture_size
from sam2_video.evaluation.datasets.youtube_vos import SEEN
from sam2_video.evaluation.scores import MetricOptions, score_objects, summarise
from sam2_video.evaluation.sequences import DataSet, EvaluatedObject, VosSequence
from sam2_video.sources import read_picture
from sam2_video.types import DataError
from tests.evaluation.datasets.builders import (
    BUILDERS,
    SIZE,
    VIDEO,
    davis2016,
    davis2017,
    labels,
    lvos,
    mose,
    plain,
    plain_video,
    sav,
    sav_train,
    vost,
    write_json,
    write_labels,
    write_picture,
    write_text,
    youtube_vos,
)
from tests.paths import SHARED, needs_shared


def only(data: DataSet) -> Clip:
    (sequence,) = data.sequences
    assert isinstance(sequence, Clip) and isinstance(sequence, VosSequence)
    return sequence


def names(sequence: VosSequence, one: EvaluatedObject) -> list[str]:
    """The frames that count, by name."""
    return [sequence.frame_names[frame] for frame in one.scored]


@pytest.mark.parametrize("folder", BUILDERS)
def test_layouts_are_recognised_and_an_oracle_is_perfect(folder: str, tmp_path: Path) -> None:
    build, name, split = BUILDERS[folder]
    root = tmp_path / folder
    build(root)
    assert recognise(root) == name
    data = open_dataset(root, split=split)
    assert (data.name, data.withheld, data.rule) == (name, "", KINDS[name].rule)
    scores = []
    for sequence in data.sequences:
        assert sequence.image(0).shape == (*sequence.size, 3)
        for one in sequence.objects:
            masks = sequence.masks(one.first)
            assert masks is not None and masks[one.object_id].any()
        scores += score_objects(sequence, sequence.masks)
    assert scores and summarise(scores).overall.jandf == 1
    empty = [s for seq in data.sequences for s in score_objects(seq, lambda frame: {}, MetricOptions())]
    assert summarise(empty).overall.jandf < 1  # the truth is not empty on the frames that count


@pytest.mark.parametrize("folder", BUILDERS)
def test_sequences_go_to_other_processes(folder: str, tmp_path: Path) -> None:
    build, _, split = BUILDERS[folder]
    build(tmp_path / folder)
    before = open_dataset(tmp_path / folder, split=split)
    before.sequences[0].image(0)
    after = pickle.loads(pickle.dumps(before))
    for a, b in zip(before.sequences, after.sequences, strict=True):
        assert (a.name, a.frame_names, a.size, a.objects) == (b.name, b.frame_names, b.size, b.objects)
        assert np.array_equal(a.image(1), b.image(1))


def test_davis_2017(tmp_path: Path) -> None:
    davis2017(tmp_path)
    data = open_dataset(tmp_path)
    bear, dog = data.sequences
    assert (data.split, bear.name, dog.name, bear.size) == ("val", "bear", "dog", SIZE)
    assert bear.objects == (EvaluatedObject(1, 0, (1, 2, 3, 4)), EvaluatedObject(2, 0, (1, 2, 3, 4)))
    assert [one.object_id for one in dog.objects] == [1, 2, 3]
    assert [s.name for s in open_dataset(tmp_path, split="train").sequences] == ["tennis"]
    assert len(open_dataset(tmp_path, split="all").sequences) == 4
    assert [s.name for s in open_dataset(tmp_path, sequences=["dog"]).sequences] == ["dog"]
    hidden = open_dataset(tmp_path, split="test-dev")
    assert hidden.withheld.endswith("competitions/6812") and not only(hidden).objects[1].scored


def test_davis_2017_takes_255_for_background_as_its_evaluator_does(tmp_path: Path) -> None:
    davis2017(tmp_path)
    values = labels(0, [1, 2])
    values[-2:] = 255
    write_labels(tmp_path / "Annotations/480p/bear/00000.png", values)
    bear = open_dataset(tmp_path).sequences[0]
    assert [one.object_id for one in bear.objects] == [1, 2] and bear.void(0) is None
    assert set(bear.masks(0) or {}) == {1, 2}


def test_davis_2016_has_one_object(tmp_path: Path) -> None:
    davis2016(tmp_path / "a")
    data = open_dataset(tmp_path / "a", split="trainval")
    assert [s.name for s in data.sequences] == ["bear", "camel"]
    assert [s.objects for s in data.sequences] == [(EvaluatedObject(1, 0, (1, 2, 3)),)] * 2
    davis2017(tmp_path / "b")  # the same frames with several objects
    both = open_dataset(tmp_path / "b", "davis2016")
    masks = only(both).masks(2) or {}
    assert np.array_equal(masks[1], labels(2, [1, 2]) > 0) and list(masks) == [1]


def test_resolutions_of_davis(tmp_path: Path) -> None:
    davis2017(tmp_path)
    with pytest.raises(DataError, match="Full-Resolution; resolutions there: 480p"):
        open_dataset(tmp_path, resolution="Full-Resolution")
    for part in ("JPEGImages", "Annotations"):
        (tmp_path / part / "480p").rename(tmp_path / part / "Full-Resolution")
    assert len(open_dataset(tmp_path, resolution="Full-Resolution").sequences) == 2


def test_clips_in_davis_layout_need_no_lists(tmp_path: Path) -> None:
    """White masks and masks with ids may lie side by side."""
    for name, values in (("one", [255]), ("two", [1, 4, 255])):
        for t in range(3):
            write_picture(tmp_path / f"JPEGImages/480p/{name}/{t:05d}.jpg")
            write_labels(tmp_path / f"Annotations/480p/{name}/{t:05d}.png", labels(t, values))
    data = open_dataset(tmp_path, "davis2017")
    assert data.split == "all"
    assert [[o.object_id for o in s.objects] for s in data.sequences] == [[1], [1, 4]]


def test_youtube_vos_valid(tmp_path: Path) -> None:
    youtube_vos(tmp_path / "2019")
    data = open_dataset(tmp_path / "2019")
    clip = only(data)
    assert (data.name, data.split) == ("youtubevos2019", "valid") and "6066" in data.withheld
    assert clip.objects == (
        EvaluatedObject(1, 0, (), "seen", "person"),
        EvaluatedObject(3, 2, (), "unseen", "penny_farthing"),
    )
    assert clip.wanted == (0, 1, 2, 3, 4, 5)
    assert set(clip.masks(2) or {}) == {3}
    assert open_dataset(tmp_path / "2019/valid").split == "valid"


def test_youtube_vos_at_thirty_frames_a_second(tmp_path: Path) -> None:
    youtube_vos(tmp_path)
    clip = only(open_dataset(tmp_path, every_frame=True))
    assert len(clip.frame_names) == 27
    assert [one.first for one in clip.objects] == [0, 10]
    assert clip.wanted == (0, 5, 10, 15, 20, 25)
    assert set(clip.masks(10) or {}) == {3} and clip.masks(9) is None
    with pytest.raises(DataError, match="train_all_frames"):
        open_dataset(tmp_path, split="train", every_frame=True)


def test_youtube_vos_train_counts_from_the_second_frame_of_an_object(tmp_path: Path) -> None:
    youtube_vos(tmp_path)
    clip = only(open_dataset(tmp_path, split="train"))
    assert [one.scored for one in clip.objects] == [(1, 2, 3, 4, 5), (3, 4, 5)]
    assert len(SEEN) == 65


def test_what_meta_json_promises_must_be_there(tmp_path: Path) -> None:
    youtube_vos(tmp_path)
    (tmp_path / "valid/JPEGImages/0a49f5265b/00015.jpg").unlink()
    with pytest.raises(DataError, match=r"object 1 of 0a49f5265b is listed on .* without a picture: 00015"):
        open_dataset(tmp_path)
    meta = tmp_path / "valid/meta.json"
    for text, message in (
        ("{", "cannot read"),
        ("[]", "is no meta.json"),
        ('{"videos": {"x": {}}}', "video x has no objects"),
        ('{"videos": {"x": {"objects": {"one": {}}}}}', "expected objects by number, not 'one'"),
        ('{"videos": {"0a49f5265b": {"objects": {"1": {}}}}}', "must have a list of frames"),
        ('{"videos": {"gone": {"objects": {}}}}', "names the sequence gone"),
    ):
        meta.write_text(text)
        with pytest.raises(DataError, match=message):
            open_dataset(tmp_path, "youtubevos2019")
    meta.unlink()
    with pytest.raises(
        DataError, match=r"meta.json, which names the objects[^$]*get it: https://youtube-vos"
    ):
        open_dataset(tmp_path, "youtubevos2019")


def test_versions_are_told_by_the_number_of_videos(tmp_path: Path) -> None:
    objects = {"1": {"category": "cat", "frames": ["00000"]}}
    for count, name in ((474, "youtubevos2018"), (507, "youtubevos2019")):
        meta = {"videos": {f"v{k}": {"objects": objects} for k in range(count)}}
        write_json(tmp_path / name / "valid/meta.json", meta)
        moved = (tmp_path / name).rename(tmp_path / str(count))
        assert recognise(moved) == name


def test_mose(tmp_path: Path) -> None:
    mose(tmp_path / "MOSE")
    data = open_dataset(tmp_path / "MOSE")
    assert (data.split, only(data).objects) == ("valid", (EvaluatedObject(1, 0, ()),))
    assert "10703" in data.withheld
    train = open_dataset(tmp_path / "MOSE", split="train")
    frames = (1, 2, 3, 4, 5)  # for object 2 also those before it appears, as in the published evaluator
    assert only(train).objects == (EvaluatedObject(1, 0, frames), EvaluatedObject(2, 3, frames))
    assert not train.withheld
    with pytest.raises(DataError, match="is the split train, but valid is asked for"):
        open_dataset(tmp_path / "MOSE/train", "mose1", "valid")


def test_lvos_counts_as_its_evaluation_package(tmp_path: Path) -> None:
    lvos(tmp_path)
    clip = only(open_dataset(tmp_path, "lvos2"))
    first, second = clip.objects
    assert names(clip, first) == [f"{n:08d}" for n in range(6, 42, 5)]  # 1 and 46 are the ends
    # 11, 16, 21, 26, 31 are walked; the first and number frame_nums are left out
    assert (second.first, names(clip, second)) == (2, ["00000016", "00000021", "00000026"])
    assert (first.group, second.group) == ("", "")
    write_text(tmp_path / "unseen_videos.txt", "abc\n0f2D")
    assert only(open_dataset(tmp_path, "lvos2")).objects[0].group == "unseen"
    test = open_dataset(tmp_path, "lvos1", "test")
    assert [one.first for one in only(test).objects] == [0, 2] and "8767" in test.withheld
    assert not any(one.scored for one in only(test).objects)


def test_lvos_needs_its_meta_file(tmp_path: Path) -> None:
    lvos(tmp_path)
    meta = tmp_path / "val/val_meta.json"
    data = json.loads(meta.read_text())
    del data["videos"]["0f2D"]["objects"]["2"]["frame_range"]["end"]
    meta.write_text(json.dumps(data))
    with pytest.raises(DataError, match="object 2 of 0f2D has no frame_range with start, end"):
        open_dataset(tmp_path, "lvos2")
    meta.unlink()
    with pytest.raises(DataError, match="a download of its own"):
        open_dataset(tmp_path, "lvos2")


def test_sav(tmp_path: Path) -> None:
    sav(tmp_path)
    data = open_dataset(tmp_path)
    clip = data.sequences[0]
    assert (data.split, data.overlapping, clip.name) == ("val", True, "sav_044979")
    frames = (4, 8, 12, 16)
    assert clip.objects == (EvaluatedObject(0, 0, frames), EvaluatedObject(1, 8, frames))
    assert set(clip.masks(4) or {}) == {0} and clip.masks(5) is None
    both = clip.masks(12) or {}
    assert (both[1] & ~both[0]).sum() == 0 < both[1].sum() < both[0].sum()
    assert open_dataset(tmp_path / "sav_val").split == "val"


def test_sav_train(tmp_path: Path) -> None:
    sav_train(tmp_path)
    data = open_dataset(tmp_path)
    clip = only(data)
    assert (data.split, data.overlapping, clip.name) == ("train", True, "sav_000001")
    assert clip.size == VIDEO and len(clip.frame_names) == 9
    assert clip.objects == (EvaluatedObject(0, 0, (4,)), EvaluatedObject(1, 4, (4,)))
    masks = clip.masks(8) or {}
    assert np.array_equal(masks[1], labels(2, [3], VIDEO) > 0)
    assert clip.masks(3) is None and clip.masks(12) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masklet": 3}, "holds no masklets"),
        ({"masklet": [3]}, "must be a list of run-length masks"),
        ({"masklet_id": ["a", "b"]}, "whole numbers"),
        ({"masklet": [[{"size": [270, 480], "counts": "9"}] * 2]}, "masklet 0 at entry 0 is damaged"),
        ({"masklet": [[{"size": [180]}] * 2]}, "is damaged"),
    ],
)
def test_damaged_masklets(change: Mapping[str, object], message: str, tmp_path: Path) -> None:
    sav_train(tmp_path)
    path = tmp_path / "sav_000/sav_000001_manual.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        _ = only(open_dataset(tmp_path)).objects


def test_vost(tmp_path: Path) -> None:
    vost(tmp_path)
    clip = only(open_dataset(tmp_path))
    assert clip.objects == (EvaluatedObject(1, 0, (1, 2, 3, 4)), EvaluatedObject(2, 0, (1, 2, 3, 4)))
    assert clip.void(0) is None  # its evaluator knows no void pixels
    with pytest.raises(DataError, match=r"no list .*test.txt; there are val, all"):
        open_dataset(tmp_path, "vost", "test")


def test_plain_folder(tmp_path: Path) -> None:
    plain(tmp_path)
    a, b = open_dataset(tmp_path).sequences
    assert a.frame_names[2:4] == ("frame2", "frame3")  # in natural order
    assert a.objects == (EvaluatedObject(1, 0, (5, 10)),)
    assert b.objects == (EvaluatedObject(1, 0, (5, 10)), EvaluatedObject(2, 10, ()))


def test_masks_of_what_begins_there_are_no_truth(tmp_path: Path) -> None:
    """As in YouTube-VOS valid: object 1 is not absent on frame 2, its truth is somewhere else."""
    for t in range(4):
        write_picture(tmp_path / f"frames/{t}.jpg")
    for t, ids in ((0, [1]), (2, [3])):
        write_labels(tmp_path / f"masks/{t}.png", labels(t, ids))
    assert only(open_dataset(tmp_path)).objects == (EvaluatedObject(1, 0, ()), EvaluatedObject(3, 2, ()))
    write_labels(tmp_path / "masks/3.png", labels(3, [3]))
    assert [one.scored for one in only(open_dataset(tmp_path)).objects] == [(2, 3), (3,)]


def test_who_has_the_truth_of_a_server_can_score(tmp_path: Path) -> None:
    mose(tmp_path / "MOSE")
    for t in range(7):
        write_labels(tmp_path / f"MOSE/valid/Annotations/002b4dce/{t:05d}.png", labels(t, [1]))
    data = open_dataset(tmp_path / "MOSE")
    assert (data.split, data.withheld, only(data).objects[0].scored) == ("valid", "", (1, 2, 3, 4, 5))


def test_one_clip_and_void(tmp_path: Path) -> None:
    for t in range(3):
        write_picture(tmp_path / f"images/{t}.jpg")
        values = labels(t, [1, 2])
        values[:, -4:] = 255
        write_labels(tmp_path / f"labels/{t}.png", values)
    clip = only(open_dataset(tmp_path))
    void = clip.void(1)
    assert void is not None and void.sum() == 4 * SIZE[0]
    assert (clip.name, len(clip.objects)) == (tmp_path.name, 2)


def test_video_with_masks(tmp_path: Path) -> None:
    plain_video(tmp_path)
    clip = only(open_dataset(tmp_path))
    assert (clip.name, clip.size, len(clip.frame_names)) == ("juggle", VIDEO, 8)
    assert clip.annotated == (0, 3, 7)  # masks of five digits, frames of six
    assert [one.scored for one in clip.objects] == [(3, 7), (3, 7)]
    assert clip.files[0].name == "juggle.mp4" and len(clip.files) == 4


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not a folder\nDAVIS 2017 is expected as\n[^$]*licence: non-comm"):
        open_dataset(tmp_path / "nowhere", "davis2017")
    with pytest.raises(DataError, match="no data set 'coco'; expected auto, davis2016"):
        open_dataset(tmp_path, "coco")
    with pytest.raises(DataError, match=r"no folder of masks[^$]*A plain folder is expected as"):
        open_dataset(tmp_path)
    davis2017(tmp_path)
    with pytest.raises(DataError, match=r"no sequence three in .*480p; there are bear, dog"):
        open_dataset(tmp_path, sequences=["three"])
    with pytest.raises(DataError, match=r"no list of the split 'valid'.*there are test-dev, train, val, all"):
        open_dataset(tmp_path, split="valid")
    (tmp_path / "Annotations/480p/bear/00000.png").unlink()
    (tmp_path / "JPEGImages/480p/empty").mkdir()
    write_text(tmp_path / "ImageSets/2017/val.txt", "bear\nempty\nabsent\n")
    with pytest.raises(DataError) as error:
        open_dataset(tmp_path)
    for part in ("00000.png: is missing", "empty: holds no frames", "names the sequence absent"):
        assert part in str(error.value)


def test_masks_must_fit_the_frames(tmp_path: Path) -> None:
    davis2017(tmp_path)
    write_labels(tmp_path / "Annotations/480p/bear/00002.png", labels(2, [1, 2], (24, 30)))
    bear = open_dataset(tmp_path).sequences[0]
    with pytest.raises(DataError, match="frame 00002: the mask of object 1 is 30x24, the frames are 32x24"):
        bear.masks(2)
    write_picture(tmp_path / "JPEGImages/480p/bear/00003.jpg", (20, 32))
    with pytest.raises(DataError, match=r"00003.jpg is 32x20, but 00000.jpg is 32x24"):
        bear.image(3)
    write_labels(tmp_path / "Annotations/480p/dog/00000.png", labels(0, []))
    with pytest.raises(DataError, match="sequence dog: its first mask shows no object"):
        _ = open_dataset(tmp_path).sequences[1].objects


@needs_shared
def test_copying_the_first_mask_scores_what_others_measured() -> None:
    """An independent implementation of J&F gave 30.5 over these sixteen sequences."""
    data = open_dataset(SHARED / "data" / "davis2016_dev")
    assert (data.name, len(data.sequences)) == ("davis2016", 16)
    assert sum(len(s.frame_names) for s in data.sequences) == 1068
    scores = []
    for sequence in data.sequences:
        assert [one.object_id for one in sequence.objects] == [1]
        first = sequence.masks(0)
        scores += score_objects(sequence, lambda frame, first=first: first)  # type: ignore[misc]
    assert summarise(scores).overall.jandf == pytest.approx(0.305, abs=0.0006)


def test_sizes_of_pictures_that_lie_on_their_side(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg", exif=exif)
    assert picture_size(tmp_path / "a.jpg") == (32, 24) == read_picture(tmp_path / "a.jpg").shape[:2]


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        (["00000", "00005", "00010"], []),
        (["00000", "00001", "00003", "00004"], ["00001"]),
        (["frame12", "frame24", "frame36", "frame60"], ["frame36"]),
        (["a", "b", "c"], []),
        (["1", "5"], []),
    ],
)
def test_gaps_in_names(sequence: list[str], expected: list[str]) -> None:
    assert irregular_names(sequence) == expected
