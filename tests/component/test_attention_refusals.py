"""Models, batches, conditionings and masks that the edits on attention refuse, each by a message that names the node."""

from types import SimpleNamespace

import pytest
import torch
from node_call import run_node
from random_edits import BLEND, edit, p2p, rows, sample, strangers, twins
from retrace_pack.nodes import prompt_to_prompt
from retrace_pack.nodes.attention_mask import RetraceAttentionMask
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay
from retrace_pack.nodes.prompt_to_prompt import RetracePromptToPrompt


@pytest.mark.parametrize("node", ["Prompt to Prompt", "MasaCtrl", "Plug and Play", "Attention Mask"])
def test_a_model_without_a_unet_is_refused(models, random_task, node):
    model = models("sd15")[0].clone()
    model.add_object_patch("diffusion_model", torch.nn.Linear(1, 1))
    make = {
        "Prompt to Prompt": lambda: run_node(
            RetracePromptToPrompt, model=model, clip=object(), source_prompt="cat", target_prompts="dog"
        ),
        "MasaCtrl": lambda: run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0),
        "Plug and Play": lambda: run_node(RetracePlugAndPlay, model=model, feature_fraction=0.5),
        "Attention Mask": lambda: run_node(
            RetraceAttentionMask, model=model, clip=object(), trajectory=random_task().invert(), prompt="cat"
        ),
    }[node]
    with pytest.raises(ValueError, match=rf"^{node}: the model \(BaseModel\) has no UNet with cross-attention"):
        make()


def test_a_batch_or_a_conditioning_that_does_not_fit_is_refused_before_the_network_is_asked(models, monkeypatch):
    model = models("sd15")[0]
    monkeypatch.setattr(model.model, "apply_model", None)
    with pytest.raises(ValueError, match="the latent batch has 3 rows, but there are 2 prompts"):
        sample(p2p(model, edit()), rows(model, 1, 2), twins(count=3))
    with pytest.raises(ValueError, match=r"the positive conditioning has the shape \(1, 77, 128\).*positive input"):
        sample(p2p(model, edit()), rows(model, 1), strangers())
    with pytest.raises(ValueError, match="MasaCtrl: the latent batch has one row"):
        sample(
            run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0).result[0],
            rows(model, 1),
            twins(count=1),
        )
    with pytest.raises(ValueError, match="MasaCtrl: target_mask is connected but source_mask is not"):
        run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0, target_mask=torch.ones(1, 8, 8))


@pytest.mark.parametrize(("mask", "message"), [
    (torch.ones(2, 8, 8), "holds 2 masks, but one counts for every target; give one mask"),
    (torch.full((1, 8, 8), torch.nan), "the mask holds NaN"),
    (torch.zeros(1, 8, 8), r"is empty \(0 everywhere\), so that it shows no object; paint it, or disconnect"),
    (torch.ones(1, 8, 8, 3), r"the mask has the shape \(1, 8, 8, 3\)"),
])  # fmt: skip
def test_a_mask_that_is_not_one_mask_is_refused(models, mask, message):
    model, good = models("sd15")[0], torch.ones(1, 8, 8)
    with pytest.raises(ValueError, match=f"^MasaCtrl: source_mask.* {message}"):
        run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0, source_mask=mask)
    with pytest.raises(ValueError, match=f"^MasaCtrl: target_mask.* {message}"):
        run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0, source_mask=good, target_mask=mask)


@pytest.mark.parametrize("masks", [torch.zeros(1, 8, 8), torch.eye(8)[None] * torch.tensor([1, 0])[:, None, None]])
def test_a_blend_mask_under_which_nothing_could_change_is_refused(models, monkeypatch, masks):
    """What Load Image gives for a photo that nobody painted on."""
    words = SimpleNamespace(prompt_tokens=lambda clip, text: pytest.fail("the prompts were read first"))
    monkeypatch.setattr(prompt_to_prompt, "backbone_of", lambda model: words)
    prompts = {"source_prompt": "a cat", "target_prompts": "a dog\nan owl"}
    with pytest.raises(
        ValueError, match=r"^Prompt to Prompt: blend_mask: the mask .*is empty .*or disconnect the mask"
    ):
        run_node(RetracePromptToPrompt, model=models("sd15")[0], clip=object(), **prompts, blend_mask=masks)


@pytest.mark.parametrize("settings", [
    {"area": (8, 8, 4, 4)},
    {"area": ("percentage", 0.5, 0.5, 0.25, 0.25)},
    {"mask": torch.ones(1, 8, 8), "set_area_to_bounds": True},
])  # fmt: skip
@pytest.mark.parametrize("of", ["positive", "negative"])
def test_an_area_is_refused_where_maps_or_masks_are_those_of_the_whole_picture(models, monkeypatch, settings, of):
    """ComfyUI runs the network on a crop then, and the edit would act in another place; an area of one prompt is given to
    the other as well."""
    model = models("sd15")[0]
    ((embedding, others),) = rows(model, 1, 2)
    positive = [[embedding, {**others, **(settings if of == "positive" else {})}]]
    of_the_negative = settings if of == "negative" else {}
    for patched in (
        p2p(model, edit()),
        run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0).result[0],
    ):
        assert bool(torch.isfinite(sample(patched, positive, strangers(), **of_the_negative)).all())
    monkeypatch.setattr(model.model, "apply_model", None)
    with pytest.raises(ValueError, match="^Prompt to Prompt: a conditioning has an area, .* or the blend_words"):
        sample(p2p(model, edit(blend=BLEND)), positive, strangers(), **of_the_negative)
    with pytest.raises(ValueError, match="^MasaCtrl: a conditioning has an area, .* or the masks"):
        masked = run_node(
            RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0, source_mask=torch.ones(1, 8, 8)
        ).result[0]
        sample(masked, positive, strangers(), **of_the_negative)
