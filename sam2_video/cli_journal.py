"""What makes `track` survive any end: the command, the results and the session, kept in a hidden folder.

OUT/.run holds `command.json` (what was asked for), `results.log` (every result so far) and `session.sam2`
(the session after some of these results, see `saved`). The same command goes on from there: results that came
after the session was saved are found again. What single files hold, videos and tables, is written anew from
the log, so no writer needs to know how to go on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.saved_state import Field
from sam2_video.types import CheckpointError, DataError, SinkError

if TYPE_CHECKING:
    from sam2_video.saved import SavedSession
    from sam2_video.session import VideoSession
    from sam2_video.sinks import ResultLog
    from sam2_video.sources import VideoSource

VERSION = 1
SAVE_SECONDS = 5.0  # between two states of a session; a crash costs this much work
SAVE_SHARE = 0.05  # of the time, at most: large states are saved less often
# What a difference between two commands is called, where it is not the name of an option.
WORDS = {
    "overrides": "KEY=VALUE",
    "source": "SOURCE",
    "prompts": "the prompts",
    "mask_checksums": "what the masks of prompts hold",
}
Say = Callable[[str], None]
SILENT = {"overwrite"}  # says nothing about results


class Journal:
    """The hidden folder of one run. Used while the folder is locked."""

    def __init__(self, hidden: Path) -> None:
        self._command = hidden / "command.json"
        self._results = hidden / "results.log"
        self._session = hidden / "session.sam2"
        # Removed in this order, what is left at any moment is never taken for more than it is.
        self._files = (self._session, self._results, self._command)
        self._log: ResultLog | None = None
        self.seconds = 0.0  # that earlier parts of this run took
        self._began = self._saved_at = time.perf_counter()
        self._cost = 0.0

    @property
    def results(self) -> ResultLog:
        """Every result so far, once `start_log` or `go_on` has opened the log."""
        assert self._log is not None
        return self._log

    @property
    def is_unfinished(self) -> bool:
        """Is there a run that was not finished?"""
        return self._command.is_file()

    def goes_on(self, command: Mapping[str, Any], overwrite: bool, out: Path) -> bool:
        """Does this command go on with the unfinished run, that is, is it the same?

        Raises SinkError for another one, unless that may overwrite.
        """
        if not self.is_unfinished:
            return False
        differences: list[str] = []
        try:
            differences += _differences(self._record()["command"], json.loads(json.dumps(command)))
        except DataError as error:
            differences.append(str(error))
        if differences and not overwrite:
            raise SinkError(
                f"{out} holds an unfinished run of another command: {'; '.join(differences)}. Repeat that "
                "command to go on with it, choose another --out, or --overwrite it"
            )
        return not differences and self._results.is_file()

    def begin(self, command: Mapping[str, Any], made_of: Mapping[str, Any]) -> None:
        """Forget an unfinished run and note what this one is, and made of. Raises SinkError."""
        from torch import get_num_threads

        from sam2_video.sinks.base import remove, write_whole
        from sam2_video.sinks.run_json import versions

        self.close()
        for file in self._files:
            remove(file)
        record = {
            "version": VERSION,
            "command": command,
            "made_of": made_of,
            "threads": get_num_threads(),
            "versions": versions(),
        }
        write_whole(self._command, json.dumps(record, indent=1).encode())

    def start_log(self) -> None:
        """Begin the log; from now on the run can be gone on with. Raises SinkError."""
        from sam2_video.sinks import ResultLog

        self._log = ResultLog(self._results)

    def check(self, source: VideoSource, made_of: Mapping[str, Any]) -> None:
        """Raise SourceError or CheckpointError where clip or weights are not those that the run began with.

        What it found may be among the results although no session was saved yet.
        """
        from sam2_video.fingerprint import check_clip

        began = self._record()["made_of"]
        check_clip(source, began["clip"])
        if began["weights"] != made_of["weights"]:
            raise CheckpointError("this run began with other weights")

    def go_on(self, threads: int | None, say: Say) -> SavedSession | None:
        """Open the log, cut to what the saved session covers; that session, None where tracking starts over.

        Sets the number of threads that the run began with, unless it was asked for: another one rounds
        differently.
        """
        from torch import get_num_threads, set_num_threads

        from sam2_video.saved import read_saved
        from sam2_video.sinks import ResultLog

        record = self._record()
        if threads is None and record["threads"] != get_num_threads():
            set_num_threads(record["threads"])
            say(f"going on with {record['threads']} CPU threads, as this run began: others round differently")
        saved = None
        try:
            self._log = ResultLog(self._results, resume=True)
            if self._session.is_file():
                saved = read_saved(self._session)
                self._take_over(saved)
        except DataError as error:
            say(f"{error}; tracking starts over, and ends with the same results")
            saved = None
        if self._log is None:
            self._log = ResultLog(self._results)
        if saved is None:
            self.results.cut(0)
            self.seconds = 0.0
        say(f"going on with an unfinished run: {len(self.results)} frames are done")
        self._warn_of_versions(record["versions"], say)
        return saved

    def _take_over(self, saved: SavedSession) -> None:
        """Cut the log to what a session covers. Raises DataError where it does not reach that far."""
        note = Field(dict(saved.note), "note")
        covered = note["results"].integer(0)
        if covered > len(self.results):
            raise DataError(f"{self._results} lacks results that {self._session.name} was saved after")
        self.results.cut(covered)
        self.seconds = note["milliseconds"].integer(0) / 1000

    def _warn_of_versions(self, before: Mapping[str, str], say: Say) -> None:
        from sam2_video.sinks.run_json import versions

        other = [
            f"{name} {before.get(name)} -> {now}"
            for name, now in versions().items()
            if before.get(name) != now
        ]
        if other and len(self.results):
            say(f"other versions compute the rest, which may differ in the last bits: {', '.join(other)}")

    def save_sometimes(self, session: VideoSession) -> None:
        """Save the session if the last time is long enough ago. Raises SinkError."""
        if time.perf_counter() - self._saved_at >= max(SAVE_SECONDS, self._cost / SAVE_SHARE):
            self.save(session)

    def save(self, session: VideoSession) -> None:
        """Save the session as it stands after the results so far. Raises SinkError."""
        began = time.perf_counter()
        self.results.sync()  # first: a session must never be ahead of the log
        spent = round(1000 * (self.seconds + began - self._began))
        note = {"results": len(self.results), "milliseconds": spent}
        session.save(self._session, note=note)
        self._saved_at = time.perf_counter()
        self._cost = self._saved_at - began

    def close(self) -> None:
        """Close the log; what was written stays."""
        if self._log is not None:
            self._log.close()

    def finish(self) -> None:
        """Remove everything: the run is complete."""
        from sam2_video.sinks.base import remove

        self.close()
        for file in self._files:
            remove(file)

    def _record(self) -> Mapping[str, Any]:
        """What `begin` noted. Raises DataError."""
        try:
            record = json.loads(self._command.read_text(encoding="utf-8"))
            if record["version"] != VERSION:
                raise ValueError(f"version {record['version']}, expected {VERSION}")
            return {key: record[key] for key in ("command", "made_of", "threads", "versions")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self._command} cannot be read ({error})") from error


def _differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """Every value that two commands do not share, by the name of its option."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            if name not in SILENT:
                yield from _differences(before.get(name), now.get(name), name)
    elif before != now:
        word = WORDS.get(key, f"--{key.replace('_', '-')}")
        values = "" if isinstance(before, list | dict) else f": {before!r} then, {now!r} now"
        yield f"{word} differs{values}"
