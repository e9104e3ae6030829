"""Prompts from files: our own JSON or YAML, and what annotation tools export.

for placed in read_prompts("annotations.xml", clip="clip.mp4"):
    session.prompt(frame=placed.frame, object_id=placed.object_id, **placed.arguments())
"""

from __future__ import annotations

from sam2_video.prompts.pictures import read_masks
from sam2_video.prompts.placed import PlacedPrompt, PromptSet, check_bounds, merge
from sam2_video.prompts.read import FORMATS, read_annotations, read_prompts

__all__ = [
    "FORMATS",
    "PlacedPrompt",
    "PromptSet",
    "check_bounds",
    "merge",
    "read_annotations",
    "read_masks",
    "read_prompts",
]
