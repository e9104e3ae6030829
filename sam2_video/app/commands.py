"""What a user does to a session, so that it can be undone and done again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from sam2_video.history import STEPS
from sam2_video.session import VideoSession
from sam2_video.types import PromptError


@dataclass(frozen=True)
class Command:
    """One call of a session: `kind` is the name of its method, `said` what it is given."""

    kind: str  # "prompt", "clear" or "remove"
    said: dict[str, Any]

    @property
    def object_id(self) -> int:
        return int(self.said["object_id"])

    def run(self, session: VideoSession) -> None:
        getattr(session, self.kind)(**self.said)


@dataclass
class Commands:
    """The last commands, as far back as a session can undo; the history ends with the server."""

    done: deque[Command] = field(default_factory=lambda: deque(maxlen=STEPS))
    undone: list[Command] = field(default_factory=list)

    def run(self, command: Command, session: VideoSession) -> None:
        """Do something new: what was undone before cannot be done again. Raises PromptError."""
        command.run(session)
        self.done.append(command)
        self.undone.clear()

    def undo(self, session: VideoSession) -> Command:
        """Take the last command back. Raises PromptError where there is none."""
        if not self.done:
            raise PromptError("there is nothing to undo since this clip was opened")
        session.undo()
        command = self.done.pop()
        self.undone.append(command)
        return command

    def redo(self, session: VideoSession) -> Command:
        """Do again what was undone last. Raises PromptError where there is nothing."""
        if not self.undone:
            raise PromptError("there is nothing to do again")
        self.undone[-1].run(session)
        command = self.undone.pop()
        self.done.append(command)
        return command
