"""Faults of attention/."""

from .fault import Fault

ALIGNMENT = ("tests/unit/test_attention_alignment.py",)
CONTROLLERS = ("tests/unit/test_attention_controllers.py",)
MASKS = ("tests/unit/test_attention_masks.py",)
PROMPT_EDIT = ("tests/unit/test_attention_prompt_edit.py",)

FAULTS = (
    Fault(
        "attention/alignment.py",
        "zip(target.end_rows, source.end_rows, strict=False)",
        "zip(target.end_rows[:1], source.end_rows[:1], strict=False)",
        ALIGNMENT,
        "the end token of the second chunk takes from its own row",
    ),
    Fault(
        "attention/alignment.py",
        "mapper[ends.get(row, row), row] = 1",
        "mapper[row, row] = 1",
        ALIGNMENT,
        "no end token takes from the source's",
    ),
    Fault(
        "attention/alignment.py", "1 / len(new)", "1 / len(old)", ALIGNMENT, "a word's attention is shared by the old"
    ),
    Fault(
        "attention/alignment.py",
        "    alignment.covered[[token.row for token in target.content]] = 1\n",
        "",
        ALIGNMENT,
        "a swapped word keeps its own attention",
    ),
    Fault(
        "attention/alignment.py",
        "alignment.mapper[source.content[match].row, token.row] = 1",
        "alignment.mapper[match, token.row] = 1",
        ALIGNMENT,
        "a token's number is taken for its row",
    ),
    Fault(
        "attention/alignment.py",
        "if best[i][j] == best[i][j - 1]:\n            j -= 1\n        elif best[i][j] == best[i - 1][j]:\n            i -= 1",
        "if best[i][j] == best[i - 1][j]:\n            i -= 1\n        elif best[i][j] == best[i][j - 1]:\n            j -= 1",
        ALIGNMENT,
        "ties go up before left",
    ),
    Fault(
        "attention/alignment.py",
        "return len(old) == len(new) and shared == sum(",
        "return len(old) == len(new) and shared >= sum(",
        ALIGNMENT,
        "auto swaps words that moved",
    ),
    Fault(
        "attention/controllers.py",
        "(source @ edit.alignment.mapper - target)",
        "(source @ edit.alignment.mapper)",
        CONTROLLERS,
        "the source's attention is added to the target's",
    ),
    Fault("attention/controllers.py", "aligned * edit.equalizer", "aligned", CONTROLLERS, "the equalizer is lost"),
    Fault(
        "attention/controllers.py", "edit.alignment.covered * (", "(", CONTROLLERS, "new tokens lose their attention"
    ),
    Fault("attention/controllers.py", "fractions * (steps + 1)", "fractions * steps", CONTROLLERS, "a step too few"),
    Fault(
        "attention/controllers.py",
        "step < int(fraction * steps)",
        "step <= int(fraction * steps)",
        CONTROLLERS,
        "self-attention is replaced a step too long",
    ),
    Fault(
        "attention/local_blend.py",
        "opened &= ~map_mask(",
        "opened &= map_mask(",
        CONTROLLERS,
        "subtracted words open the mask",
    ),
    Fault("attention/local_blend.py", "return mask[:1] | mask", "return mask", CONTROLLERS, "the source's map is lost"),
    Fault(
        "attention/local_blend.py",
        "torch.where(mask.to(x) > 0.5, x, x[:1])",
        "torch.where(mask.to(x) > 0.5, x[:1], x)",
        CONTROLLERS,
        "what is inside the mask is the source's",
    ),
    Fault(
        "attention/local_blend.py",
        "step >= int(self.start * steps)",
        "step > int(self.start * steps)",
        CONTROLLERS,
        "the blend begins a step late",
    ),
    Fault(
        "attention/local_blend.py",
        "self.threshold, pool=True)",
        "self.threshold, pool=False)",
        CONTROLLERS,
        "the map is not pooled",
    ),
    Fault(
        "attention/local_blend.py",
        "torch.cat([within[:1], within])",
        "torch.cat([within, within[:1]])",
        CONTROLLERS,
        "a region belongs to the target before",
    ),
    Fault(
        "attention/masks.py",
        "clamp * difference.mean((1, 2), keepdim=True)",
        "clamp * difference.mean()",
        MASKS,
        "one limit for all images",
    ),
    Fault(
        "attention/masks.py",
        "return (mean - low) / (high - low)",
        "return mean / (high - low)",
        MASKS,
        "a map does not begin at 0",
    ),
    Fault(
        "attention/masks.py",
        "torch.tensor(thresholds).to(maps)",
        "torch.tensor(thresholds[:1]).to(maps)",
        MASKS,
        "one threshold for all images",
    ),
    Fault(
        "samplers/otsu.py",
        "float(centers[best].mean() + 0.5 / HISTOGRAM_BINS)",
        "float(centers[best].mean())",
        MASKS,
        "Otsu's threshold lies inside its bin",
    ),
    Fault(
        "attention/prompt_edit.py",
        "align(prompts[0], target, settings.mode)",
        "align(target, prompts[0], settings.mode)",
        PROMPT_EDIT,
        "source and target are swapped",
    ),
    Fault(
        "attention/prompt_edit.py",
        "subtract_threshold=settings.subtract_threshold",
        "subtract_threshold=settings.blend_threshold",
        PROMPT_EDIT,
        "one threshold for both masks",
    ),
    Fault(
        "attention/prompt_edit.py",
        "values[list(rows)] = number",
        "values[:] = number",
        PROMPT_EDIT,
        "a word's number goes to every token",
    ),
    Fault(
        "attention/rows.py",
        "= copy[chunk, 0, :, tokens]",
        "= copy[0, 0, :, tokens]",
        MASKS,
        "the source under another prompt",
    ),
    Fault(
        "attention/rows.py",
        "copy[chunk, 1:, :, tokens] = copy[chunk, 0, :, tokens]",
        "copy[chunk, 1:] = copy[chunk, 0]",
        ("tests/component/test_backbone.py",),
        "text tokens are replaced as well",
    ),
    Fault(
        "attention/words.py",
        "range(len(words) - len(wanted) + 1)",
        "range(len(words) - len(wanted))",
        ALIGNMENT,
        "the last word is not found",
    ),
    Fault(
        "attention/words.py",
        "[_keys(word) for word in place] == wanted",
        "_keys(place[0])[: len(wanted[0])] == wanted[0]",
        ALIGNMENT,
        "the beginning of a word is taken for a word",
    ),
)
