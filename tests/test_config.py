"""Configurations: by name or path, overridden node by node, inside other programs, and from strangers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from sam2_video import config as config_module
from sam2_video.config import build_model, compose_config, config_folder, instantiate_config, model_names
from sam2_video.model.layers import MLP
from sam2_video.model.sam2 import SAM2
from sam2_video.types import ConfigError

USER_FILE = """
defaults: [/model/base, _self_]
image_size: 64
version: "2.1"
width: 64
memory_width: 16
model:
  trunk: {embed_dim: 8, num_heads: 1, stages: [1, 1, 1, 1], global_att_blocks: [2]}
  neck: {backbone_channel_list: [64, 32, 16, 8]}
  memory_attention: {num_layers: 1, hidden: 16}
  mask_decoder: {transformer: {hidden: 16}}
"""


def on_meta(name: str | Path, *overrides: str, **options: Any) -> SAM2:
    with torch.device("meta"):
        return build_model(name, list(overrides), **options)


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(USER_FILE)
    return path


# Overrides


def test_the_size_of_pictures_is_one_override() -> None:
    assert on_meta("nano", "image_size=512").image_size == 512


@pytest.mark.parametrize(
    ("override", "parameter", "shape"),
    [
        ("model.trunk.window_spec=[16,8,8,8]", "image_encoder.trunk.pos_embed_window", (1, 48, 16, 16)),
        ("model.trunk.stages=[1,2,6,2]", "image_encoder.trunk.blocks.10.norm1.weight", (384,)),
        ("model.memory_slots=3", "maskmem_tpos_enc", (3, 1, 1, 64)),
        ("memory_width=32", "maskmem_tpos_enc", (7, 1, 1, 32)),
        ("model.memory_attention.num_layers=3", "memory_attention.layers.2.linear1.weight", (512, 128)),
        ("model.memory_attention.hidden=24", "memory_attention.layers.0.linear1.weight", (24, 128)),
        ("model.prompt_encoder.mask_width=8", "sam_prompt_encoder.mask_downscaling.3.weight", (8, 2, 2, 2)),
        ("model.mask_decoder.transformer.hidden=40",
         "sam_mask_decoder.transformer.layers.0.mlp.layers.0.weight", (40, 128)),
        ("model.mask_decoder.transformer.depth=3",
         "sam_mask_decoder.transformer.layers.2.norm1.weight", (128,)),
    ],
)  # fmt: skip
def test_overrides_reach_every_node(override: str, parameter: str, shape: tuple[int, ...]) -> None:
    assert on_meta("nano", override).state_dict()[parameter].shape == shape


def test_width_of_the_trunk() -> None:
    channels = "model.neck.backbone_channel_list=[256,128,64,32]"
    model = on_meta("nano", "model.trunk.embed_dim=32", channels)
    assert model.image_encoder.trunk.patch_embed.proj.out_channels == 32


def test_the_generation_is_an_override() -> None:
    assert "obj_ptr_tpos_proj.weight" not in on_meta("nano", 'version="2.0"').state_dict()
    assert "obj_ptr_tpos_proj.weight" in on_meta("nano").state_dict()


def test_a_plus_adds_what_the_file_does_not_name() -> None:
    composed = compose_config("model", "nano", ["+note.text=hello", "++model.memory_attention.heads=2"])
    assert composed.note.text == "hello"
    assert composed.model.memory_attention.heads == 2


def test_a_part_can_be_swapped_by_its_target() -> None:
    swap = [
        "model.prompt_encoder._target_=sam2_video.model.layers.LayerNorm2d",
        "~model.prompt_encoder.width",
        "~model.prompt_encoder.mask_width",
        "+model.prompt_encoder.channels=3",
    ]
    assert type(on_meta("nano", *swap).sam_prompt_encoder).__name__ == "LayerNorm2d"


# Names and paths


def test_a_relative_and_an_absolute_path(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_meta(user_file).image_size == 64
    assert on_meta(str(user_file), "image_size=96").image_size == 96
    monkeypatch.chdir(user_file.parent)
    assert on_meta("mine.yaml").width == 64
    (user_file.parent / "below").mkdir()
    monkeypatch.chdir(user_file.parent / "below")
    assert on_meta("../mine.yaml").width == 64


def test_a_packaged_file_works_by_its_path() -> None:
    by_path, by_name = on_meta(config_folder() / "model" / "nano.yaml"), on_meta("nano")
    shapes = [{name: p.shape for name, p in model.named_parameters()} for model in (by_path, by_name)]
    assert shapes[0] == shapes[1]


def test_folders_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "käse, [a]=b 'c' \"d\" (e)"
    shutil.copytree(config_folder(), odd / "configs")
    (odd / "my model.yaml").write_text(USER_FILE)
    monkeypatch.setattr(config_module, "config_folder", lambda: odd / "configs")
    assert on_meta(odd / "my model.yaml").image_size == 64
    assert on_meta("nano").image_size == 256


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="nanno") as caught:
        build_model("nanno")
    assert all(name in str(caught.value) for name in model_names())
    assert len(model_names()) == 12 and not any(name.startswith("base") for name in model_names())


@pytest.mark.parametrize("name", ["gone.yaml", "/no/such/place/gone.yaml"])
def test_a_missing_file(name: str) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml does not exist"):
        build_model(name)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("image_sise=64", "image_sise"),
        ("model.trunk.embed=3", "embed"),
        ("image_size=[", r"image_size=\["),
        ("image_size=${nothing}", "nothing"),
        ("image_size=100", "multiple of 32, got 100"),
        ("version=3", "version must be"),
        ("model.trunk.embed_dim=???", "not complete.*embed_dim"),
        ("model.trunk.stages=[1,2]", "four stages"),
        ("model.trunk.embed_dim=32", r"neck expects widths \[384.*gives \[256"),
        ("width=100", "width 50 is not divisible by 4 heads"),
        ("memory_width=48", "128 must be a multiple of memory_width 48"),
    ],
)
def test_overrides_that_do_not_fit(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        on_meta("nano", override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot compose"),
        ("defaults: [/model/bass, _self_]", "model/bass"),
        ("image_size: 64", "no node 'model'"),
        ("model: {_target_: sam2_video.model.layers.MLP, widths: [1, 2]}", "builds a MLP, expected a SAM2"),
        ("model: 3", "no node 'model'"),
        ("- model", "cannot compose"),
        ("model: {a: 1}", "builds a dict, expected a SAM2"),
    ],
)
def test_files_that_are_no_model(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        build_model(path)


# Other programs' Hydra


@pytest.fixture
def no_hydra() -> Any:
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


@pytest.mark.usefixtures("no_hydra")
def test_nothing_is_left_where_there_was_nothing() -> None:
    before = GlobalHydra.instance()
    on_meta("nano")
    with pytest.raises(ConfigError):
        on_meta("nano", "image_sise=64")
    assert GlobalHydra.instance() is before
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.usefixtures("no_hydra")
def test_a_program_keeps_its_own_hydra(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("greeting: hello\nname: world\n")
    with initialize_config_dir(config_dir=str(tmp_path), version_base="1.2", job_name="mine"):
        hosts, state = GlobalHydra.instance(), GlobalHydra.instance().hydra
        assert on_meta("nano", "image_size=96").image_size == 96
        with pytest.raises(ConfigError):
            build_model("nano", ["image_sise=64"])
        assert GlobalHydra.instance() is hosts and hosts.hydra is state
        assert str(version.getbase()) == "1.2"
        composed = compose("app", overrides=["name=moon"], return_hydra_config=True)
        assert (composed.greeting, composed.name, composed.hydra.job.name) == ("hello", "moon", "mine")
    assert not GlobalHydra.instance().is_initialized()


def test_inside_a_hydra_program(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("model: nano\nsize: 64\n")
    script = tmp_path / "app.py"
    script.write_text(
        "import hydra, torch, sam2_video\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        "@hydra.main(version_base='1.3', config_path='.', config_name='app')\n"
        "def main(cfg):\n"
        "    with torch.device('meta'):\n"
        "        model = sam2_video.build_model(cfg.model, [f'image_size={cfg.size}'])\n"
        "    print('SIZE', model.image_size, HydraConfig.get().job.name)\n"
        "main()\n"
    )
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(script), "size=96", f"hydra.run.dir={tmp_path / 'run'}"],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "SIZE 96 app" in done.stdout


# Strangers. What they could hit is a file: it must still not be there afterwards.


def mlp(**more: Any) -> dict[str, Any]:
    return {"_target_": "sam2_video.model.layers.MLP", "widths": [2, 2]} | more


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.call",
        "builtins.eval",
        "posix.system",
        "hydra.utils.get_method",
        "hydra.utils.call",
        "functools.partial",
        "sam2_videos.evil.Net",  # begins like ours
        "sam2_video",
        "sam2_video.config.Path.touch",  # others' things through our modules
        "sam2_video.model.hiera.torch.load",
        "sam2_video.model.hiera.nn.Sequential",
        "sam2_video.model.layers.F.relu",
        "sam2_video.config.build_model",  # ours, but no network
        "sam2_video.types.Prompt",
        "sam2_video.model.sam2.SAM2.load_state_dict",
        "sam2_video.model.layers.MLP.__init__.__globals__",
        "sam2_video..model.sam2.SAM2",
        "",
        "???",
    ],
)
@pytest.mark.parametrize("place", ["top", "value", "list", "args", "unused key"])
def test_strangers_targets_are_refused(target: str, place: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    node = {"_target_": target, "_args_": [str(victim)]}
    nodes = {
        "top": node,
        "value": mlp(activation=node),
        "list": mlp(activation=[1, [node]]),
        "args": {"_target_": "sam2_video.model.layers.MLP", "_args_": [[2, 2], {"deep": node}]},
        "unused key": mlp(_recursive_=False, activation={"deep": node | {"_partial_": True}}),
    }
    with pytest.raises(ConfigError):
        instantiate_config(OmegaConf.create(nodes[place]))
    assert not victim.exists()


HIDDEN = "${oc.create:{_target_:pathlib.Path.touch,_args_:[VICTIM]}}"


@pytest.mark.parametrize(
    "value",
    [
        HIDDEN,  # a node made by a resolver
        "\\" + HIDDEN,  # ... one that is seen as plain text when it is looked at for the first time
        "\\\\\\" + HIDDEN,  # ... or the second
        ["\\" + HIDDEN],
        {"_target_": "\\${oc.decode:os.system}"},
        {"_target_": "${part}.touch", "_args_": ["VICTIM"]},  # put together from harmless parts
        {"_target_": ["pathlib.Path.touch"]},
        {"_target_": {"_target_": "pathlib.Path.touch", "_args_": ["VICTIM"]}},
        {"_target_": None},
    ],
)
def test_targets_cannot_be_smuggled_in(value: Any, tmp_path: Path) -> None:
    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return {fill(key): fill(inner) for key, inner in node.items()}
        if isinstance(node, list):
            return [fill(inner) for inner in node]
        return node.replace("VICTIM", str(tmp_path / "victim")) if isinstance(node, str) else node

    with pytest.raises(ConfigError):
        instantiate_config(OmegaConf.create(mlp(activation=fill(value), part="pathlib.Path")))
    assert list(tmp_path.iterdir()) == []


def test_a_strangers_file_is_refused_as_a_whole(user_file: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    evil = f"{{_target_: pathlib.Path.touch, _args_: [{victim}]}}"
    user_file.write_text(USER_FILE + f"  prompt_encoder: {evil}\n")
    with pytest.raises(ConfigError, match=r"pathlib\.Path\.touch"):
        build_model(user_file)
    # Hydra starts callbacks in its own programs, never in a call that only composes: they stay text.
    user_file.write_text(USER_FILE + f"hydra: {{callbacks: {{evil: {evil}}}}}\n")
    on_meta(user_file)
    assert not victim.exists()


def test_the_caller_may_allow_a_name_and_a_package() -> None:
    node = OmegaConf.create(mlp(activation={"_target_": "torch.nn.GELU"}))
    for allow in ("torch.nn.GELU", "torch.nn", "torch.nn.", "torch"):
        assert isinstance(instantiate_config(node, allow=["elsewhere", allow]).activation, torch.nn.GELU)
    for allow in ("torch.nn.GEL", "tor", "torch.optim", ""):
        with pytest.raises(ConfigError, match=r"allow=\['torch.nn.GELU'\]"):
            instantiate_config(node, allow=[allow])


def test_an_allowed_package_does_not_lead_out_of_itself(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    node = OmegaConf.create(mlp(activation={"_target_": "torch.hub.Path.touch", "_args_": [str(victim)]}))
    with pytest.raises(ConfigError, match=r"Path\.touch"):
        instantiate_config(node, allow=["torch"])
    assert not victim.exists()
    with pytest.raises(ConfigError, match=r"os\.system"):
        instantiate_config(OmegaConf.create({"_target_": "torch.os.system", "_args_": [""]}), allow=["torch"])


def test_our_own_parts_need_no_permission() -> None:
    built = instantiate_config(OmegaConf.create(mlp(widths=[3, 5])))
    assert type(built) is MLP and built.layers[0].weight.shape == (5, 3)
