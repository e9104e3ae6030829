"""The data sets that can be read: how, by which rule they are scored, and where they come from.

Sources of every rule and figure are in docs/datasets.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sam2_video.evaluation.datasets.davis import read_davis2016, read_davis2017
from sam2_video.evaluation.datasets.folder import read_folder
from sam2_video.evaluation.datasets.layout import Found, Request
from sam2_video.evaluation.datasets.lvos import read_lvos
from sam2_video.evaluation.datasets.mose import read_mose
from sam2_video.evaluation.datasets.sav import read_sav
from sam2_video.evaluation.datasets.vost import read_vost
from sam2_video.evaluation.datasets.youtube_vos import read_youtube_vos


@dataclass(frozen=True)
class Kind:
    """A data set. `counts`: how many sequences its authors say a split has."""

    name: str
    title: str
    read: Callable[[Request], Found]
    tree: str
    rule: str
    source: str
    get: str = ""
    licence: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    servers: Mapping[str, str] = field(default_factory=dict)  # split -> address that keeps its truth
    zip_folder: str = ""  # folder that a zip for the server begins with

    def hint(self) -> str:
        """Say how the folders must look and where the data comes from."""
        lines = [f"{self.title} is expected as", *(f"    {line}" for line in self.tree.splitlines())]
        if self.get:
            sizes = ", ".join(f"{split} {count}" for split, count in self.counts.items())
            lines += [f"get it: {self.get}", f"licence: {self.licence}"]
            lines += [f"sequences: {sizes}"] if sizes else []
        return "\n".join(lines)


_DAVIS_TREE = """\
ROOT/JPEGImages/480p/SEQ/00000.jpg
ROOT/Annotations/480p/SEQ/00000.png
ROOT/ImageSets/{year}/val.txt"""
_DAVIS_RULE = (
    "frames: all annotated but the first and the last; objects: those of the first mask; 255 is background; "
    "an object without pixels, rightly predicted so, scores 1; means over frames, then over objects"
)
_DAVIS_SOURCE = "https://github.com/davisvideochallenge/davis2017-evaluation"
_SPLIT_TREE = """\
ROOT/{split}/JPEGImages/SEQ/{frame}.jpg
ROOT/{split}/Annotations/SEQ/{frame}.png"""
_YOUTUBE_RULE = (
    "frames: those that meta.json lists for an object, without its first; J and F averaged over the objects "
    "of seen and of unseen categories apart, G is the mean of the four. What else the server leaves out is "
    "not published"
)
_YOUTUBE_TREE = _SPLIT_TREE.format(split="valid", frame="00000") + "\nROOT/valid/meta.json"
_LVOS_RULE = (
    "frames: of each object's frame_range in the meta file, all but the first and the last; 255 is "
    "background; means over frames, then over objects; with unseen_videos.txt over seen and unseen videos "
    "apart, and the mean of both"
)
_LVOS_TREE = _SPLIT_TREE.format(split="val", frame="00000001") + "\nROOT/val/val_meta.json"
_MOSE_RULE = (
    "frames: all annotated but the first and the last, for every object, also before it appears; means over "
    "frames, then over objects"
)
_CODALAB = "https://codalab.lisn.upsaclay.fr/competitions/"


def _youtube_vos(year: str, competition: str, train: int, valid: int, test: int) -> Kind:
    server = f"{_CODALAB}{competition}"
    return Kind(
        name=f"youtubevos{year}",
        title=f"YouTube-VOS {year}",
        read=read_youtube_vos,
        tree=_YOUTUBE_TREE,
        rule=_YOUTUBE_RULE,
        source="https://youtube-vos.org/dataset/vos/",
        get="https://youtube-vos.org/dataset/vos/ (account of the challenge needed)",
        licence="annotations CC BY 4.0; data for non-commercial research only",
        counts={"train": train, "valid": valid, "test": test},
        servers={"valid": server, "test": server},
        zip_folder="Annotations",
    )


def _lvos(version: str, train: int, val: int, test: int) -> Kind:
    return Kind(
        name=f"lvos{version}",
        title=f"LVOS v{version}",
        read=read_lvos,
        tree=_LVOS_TREE,
        rule=_LVOS_RULE,
        source="https://github.com/LingyiHongfd/lvos-evaluation",
        get="https://github.com/LingyiHongfd/LVOS (pictures and meta files are separate downloads)",
        licence="annotations CC BY 4.0; data for non-commercial research only",
        counts={"train": train, "val": val, "test": test},
        servers={"test": f"{_CODALAB}8767"},
    )


_ALL = (
    Kind(
        name="davis2016",
        title="DAVIS 2016",
        read=read_davis2016,
        tree=_DAVIS_TREE.format(year="2016"),
        rule=_DAVIS_RULE + "; all objects of a sequence are one",
        source="https://davischallenge.org/davis2016/code.html",
        get="https://davischallenge.org/davis2016/code.html (also part of DAVIS 2017)",
        licence="non-commercial (CC BY-NC 4.0)",
        counts={"train": 30, "val": 20},
    ),
    Kind(
        name="davis2017",
        title="DAVIS 2017",
        read=read_davis2017,
        tree=_DAVIS_TREE.format(year="2017"),
        rule=_DAVIS_RULE,
        source=_DAVIS_SOURCE,
        get="https://davischallenge.org/davis2017/code.html",
        licence="non-commercial (CC BY-NC 4.0)",
        counts={"train": 60, "val": 30, "test-dev": 30, "test-challenge": 30},
        servers=dict.fromkeys(("test-dev", "test-challenge"), f"{_CODALAB}6812"),
    ),
    _youtube_vos("2018", "7685", 3471, 474, 508),
    _youtube_vos("2019", "6066", 3471, 507, 541),
    Kind(
        name="mose1",
        title="MOSE v1",
        read=read_mose,
        tree=_SPLIT_TREE.format(split="valid", frame="00000"),
        rule=_MOSE_RULE + ". Published for v2; that the server of v1 does the same is an assumption",
        source="https://github.com/henghuiding/MOSE-api",
        get="https://github.com/henghuiding/MOSE-api",
        licence="CC BY-NC-SA 4.0, non-commercial research only",
        servers=dict.fromkeys(("valid", "test"), f"{_CODALAB}10703"),
    ),
    Kind(
        name="mose2",
        title="MOSE v2",
        read=read_mose,
        tree=_SPLIT_TREE.format(split="valid", frame="00000"),
        rule=_MOSE_RULE,
        source="https://github.com/henghuiding/MOSE-api/blob/master/MOSEv2/sam2_rcms/tools/score.py",
        get="https://huggingface.co/datasets/FudanCVL/MOSEv2",
        licence="CC BY-NC-SA 4.0, non-commercial research only",
        servers=dict.fromkeys(("valid", "test"), "https://www.codabench.org/competitions/10062/"),
    ),
    _lvos("1", 120, 50, 50),
    _lvos("2", 420, 140, 160),
    Kind(
        name="sav",
        title="SA-V",
        read=read_sav,
        tree="""\
ROOT/sav_val/JPEGImages_24fps/VIDEO/00000.jpg
ROOT/sav_val/Annotations_6fps/VIDEO/000/00000.png
ROOT/sav_val/sav_val.txt
or, for train, ROOT/sav_000/VIDEO.mp4 beside VIDEO_manual.json""",
        rule=(
            "frames: all on which an object is annotated (6 of 24 a second), but the first and the last; "
            "also those before it appears; objects may overlap; means over frames, then over objects"
        ),
        source="https://github.com/facebookresearch/sam2/tree/main/sav_dataset",
        get="https://ai.meta.com/datasets/segment-anything-video-downloads/",
        licence="CC BY 4.0",
        counts={"train": 50583, "val": 155, "test": 150},
    ),
    Kind(
        name="vost",
        title="VOST",
        read=read_vost,
        tree="""\
ROOT/JPEGImages/SEQ/frame00012.jpg
ROOT/Annotations/SEQ/frame00012.png
ROOT/ImageSets/val.txt""",
        rule=(
            "frames: all annotated but the first and the last; objects: those of the first mask; 255 is "
            "background; means over frames, then over objects. The authors report J, and J_tr over the last "
            "quarter of these frames; not F"
        ),
        source="https://github.com/TRI-ML/VOST/tree/main/evaluation",
        get="https://tri-ml-public.s3.amazonaws.com/datasets/VOST.zip",
        licence="CC BY-NC-SA 4.0",
    ),
    Kind(
        name="folder",
        title="A plain folder",
        read=read_folder,
        tree="""\
ROOT/frames/CLIP/00000.jpg (or JPEGImages, images; or videos/CLIP.mp4)
ROOT/masks/CLIP/00000.png (or Annotations, labels)
or, for one clip, ROOT/frames/*.jpg or ROOT/CLIP.mp4 and ROOT/masks/*.png""",
        rule=(
            "frames: all annotated after an object's first; pixels of value 255 do not count, unless 255 is "
            "the only value: then it is object 1; means over frames, then over objects"
        ),
        source="",
    ),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
