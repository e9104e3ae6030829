"""What the handlers of requests share: reading bodies, checking values, doing work off the event loop."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from sam2_video.app.errors import RequestError, told
from sam2_video.postprocess import decode_rle
from sam2_video.session import Size

LARGEST_BODY = 32 * 2**20  # bytes of JSON; a painted mask takes the most
MOST_MASK_PIXELS = 2**28
Handler = Callable[[Request], Awaitable[Response]]


def answering(work: Callable[..., Any], *, body: bool = False, status: int = 200) -> Handler:
    """A handler that has `work(request)`, with `body` also the JSON of it, done in a thread of the pool.

    What comes back is a response, or what JSON can say.
    """

    async def handler(request: Request) -> Response:
        given = (await read_json(request),) if body else ()
        result = await run_in_threadpool(work, request, *given)
        if isinstance(result, Response):
            return result
        return await run_in_threadpool(JSONResponse, result, status)  # encoding may take a while, too

    return handler


async def read_json(request: Request) -> dict[str, Any]:
    """The body of a request, an object; nothing counts as an empty one. Raises RequestError."""
    parts, length = [], 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > LARGEST_BODY:
            raise RequestError("the request is too large", 413)
        parts.append(chunk)
    try:
        said = json.loads(b"".join(parts) or b"{}")
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the request is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise RequestError("the request must be a JSON object")
    return said


def whole(said: Mapping[str, Any], key: str, *, needed: bool = False) -> int | None:
    """A whole number of a request. Raises RequestError."""
    value = said.get(key)
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 17:
        value = int(value)  # from an address
    if value is None and not needed:
        return None
    if type(value) is not int:
        raise RequestError(f"{key} is {value!r}; expected a whole number")
    return value


def number(said: Mapping[str, Any], key: str) -> int:
    """A whole number that must be there. Raises RequestError."""
    value = whole(said, key, needed=True)
    assert value is not None
    return value


def text(said: Mapping[str, Any], key: str) -> str | None:
    """A text of a request. Raises RequestError."""
    value = said.get(key)
    if value is not None and not isinstance(value, str):
        raise RequestError(f"{key} is {value!r}; expected text")
    return value


def named(said: Mapping[str, Any], key: str) -> str:
    """A text that must be there. Raises RequestError."""
    value = text(said, key)
    if value is None:
        raise RequestError(f"{key} is missing; expected text")
    return value


def mask_of(said: Any, size: Size) -> NDArray[np.bool_]:
    """A painted mask at the size of the frame, from run lengths of any size. Raises RequestError."""
    import cv2

    try:
        height, width = (int(side) for side in said["size"])
        if min(height, width) < 1 or height * width > MOST_MASK_PIXELS:
            raise ValueError(f"a mask of {height} x {width}")
        mask = decode_rle({"size": [height, width], "counts": said["counts"]})
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RequestError(f"the mask cannot be read: {error}; expected size and counts") from error
    if (height, width) != size:
        mask = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return np.asarray(mask, bool)


async def on_error(request: Request, error: Exception) -> Response:
    """Every error as JSON."""
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)
    status, message = told(error)
    return JSONResponse({"error": message}, status)
