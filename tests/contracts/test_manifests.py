"""Names and shapes of all parameters are those of the released models."""

from __future__ import annotations

import pytest
import torch

from sam2_video.config import build_model, model_names
from tests.paths import SHARED, needs_shared

MANIFESTS = SHARED / "reference" / "manifests"
RELEASED = [name for name in model_names() if name.startswith("sam")]

Shapes = dict[str, tuple[int, ...]]


def read_manifest(name: str) -> Shapes:
    """`name shape` on each line, the shape as 7x1x1x64; nothing after the name is a scalar."""
    found: Shapes = {}
    for line in (MANIFESTS / f"{name}.txt").read_text().splitlines():
        key, _, shape = line.partition(" ")
        found[key] = tuple(int(side) for side in shape.split("x")) if shape else ()
    return found


@needs_shared
def test_all_eleven_released_models_are_compared() -> None:
    in_manifests = {path.stem for path in MANIFESTS.glob("*.txt")}
    assert set(RELEASED) == in_manifests
    assert len(RELEASED) == 11


@needs_shared
@pytest.mark.parametrize("name", RELEASED)
def test_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    released = read_manifest(name)
    assert len(released) > 300
    assert sorted(ours) == sorted(released)
    assert ours == released
