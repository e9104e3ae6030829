"""News for pages that look at a clip: told by the worker's thread, read by as many pages as there are."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

MOST = 200  # news that wait for a slow page; older news of frames are left out first
_END = "end"
QUIET = 10.0  # seconds without news after which a page is told that the server is there


class Listener:
    """What one page has not read yet. Of "session" and "task" only the latest counts."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news: deque[tuple[str, Any]] = deque(maxlen=MOST)
        self._arrived = asyncio.Event()

    def tell(self, kind: str, content: Any) -> None:
        """Say something; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._put, kind, content)
        except RuntimeError:  # the server's loop has ended
            pass

    def _put(self, kind: str, content: Any) -> None:
        if kind != "frame":
            stale = [news for news in self._news if news[0] == kind]
            for news in stale:
                self._news.remove(news)
        self._news.append((kind, content))
        self._arrived.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield news as server-sent events, until the clip is closed."""
        while True:
            while self._news:
                kind, content = self._news.popleft()
                if kind == _END:
                    return
                yield f"event: {kind}\ndata: {json.dumps(content)}\n\n".encode()
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), QUIET)
            except asyncio.TimeoutError:
                yield b": still here\n\n"


class News:
    """Everybody who listens to one clip."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def tell(self, kind: str, content: Any) -> None:
        """Say something to all of them; from any thread."""
        for listener in list(self._listeners):
            listener.tell(kind, content)

    def join(self, listener: Listener) -> None:
        self._listeners.append(listener)

    @property
    def is_followed(self) -> bool:
        """Does anybody listen?"""
        return bool(self._listeners)

    def end(self) -> None:
        """There is no more to come: the clip is closed."""
        self.tell(_END, None)

    def leave(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)
