"""Errors of the app, and what a page is told of any error."""

from __future__ import annotations

import logging

from sam2_video.types import (
    CheckpointError,
    ConfigError,
    DataError,
    PromptError,
    Sam2VideoError,
    SinkError,
    SourceError,
)

_log = logging.getLogger(__name__)


class RequestError(Sam2VideoError):
    """A request that cannot be answered; `status` as HTTP counts."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


_STATUS = {
    PromptError: 400,
    SourceError: 422,
    DataError: 422,
    CheckpointError: 409,
    ConfigError: 409,
    SinkError: 507,
}


def told(error: BaseException) -> tuple[int, str]:
    """The status and the message of an error; where it comes from goes to the log, not to the page."""
    if isinstance(error, RequestError):
        return error.status, str(error)
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return status, str(error)
    if isinstance(error, Sam2VideoError):
        return 409, str(error)
    _log.error("a request failed", exc_info=error)
    return 500, f"the server failed ({type(error).__name__}); its log says where"
