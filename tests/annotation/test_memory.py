"""Memory depends on the largest picture alone: not on how many masks are found in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.annotation.toys import picture
from tests.evaluation.small import save_toy

SIZE = (4000, 6000)
CHILD = """
import resource, sys
from sam2_video import annotate_folder
from tests.annotation.toys import GRID

def peak():
    if sys.platform == "linux":  # where ru_maxrss begins with the peak of the process that started this one
        return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

masks = GRID | {"points_per_side": 4, "box_nms_thresh": 1.0}
weights, small, big, out = sys.argv[1:]
annotate_folder(small, out + "/small", model=weights, masks=masks)
before = peak()
outcome = annotate_folder(big, out + "/big", model=weights, masks=masks)
print(peak() - before, outcome.annotations)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no peak of memory to be had")
def test_many_masks_of_a_large_picture(tmp_path: Path) -> None:
    weights = save_toy(tmp_path / "toy.safetensors")
    Image.fromarray(picture(0)).save(tmp_path / "small.png")
    Image.fromarray(picture(1)).resize(SIZE[::-1]).save(tmp_path / "big.jpg")
    words = [str(path) for path in (weights, tmp_path / "small.png", tmp_path / "big.jpg", tmp_path)]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *words], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    grown, found = map(int, child.stdout.split())
    pixels = SIZE[0] * SIZE[1]
    entries = json.loads((tmp_path / "big/annotations/big.json").read_text())["annotations"]
    assert len(entries) == found and entries[0]["segmentation"]["size"] == list(SIZE)
    assert found > 40, "with fewer it would show nothing"
    # The picture has 3 bytes for each pixel, and is there some times over; a mask has 1.
    assert grown < 30 * pixels, f"{grown / 2**20:.0f} MiB for {found} masks"
