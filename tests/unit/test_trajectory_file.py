"""Saving and loading: everything comes back; a damaged file gives a clear error and leaves nothing behind."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from retrace_pack.inversion import new_file
from retrace_pack.inversion.trajectory import InversionFacts, ModelFacts, NullEmbeddings, Trajectory
from retrace_pack.inversion.trajectory_file import VERSION, load_trajectory, save_trajectory
from safetensors.torch import save_file

STEPS = 4


@pytest.fixture
def trajectory(sigma_table):
    generator = torch.Generator().manual_seed(0)
    return Trajectory(
        torch.randn(STEPS + 1, 2, 4, 8, 8, generator=generator),
        torch.linspace(0, 14, STEPS + 1),
        torch.rand(STEPS, generator=generator),
        ModelFacts(sigma_table.float(), "v_prediction", "SD15", "abc"),
        InversionFacts("ddim", STEPS, "trailing", "first", 2.5, "digest", 3, 16),
    )


def randn(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


PAIRS = randn(1, STEPS + 1, 2, 2, 4, 8, 8, dtype=torch.float64)
NOISE_MAPS = randn(2, STEPS, 2, 4, 8, 8)
EMBEDDINGS, POOLED, MISSED = randn(3, STEPS, 7, 16), randn(4, 1, 12), randn(5, STEPS, 1, 4, 8, 8)


@pytest.fixture
def of_one_image(trajectory) -> Trajectory:
    """Null embeddings are for one image."""
    return replace(trajectory, latents=trajectory.latents[:, :1])


def write(path, tensors, metadata):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(path), metadata)
    return path


def parts(trajectory):
    model = asdict(trajectory.model)
    tensors = {
        "latents": trajectory.latents,
        "sigmas": trajectory.sigmas,
        "residuals": trajectory.residuals,
        "sigma_table": model.pop("sigma_table"),
    }
    metadata = {"format": "retrace.trajectory", "version": str(VERSION), "model": json.dumps(model)}
    return tensors, {**metadata, "inversion": json.dumps(asdict(trajectory.inversion))}


def test_everything_comes_back(trajectory, tmp_path):
    save_trajectory(trajectory, tmp_path, ["cat.safetensors"])
    loaded = load_trajectory(tmp_path / "cat.safetensors")
    for name in ("latents", "sigmas", "residuals"):
        assert torch.equal(getattr(loaded, name), getattr(trajectory, name))
    assert torch.equal(loaded.model.sigma_table, trajectory.model.sigma_table)
    assert loaded.inversion == trajectory.inversion
    assert (loaded.model.prediction, loaded.model.latent_format, loaded.model.weights) == (
        "v_prediction",
        "SD15",
        "abc",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["cat.safetensors"]


def test_an_interrupted_save_leaves_nothing_behind(trajectory, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(new_file.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_trajectory(trajectory, tmp_path, ["cat.safetensors"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 4, 100, 2000, -1])
def test_a_truncated_file_is_refused(trajectory, tmp_path, keep):
    path = tmp_path / "cut.safetensors"
    save_trajectory(trajectory, tmp_path, [path.name])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"cut.safetensors is damaged or incomplete .*save the trajectory again"):
        load_trajectory(path)


def test_another_safetensors_file_is_refused(tmp_path):
    path = write(tmp_path / "lora.safetensors", {"weight": torch.zeros(2)}, {"format": "pt"})
    with pytest.raises(ValueError, match="lora.safetensors is a safetensors file but not a Retrace trajectory"):
        load_trajectory(path)


def test_a_newer_version_is_refused(trajectory, tmp_path):
    tensors, metadata = parts(trajectory)
    path = write(tmp_path / "new.safetensors", tensors, {**metadata, "version": str(VERSION + 1)})
    message = f"has format version {VERSION + 1}, this pack reads 3 and 4; update Retrace"
    with pytest.raises(ValueError, match=message):
        load_trajectory(path)


def test_metadata_that_is_no_json_or_lacks_fields_is_refused(trajectory, tmp_path):
    tensors, metadata = parts(trajectory)
    for broken in ({"inversion": "{"}, {"inversion": "{}"}, {"model": '{"evil": 1}'}, {"model": "[]"}):
        path = write(tmp_path / "crafted.safetensors", tensors, {**metadata, **broken})
        with pytest.raises(ValueError, match="crafted.safetensors is damaged or incomplete"):
            load_trajectory(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": torch.zeros(3, 2, 4, 8, 8)}, "do not fit together"),
        ({"latents": torch.zeros(5, 4, 8, 8)}, "do not fit together"),
        ({"sigmas": torch.linspace(14, 0, 5)}, "its sigmas do not ascend"),
        ({"sigmas": torch.tensor([0.0, 1.0, float("nan"), 3.0, 4.0])}, "its sigmas do not ascend"),
        ({"latents": torch.full((5, 2, 4, 8, 8), float("inf"))}, "a latent is missing, NaN or infinite"),
        ({"latents": torch.zeros(5, 2, 4, 8, 8, dtype=torch.float16)}, "its tensors are not float32"),
        ({"residuals": torch.zeros(9)}, "it should have 4 steps and as many residuals"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(trajectory, tmp_path, change, message):
    tensors, metadata = parts(trajectory)
    path = write(tmp_path / "odd.safetensors", {**tensors, **change}, metadata)
    with pytest.raises(ValueError, match=f"odd.safetensors is not a usable trajectory: .*{message}"):
        load_trajectory(path)


def by(trajectory: Trajectory, method: str, settings: dict[str, float]) -> Trajectory:
    return replace(trajectory, inversion=replace(trajectory.inversion, method=method, settings=settings))


@pytest.mark.parametrize(
    ("extra", "method", "settings"),
    [
        ({"pairs": PAIRS}, "edict", {"mixing": 0.93}),
        ({"pairs": PAIRS}, "bdia", {"gamma": 1.0}),
        ({"pairs": PAIRS}, "o-belm", {}),
        ({"noise_maps": NOISE_MAPS}, "edit-friendly", {"order": 2, "eta": 1.0}),
    ],
)
def test_what_a_method_needs_to_continue_comes_back_to_the_last_bit(trajectory, tmp_path, extra, method, settings):
    saved = by(replace(trajectory, **extra), method, settings)
    save_trajectory(saved, tmp_path, ["cat.safetensors"])
    loaded = load_trajectory(tmp_path / "cat.safetensors")
    for name in ("latents", "pairs", "noise_maps"):
        same_or_missing(getattr(loaded, name), getattr(saved, name))
    assert loaded.kind == saved.kind != "plain"
    assert loaded.inversion == saved.inversion


@pytest.mark.parametrize(
    ("extra", "method", "settings"),
    [
        ({"pairs": PAIRS}, "edict", {}),
        ({"pairs": PAIRS}, "edict", {"gamma": 1.0}),
        ({"pairs": PAIRS}, "bdia", {"mixing": 0.93}),
        ({"pairs": PAIRS}, "ddim", {}),
        ({"pairs": PAIRS}, "edit-friendly", {"order": 1, "eta": 1.0}),
        ({"noise_maps": NOISE_MAPS}, "edit-friendly", {"order": 1}),
        ({"noise_maps": NOISE_MAPS}, "edit-friendly", {"eta": 1.0}),
        ({"noise_maps": NOISE_MAPS}, "edict", {"mixing": 0.93}),
        ({"pairs": PAIRS}, "edict", {"mixing": 0.4}),
        ({"noise_maps": NOISE_MAPS}, "edit-friendly", {"order": 3, "eta": 1.0}),
        ({}, "edict", {"mixing": 0.93}),
        ({}, "unheard of", {}),
    ],
)
def test_a_method_that_cannot_continue_with_what_is_there_is_refused(trajectory, tmp_path, extra, method, settings):
    save_trajectory(by(replace(trajectory, **extra), method, settings), tmp_path, ["odd.safetensors"])
    message = f"odd.safetensors is not a usable trajectory: its method '{method}' .* cannot continue from its "
    with pytest.raises(ValueError, match=message):
        load_trajectory(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("change", [{"method": ["edict"]}, {"settings": {"mixing": float("nan")}}, {"settings": []}])
def test_facts_of_another_kind_are_refused(trajectory, tmp_path, change):
    tensors, metadata = parts(trajectory)
    crafted = json.dumps({**asdict(trajectory.inversion), **change})
    path = write(tmp_path / "odd.safetensors", {**tensors, "pairs": PAIRS}, {**metadata, "inversion": crafted})
    with pytest.raises(ValueError, match="odd.safetensors is not a usable trajectory: its facts are not those of"):
        load_trajectory(path)


@pytest.mark.parametrize("pooled", [None, POOLED])
@pytest.mark.parametrize("residuals", [None, MISSED])
def test_null_embeddings_come_back_to_the_last_bit(of_one_image, tmp_path, pooled, residuals):
    saved = of_one_image.with_null_text(NullEmbeddings(EMBEDDINGS, pooled, residuals, 7.5, ("control",)))
    save_trajectory(saved, tmp_path, ["cat.safetensors"])
    loaded = load_trajectory(tmp_path / "cat.safetensors")
    assert loaded.kind == "plain" and loaded.null_text.cfg == 7.5 and loaded.null_text.settings == ("control",)
    for name in ("embeddings", "pooled", "residuals"):
        same_or_missing(getattr(loaded.null_text, name), getattr(saved.null_text, name))


def same_or_missing(loaded, saved):
    assert (loaded is None) == (saved is None)
    if saved is not None:
        assert loaded.dtype == saved.dtype and torch.equal(loaded, saved)


def with_nan(tensor: torch.Tensor) -> torch.Tensor:
    broken = tensor.clone()
    broken.view(-1)[5] = torch.nan
    return broken


EXTRAS_MESSAGE = (
    "usable trajectory: its pairs, noise maps or null embeddings do not fit its steps and latents, or are not finite"
)


@pytest.mark.parametrize(
    "extra",
    [
        {"pairs": PAIRS.float()},
        {"pairs": with_nan(PAIRS)},
        {"pairs": PAIRS[1:]},
        {"pairs": PAIRS[:, :1]},
        {"pairs": PAIRS[..., 1:]},
        {"noise_maps": NOISE_MAPS.double()},
        {"noise_maps": with_nan(NOISE_MAPS)},
        {"noise_maps": NOISE_MAPS[1:]},
        {"noise_maps": NOISE_MAPS[:, :1]},
    ],
)
def test_pairs_and_noise_maps_that_do_not_fit_are_refused(trajectory, tmp_path, extra):
    tensors, metadata = parts(trajectory)
    path = write(tmp_path / "odd.safetensors", {**tensors, **extra}, metadata)
    with pytest.raises(ValueError, match=f"odd.safetensors is not a {EXTRAS_MESSAGE}"):
        load_trajectory(path)


def write_null_text(trajectory, path, extra=None, cfg="7.5", settings="[]"):
    tensors, metadata = parts(trajectory)
    null_text = {"embeddings": EMBEDDINGS, "pooled": POOLED, "residuals": MISSED, **(extra or {})}
    tensors |= {f"null_text.{name}": tensor for name, tensor in null_text.items() if tensor is not None}
    return write(path, tensors, {**metadata, "null_text_cfg": cfg, "null_text_settings": settings})


@pytest.mark.parametrize(
    "extra",
    [
        {"embeddings": EMBEDDINGS.half()},
        {"embeddings": with_nan(EMBEDDINGS)},
        {"embeddings": EMBEDDINGS[1:]},
        {"embeddings": EMBEDDINGS[:, 0]},
        {"embeddings": EMBEDDINGS[:, :0]},
        {"embeddings": torch.tensor(1.0)},
        {"pooled": with_nan(POOLED)},
        {"pooled": POOLED.half()},
        {"pooled": POOLED[0]},
        {"pooled": POOLED.expand(2, -1)},
        {"residuals": with_nan(MISSED)},
        {"residuals": MISSED[1:]},
        {"residuals": MISSED.double()},
    ],
)
def test_null_embeddings_that_do_not_fit_are_refused(of_one_image, tmp_path, extra):
    path = write_null_text(of_one_image, tmp_path / "odd.safetensors", extra)
    with pytest.raises(ValueError, match=f"odd.safetensors is not a {EXTRAS_MESSAGE}"):
        load_trajectory(path)


def test_null_embeddings_for_a_batch_are_refused(trajectory, tmp_path):
    path = write_null_text(trajectory, tmp_path / "odd.safetensors", {"residuals": None})
    with pytest.raises(ValueError, match=EXTRAS_MESSAGE):
        load_trajectory(path)


@pytest.mark.parametrize("cfg", ["NaN", "Infinity", '"high"', "[7.5]", "{", "null"])
def test_a_null_text_cfg_that_is_no_number_is_refused(of_one_image, tmp_path, cfg):
    path = write_null_text(of_one_image, tmp_path / "odd.safetensors", cfg=cfg)
    with pytest.raises(ValueError, match=r"odd.safetensors is (damaged or incomplete|not a usable trajectory)"):
        load_trajectory(path)


@pytest.mark.parametrize("settings", ["5", "[5]", "null", "{"])
def test_null_text_settings_that_are_no_names_are_refused(of_one_image, tmp_path, settings):
    path = write_null_text(of_one_image, tmp_path / "odd.safetensors", settings=settings)
    with pytest.raises(ValueError, match=r"odd.safetensors is (damaged or incomplete|not a usable trajectory)"):
        load_trajectory(path)


def test_null_embeddings_without_their_tensors_are_refused(of_one_image, tmp_path):
    path = write_null_text(of_one_image, tmp_path / "odd.safetensors", {"embeddings": None})
    with pytest.raises(ValueError, match="odd.safetensors is damaged or incomplete"):
        load_trajectory(path)
