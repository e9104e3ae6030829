"""How trackers are put to the test: what they are told of a clip, and when.

protocol = make_protocol("mask")            # afresh for each sequence
for prediction in protocol.run(predictor, sequence, seed=0):
    prediction.frame, prediction.masks      # every frame in order; masks by object
"""

from __future__ import annotations

from collections.abc import Callable

from sam2_video.evaluation.protocols.base import FramePrediction, Protocol
from sam2_video.evaluation.protocols.first_prompt import FirstPrompt
from sam2_video.evaluation.protocols.offline import Offline
from sam2_video.evaluation.protocols.online import Online
from sam2_video.types import ConfigError

__all__ = ["PROTOCOLS", "FramePrediction", "Protocol", "make_protocol"]

PROTOCOLS: dict[str, Callable[[bool], Protocol]] = {
    "mask": lambda overlapping: FirstPrompt("mask", overlapping=overlapping),
    "box": lambda overlapping: FirstPrompt("box", box=True, overlapping=overlapping),
    "click1": lambda overlapping: FirstPrompt("click1", clicks=1, overlapping=overlapping),
    "click3": lambda overlapping: FirstPrompt("click3", clicks=3, overlapping=overlapping),
    "click5": lambda overlapping: FirstPrompt("click5", clicks=5, overlapping=overlapping),
    "offline": lambda overlapping: Offline(overlapping=overlapping),
    "online": lambda overlapping: Online(overlapping=overlapping),
}


def make_protocol(name: str, *, overlapping: bool = False) -> Protocol:
    """Make a protocol for one sequence. Raises ConfigError for an unknown name.

    `overlapping`: masks of different objects may share pixels, as `DataSet.overlapping` says; otherwise a
    pixel goes to the object with the largest logit.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"no protocol {name!r}; expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name](overlapping)
