"""Imports point one way, and files stay short enough to read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sam2_video

PACKAGE = Path(sam2_video.__file__).parent
LINE_BUDGET = 400

# Layer of each module or subpackage; a module imports its own layer or lower ones.
LAYERS: dict[str, int] = {
    "types": 0,
    "config": 0,
    "model": 1,
    "memory": 1,
    "transforms": 1,
    "postprocess": 1,
    "transfer": 0,
    "sources": 1,
    "key_maps": 2,
    "registry": 2,
    "download": 2,
    "weight_files": 2,
    "partial_weights": 2,
    "checkpoint": 2,
    "tracker": 2,
    "recalled": 2,
    "steps": 2,
    "host": 1,
    "session": 2,
    "stream": 2,
    "timeline": 2,
    "ahead": 2,
    "aside": 2,
    "history": 2,
    "passes": 2,
    "state": 2,
    "saved": 2,
    "saved_state": 2,
    "fingerprint": 2,
    "kept_results": 2,
    "walker": 2,
    "review": 2,
    "sinks": 2,
    "convert": 2,
    "prompts": 2,
    "demo_clip": 2,
    "network": 3,
    "window": 2,
    "footprint": 2,
    "video_predictor": 3,
    "image_embedding": 4,
    "image_predictor": 4,
    "image_prompts": 4,
    "image_result": 4,
    "mask_generator": 5,
    "mask_grid": 2,
    "mask_runs": 2,
    "mask_filters": 2,
    "mask_enlarge": 2,
    "mask_options": 2,
    "mask_pictures": 5,
    "track_everything": 6,
    "cli_masks": 7,
    "cli_masks_options": 7,
    "cli_masks_pictures": 7,
    "cli_masks_video": 7,
    "evaluation": 6,
    "benchmark": 6,
    "training": 6,
    "finetuning": 6,
    "cli": 7,
    "compat": 7,
    "cli_benchmark": 7,
    "cli_train": 7,
    "cli_demo": 7,
    "cli_journal": 7,
    "cli_dispatch": 7,
    "annotation": 6,
    "cli_annotate": 7,
    "app": 7,
    "cli_app": 7,
    "cli_evaluate": 7,
    "cli_evaluate_asked": 7,
    "cli_footprint": 7,
    "cli_threads": 7,
    "cli_workers": 7,
    "cli_evaluate_options": 7,
    "cli_options": 7,
    "cli_write": 7,
    "cli_prompts": 7,
    "cli_run": 7,
    "cli_interrupt": 7,
    "cli_segment": 7,
    "cli_stream": 7,
    "cli_window": 7,
    "cli_track": 7,
}
# Builders and the package's front name what they hand out; they do it lazily.
EXCEPTIONS = {("config", "model"), ("config", "sam2_video")}
# The network knows nothing of time, files or clips.
MODEL_MAY_IMPORT = {"types", "model"}


def modules() -> dict[str, Path]:
    """Dotted name inside the package -> file, of every module."""
    out = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        out[".".join(p for p in parts if p != "__init__")] = path
    return out


def imports_of(path: Path) -> Iterator[str]:
    """Dotted names inside the package that a file imports anywhere, functions and type checking included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            # A relative import counts from the folder of the file, one up for each dot after the first.
            folders = ("sam2_video", *path.relative_to(PACKAGE).parent.parts)
            base = folders[: len(folders) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [module]
            if module == "sam2_video":
                names = [f"sam2_video.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("sam2_video."):
                yield name.removeprefix("sam2_video.")


def check(importer: str, imported: str) -> str | None:
    """Return what is wrong with an import, or None."""
    source, target = importer.split(".")[0], imported.split(".")[0]
    if source == "" or target == "__version__" or (source, target) in EXCEPTIONS:
        return None
    if target not in LAYERS:
        return f"{importer} imports {imported}, which has no layer here"
    if source == "model" and target not in MODEL_MAY_IMPORT:
        return f"{importer} imports {imported}; the network may only know types"
    if LAYERS[target] > LAYERS[source]:
        return f"{importer} (layer {LAYERS[source]}) imports {imported} (layer {LAYERS[target]})"
    return None


def test_every_module_has_a_layer() -> None:
    found = {name.split(".")[0] for name in modules()} - {""}
    assert {"types", "config", "model", "video_predictor", "cli"} <= found  # the walk really saw the package
    assert found <= set(LAYERS), f"give these a layer: {sorted(found - set(LAYERS))}"


def test_imports_point_one_way() -> None:
    seen = 0
    wrong = []
    for name, path in modules().items():
        for imported in imports_of(path):
            seen += 1
            wrong.append(check(name, imported))
    assert [w for w in wrong if w] == []
    assert seen > 30, f"only {seen} imports found; the walk is broken"


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("model.hiera", "memory"),
        ("memory", "session"),
        ("session", "video_predictor"),
        ("types", "config.x.unknown2"),
    ],
)
def test_the_walk_can_fail(importer: str, imported: str) -> None:
    if imported.endswith("unknown2"):
        imported = "unknown2"
    assert check(importer, imported)


@pytest.mark.parametrize("path", modules().values(), ids=modules().keys())
def test_file_fits_its_budget(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LINE_BUDGET, f"{path.name} has {lines} lines; split it by role"
