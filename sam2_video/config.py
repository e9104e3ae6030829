"""A name or a path, and overrides -> a resolved configuration -> objects.

Hydra is imported on first use and leaves nothing behind, so that host programs may use Hydra themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.types import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sam2_video.model.sam2 import SAM2

OWN_PREFIX = "sam2_video."


def config_folder() -> Path:
    """The packaged configurations: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def model_names() -> tuple[str, ...]:
    """Names that `build_model` knows."""
    return tuple(
        sorted(path.stem for path in (config_folder() / "model").glob("*.yaml") if path.stem != "base")
    )


def compose_config(group: str, name_or_path: str | Path, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the configuration `name_or_path` (a packaged name of this group, or a YAML file) with Hydra overrides.

    Raises ConfigError when there is no such configuration or an override does not fit.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    folder, name, search = _locate(group, name_or_path)
    with _private_hydra():
        try:
            with initialize_config_dir(config_dir=str(folder), version_base="1.3"):
                config = compose(config_name=name, overrides=[*search, *overrides])
            OmegaConf.resolve(config)
        except (HydraException, OmegaConfBaseException) as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise ConfigError(
                f"cannot compose {name_or_path} with overrides {list(overrides)}: {error}{cause}"
            ) from error
    return config


def instantiate_config(config: DictConfig, *, allow: Sequence[str] = ()) -> Any:
    """Build what a `_target_` node describes.

    Refuses (ConfigError) any `_target_` that is not a network module of this package, unless it starts with a
    prefix in `allow`: a configuration from a stranger must not run code.
    """
    from hydra.errors import HydraException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    for target in _targets(OmegaConf.to_container(config, resolve=True)):
        if not _is_allowed(target, allow) and not _is_own_module(target):
            raise ConfigError(
                f"the configuration wants to build {target!r}, no network module of {OWN_PREFIX[:-1]}; "
                f"if you trust it, pass allow=[{target.rsplit('.', 1)[0]!r}]"
            )
    try:
        return instantiate(config, _convert_="all")
    except HydraException as error:
        raise ConfigError(f"cannot build the configuration: {error.__cause__ or error}") from error


def build_model(
    name_or_path: str | Path, overrides: Sequence[str] = (), *, allow: Sequence[str] = ()
) -> SAM2:
    """Build a network without weights, by packaged name or by the path of a YAML file.

    `overrides` are Hydra's, for example `["image_size=512", "model.trunk.embed_dim=48"]`. Raises ConfigError.
    """
    from sam2_video.model.sam2 import SAM2

    config = compose_config("model", name_or_path, overrides)
    if "model" not in config:
        raise ConfigError(f"{name_or_path} has no node 'model'; start from one of {', '.join(model_names())}")
    model = instantiate_config(config.model, allow=allow)
    if not isinstance(model, SAM2):
        raise ConfigError(f"{name_or_path} builds a {type(model).__name__}, expected a SAM2")
    return model


def _locate(group: str, name_or_path: str | Path) -> tuple[Path, str, list[str]]:
    """Return the folder to compose in, the name there, and overrides that let it find the packaged files."""
    text = str(name_or_path)
    packaged = config_folder()
    if (packaged / group / f"{text}.yaml").is_file():
        return packaged, f"{group}/{text}", []
    path = Path(text).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        names = ", ".join(sorted(p.stem for p in (packaged / group).glob("*.yaml") if p.stem != "base"))
        raise ConfigError(
            f"no {group} configuration is called {text!r}; known: {names}; or give the path of a .yaml file"
        )
    if not path.is_file():
        raise ConfigError(f"configuration file {path} does not exist")
    return path.resolve().parent, path.name, [f"hydra.searchpath=[file://{packaged}]"]


@contextmanager
def _private_hydra() -> Iterator[None]:
    """Give the block a Hydra of its own: the host program's global state is put back afterwards."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton

    GlobalHydra.instance()
    state = Singleton.get_state()
    hosts = state["instances"].pop(GlobalHydra, None)
    Singleton.set_state(state)
    try:
        yield
    finally:
        state = Singleton.get_state()
        state["instances"].pop(GlobalHydra, None)
        if hosts is not None:
            state["instances"][GlobalHydra] = hosts
        Singleton.set_state(state)


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _is_own_module(target: str) -> bool:
    """Is this a network module that this package defines?

    The name alone does not tell: `sam2_video.registry.Path.unlink` begins with ours too, and functions of our
    own write and remove files.
    """
    from hydra.utils import get_class
    from torch import nn

    if not target.startswith(OWN_PREFIX):
        return False
    try:
        found = get_class(target)
    except Exception:  # whatever Hydra makes of a name that is not there, or of one that it distrusts
        return False
    return issubclass(found, nn.Module) and found.__module__.startswith(OWN_PREFIX)


def _is_allowed(target: str, prefixes: Sequence[str]) -> bool:
    return any(target == prefix or target.startswith(prefix.rstrip(".") + ".") for prefix in prefixes)
