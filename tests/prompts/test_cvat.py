"""CVAT's XML, for video and for images; the fixtures follow its documentation of the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2_video.prompts import read_prompts
from sam2_video.types import ObjectInfo
from tests.prompts.files import by_place, complaint, folder_clip, mask_of, numbered_clip, rectangle, write

META = """\
  <meta>
    <task>
      <id>5</id>
      <name>cups</name>
      <size>20</size>
      <mode>interpolation</mode>
      <overlap>5</overlap>
      <labels>
        <label><name>car</name><color>#c06060</color><type>any</type><attributes></attributes></label>
      </labels>
      <segments><segment><id>5</id><start>0</start><stop>19</stop></segment></segments>
      <original_size>
        <width>60</width>
        <height>40</height>
      </original_size>
      <source>cups.mp4</source>
    </task>
    <dumped>2024-09-25 16:05:07.134046+03:00</dumped>
  </meta>
"""
VIDEO = f"""\
<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
{META}\
  <track id="0" label="car" source="manual">
    <box frame="3" keyframe="1" outside="0" occluded="0" xtl="5.50" ytl="6.00" xbr="25.00" ybr="30.00" z_order="0">
      <attribute name="name">the red one</attribute>
    </box>
    <box frame="4" keyframe="0" outside="0" occluded="0" xtl="6.50" ytl="6.00" xbr="26.00" ybr="30.00" z_order="0">
    </box>
    <box frame="5" keyframe="1" outside="0" occluded="0" xtl="50.00" ytl="6.00" xbr="70.00" ybr="30.00" z_order="0">
    </box>
    <box frame="6" keyframe="1" outside="1" occluded="0" xtl="7.50" ytl="6.00" xbr="27.00" ybr="30.00" z_order="0">
    </box>
  </track>
  <track id="1" label="person" source="manual">
    <polygon frame="0" keyframe="1" outside="0" occluded="0" points="10.00,10.00;20.00,10.00;20.00,20.00;10.00,20.00" z_order="0">
    </polygon>
    <polygon frame="1" keyframe="1" outside="1" occluded="0" points="10.00,10.00;20.00,10.00;20.00,20.00;10.00,20.00" z_order="0">
    </polygon>
  </track>
  <track id="2" label="dog" source="semi-auto">
    <mask frame="9" keyframe="1" outside="0" occluded="0" rle="1, 2, 2, 1, 4, 2" left="30" top="8" width="4" height="3" z_order="0">
    </mask>
  </track>
  <track id="5" label="ball" source="manual">
    <points frame="2" keyframe="1" outside="0" occluded="0" points="30.25,8.50;33.00,9.00" z_order="0">
    </points>
    <ellipse frame="7" keyframe="1" outside="0" occluded="0" cx="30.00" cy="20.00" rx="5.00" ry="5.00" z_order="0">
    </ellipse>
  </track>
  <track id="6" label="lane" source="manual">
    <polyline frame="0" keyframe="1" outside="0" occluded="0" points="1.00,1.00;30.00,30.00" z_order="0">
    </polyline>
  </track>
</annotations>
"""  # noqa: E501


def test_keyframes_of_tracks_become_prompts(tmp_path: Path) -> None:
    found = read_prompts(write(tmp_path / "annotations.xml", VIDEO), clip=numbered_clip())
    prompts = by_place(found)
    # Ids are one higher than in the file, which begins with 0; interpolated boxes and those outside are none.
    assert list(prompts) == [(0, 2), (2, 6), (3, 1), (5, 1), (7, 6), (9, 3)]
    assert prompts[3, 1].prompt.box == (5.5, 6, 25, 30)
    assert prompts[5, 1].prompt.box == (50, 6, 60, 30)  # cut at the border of the frame
    np.testing.assert_array_equal(mask_of(prompts[0, 2]), rectangle(10, 10, 20, 20))
    dog = np.zeros((40, 60), dtype=bool)
    dog[8:11, 30:34] = [[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1]]
    np.testing.assert_array_equal(mask_of(prompts[9, 3]), dog)
    assert prompts[2, 6].prompt.points == ((30.25, 8.5), (33, 9)) and prompts[2, 6].prompt.labels == (1, 1)
    assert abs(mask_of(prompts[7, 6]).sum() - np.pi * 25) < 3
    assert found.objects[1] == ObjectInfo("the red one", "car")
    assert found.objects[6] == ObjectInfo(category="ball")
    assert any("left out: 1 polyline" in note for note in found.notes)
    assert prompts[3, 1].where.endswith("annotations.xml, line 24 (<box>)")


def test_first_and_all_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "annotations.xml", VIDEO)
    assert list(by_place(read_prompts(path, frames="first"))) == [(0, 2), (2, 6), (3, 1), (9, 3)]
    assert (4, 1) in by_place(read_prompts(path, frames="all"))


def test_a_turned_box_is_the_upright_box_around_it(tmp_path: Path) -> None:
    box = 'xtl="20" ytl="10" xbr="40" ybr="20" rotation="90.00"'
    track = f'<track id="3" label="car"><box frame="0" outside="0" keyframe="1" {box}/></track>'
    path = write(tmp_path / "a.xml", f"<annotations>{track}</annotations>")
    (placed,) = read_prompts(path, clip=numbered_clip())
    assert placed.object_id == 3 and placed.prompt.box == pytest.approx((25, 5, 35, 25))


IMAGES = """\
<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <image id="0" name="seq/00000.png" width="60" height="40">
  </image>
  <image id="1" name="seq/00005.png" width="60" height="40">
    <box label="car" source="manual" occluded="0" xtl="5.0" ytl="6.0" xbr="25.0" ybr="30.0" z_order="0">
      <attribute name="track_id">7</attribute>
    </box>
    <tag label="good_frame" source="manual"></tag>
    <skeleton label="s1" source="manual" z_order="0"></skeleton>
  </image>
  <image id="2" name="seq/00010.png" width="60" height="40">
    <box label="car" source="manual" occluded="0" xtl="6.0" ytl="6.0" xbr="26.0" ybr="30.0" z_order="0">
      <attribute name="track_id">7</attribute>
    </box>
    <polygon label="dog" source="manual" occluded="0" points="1.0,1.0;9.0,1.0;9.0,9.0" z_order="0"></polygon>
  </image>
</annotations>
"""


def test_images_of_several_folders_are_several_clips(tmp_path: Path) -> None:
    text = IMAGES.replace('id="1" name="seq/00005.png"', 'id="1" name="other/00000.png"')
    path = write(tmp_path / "a.xml", text)
    assert list(by_place(read_prompts(path, sequence="other"))) == [(0, 7)]
    clip = folder_clip(tmp_path / "seq")
    assert list(by_place(read_prompts(path, clip=clip, frames="all"))) == [(2, 1), (2, 7)]
    assert "several of folders of pictures: other, seq" in complaint(path)


def test_images_by_name_and_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "annotations.xml", IMAGES)
    found = read_prompts(path, clip=folder_clip(tmp_path / "seq"))
    assert list(by_place(found)) == [(1, 7), (2, 1)]
    assert found.objects == {1: ObjectInfo(category="dog"), 7: ObjectInfo(category="car")}
    assert any("1 skeleton" in note for note in found.notes)
    renamed = IMAGES.replace("00000.png", "a.png").replace("00005.png", "b.png").replace("00010.png", "c.png")
    found = read_prompts(write(tmp_path / "b.xml", renamed), clip=numbered_clip(), frames="all")
    assert list(by_place(found)) == [(1, 7), (2, 1), (2, 7)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('frame="3"', 'frame="300"', "line 24 (<box>): frame 300 is outside this clip (0..19)"),
        ('frame="3"', 'frame="x"', "line 24 (<box>): frame is 'x', expected a whole number"),
        ('frame="4"', 'frame="3"', "line 27 (<box>): frame 3 was given already, on line 24"),
        ('xtl="5.50"', "", "line 24 (<box>): <box> has no attribute 'xtl'"),
        ('xtl="5.50"', 'xtl="nan"', "line 24 (<box>): xtl is nan, not a finite number"),
        ('xtl="5.50"', 'xtl="1e30"', "line 24 (<box>): xtl is 1e+30, far outside of any picture"),
        ('xtl="5.50"', 'xtl="55"', "line 24 (<box>): the box (55, 6, 25, 30) is empty"),
        ('xtl="50.00"', 'xtl="65"', "line 29 (<box>): box (65, 6, 70, 30) is empty, or outside"),
        ('rle="1, 2, 2', 'rle="1, 2, 9', "(<mask>): the runs cover 19 pixels, but a mask of 4x3 has 12"),
        ('rle="1, 2, 2', 'rle="1, -2, 2', "(<mask>): a run of the mask is '-2'"),
        ("10.00,10.00;20.00,10.00;20.00,20.00;10.00,20.00", "1,2;3,4", "the polygon has 2 points"),
        ("10.00,10.00;20.00,10.00", "10.00;20.00,10.00", "the point '10.00' does not read as x,y"),
        ('<track id="1"', '<track id="0"', "line 34 (<track>): track 0 was given already, on line 23"),
        ("<width>60", "<width>640", "pictures of 640x40, but the frames are 60x40"),
        ('label="car" source', "source", "line 23 (<track>): <track> has no attribute 'label'"),
        ("ellipse", "blob", "<blob> is not known; boxes, polygons"),
        ("</annotations>", "", "this is not XML: no element found"),
        ("<annotations>", "<notes>", "this is not XML: mismatched tag"),
        ('outside="1"', 'outside="maybe"', "outside is 'maybe', expected 0 or 1"),
    ],
)  # fmt: skip
def test_broken_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in VIDEO
    assert message in complaint(write(tmp_path / "a.xml", VIDEO.replace(old, new)), clip=numbered_clip())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("<annotations/>", "this is no CVAT file"),
        ("<svg><track/></svg>", "this is no CVAT file"),
        ("<a>" * 1000 + "</a>" * 1000, "nested too deeply"),
        ('<?xml version="1.0" encoding="klingon"?><annotations/>', "cannot be read|not XML"),
        (b"<annotations>\xff\xfe</annotations>", "this is not XML"),
    ],
)
def test_files_that_are_no_cvat(tmp_path: Path, content: str | bytes, message: str) -> None:
    import re

    assert re.search(message, complaint(write(tmp_path / "a.xml", content)))


def test_marks_line_ends_and_encodings_of_other_systems(tmp_path: Path) -> None:
    expected = list(by_place(read_prompts(write(tmp_path / "a.xml", VIDEO))))
    windows = b"\xef\xbb\xbf" + VIDEO.replace("\n", "\r\n").encode()
    assert list(by_place(read_prompts(write(tmp_path / "b.xml", windows)))) == expected
    wide = VIDEO.replace('encoding="utf-8"', 'encoding="utf-16"').encode("utf-16")
    assert list(by_place(read_prompts(write(tmp_path / "c.xml", wide)))) == expected


LAUGHS = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))


@pytest.mark.parametrize(
    "document_type",
    [
        '<!DOCTYPE annotations [<!ENTITY x SYSTEM "SECRET">]>',
        f'<!DOCTYPE annotations [<!ENTITY l0 "ha">{LAUGHS}]>',
        '<!DOCTYPE annotations SYSTEM "SECRET">',
        '<!DOCTYPE annotations [<!ENTITY % x SYSTEM "SECRET"> %x;]>',
    ],
    ids=["a file of this machine", "a billion laughs", "a document type elsewhere", "a parameter entity"],
)
def test_nothing_is_fetched_or_unfolded(tmp_path: Path, document_type: str) -> None:
    secret = write(tmp_path / "secret.txt", "the secret")
    body = VIDEO.replace('label="car"', 'label="&x;"').split("\n", 1)[1].replace("the red one", "&l9;&x;")
    path = write(tmp_path / "a.xml", document_type.replace("SECRET", str(secret)) + body)
    text = complaint(path)
    assert "document type" in text and "refused" in text and "the secret" not in text
