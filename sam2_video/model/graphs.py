"""Functions of tensors, replayed.

On a CUDA device a frame is a thousand small kernels, and asking for each costs more than running it. Recorded
once as a CUDA graph, all of them are asked for at once. A graph reads and writes where it did when it was
recorded, so that what goes in is copied there first. It holds for one layout of its arguments: a clip changes
layout for some frames, then no more.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sam2_video.model.derived import Derived

Tensors = tuple[Tensor, ...]
Function = Callable[[Hashable, Tensors], Tensors]
Record = Callable[[Callable[[], Tensors], torch.device], tuple[Callable[[], None], Tensors]]

MOST_GRAPHS = 4  # kept: each holds the activations of its batch
PATIENCE = 2  # calls of a layout among the last RECENT before it is recorded: first frames change it
RECENT = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recorded:
    """A graph with the places that it reads and writes."""

    inputs: Tensors
    replay: Callable[[], None]
    outputs: Tensors

    def run(self, inputs: Tensors) -> Tensors:
        """Copy what goes in, and run."""
        by_type: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for place, value in zip(self.inputs, inputs, strict=True):
            places, values = by_type.setdefault(value.dtype, ([], []))
            places.append(place)
            values.append(value)
        for places, values in by_type.values():  # in few kernels where all are of one type
            torch._foreach_copy_(places, values)
        self.replay()
        return self.outputs


class Replayed:
    """Calls `function(kind, tensors)`; layouts that come again are recorded, and then replayed.

    What a call returns holds until the next one. `kind` and the shapes, types and strides of the tensors are
    the layout; `weights` is asked for something that changes when graphs no longer do what the function does.
    Where recording fails, which is said once, everything is run as it is.
    """

    def __init__(
        self, function: Function, *, record: Record | None, weights: Callable[[], Hashable] = lambda: None
    ) -> None:
        """`record` None: nothing is recorded."""
        self._function = function
        self._record = record
        self._weights = weights
        self._known_weights: Hashable = None
        self._graphs: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._recent: deque[Hashable] = deque(maxlen=RECENT)
        self._lock = threading.RLock()  # sessions in threads share the places that graphs read
        self.replays = 0

    @property
    def records(self) -> bool:
        """May a call be a replay?"""
        return self._record is not None

    def held(self) -> AbstractContextManager[Any]:
        """To be held from a call until its outcome was copied."""
        return self._lock if self.records else nullcontext()

    def __call__(self, kind: Hashable, tensors: Tensors) -> Tensors:
        if self._record is None:
            return self._function(kind, tensors)
        with self._lock:
            graph = self._graph(kind, tensors)
            if graph is None:
                return self._function(kind, tensors)
            self.replays += 1
            return graph.run(tensors)

    def _graph(self, kind: Hashable, tensors: Tensors) -> Recorded | None:
        """The graph of a layout, recorded now where it is due."""
        weights = self._weights()
        if weights != self._known_weights:
            self._graphs.clear()
            self._known_weights = weights
        layout = (kind, *((t.shape, t.dtype, t.stride()) for t in tensors))
        if layout in self._graphs:
            self._graphs.move_to_end(layout)
            return self._graphs[layout]
        due = self._recent.count(layout) >= PATIENCE
        self._recent.append(layout)
        if not due:
            return None
        while len(self._graphs) >= MOST_GRAPHS:
            self._graphs.popitem(last=False)
        graph = self._recorded(kind, tensors)
        if graph is not None:
            self._graphs[layout] = graph
        return graph

    def _recorded(self, kind: Hashable, tensors: Tensors) -> Recorded | None:
        assert self._record is not None
        places = tuple(torch.empty_like(tensor).copy_(tensor) for tensor in tensors)
        try:
            replay, outputs = self._record(lambda: self._function(kind, places), tensors[0].device)
        except Exception as error:  # of a driver, an allocator, an operator that cannot be recorded
            self._record = None
            self._graphs.clear()
            _log.warning("CUDA graphs are not used, frames take longer: recording failed (%s)", error)
            return None
        return Recorded(places, replay, outputs)


class CudaRecorder:
    """Records CUDA graphs, all on one stream of its own and in one pool of memory."""

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None

    def __call__(
        self, function: Callable[[], Tensors], device: torch.device
    ) -> tuple[Callable[[], None], Tensors]:
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
        current = torch.cuda.current_stream(device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            function()  # what is made when it is first asked for must not be part of the recording
        current.wait_stream(self._stream)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            outputs = function()
        return graph.replay, outputs


def weights_state(
    model: nn.Module, parameters: Sequence[Tensor], derived: Sequence[Derived[Any]]
) -> Hashable:
    """Something that changes when parameters are written to, moved or cast, or derived values are let go.

    A graph reads both by their addresses, and keeps neither alive.
    """
    versions = sum(0 if p.is_inference() else p._version for p in parameters)
    generations = sum(value.generation for value in derived)
    return versions, generations, model.training, parameters[0].data_ptr(), parameters[-1].data_ptr()
