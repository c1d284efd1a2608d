"""A configuration survives its file, and other files are refused."""

import json
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path

import pytest
import yaml

from omniseg.config import (
    Config,
    FeatureTrainingConfig,
    MarchingConfig,
    RadianceFieldConfig,
    RadianceTrainingConfig,
)
from omniseg.errors import InputError
from omniseg_kernels.hash_encoding import HashLayout


def other(value: object) -> object:
    """Return another valid value of a field that holds `value`."""
    if is_dataclass(value):
        return replace(value, **{f.name: other(getattr(value, f.name)) for f in fields(value)})  # type: ignore[type-var]
    special = {"random": "black", "ranking": "paper", None: 5, "": "/ähm/a b", "transparent": "left-out"}
    special |= {128: 64, 19: 18, 20: 18, 2: 4, 4: 2, 16: 8, 0.9: 0.5, 0.95: 0.5, 0.97: 0.5, 0.99: 0.5}
    special |= {0.98: 0.9, 0.75: 0.5, 80: 100, 64: 32, 3: 4, (0.05, 2.0): (0.1, 3.0), (): ("a", "b")}
    if isinstance(value, tuple) and value not in special:
        return tuple(map(other, value))
    if isinstance(value, bool):
        return not value
    return special[value] if value in special else type(value)(value * 2 or 0.25) or 7  # type: ignore[operator, call-arg]


def test_every_field_survives_the_file(tmp_path: Path):
    config = other(Config())
    assert isinstance(config, Config)
    before, after = asdict(Config()), asdict(config)
    assert all(after[name] != before[name] for name in after)
    config.save(tmp_path / "config.yaml")
    assert Config.load(tmp_path / "config.yaml") == config


def test_integers_of_a_file_serve_as_floats(tmp_path: Path):
    assert saved(tmp_path, lambda values: values.update(seconds=3)).seconds == 3


def saved(folder: Path, change) -> Config:
    """Return the configuration of a file in which `change` altered the values."""
    path = folder / "config.yaml"
    Config().save(path)
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values))
    return Config.load(path)


def rename_loss(values: dict, form: object) -> None:
    """Replace the contrastive loss by the field of an older version."""
    del values["feature_training"]["loss"]
    values["feature_training"]["form"] = form


@pytest.mark.parametrize(("form", "loss"), [("ranked", "ranking"), ("raised", "paper")])
def test_renamed_fields_of_an_older_run_are_understood(tmp_path: Path, form: str, loss: str):
    found = saved(tmp_path, lambda values: rename_loss(values, form))
    assert found == replace(Config(), feature_training=replace(Config().feature_training, loss=loss))


def test_fields_that_an_older_run_lacks_get_their_defaults(tmp_path: Path):
    def older(values: dict) -> None:
        for section, name in (("marching", "occupancy_decay"), ("training", "ramp"), ("features", "table_init")):
            del values[section][name]
        del values["feature_training"]
        values["training"]["lr"] = 0.5

    found = saved(tmp_path, older)
    assert found == replace(Config(), training=replace(Config().training, lr=0.5))


def test_a_configuration_is_its_dictionary():
    config = other(Config())
    assert isinstance(config, Config)
    assert Config.from_dict(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(flavour=1), "unknown fields: flavour"),
        (lambda v: v["training"].update(momentum=1), r"unknown fields: training\.momentum"),
        (lambda v: v["feature_training"].update(form="ranked"), r"unknown fields: feature_training\.form"),
        (lambda v: rename_loss(v, "flat"), r"feature_training\.loss: .*'flat'"),
        (lambda v: rename_loss(v, ["ranked"]), r"feature_training\.loss: .*'ranked'"),
        (lambda v: v.update({1: 2}), "unknown fields: 1"),
        (lambda v: v.update(marching=3), "marching: expected MarchingConfig, got 3"),
        (lambda v: v.update(seed="x"), "seed: expected int, got 'x'"),
        (lambda v: v.update(seed=True), "seed: expected int, got True"),
        (lambda v: v.update(seed=1.5), "seed: expected int"),
        (lambda v: v.update(scene=5), "scene: expected str, got 5"),
        (lambda v: v.update(test_every="8"), "test_every: expected int | None"),
        (lambda v: v["training"].update(lr="1e-2"), r"training\.lr: expected float, got '1e-2'"),
        (lambda v: v["training"].update(refine_poses="no"), r"training\.refine_poses: expected bool"),
        (lambda v: v["training"].update(background="green"), r"training\.background: .*'green'"),
        (lambda v: v["training"].update(background=["white"]), r"training\.background"),
        (lambda v: v["marching"].update(box=[1.0, 1.0]), r"marching\.box"),
        (lambda v: v["marching"].update(box=[1.0, 1.0, "x"]), r"marching\.box: expected float, got 'x'"),
        (lambda v: v["marching"].update(box=1.0), r"marching\.box"),
        (lambda v: v["training"].update(lr=-1.0), "lr: expected > 0, got -1.0"),
        (lambda v: v["radiance"]["encoding"].update(levels=0), "levels: expected >= 1, got 0"),
    ],
)
def test_bad_values_in_the_file(tmp_path: Path, change, message: str):
    with pytest.raises(InputError, match=message) as caught:
        saved(tmp_path, change)
    assert str(tmp_path / "config.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected Config, got None"),
        (b"hello", "expected Config, got 'hello'"),
        (b"- 1\n- 2\n", "expected Config"),
        (b"a: [1, 2\nb: 3", r"is not a configuration \(line 2"),
        (b"\x80\x04\x95", "is not a text file"),
        (b"\x00\x01", "not a configuration"),
        (b"[" * 2000, "not a configuration"),
        (b"!!python/object/apply:os.system ['touch OWNED']", "is not a configuration"),
        (b"!!python/name:os.system", "is not a configuration"),
        (b"seed: &a [*a]", "not a configuration"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, monkeypatch, content: bytes, message: str):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Config.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "OWNED").exists()


def test_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"config\.yaml: cannot be read \(No such file"):
        Config.load(tmp_path / "config.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        Config.load(tmp_path)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("cls", "name", "values"),
    [
        (Config, "downsample", [0, 0.5, -1, NAN, INF]),
        (Config, "test_every", [1, -1]),
        (Config, "seconds", [-3, NAN, INF]),
        (Config, "seed", [-1, 2**63]),
        (MarchingConfig, "near", [-0.1, NAN, INF]),
        (MarchingConfig, "cascades", [0, 9]),
        (MarchingConfig, "box", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, NAN), (INF, 1.0, 1.0)]),
        (MarchingConfig, "resolution", [0, 48, 512]),
        (MarchingConfig, "step", [0, 2, NAN]),
        (MarchingConfig, "cone_angle", [-0.1, 1, NAN]),
        (MarchingConfig, "max_samples", [0]),
        (MarchingConfig, "opacity_threshold", [0, 1, NAN]),
        (MarchingConfig, "occupancy_decay", [-0.1, 1.1, NAN]),
        (MarchingConfig, "occupancy_stride", [0]),
        (MarchingConfig, "frustum_margin", [-0.1, NAN, INF]),
        (MarchingConfig, "min_transmittance", [-0.1, 1, NAN]),
        (MarchingConfig, "min_colour_weight", [-0.1, 1, NAN]),
        (RadianceFieldConfig, "hidden", [0]),
        (RadianceFieldConfig, "geometry", [0]),
        (RadianceFieldConfig, "table_init", [-1, NAN, INF]),
        (RadianceFieldConfig, "sh_degree", [0, 5]),
        (RadianceFieldConfig, "log_density_bias", [NAN, INF]),
        (RadianceFieldConfig, "max_log_density", [0, 81, NAN]),
        (RadianceTrainingConfig, "steps", [0]),
        (RadianceTrainingConfig, "samples_per_step", [0, 1023]),
        (RadianceTrainingConfig, "lr", [0, -1, NAN, INF]),
        (RadianceTrainingConfig, "lr_floor", [-0.1, 1.1, NAN]),
        (RadianceTrainingConfig, "adam_betas", [(1.0, 0.9), (0.9, -0.1), (NAN, 0.9)]),
        (RadianceTrainingConfig, "adam_eps", [0, NAN, INF]),
        (RadianceTrainingConfig, "fill", [0, 1.1, NAN]),
        (RadianceTrainingConfig, "initial_samples_per_ray", [0]),
        (RadianceTrainingConfig, "min_rays", [0, 1 << 19]),
        (RadianceTrainingConfig, "max_rays_change", [0.9, NAN, INF]),
        (RadianceTrainingConfig, "ramp", [0, 1.1, NAN]),
        (RadianceTrainingConfig, "coarseness", [0.9, NAN, INF]),
        (RadianceTrainingConfig, "grid_every", [0]),
        (RadianceTrainingConfig, "grid_warmup_every", [0]),
        (RadianceTrainingConfig, "grid_warmup_steps", [-1]),
        (RadianceTrainingConfig, "correction_lr", [-1, NAN, INF]),
        (RadianceTrainingConfig, "opacity_weight", [-1, NAN, INF]),
        (RadianceTrainingConfig, "distortion_weight", [-1, NAN, INF]),
        (RadianceTrainingConfig, "depth_weight", [-1, NAN, INF]),
        (RadianceTrainingConfig, "depth_fade", [0, NAN, INF]),
        (RadianceTrainingConfig, "depth_tolerance", [0, 1.1, NAN]),
        (FeatureTrainingConfig, "temperature_range", [(0.0, 1.0), (2.0, 1.0), (NAN, 1.0), (0.1, INF)]),
        (FeatureTrainingConfig, "lr", [0, -1, NAN, INF]),
    ],
)
def test_values_out_of_range(cls: type, name: str, values: list):
    for value in values:
        with pytest.raises(ValueError, match=f"{name}: expected .*, got "):
            cls(**{name: value})


def test_bound_is_half_the_outermost_cube():
    assert [MarchingConfig(cascades=k).bound for k in (1, 2, 5)] == [1, 2, 16]


def test_hash_layout_is_part_of_the_file(tmp_path: Path):
    layout = HashLayout(levels=3, features=4, log2_table=9, base_resolution=5, finest_resolution=77)
    config = Config(radiance=RadianceFieldConfig(encoding=layout))
    config.save(tmp_path / "c")
    assert Config.load(tmp_path / "c").radiance.encoding == layout
