"""How this package says that something of the reference is missing, or means nothing here."""

from __future__ import annotations

import logging

from sam2_video.types import Sam2VideoError

logger = logging.getLogger("sam2_video.compat")
_said: set[str] = set()


class CompatError(Sam2VideoError, NotImplementedError):
    """The reference has this and `sam2_video.compat` does not; the message says what to do instead."""


def explain(text: str) -> None:
    """Log, once in a process, that an argument was accepted and changes nothing."""
    _log_once(logging.INFO, text)


def warn(text: str) -> None:
    """Log, once in a process, that results may differ from the reference's."""
    _log_once(logging.WARNING, text)


def _log_once(level: int, text: str) -> None:
    if text not in _said:
        _said.add(text)
        logger.log(level, text)
