"""The table of edits: whole, consistent, and what it says of strength and of models for a few steps."""

from pathlib import Path

import pytest
from retrace_pack.editing.kinds import KINDS
from retrace_pack.editing.recipes import NATIVE_SIDE, RECIPES, few_step_name
from retrace_pack.inversion.methods import METHODS

ROWS = [(family, row, recipe) for family, rows in RECIPES.items() for row, recipe in rows.items()]


def test_every_family_has_every_kind_and_a_size():
    assert all(set(rows) == {*KINDS, "color", "unsure"} for rows in RECIPES.values())
    assert set(NATIVE_SIDE) == set(RECIPES)


@pytest.mark.parametrize(("family", "row", "recipe"), ROWS)
def test_a_row_can_be_run(family, row, recipe):
    assert METHODS[recipe.inversion].family in ("ddim", "noise maps", "flow")
    assert recipe.attention or not (recipe.cross_replace or recipe.self_replace or recipe.blend or recipe.control)
    assert recipe.cfg > 1 and 0 <= recipe.start < 1 and 0 < recipe.grow < 0.2
    assert 0 <= recipe.blend < 1 and 0 <= recipe.cross_replace <= 1 and 0 <= recipe.self_replace <= 1


@pytest.mark.parametrize(("family", "row", "recipe"), ROWS)
def test_strength_skips_steps_from_all_to_the_rows_own(family, row, recipe):
    starts = [recipe.start_step(50, strength) for strength in (0, 0.25, 0.5, 0.75, 1)]
    assert starts == sorted(starts, reverse=True) and len(set(starts)) == 5
    assert starts[0] == 50 and starts[-1] == round(50 * recipe.start)


def test_a_plain_inversion_is_the_same_for_all_kinds():
    """So that another sentence of another kind does not invert the photo again."""
    for rows in RECIPES.values():
        plain = {
            (r.inversion, r.inversion_cfg, r.fixed_point_iterations)
            for r in rows.values()
            if not METHODS[r.inversion].draws_noise
        }
        assert len(plain) == 1


@pytest.mark.parametrize(
    "name",
    [
        "sd_xl_turbo_1.0_fp16.safetensors", "SDXL-Lightning/sdxl_lightning_4step_lora.safetensors",
        "Hyper-SD15-8steps-lora.safetensors",
        "lcm-lora-sdv1-5.safetensors", "DreamShaperXL_Turbo_v2.safetensors", "LCM_Dreamshaper_v7.ckpt",
        "dmd2_sdxl_4step.safetensors", "flux1-schnell-fp8.safetensors",
        "flux-2-klein-4b.safetensors", "TCD-SDXL-LoRA.safetensors", "mix_xl-4step_fp16.ckpt",
    ],
)  # fmt: skip
def test_models_for_a_few_steps_are_known_by_their_names(name):
    assert few_step_name(["vae.safetensors", name]) == name


@pytest.mark.parametrize(
    "name",
    ["v1-5-pruned-emaonly.safetensors", "sd_xl_base_1.0.safetensors", "hyperrealism_v2.safetensors", "calcmix.safetensors",
     "epoch_12steps.safetensors", "photon_v1.safetensors", "dream_v2_step1000.safetensors", "my-style-000003-step-4000.safetensors",
     "epoch3-step=900.ckpt", "flux-2-klein-base-4b.safetensors"],
)  # fmt: skip
def test_other_models_are_not(name):
    assert few_step_name([name]) is None


def test_the_page_has_the_table():
    page = (Path(__file__).resolve().parent.parent.parent / "docs" / "choosing.md").read_text(encoding="utf-8")
    for row, recipe in RECIPES["sd1"].items():
        blend = f"{recipe.blend:g}" if recipe.blend else "no"
        fractions = f"{recipe.cross_replace:g} / {recipe.self_replace:g}"
        cells = (
            row,
            recipe.method,
            recipe.inversion,
            f"{recipe.cfg:g}",
            fractions,
            blend,
            f"{recipe.start:g}",
            recipe.returns,
        )
        assert f"| {' | '.join(cells)} |" in page
