"""Every packaged configuration builds, on the meta device, in a moment."""

from __future__ import annotations

import pytest
import torch

from sam2_video.checkpoint import list_models, load_model
from sam2_video.config import build_model, config_folder, model_names

RELEASED, RELEASED_1 = 8, 3
OWN = ("nano",)


def test_the_number_of_models_is_known() -> None:
    released = [name for name in model_names() if name.startswith("sam2")]
    first = [name for name in model_names() if name.startswith("sam_vit_")]
    assert (len(released), len(first)) == (RELEASED, RELEASED_1)
    assert set(model_names()) - set(released) - set(first) == set(OWN)
    assert {p.parent.name for p in config_folder().rglob("*.yaml")} >= {"model"}


@pytest.mark.parametrize("name", model_names())
def test_model_builds_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
    assert all(p.is_meta for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) > 1_000_000
    assert model.image_size % 32 == 0


def test_the_bundled_model_loads_and_is_small() -> None:
    (info,) = [info for info in list_models() if info.bundled]
    assert info.path is not None and info.path.is_file(), "the weights of the bundled model are missing"
    assert info.path.stat().st_size <= 16 * 2**20
    assert not load_model(info.name).training
