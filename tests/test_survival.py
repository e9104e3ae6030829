"""`track` survives: killed at any point it goes on and ends with the same files; nobody else writes there."""

from __future__ import annotations

import errno
import json
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sam2_video.checkpoint import save_weights
from sam2_video.cli import main
from sam2_video.cli_journal import Journal
from sam2_video.sinks import ResultLog
from sam2_video.sinks.registry import SINKS
from tests import survival_server
from tests.clips import write_clip
from tests.toys import TOY_OVERRIDES, toy_model

SEED = 7
FRAMES = 8
KILLS = {"start": 5, "tracking": 10, "finishing": 5}
RUNS: dict[str, list[str]] = {
    "forward": ["{folder}", "--click", "0:1:20,20", "--box", "3:2:5,5,40,40"],
    "backward": ["{folder}", "--click", "6:1:20,20", "--direction", "backward"],
    "both": ["{folder}", "--click", "5:3:20,20", "--box", "2:9:5,5,40,40", "--direction", "both"],
    "strides": ["{video}", "--click", "1:1:20,20", "--stride", "2", "--direction", "both"],
}
SAVES = [
    "masks,cutout,overlay,objects,rle",
    "masks,overlay,green,rle",
    "masks,overlay,objects",
    "cutout,overlay",
]


@dataclass(frozen=True)
class Clips:
    folder: Path
    video: Path
    model: Path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    root = tmp_path_factory.mktemp("clips")
    folder = root / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for frame in range(FRAMES):
        picture = rng.integers(0, 80, (48, 64, 3), dtype=np.uint8)
        picture[10:30, 10 + frame : 30 + frame] = 220
        Image.fromarray(picture).save(folder / f"{frame:05d}.png")
    metadata = {"sam2_video.config": "nano", "sam2_video.overrides": json.dumps(TOY_OVERRIDES)}
    save_weights(toy_model(), root / "toy.safetensors", metadata)
    return Clips(folder, write_clip(root / "clip.mp4", FRAMES), root / "toy.safetensors")


def command(clips: Clips, name: str) -> list[str]:
    words = [word.format(**vars(clips)) for word in RUNS[name]]
    save = SAVES[list(RUNS).index(name)]
    return ["track", *words, "--save", save, "--model", str(clips.model), "--threads", "1"]


def files_of(out: Path) -> dict[str, bytes]:
    """Every file of a finished run, hidden ones too; of run.json all but the time."""
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    record = json.loads(found["run.json"])
    assert record.pop("seconds") >= 0
    return found | {"run.json": json.dumps(record).encode()}


def is_complete(out: Path) -> bool:
    return (out / "run.json").exists() and not (out / ".run").exists()


@dataclass
class Undisturbed:
    """What a run does that nobody kills."""

    command: list[str]
    files: dict[str, bytes]
    ended: survival_server.Ended

    def moment(self, stage: str, chance: random.Random) -> int:
        """A call in one stage of this run."""
        ended = self.ended
        borders = (1, ended.started, ended.tracked, int(ended.all * 0.998))
        place = list(KILLS).index(stage)
        return chance.randrange(borders[place], borders[place + 1])


@pytest.fixture(scope="module")
def undisturbed(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Undisturbed]:
    found = {}
    for name in RUNS:
        words, out = command(clips, name), tmp_path_factory.mktemp(name) / "out"
        ended = survival_server.run([*words, "--out", str(out)], count=True)
        assert ended.code == 0 and 0 < ended.started < ended.tracked < ended.all
        found[name] = Undisturbed(words, files_of(out), ended)
    return found


@pytest.mark.slow
def test_killed_at_any_point_a_run_ends_with_the_same_files(
    undisturbed: dict[str, Undisturbed], tmp_path: Path
) -> None:
    chance, same = random.Random(SEED), 0
    stages = [stage for stage, kills in KILLS.items() for _ in range(kills)]
    for k, stage in enumerate(stages):
        wanted = undisturbed[list(RUNS)[k % len(RUNS)]]
        out = tmp_path / f"{k}"
        words = [*wanted.command, "--out", str(out)]
        assert survival_server.run(words, wanted.moment(stage, chance)).code == -signal.SIGKILL
        if k % 3 == 0 and not is_complete(out):  # and once more on the way
            survival_server.run(words, wanted.moment("tracking", chance))
        if not is_complete(out):
            assert survival_server.run(words).code == 0
        same += files_of(out) == wanted.files
    assert (same, len(stages)) == (20, 20)


@pytest.mark.slow
def test_all_kinds_of_results_come_from_the_log_as_they_were(clips: Clips, tmp_path: Path) -> None:
    """A run that is killed once tracking is over writes nothing but what the log holds."""
    words = ["track", str(clips.video), "--click", "1:1:20,20", "--box", "3:7:5,5,40,40"]
    words += ["--save", ",".join(SINKS), "--model", str(clips.model), "--threads", "1", "--out"]
    ended = survival_server.run([*words, str(tmp_path / "a")], count=True)
    assert ended.code == 0
    assert survival_server.run([*words, str(tmp_path / "b")], ended.tracked + 50).code == -signal.SIGKILL
    for file in (tmp_path / "b").rglob("*"):
        if file.is_file() and ".run" not in file.parts:
            file.unlink()  # files of single frames as well
    assert survival_server.run([*words, str(tmp_path / "b")]).code == 0
    a, b = files_of(tmp_path / "a"), files_of(tmp_path / "b")
    assert len(a) > len(SINKS) and a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


# Other ends, in this process


class Call:
    """Runs the command line here, with the session saved after every result."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, words: list[str], *more: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as left:
            main([*words, *map(str, more)])
        output = self.capsys.readouterr()
        return SimpleNamespace(code=left.value.code or 0, out=output.out, err=output.err)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setattr("sam2_video.cli_journal.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("sam2_video.cli_journal.SAVE_SHARE", float("inf"))
    return Call(capsys)


@pytest.fixture
def words(clips: Clips, tmp_path: Path) -> list[str]:
    """A command whose results go to `tmp_path / "out"`."""
    save = ["--save", "masks,overlay,objects", "--model", str(clips.model), "--threads", "1"]
    return ["track", str(clips.folder), "--click", "1:1:20,20", *save, "--out", str(tmp_path / "out")]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def broken_off(call: Call, words: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that Ctrl-C ended at frame 5, after four results."""
    with monkeypatch.context() as patch:
        stop_at(5, KeyboardInterrupt(), patch)
        assert call(words).code == 130
    return Path(words[-1])


def test_a_name_without_contents_is_no_result(
    call: Call, words: list[str], broken_off: Path, tmp_path: Path
) -> None:
    """As a power cut may leave it."""
    masks = sorted((broken_off / "masks").iterdir())
    whole = masks[1].read_bytes()
    masks[1].write_bytes(b"")
    assert call(words).code == 0
    assert masks[1].read_bytes() == whole


def stop_at(frame: int, reason: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise while the log is written; tables and videos have got everything before."""
    append = ResultLog.append

    def appending(self: ResultLog, result: Any) -> None:
        if result.frame == frame:
            raise reason
        append(self, result)

    monkeypatch.setattr(ResultLog, "append", appending)


def expected(call: Call, words: list[str], tmp_path: Path) -> dict[str, bytes]:
    whole = tmp_path / "whole"
    assert call([*words[:-1], str(whole)]).code == 0
    return files_of(whole)


def test_ctrl_c_shows_what_was_found_and_the_rest_comes_later(
    call: Call, words: list[str], broken_off: Path, tmp_path: Path
) -> None:
    assert sorted(p.name for p in broken_off.iterdir()) == [
        *(".run", "masks", "objects.csv", "overlay.mp4", "run.json")
    ]
    assert len((broken_off / "objects.csv").read_text().splitlines()) == 1 + 4
    assert json.loads((broken_off / "run.json").read_text())["status"] == "interrupted"
    done = call(words)
    assert done.code == 0 and "going on with an unfinished run: 4 frames are done" in done.err
    assert files_of(broken_off) == expected(call, words, tmp_path)
    assert call(words).code == 2, "a finished run was done again unasked"


def test_files_of_single_frames_are_kept_and_missing_ones_made_again(
    call: Call, words: list[str], broken_off: Path, tmp_path: Path
) -> None:
    kept, lost = broken_off / "masks" / "00002.png", broken_off / "masks" / "00003.png"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    assert call(words).code == 0
    assert kept.stat().st_mtime_ns == before
    assert files_of(broken_off) == expected(call, words, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--stride", "2"], "--stride differs: 1 then, 2 now"),
        (["--click", "2:1:3,3"], "the prompts differs"),
        (["--save", "rle"], "--save differs"),
        (["--dtype", "bfloat16"], "--dtype differs: 'float32' then, 'bfloat16' now"),
        (["--threads", "2"], "--threads differs: 1 then, 2 now"),
        (["--direction", "both"], "--direction differs: 'forward' then, 'both' now"),
    ],
)
def test_another_command_is_refused_and_says_what_differs(
    call: Call, words: list[str], broken_off: Path, change: list[str], message: str
) -> None:
    before = {p: p.read_bytes() for p in broken_off.rglob("*") if p.is_file()}
    done = call(words, *change)
    assert done.code == 2 and done.err.count("\n") == 1
    assert message in done.err and "--overwrite" in done.err
    assert {p: p.read_bytes() for p in broken_off.rglob("*") if p.is_file()} == before


def test_another_command_may_overwrite(
    call: Call, words: list[str], broken_off: Path, tmp_path: Path
) -> None:
    for name in (".overlay.part.mp4", "masks/.00004.part.png"):  # what a kill leaves
        (broken_off / name).write_bytes(b"half")
    done = call(words, "--stop", 4, "--overwrite")
    assert done.code == 0 and "going on" not in done.err
    assert sorted(p.name for p in (broken_off / "masks").iterdir()) == ["00001.png", "00002.png", "00003.png"]
    assert not list(broken_off.rglob(".*"))


def test_the_same_command_goes_on_although_it_may_overwrite(
    call: Call, words: list[str], broken_off: Path
) -> None:
    assert "4 frames are done" in call(words, "--overwrite").err


def test_a_changed_clip_is_not_gone_on_with(
    call: Call, words: list[str], broken_off: Path, clips: Clips, tmp_path: Path
) -> None:
    picture = clips.folder / f"{FRAMES - 1:05d}.png"
    before = picture.read_bytes()
    try:
        Image.new("RGB", (64, 48)).save(picture)
        done = call(words)
        forced = call(words, "--overwrite")
    finally:
        picture.write_bytes(before)
    assert done.code == 2 and "frames is not the clip that this was saved from" in done.err
    assert "--overwrite begins anew" in done.err
    assert forced.code == 0 and "the run begins anew" in forced.err
    assert files_of(broken_off)["masks/00001.png"] and not (broken_off / ".run").exists()


def test_a_clip_that_changed_before_a_state_was_saved(
    call: Call, words: list[str], broken_off: Path, clips: Clips
) -> None:
    """Pictures of the longer clip would stay among the results of the shorter one."""
    (broken_off / ".run" / "session.sam2").unlink()
    late = [clips.folder / f"{frame:05d}.png" for frame in range(3, FRAMES)]
    before = {picture: picture.read_bytes() for picture in late}
    try:
        for picture in late:
            picture.unlink()
        done = call(words)
        kept = sorted(p.name for p in (broken_off / "masks").iterdir())
        forced = call(words, "--overwrite")
    finally:
        for picture, data in before.items():
            picture.write_bytes(data)
    assert done.code == 2 and "it has 3 frames, not 8; --overwrite begins anew" in done.err
    assert kept == [f"{frame:05d}.png" for frame in range(1, 5)]
    assert forced.code == 0 and "the run begins anew" in forced.err
    assert sorted(p.name for p in (broken_off / "masks").iterdir()) == ["00001.png", "00002.png"]


def test_weights_that_changed_before_a_state_was_saved(
    call: Call, words: list[str], broken_off: Path, clips: Clips
) -> None:
    (broken_off / ".run" / "session.sam2").unlink()
    before = clips.model.read_bytes()
    try:
        clips.model.write_bytes(before[:-4] + bytes(4))
        done = call(words)
    finally:
        clips.model.write_bytes(before)
    assert done.code == 2 and "other weights; --overwrite begins anew" in done.err
    assert call(words).code == 0


@pytest.mark.parametrize(
    ("file", "size"), [("session.sam2", 200), ("results.log", 200), ("results.log", 5), ("results.log", 0)]
)
def test_a_damaged_state_costs_time_and_nothing_else(
    call: Call, words: list[str], broken_off: Path, tmp_path: Path, file: str, size: int
) -> None:
    state = broken_off / ".run" / file
    state.write_bytes(state.read_bytes()[:size])
    done = call(words)
    assert done.code == 0 and "tracking starts over, and ends with the same results" in done.err
    assert file in done.err and "0 frames are done" in done.err
    assert files_of(broken_off) == expected(call, words, tmp_path)


def test_a_damaged_record_of_the_command_is_told(call: Call, words: list[str], broken_off: Path) -> None:
    (broken_off / ".run" / "command.json").write_text("{")
    done = call(words)
    assert done.code == 2 and "command.json cannot be read" in done.err and "--overwrite" in done.err
    assert call(words, "--overwrite").code == 0


def test_a_full_disk_while_logging_loses_nothing(
    call: Call, words: list[str], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam2_video.sinks import result_log

    write, room = result_log._write_all, [4]

    def fill(file: Any, data: bytes) -> None:
        if not room[0]:
            write(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= 1
        write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(result_log, "_write_all", fill)
        done = call(words)
    assert done.code == 2 and "No space left" in done.err and "make room" in done.err
    assert json.loads((out / "run.json").read_text())["frames"] == 3
    assert "3 frames are done" in call(words).err
    assert files_of(out) == expected(call, words, tmp_path)


def test_a_full_disk_while_saving_the_session_loses_nothing(
    call: Call, words: list[str], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Journal.save

    def fail(self: Journal, session: Any) -> None:
        if len(self.results) == 3:
            with monkeypatch.context() as patch:
                patch.setattr("sam2_video.saved.os.fsync", full)
                save(self, session)
        save(self, session)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "save", fail)
        assert "No space left" in call(words).err
    assert "2 frames are done" in call(words).err
    assert files_of(out) == expected(call, words, tmp_path)


def test_threads_are_those_that_the_run_began_with(
    call: Call, words: list[str], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = words.index("--threads")
    del words[place : place + 2]
    monkeypatch.setattr("sam2_video.cli_threads.SMALL", 0)
    before, used = torch.get_num_threads(), set()
    append = ResultLog.append
    monkeypatch.setattr(
        ResultLog, "append", lambda *these: (used.add(torch.get_num_threads()), append(*these))
    )
    try:
        with monkeypatch.context() as patch:
            stop_at(4, KeyboardInterrupt(), patch)
            torch.set_num_threads(2)
            assert call(words).code == 130
        torch.set_num_threads(1)
        used.clear()
        done = call(words)
        assert used == {2} and torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert done.code == 0 and "going on with 2 CPU threads" in done.err


def test_small_models_round_alike_however_many_threads_look_ahead(
    call: Call, words: list[str], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = words.index("--threads") + 1
    words[place] = "3"
    before = torch.get_num_threads()
    try:
        with monkeypatch.context() as patch:
            stop_at(5, KeyboardInterrupt(), patch)
            assert call(words).code == 130
            assert json.loads((out / ".run" / "command.json").read_text())["threads"] == 1
        assert call(words).code == 0
        words[place] = "1"
        whole, found = expected(call, words, tmp_path), files_of(out)
    finally:
        torch.set_num_threads(before)
    del whole["run.json"], found["run.json"]
    assert found == whole


def test_other_versions_are_told(call: Call, words: list[str], broken_off: Path) -> None:
    file = broken_off / ".run" / "command.json"
    record = json.loads(file.read_text())
    record["versions"]["torch"] = "1.0"
    file.write_text(json.dumps(record))
    assert f"torch 1.0 -> {torch.__version__}".partition("+")[0] in call(words).err


def test_states_are_saved_seldom_where_they_are_large(
    call: Call, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam2_video.cli_journal.SAVE_SHARE", 1e-9)
    saved = []
    save = Journal.save
    monkeypatch.setattr(Journal, "save", lambda *these: saved.append(save(*these)))
    assert call(words).code == 0
    assert len(saved) == 2  # the first time nobody knows what it costs; the other is the last


# Two runs and one folder


def test_two_runs_in_one_folder_refuse_each_other(call: Call, words: list[str], out: Path) -> None:
    with survival_server.running([*words]) as other:
        done = call(words)
        assert done.code == 2 and f"another run is writing into {out}" in done.err
        assert call(["segment", words[1] + "/00000.png", "--click", "5,5", "--out", str(out)]).code == 2
        assert call(["demo", "--out", str(out)]).code == 2
        other.kill()
        other.join()
    assert call(words).code == 0, "the lock of a dead process was believed"


def test_a_run_leaves_no_lock_behind(call: Call, words: list[str], out: Path) -> None:
    assert call(words, "--stop", "wrong").code == 2 and not out.exists()
    assert call(words, "--click", "1:1:500,500").code == 2
    assert list(out.iterdir()) == []
    assert call(words).code == 0 and not (out / ".run").exists()
