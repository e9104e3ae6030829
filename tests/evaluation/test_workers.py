"""Processes and actors: jobs come to their end whatever happens to who does them."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sam2_video.evaluation import ray_runner
from sam2_video.evaluation import workers as worker_module
from sam2_video.evaluation.ray_runner import RayWorkers
from sam2_video.evaluation.runner import evaluate
from sam2_video.evaluation.workers import TRIES, LocalWorkers, OneProcess, Progress
from sam2_video.types import DataError, Sam2VideoError
from tests.evaluation.small import SmallJob, contents, make_davis, open_davis, save_toy, toy_plan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def local() -> Iterator[LocalWorkers]:
    with LocalWorkers(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayWorkers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray leaves a token in the home folder
        with RayWorkers(count=2) as workers:
            yield workers


@pytest.fixture(params=["local", "cluster"])
def workers(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("weights") / "toy.safetensors")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """Data, and results of one process."""
    here = tmp_path_factory.mktemp("alone")
    make_davis(here / "data")
    evaluate(open_davis(here / "data"), toy_plan(weights), here / "out")
    return here


def test_a_job_whose_worker_dies_is_begun_anew(local: LocalWorkers, tmp_path: Path) -> None:
    jobs = [SmallJob("a", tmp_path), SmallJob("b", tmp_path, deaths=TRIES - 1), SmallJob("c", tmp_path)]
    told: list[str] = []
    advanced: list[int] = []
    found = {job.name: value for job, value in local.run(jobs, Progress(advanced.append, told.append))}
    assert found == {name: ("done", name) for name in "abc"}
    assert len(list(tmp_path.glob("b.*"))) == TRIES
    assert sum(text.startswith("b: ") and "begun anew" in text for text in told) == TRIES - 1
    assert sum(advanced) == 30  # what the dead had done does not count


def test_a_job_that_kills_every_worker_is_given_up(local: LocalWorkers, tmp_path: Path) -> None:
    jobs = [SmallJob("a", tmp_path, deaths=99), *(SmallJob(name, tmp_path) for name in "bcd")]
    found = {job.name: value for job, value in local.run(jobs, Progress())}
    assert found["a"][0] == "failed"
    assert f"{TRIES} times" in found["a"][1]
    assert len(list(tmp_path.glob("a.*"))) == TRIES
    assert {found[name] for name in "bcd"} == {("done", name) for name in "bcd"}


def test_local_deaths_say_what_killed_them(local: LocalWorkers, tmp_path: Path) -> None:
    told: list[str] = []
    list(local.run([SmallJob("a", tmp_path, deaths=1)], Progress(say=told.append)))
    assert told == ["a: its worker was ended by SIGKILL; it may have run out of memory; it is begun anew"]


def test_results_are_those_of_one_process(
    local: LocalWorkers, tmp_path: Path, weights: Path, alone: Path
) -> None:
    data = open_davis(alone / "data")
    outcome = evaluate(data, toy_plan(weights), tmp_path, workers=local)
    assert (outcome.tracked, outcome.failed) == (4, {})
    assert contents(tmp_path / "predictions") == contents(alone / "out/predictions")
    for table in ("scores.csv", "frames.csv"):
        assert (tmp_path / table).read_bytes() == (alone / "out" / table).read_bytes()


def test_a_worker_killed_in_the_middle_loses_nothing(
    workers: Any, tmp_path: Path, weights: Path, alone: Path
) -> None:
    """Of two local processes, and of two actors: the results are still those of one process."""
    told: list[str] = []
    killed: list[int] = []

    def kill(_: int) -> None:
        if not killed:
            killed.append(workers.pids[0])
            os.kill(killed[0], 9)

    progress = Progress(kill, told.append)
    data = open_davis(alone / "data")
    outcome = evaluate(data, toy_plan(weights), tmp_path, workers=workers, progress=progress)
    assert len(killed) == 1
    assert killed[0] not in workers.pids
    assert (outcome.tracked, outcome.failed) == (4, {})
    assert contents(tmp_path / "predictions") == contents(alone / "out/predictions")
    assert (tmp_path / "scores.csv").read_bytes() == (alone / "out/scores.csv").read_bytes()


# Last of those that share workers: it leaves them with work that nobody waits for.
def test_an_error_ends_the_run(tmp_path: Path) -> None:
    with LocalWorkers(1) as workers, pytest.raises(DataError, match="no room"):
        list(workers.run([SmallJob("a", tmp_path, error="no room")], Progress()))
    assert workers.pids == []


def test_an_error_in_an_actor_ends_the_run(cluster: RayWorkers, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no room"):
        list(cluster.run([SmallJob("a", tmp_path, error="no room")], Progress()))


def test_workers_that_cannot_begin_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2_video.evaluation.workers._serve", os._exit)  # takes no two arguments
    with LocalWorkers(1) as workers, pytest.raises(Sam2VideoError, match="before it began"):
        list(workers.run([SmallJob("a", tmp_path)], Progress()))


def test_one_process_gives_its_threads_back() -> None:
    import torch

    before = torch.get_num_threads()
    with OneProcess():
        torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before


class Ended:
    """A process that ended."""

    def __init__(self, exitcode: int) -> None:
        self.exitcode, self.pid = exitcode, 0

    def join(self, seconds: float | None = None) -> None:
        pass

    def terminate(self) -> None:
        pass

    def is_alive(self) -> bool:
        return False


@pytest.mark.parametrize(("exitcode", "tries"), [(1, 1), (-9, TRIES)])
def test_workers_that_end_before_they_begin(
    exitcode: int, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal may strike one and spare the next; what fails by itself will do so again."""
    begun: list[Ended] = []

    def start(self: LocalWorkers, device: str | None) -> worker_module._Process:
        ours, theirs = multiprocessing.Pipe()
        theirs.close()
        begun.append(Ended(exitcode))
        return worker_module._Process(begun[-1], ours, device)

    monkeypatch.setattr(LocalWorkers, "_start", start)
    with pytest.raises(Sam2VideoError, match="before it began"), LocalWorkers(1) as found:
        list(found.run([SmallJob("a", tmp_path)], Progress()))
    assert len(begun) == tries


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_an_address_where_nothing_listens_is_told_at_once(form: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        address = form.format(f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(Sam2VideoError, match=f"no Ray cluster to be had at {address}: .*ray status"):
            RayWorkers(address)._connect()  # entered, it would take the cluster of another test


def test_addresses_without_a_port_are_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something was connected to")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for address in (None, "auto", "local", "anyscale://cluster"):
        ray_runner._check_answers(address)
    with pytest.raises(AssertionError):
        ray_runner._check_answers("[::1]:6379")
