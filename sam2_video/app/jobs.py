"""The long job of a clip: a pass, or an export. One at a time; short jobs are done between its frames."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from sam2_video.app.errors import RequestError, told
from sam2_video.app.task import Task
from sam2_video.app.tracking import Observer, Stopped, visits
from sam2_video.app.worker import Worker
from sam2_video.session import Direction
from sam2_video.types import FrameResult

if TYPE_CHECKING:
    from sam2_video.app.work import Work


class Jobs:
    """Begins, stops and runs the long jobs of one `Work`. Any thread may call what has no underscore."""

    def __init__(self, work: Work, worker: Worker, total: int) -> None:
        """`total`: frames of the last pass, which waits to be gone on with if it was broken off."""
        self._work, self._worker = work, worker
        self.task: Task | None = None
        self._total = total
        self._coming = work.session.pending
        if work.session.pending.legs:
            self.task = self._rest("paused")

    @property
    def is_busy(self) -> bool:
        return self.task is not None and self.task.state == "running"

    def track(self, direction: Direction, start: int | None, stop: int | None) -> None:
        """Begin a pass. Raises RequestError while another job runs, PromptError for a pass that cannot be."""
        session = self._work.session

        def begin() -> None:
            self._check_idle()
            session.propagate(direction, start, stop)  # checked now, and pending until it is carried on
            self._total = visits(session.pending, self._work.count)
            self._work.commit([], {"total": self._total})
            self._start(Task("track", self._total))

        self._worker.do(begin)

    def resume(self) -> None:
        """Go on with a pass that was paused, that failed, or that the end of a server broke off.

        Raises RequestError.
        """

        def begin() -> None:
            task = self.task
            if task is not None and task.kind == "track" and task.state == "running":
                task.wanted = "running"  # it was about to pause
                return
            self._check_idle()
            if not self._work.session.pending.legs:
                raise RequestError("no tracking is paused", 409)
            self._start(self._rest("running"))

        self._worker.do(begin)

    def stop(self, wanted: Literal["paused", "cancelled"]) -> None:
        """Have the job end before its next frame; what was done is kept. Raises RequestError."""
        task = self.task
        if task is None or task.is_over or (wanted == "paused" and task.kind != "track"):
            raise RequestError("there is nothing to stop", 409)
        task.wanted = wanted
        if task.state == "paused" or not task.has_begun:  # nobody is at it who would look
            self._worker.do(lambda: self._put_down(task, wanted))

    def end(self) -> None:
        """Have whatever runs end before its next frame: a pass can be gone on with, an export cannot."""
        with suppress(RequestError):  # it has ended by itself
            self.stop("paused" if self.task is not None and self.task.kind == "track" else "cancelled")

    def begin(self, task: Task, run: Callable[[], str]) -> None:
        """Begin another long job, which returns a message. Raises RequestError while one runs."""

        def begin() -> None:
            self._check_idle()
            self._queue(task, run)

        self._worker.do(begin)

    def turn(self, task: Task, frame: int) -> None:
        """Called by a long job after each frame: others get their turn. Raises Stopped where it is to end."""
        task.step(frame)
        self._tell()
        self._worker.give_way()
        if task.wanted in ("paused", "cancelled"):
            raise Stopped(task.wanted)

    def _check_idle(self) -> None:
        if self.task is not None and self.is_busy:
            raise RequestError(f"this clip is busy ({self.task.kind}): wait for it, or cancel it", 409)

    def _rest(self, state: Literal["paused", "running"]) -> Task:
        """What is left of the last pass as a task."""
        left = visits(self._work.session.pending, self._work.count)
        total = max(left, self._total)
        return Task("track", total, total - left, state)

    def _start(self, task: Task) -> None:
        self._queue(task, lambda: self._walk(task))

    def _queue(self, task: Task, run: Callable[[], str]) -> None:
        self.task = task
        self._worker.ask(lambda: self._attend(task, run), long=True)
        self._tell()

    def _attend(self, task: Task, run: Callable[[], str]) -> None:
        """Run a long job, whatever it comes to."""
        if task.state != "running":  # put down while it waited behind another clip's
            return
        task.has_begun = True
        try:
            if task.wanted in ("paused", "cancelled"):
                raise Stopped(task.wanted)
            self._end(task, "done", run())
        except Stopped as stop:
            self._end(task, stop.state)
        except Exception as error:
            self._end(task, "failed", told(error)[1])

    def _put_down(self, task: Task, wanted: Literal["paused", "cancelled"]) -> None:
        """End a job that waits; the worker's thread alone knows whether it still does."""
        if task.state == "paused" or not (task.has_begun or task.is_over):
            self._end(task, wanted)

    def _end(
        self, task: Task, state: Literal["paused", "done", "cancelled", "failed"], message: str = ""
    ) -> None:
        if task.kind == "track" and state == "cancelled":
            self._work.session.give_up()
            self._work.commit([])
        task.end(state, message)
        self._tell()
        self._work.publish()

    def _walk(self, task: Task) -> str:
        """Track what is left of the pass; each frame is kept before it is told."""
        work, observer = self._work, Observer(self._work.session)
        work.session.while_hidden = lambda: self._pass_by(task)
        self._coming = work.session.pending
        for result in work.session.carry_on():
            self._pass_by(task, observer, result)
        return ""

    def _pass_by(
        self, task: Task, observer: Observer | None = None, result: FrameResult | None = None
    ) -> None:
        """Keep what was found on a frame. On the way back of a pass in both directions there is no result."""
        frame, self._coming = self._coming.legs[0].first, self._work.session.pending
        changed = self._work.commit([frame])
        if observer is not None and result is not None and (changed or any(result.prompted)):
            self._work.note_notices(frame, observer.notices(result))
        if changed:
            self._work.news.tell("frame", {"frame": frame})
        self.turn(task, frame)

    def _tell(self) -> None:
        if self.task is not None:
            self._work.news.tell("task", self.task.as_json())
