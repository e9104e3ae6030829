"""Runs as a whole: what goes on, what is refused, and what the folder holds at the end."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2_video.evaluation.datasets import Clip
from sam2_video.evaluation.finish import ScoreOptions
from sam2_video.evaluation.locks import Shard, run_lock
from sam2_video.evaluation.plan import Plan
from sam2_video.evaluation.results import SequenceRun
from sam2_video.evaluation.runner import Outcome, evaluate
from sam2_video.evaluation.scores import MetricOptions
from sam2_video.evaluation.timing import peak_gpu_mib
from sam2_video.evaluation.workers import OneProcess, Progress
from sam2_video.types import CheckpointError, ConfigError, DataError, SinkError
from tests.evaluation.small import NAMES, contents, make_davis, open_davis, save_toy, toy_plan

INCOMPLETE = ScoreOptions(MetricOptions(allow_incomplete=True))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return toy_plan(save_toy(tmp_path_factory.mktemp("weights") / "toy.safetensors"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_davis(tmp_path / "data")


def manifest(out: Path) -> Any:
    return json.loads((out / "manifest.json").read_text())


def run(root: Path, plan: Plan, out: Path, **options: Any) -> Outcome:
    return evaluate(open_davis(root), plan, out, **options)


def stop_after(frames: int) -> Progress:
    """Ctrl-C when so many frames are done."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if done >= frames:
            raise KeyboardInterrupt

    return Progress(advance)


def test_a_run_leaves_everything_that_it_promises(root: Path, plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run(root, plan, out)
    assert (outcome.tracked, outcome.kept, outcome.failed, outcome.not_scored) == (4, 0, {}, "")
    files = contents(out)
    assert {"manifest.json", "scores.csv", "frames.csv", "report.html"} <= set(files)
    assert sorted(name for name in files if name.startswith("predictions/")) == [
        f"predictions/{name}/{frame:05d}.png" for name in NAMES for frame in range(6)
    ]
    told = manifest(out)
    assert told["status"] == "complete"
    assert told["frames"] == {
        "in_data_set": 24,
        "predicted": 24,
        "scored": 16,  # without the first and the last of each sequence
        "skipped_by_rule": 8,
        "masks_scored": 32,
        "masks_missing": 0,
    }
    assert told["model"]["config"]["image_size"] == 64
    assert len(told["model"]["sha256"]) == 64
    assert told["resolution"]["sequences_by_size"] == {"80x48": 4}
    assert set(told["data"]["fingerprints"]) == set(NAMES)
    assert told["made_by"][0]["sequences"] == 4
    assert {"code", "versions", "machine", "post_processing", "protocol", "metrics"} <= set(told)
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert [row["sequence"] for row in rows if row["level"] == "sequence"] == list(NAMES)
    assert outcome.evaluation is not None
    stages = outcome.evaluation.runs[0].stages
    assert {name: stage.calls for name, stage in stages.items()} == {
        "decode": 6,
        "encode": 6,
        "track": 7,  # both objects are prompted on the first frame
        "write": 6,
    }
    assert all(0 < stage.p50 <= stage.p95 and stage.seconds > 0 for stage in stages.values())


def test_what_is_done_is_not_done_again(root: Path, plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(root, plan, out)
    before = contents(out / "predictions"), (out / "scores.csv").read_bytes()
    stamps = {name: (out / f"sequences/{name}.json").stat().st_mtime_ns for name in NAMES}
    assert (run(root, plan, out).tracked, run(root, plan, out).kept) == (0, 4)
    (out / "predictions/bee/00002.png").unlink()
    (out / "predictions/cat/00002.png").write_bytes(b"")  # as a power cut may leave it
    (out / "sequences/dog.json").write_text("{")
    outcome = run(root, plan, out)
    assert (outcome.tracked, outcome.kept) == (3, 1)
    assert (contents(out / "predictions"), (out / "scores.csv").read_bytes()) == before
    assert (out / "sequences/ant.json").stat().st_mtime_ns == stamps["ant"]


@pytest.mark.parametrize("frames", [1, 6, 7, 23])
def test_an_interrupted_run_goes_on(root: Path, plan: Plan, tmp_path: Path, frames: int) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    with pytest.raises(KeyboardInterrupt):
        run(root, plan, out, progress=stop_after(frames))
    assert manifest(out)["status"] == "interrupted"
    assert not list((out / "predictions").glob(".*"))
    outcome = run(root, plan, out)
    assert outcome.kept == (frames - 1) // 6  # the last frame of a sequence is not yet the end of it
    run(root, plan, other)
    assert contents(out / "predictions") == contents(other / "predictions")
    assert (out / "scores.csv").read_bytes() == (other / "scores.csv").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "--seed was 0, and is 1 now"),
        ({"protocol": "box"}, "--protocol was 'mask', and is 'box' now"),
        ({"max_frames": 4}, "--max-frames was None, and is 4 now.*of another length: ant, bee, cat, dog"),
        ({"threads": 2}, "--threads was 1, and is 2 now"),
        ({"overrides": ("image_size=96",)}, "KEY=VALUE was"),
    ],
)
def test_another_run_in_the_folder_is_refused_and_nothing_is_lost(
    root: Path, plan: Plan, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    out = tmp_path / "out"
    run(root, plan, out)
    before = contents(out)
    of_model = {key: value for key, value in change.items() if key in ("threads", "overrides")}
    other = replace(plan, **{k: v for k, v in change.items() if k not in of_model})
    with pytest.raises(SinkError, match=message):
        run(root, replace(other, model=replace(plan.model, **of_model)), out)
    assert contents(out) == before


def test_other_weights_and_other_sequences_are_refused(root: Path, plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(root, plan, out)
    other = tmp_path / "other.safetensors"
    other.write_bytes(Path(plan.model.model).read_bytes())
    with pytest.raises(SinkError, match=r"--model was '.*toy.safetensors', and is '.*other.safetensors' now"):
        run(root, replace(plan, model=replace(plan.model, model=str(other))), out)
    with pytest.raises(SinkError, match="4 then, 2 now, without bee, dog"):
        evaluate(open_davis(root, sequences=["ant", "cat"]), plan, out)


def test_data_that_changed_is_refused(root: Path, plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(root, plan, out)
    masks = root / "Annotations/480p/cat"
    (masks / "00003.png").write_bytes((masks / "00001.png").read_bytes())
    with pytest.raises(DataError, match=r"sequence cat is not what it was.*other truth"):
        run(root, plan, out)


@pytest.mark.parametrize("name", ["predictions", "scores.csv", "report.html"])
def test_what_no_run_made_is_never_replaced(root: Path, plan: Plan, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("somebody's")
    with pytest.raises(SinkError, match=f"holds {name} that no run"):
        run(root, plan, tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == "somebody's"


def test_a_sequence_whose_first_frame_is_damaged_does_not_end_the_run(
    root: Path, plan: Plan, tmp_path: Path
) -> None:
    (root / "JPEGImages/480p/bee/00000.jpg").write_bytes(b"no picture")
    outcome = run(root, plan, tmp_path / "out")
    assert (outcome.tracked, outcome.kept, set(outcome.failed)) == (3, 0, {"bee"})
    allowed = run(root, plan, tmp_path / "out", options=INCOMPLETE)  # its size is not known: left out
    assert allowed.evaluation is not None
    assert allowed.evaluation.summary is not None
    assert set(allowed.evaluation.summary.by_sequence) == {"ant", "cat", "dog"}
    assert set(allowed.failed) == {"bee"}


def test_a_sequence_that_fails_does_not_end_the_run(root: Path, plan: Plan, tmp_path: Path) -> None:
    out, broken = tmp_path / "out", root / "JPEGImages/480p/bee/00003.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(b"no picture")
    outcome = run(root, plan, out)
    assert (outcome.tracked, set(outcome.failed)) == (3, {"bee"})
    assert "00003.jpg" in outcome.failed["bee"]
    assert "no predictions of bee" in outcome.not_scored
    assert manifest(out)["status"] == "incomplete"
    assert set(manifest(out)["failed"]) == {"bee"}
    assert not (out / "scores.csv").exists()
    assert "00003.jpg" in (out / "report.html").read_text()
    assert not (out / "predictions/bee").exists()

    allowed = run(root, plan, out, options=INCOMPLETE)
    assert allowed.kept == 3
    assert allowed.evaluation is not None
    assert allowed.evaluation.summary is not None
    assert allowed.evaluation.summary.by_sequence["bee"].j.mean == 0
    assert allowed.evaluation.summary.missing == 8
    assert set(allowed.failed) == {"bee"}

    broken.write_bytes(whole)
    mended = run(root, plan, out)
    assert (mended.tracked, mended.kept, mended.failed) == (1, 3, {})
    assert manifest(out)["status"] == "complete"


@pytest.mark.parametrize("folder", ["JPEGImages", "Annotations"])
def test_data_that_is_out_of_reach_for_a_while_undoes_nothing(
    root: Path, plan: Plan, tmp_path: Path, folder: str
) -> None:
    out = tmp_path / "out"
    run(root, plan, out)
    before = contents(out / "predictions"), contents(out / "sequences")
    away = next((root / folder / "480p/bee").glob("00000.*"))
    whole = away.read_bytes()
    away.unlink()
    away.mkdir()  # there, but not to be read
    outcome = run(root, plan, out)
    assert (outcome.tracked, outcome.kept, set(outcome.failed)) == (0, 3, {"bee"})
    assert manifest(out)["status"] == "incomplete"
    assert (contents(out / "predictions"), contents(out / "sequences")) == before
    away.rmdir()
    away.write_bytes(whole)
    again = run(root, plan, out)
    assert (again.tracked, again.kept, again.failed, again.not_scored) == (0, 4, {}, "")


class Elsewhere(OneProcess):
    """Says that all is done; whatever it wrote is on another machine."""

    def run(self, jobs: Sequence[Any], progress: Progress) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            yield job, SequenceRun(job.name, job.frames, 1.0)


def test_predictions_that_workers_wrote_elsewhere_are_missed(root: Path, plan: Plan, tmp_path: Path) -> None:
    with Elsewhere() as workers, pytest.raises(SinkError, match=r"ant, bee, cat, dog.*same folder"):
        run(root, plan, tmp_path / "out", workers=workers)


def test_shards_share_a_folder_and_the_last_one_scores(root: Path, plan: Plan, tmp_path: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    first = run(root, plan, out, shard=Shard(1, 3))
    assert (first.tracked, first.evaluation, first.waiting) == (2, None, ("bee", "cat"))
    second = run(root, plan, out, shard=Shard(3, 3))
    assert (second.tracked, second.evaluation, second.waiting) == (1, None, ("bee",))
    assert not (out / "scores.csv").exists()
    last = run(root, plan, out, shard=Shard(2, 3))
    assert last.evaluation is not None
    run(root, plan, whole)
    assert contents(out / "predictions") == contents(whole / "predictions")
    assert (out / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()


def test_a_whole_run_does_what_shards_left_out(root: Path, plan: Plan, tmp_path: Path) -> None:
    run(root, plan, tmp_path / "out", shard=Shard(1, 2))
    outcome = run(root, plan, tmp_path / "out")
    assert (outcome.tracked, outcome.kept) == (2, 2)
    assert outcome.evaluation is not None


def test_the_failure_of_another_shard_is_known_to_the_last_one(
    root: Path, plan: Plan, tmp_path: Path
) -> None:
    (root / "JPEGImages/480p/ant/00003.jpg").write_bytes(b"no picture")
    run(root, plan, tmp_path / "out", shard=Shard(1, 2))
    last = run(root, plan, tmp_path / "out", shard=Shard(2, 2))
    assert set(last.failed) == {"ant"}
    assert last.not_scored


def test_two_runs_keep_out_of_one_folder(
    root: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam2_video.evaluation.locks.PATIENCE", 0.1)
    out = tmp_path / "out"
    with run_lock(out, None):
        for shard in (None, Shard(1, 2)):
            with pytest.raises(SinkError, match="another run is writing"):
                run(root, plan, out, shard=shard)
    with run_lock(out, Shard(1, 2)):
        with pytest.raises(SinkError, match="shard 1/2 is writing"):
            run(root, plan, out)
        with pytest.raises(SinkError, match="shard 1/2 is writing"):
            run(root, plan, out, shard=Shard(2, 3))
        with pytest.raises(SinkError, match="another run of shard 1/2"):
            run(root, plan, out, shard=Shard(1, 2))
        assert run(root, plan, out, shard=Shard(2, 2)).tracked == 2  # beside it
    assert run(root, plan, out).tracked == 2


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="expected NUMBER/COUNT"):
        Shard.parse(text)
    assert Shard.parse("2/4") == Shard(2, 4)


def test_threads_of_the_process_change_nothing(root: Path, plan: Plan, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            run(root, plan, tmp_path / str(threads))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert contents(tmp_path / "1/predictions") == contents(tmp_path / "2/predictions")


def test_truth_that_a_server_keeps_is_not_scored(root: Path, plan: Plan, tmp_path: Path) -> None:
    data = replace(open_davis(root), withheld="the server of toys keeps it")
    outcome = evaluate(data, plan, tmp_path / "out")
    assert outcome.not_scored == data.withheld
    assert outcome.failed == {}
    assert manifest(tmp_path / "out")["status"] == "predicted"
    assert (tmp_path / "out/report.html").is_file()


def test_memory_of_a_gpu_is_measured_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    def allocated(device: torch.device) -> int:
        asked.append(device)
        return 3 * 2**20

    monkeypatch.setattr(torch.cuda, "max_memory_allocated", allocated)
    assert peak_gpu_mib(torch.device("cpu")) == 0 and not asked
    assert peak_gpu_mib(torch.device("cuda:1")) == 3 and asked == [torch.device("cuda:1")]


def test_overlapping_masks_have_a_file_each(root: Path, plan: Plan, tmp_path: Path) -> None:
    data = replace(open_davis(root, sequences=["ant"]), overlapping=True)
    outcome = evaluate(data, replace(plan, overlapping=True), tmp_path)
    assert outcome.evaluation is not None
    found = [f"{k:03d}/{frame:05d}.png" for k in (1, 2) for frame in range(6)]
    assert list(contents(tmp_path / "predictions/ant")) == found


def test_what_no_sequence_can_do_without_ends_the_run_at_once(root: Path, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no known model"):
        run(root, replace(plan, model=replace(plan.model, model="nothing")), tmp_path / "out")
    with pytest.raises(ConfigError, match="no protocol"):
        run(root, replace(plan, protocol="nothing"), tmp_path / "out")


def test_a_full_disk_ends_the_run(
    root: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise SinkError("the disk is full")

    monkeypatch.setattr("sam2_video.evaluation.predictions.PredictionWriter.write", full)
    with pytest.raises(SinkError, match="disk is full"):
        run(root, plan, tmp_path / "out")
    assert not list((tmp_path / "out/predictions").iterdir())


def test_workers_are_the_callers(root: Path, plan: Plan, tmp_path: Path) -> None:
    """The model is loaded once for several runs of one pool."""
    with OneProcess() as workers:
        run(root, plan, tmp_path / "mask", workers=workers)
        model = workers._worker._loaded[1]
        run(root, replace(plan, protocol="click1"), tmp_path / "click1", workers=workers)
        assert workers._worker._loaded[1] is model
    assert contents(tmp_path / "mask/predictions") != contents(tmp_path / "click1/predictions")


def test_clips_travel_to_workers(root: Path) -> None:
    import pickle

    clip = open_davis(root).sequences[0]
    assert isinstance(clip, Clip)
    copy = pickle.loads(pickle.dumps(clip))
    assert (copy.image(3) == clip.image(3)).all()
