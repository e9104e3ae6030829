"""A configuration from a stranger builds networks and does nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sam2_video.config import instantiate_config
from sam2_video.types import ConfigError


@pytest.mark.parametrize(
    "target",
    [
        "os.system",  # plainly outside
        "builtins.eval",
        "sam2_videos.model.sam2.SAM2",  # a package with a name that begins like ours
        "sam2_video.registry.Path.touch",  # something foreign, reached through one of our modules
        "sam2_video.download.os.system",
        "sam2_video.sinks.base.write_whole",  # ours, but it writes files
        "sam2_video.sinks.VideoWriter",
        "sam2_video.model.layers.nn.Linear",
        "sam2_video.nothing.here",
    ],
)
def test_only_networks_of_this_package_are_built(target: str, tmp_path: Path) -> None:
    victim = tmp_path / "made.mp4"
    nodes = {"_target_": target, "_args_": [str(victim)]}
    with pytest.raises(ConfigError, match=target):
        instantiate_config(OmegaConf.create(nodes))
    with pytest.raises(ConfigError, match=target):
        instantiate_config(OmegaConf.create({"_target_": "sam2_video.model.layers.MLP", "deep": [nodes]}))
    assert not victim.exists()


def test_the_caller_may_allow_more() -> None:
    nodes = {"_target_": "collections.Counter", "_args_": ["aab"]}
    with pytest.raises(ConfigError, match=r"allow=\['collections.Counter'\]"):
        instantiate_config(OmegaConf.create(nodes))
    assert instantiate_config(OmegaConf.create(nodes), allow=["collections"]) == {"a": 2, "b": 1}
