"""Whatever is in a file, it is read or refused with a PromptError; nothing else comes out."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sam2_video.prompts import read_prompts
from sam2_video.types import PromptError
from tests.prompts.files import numbered_clip, rectangle, write, write_json, write_labels
from tests.prompts.test_coco import cvat_export, youtube_vis
from tests.prompts.test_cvat import VIDEO
from tests.prompts.test_label_studio import brush, video
from tests.prompts.test_labelme import SQUARE, picture, png, shape
from tests.prompts.test_own import FULL
from tests.prompts.test_yolo import SQUARE as YOLO_SQUARE

ROUNDS = 60
STRANGE: list[Any] = [
    *(None, True, -1, 0, 1, 7, 10**400, 1.5, float("nan"), float("inf"), 1e308, -1e308),
    *(
        "",
        "x",
        "1",
        "é\ud800",
        [],
        {},
        [[]],
        [None],
        [1, 2, 3, 4],
        {"size": [1, 1], "counts": ""},
        [[1, 2], 3],
    ),
]
DOCUMENTS: dict[str, Any] = {
    "own": yaml.safe_load(FULL),
    "coco": cvat_export(),
    "youtube-vis": youtube_vis(),
    "labelme": picture(
        "00005",
        shape("cat", "polygon", SQUARE, group_id=3),
        shape("ball", "circle", [[30.0, 20.0], [33.0, 24.0]]),
        shape("hat", "mask", [[40.0, 30.0], [49.0, 37.0]], mask=png(rectangle(1, 1, 5, 5, (8, 10)))),
    ),
    "label studio video": video(),
    "label studio brush": brush(),
}


def places(data: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a document."""
    yield way
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inside:
        yield from places(value, (*way, key))


def attempt(path: Path, **options: Any) -> bool:
    """Read a file; says whether that went well."""
    try:
        read_prompts(path, clip=numbered_clip(), **options)
    except PromptError as error:
        assert str(error)
        return False
    return True


@pytest.mark.parametrize("name", DOCUMENTS)
def test_values_that_are_something_else(name: str, tmp_path: Path) -> None:
    rng = random.Random(name)
    ways = [way for way in places(DOCUMENTS[name]) if way]
    for _ in range(ROUNDS):
        data = copy.deepcopy(DOCUMENTS[name])
        for way in rng.sample(ways, 1 + rng.randrange(2)):
            inside = data
            try:
                for key in way[:-1]:
                    inside = inside[key]
                if rng.random() < 0.2:
                    del inside[way[-1]]
                else:
                    inside[way[-1]] = copy.deepcopy(rng.choice(STRANGE))
            except (KeyError, IndexError, TypeError):  # the first damage took it away
                continue
        attempt(write_json(tmp_path / "a.json", data), frames=rng.choice(["auto", "first", "all"]))


def test_bytes_that_are_something_else(tmp_path: Path) -> None:
    label = write_labels(tmp_path / "7.png", rectangle(1, 1, 9, 9) * 3).read_bytes()
    files = {"a.xml": VIDEO.encode(), "a.yaml": FULL.encode(), "7.png": label}
    files["7.txt"] = f"0 {YOLO_SQUARE}\n1 0.5 0.5 0.5 0.25\n".encode()
    rng = random.Random(0)
    outcomes = set()
    for name, content in files.items():
        for _ in range(ROUNDS):
            data = bytearray(content)
            for _ in range(1 + rng.randrange(3)):
                at = rng.randrange(len(data))
                match rng.randrange(3):
                    case 0:
                        data[at] = rng.randrange(256)
                    case 1:
                        del data[at : at + rng.randrange(1, 20)]
                    case 2:
                        data[at:at] = data[rng.randrange(len(data)) :][: rng.randrange(1, 20)]
            outcomes.add(attempt(write(tmp_path / name, bytes(data))))
    assert outcomes == {True, False}  # some damage is harmless, some is not
