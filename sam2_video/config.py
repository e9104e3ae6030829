"""A name or a path, and overrides -> a resolved configuration -> objects.

Hydra is imported on first use and leaves nothing behind, so that host programs may use Hydra themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.types import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sam2_video.model.sam1 import AnyModel

OWN_PREFIX = "sam2_video."


def config_folder() -> Path:
    """The packaged configurations: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def model_names() -> tuple[str, ...]:
    """Names that `build_model` knows."""
    return _names("model")


def compose_config(
    group: str, name_or_path: str | Path, overrides: Sequence[str] = (), *, flat: bool = False
) -> DictConfig:
    """Compose the configuration `name_or_path`: a packaged name of this group, or the path of a YAML file.

    `overrides` are Hydra's. `flat`: the group's own folder is where names of groups begin (data, not
    train/data). Raises ConfigError where there is no such configuration, or one does not fit.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped, unused-ignore]

    folder, name, search = _locate(group, name_or_path, flat)
    with _private_hydra():
        try:
            with initialize_config_dir(config_dir=str(folder), version_base="1.3"):
                config = compose(config_name=name, overrides=[*search, *overrides])
            OmegaConf.resolve(config)
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise ConfigError(
                f"cannot compose {name_or_path} with overrides {list(overrides)}: {error}{cause}"
            ) from error
    return config


def instantiate_config(config: DictConfig, *, allow: Sequence[str] = ()) -> Any:
    """Build what a `_target_` node describes.

    Refuses (ConfigError) any `_target_` that is not a network module of this package: a configuration from a
    stranger must not run code. `allow` names more: a dotted name allows itself, and what its package defines
    below it.
    """
    from hydra.errors import HydraException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the configuration is not complete: {error}") from error
    for node in _nodes(plain):
        if isinstance(node, str) and "${" in node:
            # An escaped interpolation: Hydra would resolve it once more, after the targets were looked at.
            raise ConfigError(f"interpolations cannot be escaped here, got {node!r}")
        if isinstance(node, dict) and "_target_" in node:
            _check_target(node["_target_"], allow)
    try:
        return instantiate(plain, _convert_="all")
    except HydraException as error:
        raise ConfigError(f"cannot build the configuration: {error.__cause__ or error}") from error


def build_model(
    name_or_path: str | Path, overrides: Sequence[str] = (), *, allow: Sequence[str] = ()
) -> AnyModel:
    """Build a network without weights, by packaged name or by the path of a YAML file.

    `overrides` are Hydra's, for example `["image_size=512", "model.trunk.embed_dim=48"]`. Raises ConfigError.
    """
    from omegaconf import OmegaConf

    from sam2_video.model.sam1 import SAM1
    from sam2_video.model.sam2 import SAM2

    config = compose_config("model", name_or_path, overrides)
    if not OmegaConf.is_dict(config.get("model")):
        raise ConfigError(f"{name_or_path} has no node 'model'; start from one of {', '.join(model_names())}")
    model = instantiate_config(config.model, allow=allow)
    if not isinstance(model, SAM2 | SAM1):
        raise ConfigError(f"{name_or_path} builds a {type(model).__name__}, expected a SAM2 or a SAM1")
    return model


def _names(group: str) -> tuple[str, ...]:
    """The packaged configurations of a group; what others build on is none of its own."""
    found = (path.stem for path in (config_folder() / group).glob("*.yaml"))
    return tuple(sorted(name for name in found if not name.startswith("base")))


def _locate(group: str, name_or_path: str | Path, flat: bool) -> tuple[Path, str, list[str]]:
    """Return the folder to compose in, the name there, and overrides that let it find the packaged files."""
    text = str(name_or_path)
    packaged = config_folder() / group if flat else config_folder()
    named = text if flat else f"{group}/{text}"
    if (packaged / f"{named}.yaml").is_file():
        return packaged, named, []
    path = Path(text).expanduser()
    if path.suffix != ".yaml":
        raise ConfigError(
            f"no {group} configuration is called {text!r}; known: {', '.join(_names(group))}; "
            "or give the path of a .yaml file"
        )
    if not path.is_file():
        raise ConfigError(f"configuration file {path} does not exist")
    quoted = str(packaged).replace('"', '\\"')  # folders may have names that Hydra's grammar would take apart
    return path.resolve().parent, path.name, [f'hydra.searchpath=["file://{quoted}"]']


@contextmanager
def _private_hydra() -> Iterator[None]:
    """Give the block a Hydra of its own: the host program's global state is put back afterwards."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    hosts, version, job = GlobalHydra.instance(), VersionBase.instance(), JobRuntime.instance()
    of_job = job.conf
    GlobalHydra.set_instance(copy(hosts))
    GlobalHydra.instance().clear()
    VersionBase.set_instance(copy(version))
    job.conf = of_job.copy()
    try:
        yield
    finally:
        GlobalHydra.set_instance(hosts)
        VersionBase.set_instance(version)
        job.conf = of_job


def _nodes(node: Any) -> Iterator[Any]:
    """The node and everything below it."""
    yield node
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _nodes(value)


def _check_target(target: Any, allow: Sequence[str]) -> None:
    if not isinstance(target, str):
        raise ConfigError(f"a _target_ is a dotted name, got {target!r}")
    if not _is_own_module(target) and not any(_is_allowed(target, prefix) for prefix in allow):
        raise ConfigError(
            f"the configuration wants to build {target!r}, which is no network module of {OWN_PREFIX[:-1]}; "
            f"if you trust it, pass allow=[{target!r}]"
        )


def _is_own_module(target: str) -> bool:
    """Is this a network module that this package defines?

    The name alone does not tell: `sam2_video.registry.Path.unlink` begins with ours too, and functions of our
    own write and remove files.
    """
    from torch import nn

    if not target.startswith(OWN_PREFIX):
        return False
    found = _find(target)
    is_network = isinstance(found, type) and issubclass(found, nn.Module)
    return is_network and found.__module__.startswith(OWN_PREFIX)


def _is_allowed(target: str, prefix: str) -> bool:
    """Is this name the prefix itself, or below it and defined by its package, not merely imported there?"""
    prefix = prefix.rstrip(".")
    if target == prefix:
        return True
    package = prefix.partition(".")[0]
    if not target.startswith(f"{prefix}."):
        return False
    home = getattr(_find(target), "__module__", None) or ""
    return home == package or home.startswith(f"{package}.")


def _find(target: str) -> Any:
    from hydra.utils import get_object

    try:
        return get_object(target)
    except Exception:  # whatever Hydra makes of a name that is not there, or of one that it distrusts
        return None
