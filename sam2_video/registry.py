"""The models that can be loaded by name: where their weights are, how large, under which licence.

Sizes and SHA-256 hashes are those of the files Meta published: for SAM 2 as listed on the model pages of the
hub (the same bytes at both addresses), for SAM 1, where the hub has another layout, as public projects record
them that check their downloads. This module knows facts only; fetching is in `download`, loading in
`checkpoint`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sam2_video.types import CheckpointError

BUNDLED_WEIGHTS = Path(__file__).parent / "weights"
PARAMETERS_KEY = "sam2_video.parameters"  # header entry that `save_weights` leaves
_OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything_2"
_OFFICIAL_1 = "https://dl.fbaipublicfiles.com/segment_anything"


@dataclass(frozen=True)
class ModelInfo:
    """One model that `load_model` knows by name. None stands for "not applicable" or "not known"."""

    name: str
    url: str | None  # where the weights are published
    hub_id: str | None  # the same weights on the Hugging Face hub
    hub_filename: str | None  # the file in that repository
    size_bytes: int | None
    parameters: int | None  # learned numbers, fixed tables not counted
    licence: str
    sha256: str | None
    bundled: bool  # shipped inside this package: needs no download

    @property
    def path(self) -> Path | None:
        """Where the weights of a bundled model lie."""
        return BUNDLED_WEIGHTS / f"{self.name}.safetensors" if self.bundled else None


@dataclass(frozen=True)
class _Trunk:
    """What tells the sizes apart: channels of the first stage, blocks in all."""

    width: int
    blocks: int


_TRUNKS = {
    "tiny": _Trunk(96, 12),
    "small": _Trunk(96, 16),
    "base_plus": _Trunk(112, 24),
    "large": _Trunk(144, 48),
}
_TRUNKS_1 = {"b": _Trunk(768, 12), "l": _Trunk(1024, 24), "h": _Trunk(1280, 32)}


def _released(generation: str, size: str, size_bytes: int, parameters: int, sha256: str) -> ModelInfo:
    family, folder = ("sam2.1", "092824") if generation == "2.1" else ("sam2", "072824")
    name = f"{family}_hiera_{size}"
    return ModelInfo(
        name=name,
        url=f"{_OFFICIAL}/{folder}/{name}.pt",
        hub_id=f"facebook/{family}-hiera-{size.replace('_', '-')}",
        hub_filename=f"{name}.pt",
        size_bytes=size_bytes,
        parameters=parameters,
        licence="Apache-2.0",
        sha256=sha256,
        bundled=False,
    )


# fmt: off
RELEASED: tuple[ModelInfo, ...] = (
    _released("2.1", "tiny", 156_008_466, 38_962_498,
              "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _released("2.1", "small", 184_416_285, 46_060_354,
              "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _released("2.1", "base_plus", 323_606_802, 80_850_178,
              "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _released("2.1", "large", 898_083_611, 224_446_642,
              "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    _released("2.0", "tiny", 155_906_050, 38_945_986,
              "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
    _released("2.0", "small", 184_309_650, 46_043_842,
              "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
    _released("2.0", "base_plus", 323_493_298, 80_833_666,
              "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
    _released("2.0", "large", 897_952_466, 224_430_130,
              "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
)


def _released_1(size: str, suffix: str, size_bytes: int, parameters: int, sha256: str) -> ModelInfo:
    return ModelInfo(
        name=f"sam_vit_{size}",
        url=f"{_OFFICIAL_1}/sam_vit_{size}_{suffix}.pth",
        hub_id=None,  # the hub's copies have another layout, and other bytes
        hub_filename=None,
        size_bytes=size_bytes,
        parameters=parameters,
        licence="Apache-2.0",
        sha256=sha256,
        bundled=False,
    )


RELEASED_1: tuple[ModelInfo, ...] = (
    _released_1("b", "01ec64", 375_042_383, 93_735_472,
                "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    _released_1("l", "0b3195", 1_249_524_607, 312_342_832,
                "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    _released_1("h", "4b8939", 2_564_550_879, 641_090_608,
                "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
)
# fmt: on


def list_models() -> tuple[ModelInfo, ...]:
    """Return the bundled model, the eight released SAM 2 models, and the three SAM 1 models for pictures."""
    return (_bundled("nano"), *RELEASED, *RELEASED_1)


def find_model(name: str) -> ModelInfo:
    """Return the model called `name`, or raise CheckpointError naming those that exist."""
    for info in list_models():
        if name == info.name:
            return info
    known = ", ".join(info.name for info in list_models())
    raise CheckpointError(f"there is no model called {name!r}; known are {known}")


def find_hub_model(hub_id: str) -> ModelInfo | None:
    """Return the released model that lies at this hub id."""
    return next((info for info in RELEASED if info.hub_id == hub_id), None)


def closest_released(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return the released model most like a state dict of these shapes; None if it has no trunk."""
    first = any(name.startswith("image_encoder.blocks.") for name in shapes)
    prefix, trunks = ("image_encoder.", _TRUNKS_1) if first else ("image_encoder.trunk.", _TRUNKS)
    projection = shapes.get(f"{prefix}patch_embed.proj.weight")
    blocks = _count_blocks(shapes, f"{prefix}blocks.")
    if not projection or not blocks:
        return None

    def distance(trunk: _Trunk) -> float:
        return abs(math.log2(projection[0] / trunk.width)) + abs(math.log2(blocks / trunk.blocks))

    size = min(trunks, key=lambda size: distance(trunks[size]))
    if first:
        return f"sam_vit_{size}"
    family = "sam2.1" if any(name.startswith(ONLY_IN_2_1) for name in shapes) else "sam2"
    return f"{family}_hiera_{size}"


# What the second generation added: a spatial embedding for absent objects, time codes for object pointers.
ONLY_IN_2_1 = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.")


def _count_blocks(names: Iterable[str], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)})


def _bundled(name: str) -> ModelInfo:
    path = BUNDLED_WEIGHTS / f"{name}.safetensors"
    return ModelInfo(
        name=name,
        url=None,
        hub_id=None,
        hub_filename=None,
        size_bytes=path.stat().st_size if path.is_file() else None,
        parameters=_recorded_parameters(path) if path.is_file() else None,
        licence="Apache-2.0",
        sha256=None,  # guarded by the hash of the package itself
        bundled=True,
    )


def _recorded_parameters(path: Path) -> int | None:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        recorded = (file.metadata() or {}).get(PARAMETERS_KEY, "")
    return int(recorded) if recorded.isdigit() else None
