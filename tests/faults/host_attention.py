"""Faults of host/ in what edits and reads attention. Tests of host/ sample from tiny networks: most faults name a single one."""

from .fault import Fault

COMPONENT = "tests/component"
BACKBONE = (f"{COMPONENT}/test_backbone.py",)
PARITY = f"{COMPONENT}/test_self_attention_parity.py::test_an_edit_equals_its_published_formula"
CHAINING = f"{COMPONENT}/test_attention_chaining.py"
EDITS = f"{COMPONENT}/test_attention_edits.py"
NEIGHBORS = f"{COMPONENT}/test_attention_neighbors.py"


FAULTS = (
    Fault(
        "host/self_attention.py",
        "for pixels in (~source, source)",
        "for pixels in (source, ~source)",
        BACKBONE,
        "what is inside MasaCtrl's mask is swapped with what is outside",
    ),
    Fault(
        "host/self_attention.py",
        "torch.where(target[..., None], inside, outside)",
        "torch.where(source[..., None], inside, outside)",
        (f"{PARITY}[masactrl with two masks]",),
        "MasaCtrl takes the object of the target from the source's mask",
    ),
    Fault(
        "host/self_attention.py",
        "% self.run.rows == 0",
        "% self.run.rows == 1",
        BACKBONE,
        "a target takes the place of the source",
    ),
    Fault(
        "host/self_attention.py",
        "self.run.step(call.options) < self.start_step",
        "self.run.step(call.options) <= self.start_step",
        BACKBONE,
        "MasaCtrl begins a step late",
    ),
    Fault(
        "host/self_attention.py",
        "backbone.layers[int(start_layer * len(backbone.layers)) :]",
        "backbone.layers[: int(start_layer * len(backbone.layers))]",
        BACKBONE,
        "MasaCtrl acts in the layers that should stay",
    ),
    Fault(
        "host/self_attention.py",
        "keys, values = (self._repeat_source(each, call.options, call.image) for each in (call.k, call.v))",
        "keys, values = self._repeat_source(call.k, call.options, call.image), call.v",
        BACKBONE,
        "MasaCtrl keeps the target's values",
    ),
    Fault(
        "host/self_attention.py",
        "self._repeat_source(out, options) + (passed - self._repeat_source(passed, options))",
        "self._repeat_source(out, options)",
        BACKBONE,
        "Plug and Play replaces the skip connection too",
    ),
    Fault(
        "host/self_attention.py",
        ">= int(self.attention_fraction * self.run.steps)",
        "> int(self.attention_fraction * self.run.steps)",
        (f"{PARITY}[plug and play, attention]",),
        "Plug and Play replaces attention a step too long",
    ),
    Fault(
        "host/unet.py",
        "first = numbers[:2][-1]",
        "first = numbers[0]",
        (f"{PARITY}[plug and play]",),
        "the wrong block in Plug and Play",
    ),
    Fault(
        "host/unet.py",
        'if options["block"] != (place.block, place.number):',
        'if options["block"][0] != place.block:',
        (f"{PARITY}[plug and play, features]",),
        "Plug and Play replaces the features of every block of the decoder",
    ),
    Fault(
        "host/unet.py",
        "isinstance(part, Downsample) - isinstance(part, Upsample)",
        "isinstance(part, Downsample)",
        (f"{CHAINING}::test_layers_are_found_by_their_size_relative_to_the_latent",),
        "the decoder's maps stay the smallest",
    ),
    Fault(
        "host/backbone.py",
        " * queries.shape[-1] ** -0.5",
        "",
        BACKBONE,
        "scores are not scaled",
    ),
    Fault(
        "host/backbone.py",
        "torch.cat([text, self.k[row, self.image]])",
        "text",
        BACKBONE,
        "image tokens are left out of the softmax",
    ),
    Fault(
        "host/backbone.py",
        "(abs(resolution - wanted), resolution)",
        "(abs(resolution - wanted), -resolution)",
        (f"{COMPONENT}/test_backbone.py", f"{CHAINING}::test_layers_are_found_by_their_size_relative_to_the_latent"),
        "of two equally near resolutions the smaller maps",
    ),
    Fault(
        "host/prompt_to_prompt.py",
        "source = call.text_probabilities(first, self.edit.tokens[0])",
        "source = call.text_probabilities(0, self.edit.tokens[0])",
        (
            f"{EDITS}::test_edits_change_the_target_each_in_its_way_and_never_the_source[sd15]",
            f"{EDITS}::test_batched_or_not_is_the_same",
        ),
        "the source under the negative prompt",
    ),
    Fault(
        "host/prompt_to_prompt.py",
        "self._collect(blend, target, edited, call.map_size)",
        "self._collect(blend, 0, edited, call.map_size)",
        (f"{COMPONENT}/test_attention_parity.py",),
        "a target's map is added to the source's",
    ),
    Fault(
        "host/prompt_to_prompt.py",
        "(row, edited - unedited)",
        "(row, edited)",
        BACKBONE,
        "the edited attention is added to the unedited",
    ),
    Fault(
        "host/prompt_to_prompt.py",
        "layer.resolution >= self_resolution",
        "layer.resolution > self_resolution",
        (f"{CHAINING}::test_patches_sit_only_where_they_act_and_leave_with_the_run",),
        "self-attention is left out at its largest map",
    ),
    Fault(
        "host/prompt_to_prompt.py",
        "self.word_maps.clear()\n        self.on_device.clear()",
        "self.on_device.clear()",
        (f"{EDITS}::test_a_run_leaves_nothing_to_the_next",),
        "an interrupted run keeps its maps",
    ),
    Fault(
        "host/prompt_to_prompt.py",
        'if model_changes(options).applied:\n            return args["denoised"]\n        ',
        "",
        (f"{EDITS}::test_local_blend_acts_once",),
        "the local blend acts twice",
    ),
    Fault(
        "host/edited_run.py",
        "finally:\n            guider.model_options = unedited\n",
        "finally:\n",
        (f"{CHAINING}::test_the_options_of_a_guider_are_its_own_again_behind_the_run",),
        "the edits stay in the guider",
    ),
    Fault(
        "host/edited_run.py",
        "steps = min(len(sigmas) - 1, int((sigmas > 0).sum()))",
        "steps = len(sigmas) - 1",
        (f"{COMPONENT}/test_attention_steps.py",),
        "zeros after the last level count as steps",
    ),
    Fault(
        "host/sampling_run.py",
        "if entry in self.positive]",
        "if entry not in self.positive]",
        BACKBONE,
        "the negative is edited",
    ),
    Fault(
        "host/sampling_run.py",
        'if entry["uuid"] in others:',
        "if False:",
        (f"{NEIGHBORS}::test_an_area_of_one_prompt_does_not_mix_up_the_prompts",),
        "positive and negative share a uuid",
    ),
    Fault(
        "host/unet_attention.py",
        "before + (edited - plain_attention(q, k, v, options))",
        "edited",
        (f"{CHAINING}::test_an_earlier_patch_is_kept_and_ours_added",),
        "another pack's patch is lost",
    ),
    Fault(
        "host/unet_attention.py",
        "*(key for key in layer_keys if key in earlier)",
        "*layer_keys",
        (f"{NEIGHBORS}::test_perturbed_attention_guidance_and_the_edit_both_act",),
        "a layer's key hides guidance that replaces a block",
    ),
    Fault(
        "host/plain_attention.py",
        "container(each.clone())",
        "container(each)",
        (f"{COMPONENT}/test_attention_interfaces.py::test_a_backend_that_uses_up_its_tensors_takes_none_from_an_edit",),
        "a backend uses up what an edit still needs",
    ),
    Fault(
        "host/attention_maps.py",
        "self.maps.get(call.layer.resolution, 0) + torch.stack(maps)",
        "torch.stack(maps)",
        (f"{COMPONENT}/test_attention_maps.py",),
        "only the last layer's map is kept",
    ),
    Fault(
        "host/attention_maps.py",
        "(coarse, coarse - 1)",
        "(coarse, coarse + 1)",
        (f"{COMPONENT}/test_attention_maps.py",),
        "maps are read in smaller layers",
    ),
    Fault(
        "host/attention_maps.py",
        ".clamp(1, trajectory.steps)",
        ".clamp(0, trajectory.steps)",
        (f"{COMPONENT}/test_attention_maps.py",),
        "the image itself is a level",
    ),
    Fault(
        "host/attention_maps.py",
        "torch.tensor([cleanest, noisiest]) * trajectory.steps",
        "(1 - torch.tensor([cleanest, noisiest])) * trajectory.steps",
        (f"{COMPONENT}/test_attention_maps.py",),
        "levels are counted from the noise",
    ),
)
