"""Weights from every kind of file into a model, and clear words for every kind of wrong file."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sam2_video import checkpoint, registry
from sam2_video.checkpoint import (
    identify_weights,
    load_model,
    load_weights,
    read_weights,
    save_weights,
    to_hub_layout,
)
from sam2_video.cli_run import ModelOptions, model_record
from sam2_video.config import build_model
from sam2_video.model.sam1 import SAM1
from sam2_video.types import CheckpointError, ConfigError
from sam2_video.weight_files import CARD_KEY, CONFIG_KEY, OVERRIDES_KEY, describe_mismatch
from tests.paths import SHARED, needs_shared
from tests.toys import SAM1_OVERRIDES, toy_sam1

TOY = (
    "image_size=64",
    "width=64",
    "model.trunk.embed_dim=16",
    "model.trunk.stages=[1,1,2,1]",
    "model.trunk.global_att_blocks=[2]",
    "model.neck.backbone_channel_list=[128,64,32,16]",
    "model.memory_attention.num_layers=1",
    "model.memory_attention.hidden=32",
    "model.mask_decoder.transformer.hidden=32",
)
HEADER = {CONFIG_KEY: "nano", OVERRIDES_KEY: json.dumps(TOY), CARD_KEY: "made up for a test"}


@pytest.fixture(scope="module")
def toy() -> torch.nn.Module:
    model = build_model("nano", TOY)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.randn(value.shape, generator=generator))
    return model


@pytest.fixture
def toy_file(toy, tmp_path) -> Path:
    save_weights(toy, tmp_path / "toy.safetensors", HEADER)
    return tmp_path / "toy.safetensors"


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    lines = (SHARED / "reference" / "manifests" / f"{name}.txt").read_text().splitlines()
    return {line.split()[0]: tuple(int(n) for n in [*line.split(), "1"][1].split("x")) for line in lines}


def cheap(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Weights of these shapes that take no room: one number, seen many times."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def assert_holds(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    held = model.state_dict()
    assert set(held) == set(state)
    for name, value in state.items():
        assert torch.equal(held[name], value.to(held[name].dtype)), name


# --- kinds of files ---


def test_own_file_brings_its_architecture(toy, toy_file):
    model = load_model(toy_file)
    assert_holds(model, toy.state_dict())
    assert not model.training and all(p.requires_grad for p in model.parameters())
    with safe_open(toy_file, framework="pt") as file:
        assert file.metadata()[CARD_KEY] == "made up for a test"
        assert int(file.metadata()[registry.PARAMETERS_KEY]) == sum(p.numel() for p in toy.parameters())


@pytest.mark.skipif(os.name == "nt", reason="files have no such modes there")
def test_saved_weights_are_as_readable_as_any_other_file(toy, tmp_path):
    (tmp_path / "other").touch()
    save_weights(toy, tmp_path / "weights.safetensors")
    assert (tmp_path / "weights.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("wrap", ["bare", "model", "training", "parallel", "legacy"])
def test_pytorch_files(toy, tmp_path, wrap):
    state = toy.state_dict()
    content = {
        "bare": state,
        "legacy": state,
        "model": {"model": state},
        "training": {"model": state, "optimizer": {"lr": 0.1, "state": [torch.ones(2)]}, "epoch": 3},
        "parallel": {f"module._orig_mod.{name}": value for name, value in state.items()},
    }[wrap]
    torch.save(content, tmp_path / "toy.pt", _use_new_zipfile_serialization=wrap != "legacy")
    assert_holds(load_model("nano", checkpoint=tmp_path / "toy.pt", overrides=TOY), state)


def test_hub_folder_and_hub_file(toy, tmp_path):
    save_file(to_hub_layout(toy.state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam2_video", "image_size": 96}))
    given = [item for item in TOY if not item.startswith("image_size")]
    for path in (tmp_path, tmp_path / "model.safetensors"):
        model = load_model("nano", checkpoint=path, overrides=given)
        assert_holds(model, toy.state_dict())
        assert model.image_size == 96  # from config.json: shapes do not tell
    assert (
        load_model("nano", checkpoint=tmp_path, overrides=TOY).image_size == 64
    )  # the caller has the last word


def test_hub_folder_without_weights_and_with_broken_config(toy, tmp_path):
    with pytest.raises(CheckpointError, match=r"expected a file model\.safetensors in the folder"):
        load_model(tmp_path)
    save_file(to_hub_layout(toy.state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"cannot read .*config\.json"):
        load_model(tmp_path)


@needs_shared
@pytest.mark.parametrize("name", ["sam2_hiera_tiny", "sam2.1_hiera_base_plus"])
def test_released_architecture_is_recognised_by_its_shapes(name, tmp_path):
    torch.save({"model": cheap(manifest(name))}, tmp_path / "some.pt")
    model = load_model(tmp_path / "some.pt")
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert shapes == manifest(name)


def test_bundled_model(toy, toy_file, monkeypatch):
    monkeypatch.setattr(registry, "BUNDLED_WEIGHTS", toy_file.parent)
    toy_file.rename(toy_file.with_name("nano.safetensors"))
    assert_holds(load_model("nano", offline=True), toy.state_dict())


def test_released_name_comes_from_the_cache(tmp_path, monkeypatch):
    asked = []

    def no_network(name: str, **options: object) -> Path:
        asked.append((name, options))
        raise CheckpointError("not here")

    monkeypatch.setattr(checkpoint, "download_model", no_network)
    with pytest.raises(CheckpointError, match="not here"):
        load_model("sam2.1_hiera_tiny", cache_dir=tmp_path, offline=True, progress=False)
    options = {"cache_dir": tmp_path, "offline": True, "progress": False}
    assert asked == [("sam2.1_hiera_tiny", options)]


def test_name_with_a_file_of_its_own_header(toy, toy_file):
    """A trained file is believed about the configuration it was made with: image_size is not in shapes."""
    assert load_model("nano", checkpoint=toy_file).image_size == 64
    assert load_model("nano", checkpoint=toy_file, overrides=["image_size=128"]).image_size == 128
    with pytest.raises(CheckpointError, match="another size"):
        load_model("sam2.1_hiera_tiny", checkpoint=toy_file)


def test_sam_1_files(tmp_path):
    """Bare state dicts, as the released .pth files are; and files of our own, which say their settings."""
    model = toy_sam1()
    torch.save(model.state_dict(), tmp_path / "sam.pth")
    found = load_model("sam_vit_b", checkpoint=tmp_path / "sam.pth", overrides=SAM1_OVERRIDES)
    assert isinstance(found, SAM1) and not found.training and found.image_size == model.image_size
    assert_holds(found, model.state_dict())
    with pytest.raises(
        CheckpointError, match=r"taken for sam_vit_b.*misshapen.*closest released is sam_vit_b"
    ):
        load_model(tmp_path / "sam.pth")
    header = {CONFIG_KEY: "sam_vit_b", OVERRIDES_KEY: json.dumps(SAM1_OVERRIDES)}
    save_weights(model, tmp_path / "own.safetensors", header)
    assert_holds(load_model(tmp_path / "own.safetensors"), model.state_dict())
    with pytest.raises(CheckpointError, match="SAM 1 weights: load them as sam_vit_b"):
        load_model("nano", checkpoint=tmp_path / "sam.pth")


# --- the hub ---


@pytest.fixture
def hub(monkeypatch):
    """A hub that has the files it is told to have."""
    files: dict[str, Path] = {}
    asked: list[tuple[str, str, object, bool]] = []

    def hf_hub_download(repo, filename, cache_dir=None, local_files_only=False):
        asked.append((repo, filename, cache_dir, local_files_only))
        if filename not in files:
            raise FileNotFoundError(f"no {filename} in {repo}\nand a long story")
        return str(files[filename])

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=hf_hub_download))
    monkeypatch.delenv("SAM2_VIDEO_OFFLINE", raising=False)
    return SimpleNamespace(files=files, asked=asked)


def test_released_hub_id_takes_the_original_file_and_checks_it(hub, tmp_path):
    (tmp_path / "x.pt").write_bytes(b"not it")
    hub.files["sam2.1_hiera_tiny.pt"] = tmp_path / "x.pt"
    with pytest.raises(CheckpointError, match=r"is not the released sam2\.1_hiera_tiny: its SHA-256 is"):
        load_model("facebook/sam2.1-hiera-tiny", cache_dir=tmp_path)
    assert hub.asked == [("facebook/sam2.1-hiera-tiny", "sam2.1_hiera_tiny.pt", tmp_path, False)]


@needs_shared
def test_other_hub_id_takes_the_hub_layout(hub, tmp_path, monkeypatch):
    state = to_hub_layout(cheap(manifest("sam2.1_hiera_tiny")))
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"image_size": 512}))
    hub.files.update({name: tmp_path / name for name in ("config.json", "model.safetensors")})
    monkeypatch.setenv("SAM2_VIDEO_OFFLINE", "1")
    assert load_model("some-one/fine.tuned").image_size == 512
    assert all(local for *_, local in hub.asked)


def test_every_kind_of_weights_leaves_a_hash_in_the_record(hub, tmp_path):
    hub.files.update({name: tmp_path / name for name in ("config.json", "model.safetensors")})
    for file in hub.files.values():
        file.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for name in (str(tmp_path), str(tmp_path / "model.safetensors"), "some-one/fine.tuned"):
        said = model_record(ModelOptions(name, device="cpu"))
        assert (said["weights"], said["sha256"]) == (str(tmp_path / "model.safetensors"), digest)
    with pytest.raises(CheckpointError, match="no weights at"):
        identify_weights(tmp_path.parent)


def test_released_weights_are_not_hashed_again_for_the_record(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2_VIDEO_CACHE", str(tmp_path))
    file = tmp_path / "sam2.1_hiera_tiny.pt"
    file.write_bytes(b"checked when it was loaded")
    hub.files[file.name] = file
    for module in ("checkpoint", "download"):
        monkeypatch.setattr(f"sam2_video.{module}.hash_file", lambda path: pytest.fail("hashed again"))
    known = registry.find_model("sam2.1_hiera_tiny").sha256
    for name in ("sam2.1_hiera_tiny", "facebook/sam2.1-hiera-tiny"):
        assert identify_weights(name) == (file, known)
    assert all(local for *_, local in hub.asked)


def test_hub_without_the_file(hub):
    with pytest.raises(
        CheckpointError, match=r"cannot get some/one from the .* hub: no config.json in some/one$"
    ):
        load_model("some/one")
    with pytest.raises(CheckpointError, match="downloads are off"):
        load_model("some/one", offline=True)


# --- what does not fit ---


def mismatch(model: str, given: str, **changes: tuple[int, ...]) -> str:
    return describe_mismatch(manifest(model), {**manifest(given), **changes})


@needs_shared
def test_mismatches_are_counted_and_explained():
    text = mismatch("sam2.1_hiera_tiny", "sam2_hiera_tiny")
    assert text.startswith(
        "3 missing: no_obj_embed_spatial, obj_ptr_tpos_proj.weight, obj_ptr_tpos_proj.bias."
    )
    assert "SAM 2.0 weights in a 2.1 model: load them as sam2_hiera_tiny." in text
    text = mismatch("sam2_hiera_large", "sam2.1_hiera_large")
    assert (
        text.startswith("3 unexpected:")
        and "2.1 weights in a 2.0 model: load them as sam2.1_hiera_large" in text
    )
    text = mismatch("sam2.1_hiera_tiny", "sam2.1_hiera_small")
    assert "another size" in text and "closest released is sam2.1_hiera_small" in text
    assert "blocks.1.proj" not in text and text.count(", ...") == 2  # only the first few of each kind
    text = mismatch("sam2.1_hiera_large", "sam_vit_b")
    assert "SAM 1 weights: load them as sam_vit_b. They have no memory" in text
    assert "SAM 2 weights in a SAM 1 model: load them as sam2_hiera_tiny." in mismatch(
        "sam_vit_l", "sam2_hiera_tiny"
    )
    assert "closest released is sam_vit_h" in mismatch("sam_vit_b", "sam_vit_h")
    assert mismatch("sam2.1_hiera_small", "sam2.1_hiera_small") == ""


@needs_shared
def test_more_mismatches():
    whole = manifest("sam2.1_hiera_tiny")
    trunk = {name: shape for name, shape in whole.items() if name.startswith("image_encoder")}
    image = {name: shape for name, shape in whole.items() if not name.startswith(("memory_", "obj_ptr"))}
    assert "part of a model: nothing, or not everything, for" in describe_mismatch(whole, trunk)
    assert "memory_attention, memory_encoder, obj_ptr_proj" in describe_mismatch(whole, image)
    assert "everything the model has and more" in describe_mismatch(whole, {**whole, "lora.a": (1,)})
    assert "no weights of SAM 1 or SAM 2" in describe_mismatch(whole, {"fc.weight": (1,)})
    hub = {name: tuple(value.shape) for name, value in to_hub_layout(cheap(whole)).items()}
    assert "convert them with from_hub_layout" in describe_mismatch(whole, hub)
    text = describe_mismatch(whole, {**whole, "no_obj_ptr": (2, 256)})
    assert text.startswith("1 misshapen: no_obj_ptr (2x256, expected 1x256).")


def test_load_weights_changes_nothing_when_they_do_not_fit(toy):
    model = build_model("nano", TOY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: value for name, value in toy.state_dict().items() if name != "no_obj_ptr"}
    with pytest.raises(
        CheckpointError, match=r"the weights in somewhere do not fit.*1 missing: no_obj_ptr\..*part"
    ):
        load_weights(model, state, "somewhere")
    assert_holds(model, before)


def test_load_weights_keeps_the_parameters_an_optimiser_knows(toy):
    model = build_model("nano", TOY).to(torch.bfloat16)
    known = {name: id(parameter) for name, parameter in model.named_parameters()}
    load_weights(model, toy.state_dict(), "memory")
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == known
    assert_holds(model, toy.state_dict())  # in the model's own data type
    assert model.no_obj_ptr.dtype == torch.bfloat16


def test_unknown_architecture_names_the_closest(toy, tmp_path):
    torch.save(toy.state_dict(), tmp_path / "toy.pt")
    with pytest.raises(
        CheckpointError, match=r"taken for sam2\.1_hiera_tiny.*misshapen.*give its configuration"
    ):
        load_model(tmp_path / "toy.pt")
    torch.save({"fc.weight": torch.ones(2)}, tmp_path / "fc.pt")
    with pytest.raises(CheckpointError, match=r"cannot tell the architecture.*no blocks of an image_encoder"):
        load_model(tmp_path / "fc.pt")


# --- what must not be believed ---


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle", "named safetensors"])
@pytest.mark.parametrize("where", ["model", "optimizer"])
def test_code_in_a_file_is_not_run(toy, tmp_path, form, where):
    trap = tmp_path / "created"
    content = {"model": toy.state_dict(), where: Harmful(trap)}
    path = tmp_path / ("toy.safetensors" if form == "named safetensors" else "toy.pt")
    if form == "plain pickle":
        path.write_bytes(pickle.dumps({where: Harmful(trap)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(CheckpointError, match=r"could run code: refused"):
        load_model("nano", checkpoint=path, overrides=TOY)
    assert not trap.exists()
    with path.open("rb") as file:  # the trap does work where it is opened carelessly
        pickle.load(file) if form == "plain pickle" else torch.load(file, weights_only=False)
    assert trap.is_dir()


@pytest.mark.parametrize(
    "override",
    [
        "model._target_=os.system",
        "hydra.searchpath=[x]",
        "+hydra.run.dir=x",
        "image_size=${oc.env:HOME}",
        "~model",
        3,
    ],
)
def test_header_may_only_set_values(toy, tmp_path, override):
    save_weights(
        toy, tmp_path / "toy.safetensors", {CONFIG_KEY: "nano", OVERRIDES_KEY: json.dumps([override])}
    )
    with pytest.raises(CheckpointError, match=r"does more than set a value|not a JSON list of texts"):
        load_model(tmp_path / "toy.safetensors")


def test_header_may_only_name_packaged_configurations(toy, tmp_path):
    (tmp_path / "own.yaml").write_text("model: {}")
    save_weights(toy, tmp_path / "toy.safetensors", {CONFIG_KEY: str(tmp_path / "own.yaml")})
    with pytest.raises(CheckpointError, match=r"wants the configuration .*own\.yaml.*known are.*nano"):
        load_model(tmp_path / "toy.safetensors")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not a readable"),
        (b"\x00" * 500, "not a readable"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x10\0\0\0\0\0\0\0{ this is no JSON", "damaged or incomplete safetensors"),
        ([1, 2], "holds a list"),
        ({}, "holds a dict"),
        ({"model": {"epoch": 1}}, "epoch are no tensors"),
    ],
)
def test_garbage(tmp_path, content, message):
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


def test_truncated_files(toy, toy_file, tmp_path):
    torch.save(toy.state_dict(), tmp_path / "toy.pt")
    for path, part in (
        (toy_file, 0.5),
        (tmp_path / "toy.pt", 0.5),
        (toy_file, 0.001),
        (tmp_path / "toy.pt", 0.99),
    ):
        cut = tmp_path / f"cut{path.suffix}"
        cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
        with pytest.raises(CheckpointError, match="incomplete"):
            read_weights(cut)


@pytest.mark.parametrize("name", ["nowhere.pt", "sam2_hiera_huge", "no/such/file.safetensors", "a/b/c"])
def test_unknown_names(name):
    with pytest.raises(CheckpointError, match=r"is no file, no hub id and no known model; known are nano"):
        load_model(name)
    with pytest.raises(CheckpointError, match=r"no weights at .*gone\.pt"):
        load_model("nano", checkpoint="gone.pt")


def test_configuration_alone_has_no_weights(tmp_path):
    (tmp_path / "own.yaml").write_text("model: {}")
    with pytest.raises(CheckpointError, match="checkpoint="):
        load_model(tmp_path / "own.yaml")
    torch.save({"x": torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(ConfigError):
        load_model("sam2_hiera_huge", checkpoint=tmp_path / "x.pt")


# --- data types, devices, construction ---


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16", None])
@pytest.mark.parametrize("wanted", ["float32", "bfloat16", torch.float16])
def test_stored_and_wanted_data_types(toy, tmp_path, stored, wanted):
    save_weights(toy, tmp_path / "toy.safetensors", HEADER, dtype=stored)
    kind = getattr(torch, stored or "float32")
    assert {value.dtype for value in read_weights(tmp_path / "toy.safetensors").state.values()} == {kind}
    model = load_model(tmp_path / "toy.safetensors", dtype=wanted)
    assert {value.dtype for value in model.state_dict().values()} == {
        getattr(torch, str(wanted).split(".")[-1])
    }
    if wanted == "float32":
        assert_holds(model, {name: value.to(kind) for name, value in toy.state_dict().items()})


def test_bad_data_types_and_devices(toy_file):
    with pytest.raises(
        CheckpointError, match=r"unknown dtype 'int8'; expected one of float32, bfloat16, float16"
    ):
        load_model(toy_file, dtype="int8")
    with pytest.raises(CheckpointError, match=r"unknown device 'gpu'"):
        load_model(toy_file, device="gpu")
    for device, missing in (("cuda:99", True), ("mps", not torch.backends.mps.is_available())):
        if missing:
            with pytest.raises(CheckpointError, match=f"'{device}' is not available"):
                load_model(toy_file, device=device)


@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_tables_outside_checkpoints_are_as_in_a_plain_build(toy, tmp_path, version):
    overrides = (*TOY, f"version='{version}'")
    plain = build_model("nano", overrides)
    save_weights(
        plain, tmp_path / "x.safetensors", {CONFIG_KEY: "nano", OVERRIDES_KEY: json.dumps(overrides)}
    )
    before = torch.random.get_rng_state()
    loaded = load_model(tmp_path / "x.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before)
    tables = dict(plain.named_buffers())
    assert dict(loaded.named_buffers()).keys() == tables.keys()
    for name, value in loaded.named_buffers():
        assert value.device.type == "cpu" and torch.equal(value, tables[name]), name
    assert ("no_obj_embed_spatial" in tables) == (version == "2.0")  # else this would show nothing


def test_layers_do_not_fill_themselves_twice(toy_file, monkeypatch):
    filled = []
    original = torch.Tensor.uniform_
    monkeypatch.setattr(
        torch.Tensor, "uniform_", lambda self, *a, **k: filled.append(self) or original(self, *a, **k)
    )
    build_model("nano", TOY)
    assert filled
    filled.clear()
    load_model(toy_file)
    assert not [value for value in filled if value.numel() > 10_000]


# --- writing ---


def test_saving_is_all_or_nothing(toy, toy_file, monkeypatch):
    before = toy_file.read_bytes()
    import safetensors.torch

    def half(state, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", half)
    with pytest.raises(CheckpointError, match=r"cannot write weights to .*toy\.safetensors: .*No space left"):
        save_weights(toy, toy_file)
    assert toy_file.read_bytes() == before
    assert [path.name for path in toy_file.parent.iterdir()] == ["toy.safetensors"]


def test_saving_where_there_is_no_folder(toy, tmp_path):
    with pytest.raises(CheckpointError, match="cannot write weights to"):
        save_weights(toy, tmp_path / "none" / "toy.safetensors")
    with pytest.raises(CheckpointError, match="unknown dtype"):
        save_weights(toy, tmp_path / "toy.safetensors", dtype="float8")


def test_saving_again_over_the_loaded_file(toy, toy_file):
    model = load_model(toy_file)
    with torch.no_grad():
        model.no_obj_ptr.add_(1)
    save_weights(model, toy_file, HEADER)
    assert torch.equal(load_model(toy_file).no_obj_ptr, toy.no_obj_ptr + 1)


def test_writing_over_a_loaded_file_leaves_the_model_alone(toy, toy_file):
    model = load_model(toy_file)
    size = toy_file.stat().st_size
    with toy_file.open("r+b") as file:
        file.write(b"\0" * size)
    assert_holds(model, toy.state_dict())


def test_load_weights_fills_a_model_without_storage(toy):
    with torch.device("meta"):
        model = build_model("nano", TOY).to(torch.bfloat16)
    load_weights(model, toy.state_dict(), "memory", assign=True)
    assert_holds(model, toy.state_dict())
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("cpu", torch.bfloat16)}
