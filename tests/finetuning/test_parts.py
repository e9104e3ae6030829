"""Embeddings are kept where they may be, boards are told, part files fit one base, settings are checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sam2_video.checkpoint import load_model, model_config, save_weights
from sam2_video.finetuning import finetune, load_settings
from sam2_video.finetuning.data import open_data
from sam2_video.finetuning.embeddings import Embeddings
from sam2_video.finetuning.losses import compare, mean
from sam2_video.finetuning.prepared import prepared_data
from sam2_video.finetuning.prompts import draw_prompts
from sam2_video.finetuning.samples import Draw
from sam2_video.finetuning.settings import LossSettings, PicturePrompts, is_finetuning
from sam2_video.finetuning.tuner import Tuner
from sam2_video.model.sam2 import SAM2
from sam2_video.partial_weights import PART_KEY, Base, save_part
from sam2_video.types import CheckpointError, ConfigError, DataError
from tests.finetuning.conftest import Settings, tensors
from tests.finetuning.test_tuner import rows

CPU = torch.device("cpu")


def test_each_picture_is_encoded_once_and_mirrored_apart(
    settings: Settings, toy: Path, tmp_path: Path
) -> None:
    model = load_model(toy)
    assert isinstance(model, SAM2)
    chosen = settings("data.flip=0.5")
    draw = Draw(open_data(chosen.data).train, chosen, 64)
    samples = [draw(epoch, place) for epoch in range(4) for place in range(6)]
    different = {(sample.item, sample.mirrored) for sample in samples}
    assert 6 < len(different) <= 12

    def make(budget: float, folder: Path | None = tmp_path / "kept") -> Embeddings:
        with torch.no_grad():
            return Embeddings(model, torch.no_grad()(model.encode_image), folder=folder, budget=budget)

    memory, disk = make(1e9, None), make(0)
    for kept in (memory, disk):
        found = kept.of(samples, CPU)
        assert kept.encoded == len(different)
        for sample, features in zip(samples, found, strict=True):
            with torch.no_grad():
                again = model.encode_image(sample.pixels)
            assert torch.equal(features.coarse, again.coarse)
            assert all(torch.equal(a, b) for a, b in zip(features.fine, again.fine, strict=True))
    resumed = make(0)
    resumed.of(samples, CPU)
    assert resumed.encoded == 0, "files of an earlier run are read"
    next((tmp_path / "kept").glob("*.safetensors")).write_bytes(b"half a file")
    with torch.no_grad():
        resumed.of(samples, CPU)
        assert resumed.encoded == 1
        model.image_encoder.neck.convs[0].conv.bias.add_(1)  # type: ignore[operator, union-attr]
        other = make(0)
        other.of(samples[:1], CPU)
    assert other.encoded == 1, "embeddings of other weights are not taken"


def test_a_run_is_the_same_with_embeddings_and_without(settings: Settings, tmp_path: Path) -> None:
    more = ("schedule.epochs=1", "data.validation_split=null")
    for cache in ("off", "memory", "disk"):
        finetune(settings(*more, f"data.cache={cache}"), tmp_path / cache)
    plain = tensors(tmp_path / "off/last.safetensors")
    for cache in ("memory", "disk"):
        kept = tensors(tmp_path / cache / "last.safetensors")
        assert all(torch.allclose(value, kept[name], atol=1e-5) for name, value in plain.items())
    assert list((tmp_path / "disk/embeddings").glob("*.safetensors"))


def test_nothing_is_kept_where_colours_change(settings: Settings, tmp_path: Path) -> None:
    assert Tuner(settings("data.colour=0.5"), tmp_path / "a").embeddings is None
    assert Tuner(settings(), tmp_path / "b").embeddings is not None
    with pytest.raises(ConfigError, match=r"none can be kept.*colour=0"):
        settings("data.colour=0.5", "data.cache=disk")


def test_boards_get_the_figures(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    began: dict[str, Any] = {}
    stub = SimpleNamespace(
        log=lambda values, step: told.append((step, values)), finish=lambda: told.append((0, {}))
    )
    import accelerate  # looks for the package when it is imported, and is not to find this one

    assert accelerate.Accelerator
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **k: began.update(k) or stub))
    finetune(settings("wandb=offline", "tensorboard=true", "schedule.epochs=1"), tmp_path / "run")
    assert began["mode"] == "offline" and began["project"] == "sam2-video" and began["id"] == "run"
    steps = [step for step, values in told if "train/total" in values]
    scores = [values["validation/iou_1"] for _, values in told if "validation/iou_1" in values]
    assert steps == [1, 2, 3] and len(scores) == 2 and told[-1] == (0, {})
    assert scores[-1] == pytest.approx(float(rows(tmp_path / "run/validation.csv")[-1]["iou_1"]), abs=1e-6)
    assert list((tmp_path / "run").glob("events.out.tfevents*"))


def test_without_the_package_the_option_says_so(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        finetune(settings("wandb=online"), tmp_path)


def test_training_stops_where_nothing_gets_better(settings: Settings, tmp_path: Path) -> None:
    run = settings("schedule.epochs=50", "schedule.patience=2", "schedule.learning_rate=1e-12")
    finetune(run, tmp_path)
    scores = rows(tmp_path / "validation.csv")
    assert [row["epoch"] for row in scores] == ["0", "1", "2"]
    best = tensors(tmp_path / "best.safetensors")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    finetune(run, tmp_path)  # it is over, and is left alone
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before and best


def test_a_resumed_run_must_have_the_same_settings(settings: Settings, toy: Path, tmp_path: Path) -> None:
    finetune(settings("schedule.epochs=1"), tmp_path)
    with pytest.raises(CheckpointError, match=r"schedule changed"):
        Tuner(settings("schedule.epochs=3"), tmp_path)
    Tuner(settings("schedule.epochs=1", "data.workers=1", "log_every=5"), tmp_path)
    (tmp_path / "last.pt").write_bytes(b"PK half a file")
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged"):
        Tuner(settings("schedule.epochs=1"), tmp_path)


def test_a_part_fits_its_base_alone(toy: Path, tmp_path: Path) -> None:
    model = load_model(toy)
    part = {n: v + 1 for n, v in model.state_dict().items() if n.startswith("sam_mask_decoder.iou_token")}
    file = tmp_path / "part.safetensors"
    save_part(part, file, Base.of("", model.state_dict()), {"sam2_video.overrides": '["image_size=96"]'})
    laid = load_model(toy, checkpoint=file)
    assert laid.image_size == 96 and model_config(toy, checkpoint=file)["image_size"] == 96
    for name, value in model.state_dict().items():
        expected = part.get(name, value)
        assert torch.equal(laid.state_dict()[name], expected), name
    with torch.no_grad():
        model.no_mem_embed.add_(1)  # type: ignore[operator]
    header = {"sam2_video.config": "nano", "sam2_video.overrides": json.dumps(_overrides(toy))}
    save_weights(model, tmp_path / "other.safetensors", header)
    with pytest.raises(CheckpointError, match=r"trained over other weights than those of .*other"):
        load_model(tmp_path / "other.safetensors", checkpoint=file)
    with pytest.raises(CheckpointError, match=r"there is no .* in it"):
        strange = tmp_path / "strange.safetensors"
        save_part({"head.weight": torch.ones(1)}, strange, Base("", ""))
        load_model(toy, checkpoint=strange)


def test_a_header_of_a_stranger_names_known_models_alone(toy: Path, tmp_path: Path) -> None:
    file = tmp_path / "part.safetensors"
    for name, word in (("/etc/passwd", "not known here"), ("hub/other", "not known here")):
        save_part({"x": torch.ones(1)}, file, Base(name, ""))
        with pytest.raises(CheckpointError, match=word):
            load_model(file)
    save_weights(load_model(toy), file, {PART_KEY: "[1, 2]"})
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(file)
    save_part(
        {"x": torch.ones(1)}, file, Base("nano", ""), {"sam2_video.overrides": '["model._target_=os.x"]'}
    )
    with pytest.raises(CheckpointError, match=r"more than set a value"):
        load_model(file)


def _overrides(toy: Path) -> list[str]:
    from sam2_video.weight_files import read_weights

    return list(json.loads(read_weights(toy).metadata["sam2_video.overrides"]))


def test_prompts_lie_where_they_should() -> None:
    masks = torch.zeros(40, 64, 64, dtype=torch.bool)
    masks[:, 20:40, 10:50] = True
    void = torch.zeros_like(masks)
    void[:, 20:22] = True
    generators = [np.random.default_rng([1, k]) for k in range(40)]
    groups = draw_prompts(masks, void, generators, PicturePrompts())
    kinds = {tuple(group.prompt.labels[0].tolist()) for group in groups}
    assert kinds == {(2, 3), (1,), (1, 0), (2, 3, 1), (2, 3, 1, 0)}
    assert sorted(row for group in groups for row in group.rows.tolist()) == list(range(40))
    for group in groups:
        for points, labels in zip(group.prompt.points, group.prompt.labels, strict=True):
            for (x, y), label in zip(points.int().tolist(), labels.tolist(), strict=True):
                if label < 2:
                    assert bool(masks[0, y, x] & ~void[0, y, x]) == (label == 1)
                    assert not void[0, y, x]
    only = draw_prompts(masks, None, generators, PicturePrompts(drop_points=1, drop_box=1))
    assert all(group.prompt.labels.shape[1] <= 2 for group in only), "something is always asked"


def test_losses_of_objects_are_apart() -> None:
    target = torch.zeros(2, 8, 8)
    target[:, 2:6, 2:6] = 1
    right = (target * 2 - 1) * 9
    logits = torch.stack([torch.stack([right[0], -right[0]]), torch.stack([-right[1], -right[1]])])
    factors = LossSettings(bce=1, dice=1, iou=1)
    iou, presence = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([9.0, 9.0])
    terms = compare(logits, iou, presence, target, None, factors)
    assert float(terms.dice[0]) < 0.01 and float(terms.bce[0]) < 0.01 and float(terms.dice[1]) > 0.9
    assert terms.iou.tolist() == [0, 0]
    hidden = compare(logits, iou, presence, target, target > 0, factors)
    assert hidden.dice.tolist() == [0, 0], "where all of an object is void, no mask is taught"
    assert float(hidden.presence.max()) < 0.01, "but that it is there"
    assert torch.equal(mean([terms, terms]).bce, terms.bce)
    assert float(terms.weighted(torch.tensor([1.0, 0.0])).total(factors)) < 0.05


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ([], "nothing to train on"),
        (["data.folder=x", "data=davis"], "finetune_video"),
        (["data.folder=x", "prompts=clips"], "single pictures"),
        (["data.folder=x", "preset=decoder+memory"], "nothing about memory"),
        (["data.folder=x", "preset=bigger"], "preset/bigger"),
        (["data.folder=x", "+speed=9"], "speed"),
        (["data.folder=x", "schedule.epochs=0"], "at least 1"),
        (["data.folder=x", "preset.parts=[heads]"], "heads"),
        (["data.folder=x", "losses.bce=0", "losses.dice=0"], "one of bce, focal and dice"),
        (["data.folder=x", "mixed_precision=fp8"], "fp8"),
    ],
)
def test_a_run_that_cannot_work_is_refused(overrides: list[str], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        load_settings("finetune", overrides)


def test_a_file_of_ones_own_may_build_on_the_packaged_one(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults: [finetune, override preset: lora, _self_]\nseed: 7\ndata: {folder: here}\n")
    settings = load_settings(mine, ["preset.lora.rank=4", "model=sam2.1_hiera_tiny", "data=coco"])
    assert settings.seed == 7 and settings.data.folder == "here" and settings.data.format == "coco"
    assert settings.preset.lora is not None and settings.preset.lora.rank == 4
    assert is_finetuning(mine) and not is_finetuning("nano") and not is_finetuning(tmp_path / "none.yaml")


def test_machines_must_share_the_folder(settings: Settings, tmp_path: Path) -> None:
    second: Any = SimpleNamespace(leads=False, wait=lambda: None)
    with pytest.raises(ConfigError, match="all machines share --out"):
        prepared_data(settings().data, tmp_path, second)


def test_missing_data_is_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        finetune(settings("data.folder=/no/such/folder"), tmp_path)
