"""The loop learns, and a run that was killed ends with the same weights as one that was not."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2_video.checkpoint import load_model
from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.in_memory import track_and_score
from sam2_video.training.batches import Mixture, collate, load_batches, make_clips
from sam2_video.training.clips import TrainingClip
from sam2_video.training.loop import Trainer, parameter_groups, train
from sam2_video.training.settings import Stage, TrainSettings
from sam2_video.types import CheckpointError
from sam2_video.video_predictor import VideoPredictor
from tests.evaluation.datasets.builders import davis2017

TOY = (
    *(
        "image_size=64",
        "width=32",
        "memory_width=16",
        "model.trunk.embed_dim=8",
        "model.trunk.stages=[1,1,1,1]",
    ),
    *("model.neck.backbone_channel_list=[64,32,16,8]", "model.memory_attention.num_layers=1"),
    "model.trunk.global_att_blocks=[2]",
)
PICTURES = Stage("pictures", 2, 1, 2, 64, mask_prompts=0.0)
CLIPS = Stage("clips", 4, 3, 2, 64, correct_frame=1.0)


def toy_settings(stills: Path, **changes: object) -> TrainSettings:
    values = {
        "model": "nano",
        "stages": (PICTURES, CLIPS),
        "stills": str(stills),
        "overrides": TOY,
        "threads": 1,
    }
    values |= {"workers": 0, "precision": "float32", "warmup_steps": 2, "log_every": 1, "save_minutes": 0.0}
    return TrainSettings(**{**values, **changes})  # type: ignore[arg-type]


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def run(settings: TrainSettings, folder: Path, *, steps: int | None = None) -> Trainer:
    """Run or resume; with `steps`, stop there as a kill would, right after a save."""
    trainer = Trainer(settings, folder)
    clips = make_clips(settings)
    if steps is None:
        trainer.run(clips)
        return trainer
    for batch in trainer._batches(clips):
        trainer.advance(batch)
        if trainer.step == steps:
            break
    trainer.save()
    return trainer


def test_the_loss_falls_on_one_clip(stills_folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(
        stills_folder,
        stages=(replace(CLIPS, steps=40, correct_frame=0.0, mask_prompts=1.0),),
        learning_rate=3e-3,
    )
    trainer = Trainer(settings, tmp_path)
    batch = next(load_batches(make_clips(settings), settings, 0))
    losses = [float(trainer.advance(batch)[0].total.detach()) for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_validation_tracks_the_running_average(stills_folder: Path, tmp_path: Path) -> None:
    davis2017(tmp_path / "davis")
    settings = toy_settings(stills_folder, validation=str(tmp_path / "davis"), validate_frames=4)
    trainer = Trainer(settings, tmp_path / "run")
    with torch.no_grad():
        for parameter in trainer.average.parameters():
            parameter.mul_(1.5)  # so that it is not the model that is trained
    trainer.validate()
    with (tmp_path / "run/validation.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    clips = open_dataset(tmp_path / "davis", "davis2017", "all").sequences
    means = track_and_score(VideoPredictor(trainer.average), clips, max_frames=4).overall
    assert (float(row["j"]), float(row["f"])) == (means.j.mean, means.f.mean)
    assert trainer.score == trainer.best == float(row["jandf"]) == means.jandf
    assert (tmp_path / "run/best.safetensors").is_file()


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_resumed_run_ends_with_the_same_weights(stop: int, stills_folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(stills_folder)
    whole = run(settings, tmp_path / "whole")
    run(settings, tmp_path / "cut", steps=stop)
    resumed = run(settings, tmp_path / "cut")
    assert resumed.step == whole.step == settings.total_steps
    for name, value in weights_of(whole).items():
        assert torch.equal(value, weights_of(resumed)[name]), name
    for a, b in zip(whole.average.parameters(), resumed.average.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_weights(stills_folder: Path, tmp_path: Path) -> None:
    stages = (replace(PICTURES, steps=3), replace(CLIPS, steps=12))
    settings = toy_settings(stills_folder, stages=stages)
    whole = run(settings, tmp_path / "whole")
    script = (
        "import sys; from pathlib import Path; from tests.training.test_loop import *\n"
        "stages = (replace(PICTURES, steps=3), replace(CLIPS, steps=12))\n"
        "run(toy_settings(Path(sys.argv[1]), stages=stages), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(stills_folder), str(tmp_path / "killed")]
    log = tmp_path / "killed" / "log.csv"
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 5):
        time.sleep(0.02)
    process.kill()  # SIGKILL: no handler runs
    process.wait()
    assert not (tmp_path / "killed" / "best.safetensors").exists(), "the run was over before it was killed"
    resumed = run(settings, tmp_path / "killed")
    for name, value in weights_of(whole).items():
        assert torch.equal(value, weights_of(resumed)[name]), name


def test_a_resumed_run_must_have_the_same_settings(stills_folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(stills_folder)
    run(settings, tmp_path, steps=3)
    with pytest.raises(CheckpointError, match="learning_rate"):
        Trainer(replace(settings, learning_rate=1.0), tmp_path)
    with pytest.raises(CheckpointError, match="stages that have begun"):
        Trainer(replace(settings, stages=(replace(PICTURES, batch=3), CLIPS)), tmp_path)
    with pytest.raises(CheckpointError, match="stages that have begun"):
        Trainer(replace(settings, stages=(replace(PICTURES, steps=5), CLIPS)), tmp_path)


def test_a_resumed_run_logs_every_step_once(stills_folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(stills_folder, save_minutes=1e6)
    run(settings, tmp_path, steps=2)
    with (tmp_path / "log.csv").open("w") as log:  # rows of steps that were lost with the kill
        log.write("step,stage\n1,pictures\n2,pictures\n3,clips\n4,clips\n")
    Trainer(settings, tmp_path)
    assert (tmp_path / "log.csv").read_text() == "step,stage\n1,pictures\n2,pictures\n"


def test_a_damaged_checkpoint_is_named(stills_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"PK half a file")
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged .* remove it"):
        Trainer(toy_settings(stills_folder), tmp_path)


def test_a_finished_run_is_left_alone(stills_folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(stills_folder, stages=(PICTURES,))
    train(settings, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    train(settings, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_one_set_of_stills_is_enough(stills_folder: Path) -> None:
    clips = make_clips(toy_settings(stills_folder / "discs"))
    assert clips.make(0, frames=1, size=32).masks.any()


def test_exports_are_as_small_as_asked(stills_folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(stills_folder, stages=(PICTURES,))
    train(settings, tmp_path / "whole")
    train(replace(settings, export_dtype="float16"), tmp_path / "half")
    sizes = [(tmp_path / name / "last.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]


def test_what_lies_ahead_may_be_planned_anew(stills_folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(stills_folder)
    run(settings, tmp_path, steps=3)
    longer = replace(
        settings, stages=(PICTURES, replace(CLIPS, steps=2), replace(CLIPS, name="more", batch=1))
    )
    assert Trainer(longer, tmp_path).step == 3


def test_a_finished_run_leaves_weights_that_load(stills_folder: Path, tmp_path: Path) -> None:
    best = train(toy_settings(stills_folder, card={"licence": "none"}), tmp_path)
    model = load_model(str(best))
    assert model.width == 32 and not model.training
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {row["stage"] for row in rows} == {"pictures", "clips"}
    assert not list(tmp_path.glob("*.part"))


def test_batches_do_not_depend_on_workers(stills_folder: Path) -> None:
    settings = toy_settings(stills_folder)
    alone = list(load_batches(make_clips(settings), settings, 2))
    helped = list(load_batches(make_clips(settings), replace(settings, workers=2), 2))
    assert len(alone) == len(helped) == CLIPS.steps
    assert all(
        torch.equal(a.pixels, b.pixels) and torch.equal(a.masks, b.masks)
        for a, b in zip(alone, helped, strict=True)
    )
    assert not torch.equal(alone[0].pixels, alone[1].pixels)


def test_a_stage_is_entered_in_the_middle(stills_folder: Path) -> None:
    settings = toy_settings(stills_folder)
    clips = make_clips(settings)
    whole, rest = list(load_batches(clips, settings, 2)), list(load_batches(clips, settings, 4))
    assert len(rest) == 2 and torch.equal(rest[0].pixels, whole[2].pixels)


def test_void_is_filled_in_where_other_clips_have_it() -> None:
    frames, masks = np.zeros((2, 8, 8, 3), np.uint8), np.ones((2, 8, 8), np.uint8)
    batch = collate([TrainingClip(frames, masks), TrainingClip(frames, masks, np.ones((2, 8, 8), bool))])
    assert batch.pixels.shape == (2, 2, 8, 8, 3) and batch.void is not None
    assert not batch.void[:, 0].any() and batch.void[:, 1].all()


def test_a_mixture_draws_from_both() -> None:
    class Named:
        def __init__(self, value: int) -> None:
            self.value = value

        def make(self, index: int, *, frames: int, size: int) -> TrainingClip:
            return TrainingClip(
                np.full((frames, size, size, 3), self.value, np.uint8),
                np.ones((frames, size, size), np.uint8),
            )

    mixture = Mixture(Named(1), Named(2), share=0.25, seed=0)
    drawn = [int(mixture.make(k, frames=1, size=2).frames.max()) for k in range(200)]
    assert 25 < drawn.count(1) < 75


def test_norms_and_embeddings_do_not_decay(stills_folder: Path, tmp_path: Path) -> None:
    model = Trainer(toy_settings(stills_folder), tmp_path).model
    decay, free = (set(map(id, group["params"])) for group in parameter_groups(model, 0.1))
    named = dict(model.named_parameters())
    assert len(decay) + len(free) == len(named)
    assert id(named["image_encoder.trunk.blocks.0.attn.qkv.weight"]) in decay
    for name in ("image_encoder.trunk.pos_embed", "maskmem_tpos_enc", "sam_mask_decoder.mask_tokens.weight"):
        assert id(named[name]) in free
    assert id(named["image_encoder.trunk.blocks.0.norm1.weight"]) in free
