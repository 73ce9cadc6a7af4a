"""Faults of host/ in what inverts and samples. Tests of host/ sample from tiny networks: most faults name a single one."""

from .fault import Fault

COMPONENT = "tests/component"
AFTER_STEP = f"{COMPONENT}/test_editing_after_step.py"
ROWS = f"{COMPONENT}/test_editing_rows.py"
EXACT = f"{COMPONENT}/test_editing_exact.py"
GRADIENTS = f"{COMPONENT}/test_gradients.py"
GUIDANCE = f"{COMPONENT}/test_guidance.py"
INPAINTING = f"{COMPONENT}/test_inpainting.py"
SAMPLING = f"{COMPONENT}/test_sampling.py"


FAULTS = (
    Fault(
        "host/clip_prompts.py",
        "tuple(row + 1 for row in last.values())",
        "tuple(last.values())",
        (f"{COMPONENT}/test_attention_trained.py::test_prompts_of_several_chunks_share_one_conditioning",),
        "the last token is taken for the end",
    ),
    Fault(
        "host/conditioning.py",
        "model.percent_of((later + earlier) / 2)",
        "model.percent_of(earlier)",
        (f"{COMPONENT}/test_step_windows.py",),
        "a window ends at the level itself",
    ),
    Fault(
        "host/conditioning.py",
        "settings[POOLED] = torch.cat([entry[POOLED] for _, entry in entries])",
        "settings[POOLED] = entries[0][1][POOLED]",
        (f"{ROWS}::test_the_pooled_embeddings_of_sdxl_are_stacked",),
        "every row gets the source's pooled embedding",
    ),
    Fault(
        "host/editing.py",
        "pair = trajectory.pairs[trajectory.steps - options.start_step]",
        "pair = trajectory.pairs[-1]",
        (f"{EXACT}::test_an_exact_method_gives_the_latent_back[o-belm-1.0]",),
        "the pair of the noise end at every start step",
    ),
    Fault(
        "host/editing.py",
        "previous = (_repeated(states[level + 1], len(latent))",
        "previous = (_repeated(states[level], len(latent))",
        (
            f"{EXACT}::test_noise_maps_give_the_latent_back[dpm++ 2m-7.5]",
            f"{EXACT}::test_noise_maps_are_exact_on_a_trained_model[dpm++ 2m]",
        ),
        "order 2 extrapolates from the state it starts at",
    ),
    Fault(
        "host/editing.py",
        "[:-1].flip(0)",
        "[1:].flip(0)",
        (f"{ROWS}::test_p8_the_source_row_is_the_trajectory_at_every_step[0-sd15]",),
        "the source is held a level too noisy",
    ),
    Fault(
        "host/editing.py",
        "difference_in(guidance.model, null_text.residuals).to(latent)[:level].flip(0)",
        "difference_in(guidance.model, null_text.residuals).to(latent).flip(0)[:level]",
        (f"{COMPONENT}/test_null_text_reconstruction.py::test_a_residual_makes_the_reconstruction_exact",),
        "residuals of the noisiest steps at every start step",
    ),
    Fault(
        "host/editing.py",
        "return max(images, rows)",
        "return images",
        (f"{ROWS}::test_several_rows_on_one_image",),
        "one image is not repeated for its prompts",
    ),
    Fault(
        "host/after_step.py",
        "torch.cat([self.states[step], x[1:]])",
        "torch.cat([x[:1], x[1:]])",
        (f"{ROWS}::test_p8_the_source_row_is_the_trajectory_at_every_step[0-sd15]",),
        "the source is not held",
    ),
    Fault(
        "host/after_step.py",
        "sigma > self.below_sigma",
        "sigma < self.below_sigma",
        (f"{AFTER_STEP}::test_a_full_pull_back_is_the_trajectory_at_the_levels_below",),
        "the pull back acts at the noisy levels",
    ),
    Fault(
        "host/after_step.py",
        "change(step, x, sigmas[step + 1])",
        "change(step, x, sigmas[step])",
        (f"{AFTER_STEP}::test_functions_after_a_step_are_called_in_order",),
        "a change is told the level before the step",
    ),
    Fault(
        "host/after_step.py",
        "(*before.changes, change)",
        "(change, *before.changes)",
        (f"{AFTER_STEP}::test_functions_after_a_step_are_called_in_order",),
        "changes act in reverse order",
    ),
    Fault(
        "host/guidance_patches.py",
        "null + shrink(text - null,",
        "text + shrink(text - null,",
        (f"{GUIDANCE}::test_proximal_guidance_at_its_ends",),
        "the shrunk direction is added to the prompt's",
    ),
    Fault(
        "host/negative.py",
        "if trajectory.null_text.cfg != cfg:",
        "if False:",
        (f"{GUIDANCE}::test_without_a_negative",),
        "no warning for another cfg",
    ),
    Fault(
        "host/negative.py",
        "zip(null_text.embeddings.flip(0), windows, strict=True)",
        "zip(null_text.embeddings, windows, strict=True)",
        (f"{COMPONENT}/test_null_text_reconstruction.py::test_the_node_gives_embeddings_a_conditioning_and_a_plot",),
        "embeddings go to the steps in reverse order",
    ),
    Fault(
        "host/blend_plan.py",
        "torch.minimum(mask, denoise_mask",
        "torch.maximum(mask, denoise_mask",
        (f"{INPAINTING}::test_the_noise_mask_of_the_latent_is_honoured_alone_and_with_a_mask",),
        "of two masks the one that keeps less",
    ),
    Fault(
        "host/blend_plan.py",
        'strength == 1 and self.source != "legacy"',
        "strength == 1",
        (f"{INPAINTING}::test_the_node_is_the_pure_loop",),
        "legacy begins with pure noise",
    ),
    Fault(
        "host/blending.py",
        "[calls[0], *calls] if isinstance(self.inner, DDIMSampler) else [*calls, calls[-1]]",
        "[*calls, calls[-1]] if isinstance(self.inner, DDIMSampler) else [calls[0], *calls]",
        (f"{INPAINTING}::test_differential_diffusion_on_the_model_is_honoured",),
        "changed masks come a step early",
    ),
    Fault(
        "host/blending.py",
        "torch.where(masks[-1] == 0, kept, x)",
        "x",
        (f"{INPAINTING}::test_every_kind_of_sampler_can_be_wrapped",),
        "what is kept is not put back at the end",
    ),
    Fault(
        "host/ddim.py",
        "(seed + 1) % 2**64 for seed in chosen",
        "seed for seed in chosen",
        (f"{SAMPLING}::test_the_noise_of_the_steps_is_not_the_initial_noise_again",),
        "the first step adds the initial noise again",
    ),
    Fault(
        "host/inversion.py",
        "x = run.path.from_unit(run.latent, sigmas[0])",
        "x = run.latent",
        (f"{COMPONENT}/test_trained.py::test_p4_a_whole_inversion_equals_diffusers[first-tiny_sd15]",),
        "the image is not scaled to the first level",
    ),
    Fault(
        "host/inversion.py",
        "states = torch.cat([samples[None].to(states), states[1:]])",
        "pass",
        (f"{SAMPLING}::test_the_first_state_is_the_given_latent_to_the_last_bit",),
        "the image comes back rounded",
    ),
    Fault(
        "host/guided.py",
        "count.rows // rows",
        "count.rows",
        (f"{SAMPLING}::test_evaluations_are_counted_for_one_image",),
        "evaluations are counted for the whole batch",
    ),
    Fault(
        "host/gradients.py",
        "module._parameters.update(parameters)",
        "pass",
        (f"{GRADIENTS}::test_the_model_is_the_same_afterwards",),
        "the parameters are not put back",
    ),
    Fault(
        "host/gradients.py",
        "[*getattr(module, name), torch.clone]",
        "[torch.clone, *getattr(module, name)]",
        (f"{GRADIENTS}::test_the_weight_functions_of_others_are_kept_before_ours",),
        "a weight is copied before it is changed",
    ),
    Fault(
        "host/naming.py",
        "        logger.removeFilter(prefix)",
        "        pass",
        ("tests/unit/test_naming.py",),
        "a node's name stays before later messages",
    ),
    Fault(
        "host/latents.py",
        ' and level.samples is latent["samples"]',
        "",
        (f"{COMPONENT}/test_latent_level.py::test_what_stock_nodes_made_of_the_state_is_not_judged",),
        "a level is believed of other samples",
    ),
    Fault(
        "host/model_facts.py",
        "for key in sorted(model.patches):",
        "for key in ():",
        (f"{SAMPLING}::test_a_lora_added_later_only_warns_another_kind_is_refused",),
        "a LoRA does not change the digest",
    ),
    Fault(
        "host/null_text.py",
        "torch.stack(missed[::-1])",
        "torch.stack(missed)",
        (f"{COMPONENT}/test_half_precision.py::test_a_residual_makes_the_reconstruction_exact[bf16]",),
        "walked residuals are in the order of the walk",
    ),
)
