"""The nodes around the sampler: RetraceBlendMask, RetracePixelComposite, and depth checkpoints by RetraceDepthToImage."""

import pytest
import torch
import torch.nn.functional as F
from node_call import run_node
from retrace_pack.nodes.blend_mask import RetraceBlendMask
from retrace_pack.nodes.depth_to_image import RetraceDepthToImage
from retrace_pack.nodes.full_size import RetraceChangedRegion, RetraceWorkingCrop
from retrace_pack.nodes.pixel_composite import RetracePixelComposite


def prepare(mask, image=None, **changes):
    inputs = {
        "invert": False, "fill_holes": False, "grow": 0, "feather": 0, "snap": 0.0, "latent_size": "maximum", "image": image,
    }  # fmt: skip
    return run_node(RetraceBlendMask, mask=mask, **{**inputs, **changes}).result


def ring():
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48, 16:48] = 1
    mask[:, 24:40, 24:40] = 0
    return mask


def test_the_masks_steps_come_in_the_order_told():
    mask, latent_mask, _ = prepare(ring(), fill_holes=True, grow=4, snap=0.1)
    assert mask[0, 12:52, 12:52].all() and mask.sum() == 40 * 40
    assert latent_mask.shape == (1, 8, 8) and latent_mask.sum() == 36
    assert torch.equal(prepare(ring(), invert=True)[0], 1 - ring())
    assert prepare(ring(), invert=True, fill_holes=True)[0].all(), "inverted first: then the ring is the hole"
    soft = prepare(ring(), grow=-2, feather=4)[0]
    assert 0 < float(soft[0, 16, 20]) < 1


def test_a_padded_image_comes_only_with_an_image():
    from comfy_execution.graph_utils import ExecutionBlocker

    assert isinstance(prepare(ring())[2], ExecutionBlocker)
    image = torch.rand(1, 61, 67, 3)
    mask, latent_mask, padded = prepare(torch.ones(1, 61, 67), image)
    assert padded.shape == (1, 64, 72, 3) and torch.equal(padded[:, :61, :67], image)
    assert mask.shape == (1, 61, 67) and latent_mask.shape == (1, 8, 9)
    with pytest.raises(ValueError, match="Blend Mask: the image is 67 x 61, the mask 64 x 64"):
        prepare(ring(), image)


def test_the_mask_node_names_itself_when_it_refuses():
    with pytest.raises(ValueError, match="Blend Mask: mask: the mask holds NaN"):
        prepare(ring() * float("nan"))
    with pytest.raises(ValueError, match="Blend Mask: snap is 0.7"):
        prepare(ring(), snap=0.7)


def test_an_odd_sized_picture_goes_round_without_a_crop():
    source = torch.rand(2, 61, 67, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 61, 67)
    mask[:, 20:, 30:] = 1
    padded = prepare(mask, source)[2]
    result = run_node(RetracePixelComposite, source=source, edited=padded * 0.5, mask=mask, feather=0).result[0]
    assert torch.equal(result[:, :20], source[:, :20]) and torch.equal(result[:, :, :30], source[:, :, :30])
    torch.testing.assert_close(result[:, 20:, 30:], source[:, 20:, 30:] * 0.5)
    with pytest.raises(
        ValueError, match="Pixel Composite: the edited image is 64 x 56, the source 67 x 61. Encoding to a latent crops"
    ):
        run_node(RetracePixelComposite, source=source, edited=source[:, :56, :64], mask=mask, feather=0)


@pytest.fixture
def depth():
    return torch.rand(1, 48, 80, 3, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3


def sampled(model, positive, negative, latent, cfg=3.0):
    import comfy.sample
    import comfy.samplers

    return comfy.sample.sample_custom(
        model, comfy.sample.prepare_noise(latent, 0), cfg, comfy.samplers.sampler_object("euler"),
        torch.tensor([10.0, 1.0, 0.0]), positive, negative, latent, disable_pbar=True,
    )  # fmt: skip


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_depth_model_samples_and_gets_the_depth_as_diffusers_makes_it(models, latent, depth, monkeypatch, cfg):
    model, cond = models("sd2_depth")
    plain = latent["samples"]
    patched, positive, negative = run_node(
        RetraceDepthToImage, model=model, positive=cond, negative=cond, depth=depth, latent=latent
    ).result
    seen = []
    network = model.model.diffusion_model
    forward = type(network).forward

    def watched(self, x, *args, **kwargs):
        seen.append(x)
        return forward(self, x, *args, **kwargs)

    monkeypatch.setattr(type(network), "forward", watched)
    first = sampled(patched, positive, negative, plain, cfg)
    expected = F.interpolate(depth.mean(-1)[:, None], (16, 16), mode="bicubic")
    expected = 2 * (expected - expected.min()) / (expected.max() - expected.min()) - 1
    assert seen and all(x.shape[1] == 5 for x in seen)
    for x in seen:
        torch.testing.assert_close(x[:, 4:].float(), expected.expand(len(x), -1, -1, -1), rtol=1e-4, atol=1e-4)
    other = sampled(
        *run_node(
            RetraceDepthToImage, model=model, positive=cond, negative=cond, depth=1 - depth, latent=latent
        ).result,
        plain,
        cfg,
    )
    assert not torch.allclose(first, other, atol=1e-3)
    assert "noise_concat" not in cond[0][1]


def test_core_alone_cannot_sample_a_depth_model(models, latent):
    """Why the node exists: core would concatenate an inpainting model's five further channels."""
    model, cond = models("sd2_depth")
    with pytest.raises(RuntimeError, match="to have 5 channels, but got 9 channels"):
        sampled(model, cond, cond, latent["samples"])


def test_each_row_has_its_own_depth(models, latent, depth):
    model, cond = models("sd2_depth")
    both = torch.cat([depth, 1 - depth])
    patched, positive, negative = run_node(
        RetraceDepthToImage, model=model, positive=cond, negative=cond, depth=both, latent=latent
    ).result
    condition = positive[0][1]["noise_concat"]
    assert condition.shape == (2, 1, 16, 16)
    assert condition.amin((1, 2, 3)).tolist() == [-1, -1] and condition.amax((1, 2, 3)).tolist() == [1, 1]
    torch.testing.assert_close(condition[0], -condition[1], rtol=1e-4, atol=1e-4)
    assert sampled(patched, positive, negative, latent["samples"]).shape == latent["samples"].shape


def test_what_depth_to_image_refuses(models, latent, depth):
    model, cond = models("sd2_depth")
    with pytest.raises(ValueError, match="Depth To Image: the model's UNet has 4 input channels, a depth model has 5"):
        run_node(RetraceDepthToImage, model=models("sd15")[0], positive=cond, negative=cond, depth=depth, latent=latent)
    for wrong, message in (
        (depth * float("nan"), "depth holds NaN"),
        (torch.full_like(depth, 0.5), "the depth of image 0 is the same everywhere"),
        (depth.repeat(3, 1, 1, 1), "there are 3 depth maps for 2 latents"),
        (depth[0], "the depth has the shape"),
    ):
        with pytest.raises(ValueError, match=f"Depth To Image: {message}"):
            run_node(RetraceDepthToImage, model=model, positive=cond, negative=cond, depth=wrong, latent=latent)


@pytest.mark.parametrize("difference", [False, True])
def test_a_small_edit_of_a_large_photo_changes_no_pixel_around_it(difference):
    """Cut out, edited, its changed region found, and put back, through the four nodes."""
    photo = torch.rand(1, 300, 400, 3, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    mask = torch.zeros(1, 300, 400)
    mask[:, 100:130, 250:290] = 1
    crop, part, region = run_node(RetraceWorkingCrop, image=photo, side=96, mask=mask).result
    assert region["width"] < 200 and crop.shape[1] * crop.shape[2] < 1.6 * 96**2 and float(part.sum()) == 30 * 40
    edited = crop.clone()
    edited[:, 30:60, 30:60] = 0
    changed = run_node(RetraceChangedRegion, edited=edited, round_trip=crop, grow=2, feather=1).result[0]
    for inside in (part, changed):
        more = {"round_trip": crop} if difference else {}
        result, taken = run_node(
            RetracePixelComposite, source=photo, edited=edited, mask=inside, feather=3, region=region, **more
        ).result
        assert torch.equal(result[taken == 0], photo[taken == 0]) and 0 < int((taken > 0).sum()) < 200 * 200
        assert not torch.equal(result, photo)


def test_an_edit_of_which_nothing_is_taken_is_said():
    image, mask = torch.rand(1, 64, 64, 3), torch.zeros(1, 64, 64)
    for inside, said in (
        (mask, ("nothing is taken from the edit, because the mask is empty: the image is the source",)),
        (ring(), None),
    ):
        output = run_node(RetracePixelComposite, source=image, edited=1 - image, mask=inside)
        assert (output.ui and output.ui["text"]) == said
        assert torch.equal(output.result[0], image) == (said is not None)


def test_a_whole_photo_is_worked_on_without_a_mask():
    image, mask, region = run_node(RetraceWorkingCrop, image=torch.rand(1, 300, 400, 3), side=128).result
    assert image.shape == (1, 112, 144, 3) and bool(mask.all()) and mask.shape == (1, 300, 400)
    assert region == {"x": 0, "y": 0, "width": 400, "height": 300}
    with pytest.raises(ValueError, match="Working Crop: the mask is 64 x 64, the image 400 x 300"):
        run_node(RetraceWorkingCrop, image=torch.rand(1, 300, 400, 3), side=128, mask=ring())
    with pytest.raises(ValueError, match="Working Crop: the mask is empty"):
        run_node(RetraceWorkingCrop, image=torch.rand(1, 300, 400, 3), side=128, mask=torch.zeros(1, 300, 400))
    with pytest.raises(ValueError, match="Pixel Composite: the region .* does not lie in the picture"):
        run_node(RetracePixelComposite, source=image, edited=image, mask=mask, region=region)
