"""The table of models agrees with what is known of the released files."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from sam2_video import registry
from sam2_video.types import CheckpointError
from tests.paths import SHARED, needs_shared

NAMES = [info.name for info in registry.RELEASED]


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    lines = (SHARED / "reference" / "manifests" / f"{name}.txt").read_text().splitlines()
    pairs = [line.split() for line in lines]
    return {pair[0]: tuple(map(int, pair[1].split("x"))) if len(pair) > 1 else () for pair in pairs}


def test_released_models_and_ours():
    models = registry.list_models()
    assert [info.name for info in models if info.bundled] == ["nano"]
    assert len(models) == 12 and len({info.name for info in models}) == 12
    for field in ("url", "hub_id", "sha256", "size_bytes", "parameters"):
        assert len({getattr(info, field) for info in registry.RELEASED}) == 8, field


@pytest.mark.parametrize("info", registry.RELEASED, ids=NAMES)
def test_addresses_and_numbers_belong_together(info):
    folder = "092824" if info.name.startswith("sam2.1") else "072824"
    assert info.url == f"https://dl.fbaipublicfiles.com/segment_anything_2/{folder}/{info.name}.pt"
    assert info.hub_id == "facebook/" + info.name.replace("_", "-")
    assert info.hub_filename == f"{info.name}.pt"
    assert info.licence == "Apache-2.0" and not info.bundled
    assert len(info.sha256) == 64 and set(info.sha256) <= set("0123456789abcdef")
    overhead = info.size_bytes - 4 * info.parameters  # float32 numbers, names and zip headers
    assert 0 < overhead < 400 * 903


@pytest.mark.parametrize("info", registry.RELEASED_1, ids=lambda info: info.name)
def test_addresses_and_numbers_of_sam_1(info):
    address = rf"https://dl\.fbaipublicfiles\.com/segment_anything/{info.name}_([0-9a-f]{{6}})\.pth"
    assert re.fullmatch(address, info.url)
    assert info.licence == "Apache-2.0" and not info.bundled and info.hub_id is None
    assert len(info.sha256) == 64 and set(info.sha256) <= set("0123456789abcdef")
    overhead = info.size_bytes - 4 * info.parameters  # float32 numbers, names and zip headers
    assert 0 < overhead < 400 * 594


@needs_shared
@pytest.mark.parametrize("name", [*NAMES, *(info.name for info in registry.RELEASED_1)])
def test_manifest_gives_count_and_name(name):
    shapes = manifest(name)
    learned = {k: v for k, v in shapes.items() if not k.endswith("gaussian_matrix")}
    assert sum(math.prod(shape) for shape in learned.values()) == registry.find_model(name).parameters
    assert registry.closest_released(shapes) == name


@needs_shared
def test_closest_model_of_strange_shapes():
    assert registry.closest_released({"fc.weight": (2,)}) is None
    assert registry.closest_released({"image_encoder.patch_embed.proj.weight": (768, 3, 16, 16)}) is None
    shapes = manifest("sam2.1_hiera_large")
    shapes["image_encoder.trunk.patch_embed.proj.weight"] = (160, 3, 7, 7)
    assert registry.closest_released(shapes) == "sam2.1_hiera_large"


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(CheckpointError, match=r"'sam9'.*nano.*sam2\.1_hiera_tiny.*sam2_hiera_large"):
        registry.find_model("sam9")
    assert registry.find_hub_model("facebook/sam2-hiera-base-plus").name == "sam2_hiera_base_plus"
    assert registry.find_hub_model("someone/else") is None


def test_bundled_model_is_measured_where_it_lies(tmp_path: Path, monkeypatch):
    import numpy as np
    from safetensors.numpy import save_file

    monkeypatch.setattr(registry, "BUNDLED_WEIGHTS", tmp_path)
    absent = registry.find_model("nano")
    assert (absent.size_bytes, absent.parameters) == (
        None,
        None,
    ) and absent.path == tmp_path / "nano.safetensors"
    header = {registry.PARAMETERS_KEY: "3"}
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "nano.safetensors", metadata=header)
    info = registry.find_model("nano")
    assert (info.size_bytes, info.parameters) == ((tmp_path / "nano.safetensors").stat().st_size, 3)
