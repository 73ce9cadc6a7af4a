"""Faults of editing/ and of what brings an edit back to the photo's size."""

from .fault import Fault

KINDS, BLEND = ("tests/unit/test_kinds.py",), ("tests/unit/test_blend_words.py",)
RECIPES, DIFF = ("tests/unit/test_recipes.py",), ("tests/unit/test_prompt_diff.py",)
REGION, CHANGED = ("tests/unit/test_working_region.py",), ("tests/unit/test_changed_region.py",)
COMPOSITE = ("tests/unit/test_region_composite.py",)

FAULTS = (
    Fault("editing/kinds.py", "LEAST_SHARED = 0.2", "LEAST_SHARED = 0.0", KINDS, "no pair changes everything"),
    Fault(
        "editing/kinds.py",
        'word.endswith("ing") and',
        'word.endswith("ing") or',
        KINDS,
        "many nouns are taken for verbs",
    ),
    Fault(
        "editing/kinds.py",
        "sure=not others and all(sure for _, sure in votes)",
        "sure=True",
        KINDS,
        "it is always sure",
    ),
    Fault(
        "editing/blend_words.py",
        " or not any(phrase in text for text in texts)",
        "",
        BLEND,
        "a quality and its thing are one phrase where a comma parts them",
    ),
    Fault("editing/blend_words.py", "dict.fromkeys(found)", "found", BLEND, "a word is named once for each target"),
    Fault("editing/prompt_diff.py", " if word not in ARTICLES", "", DIFF, "articles are differences"),
    Fault(
        "editing/recipes.py",
        "(1 - strength * (1 - self.start))",
        "(1 - strength)",
        RECIPES,
        "a row's own start step is ignored",
    ),
    Fault(
        "samplers/working_region.py",
        "enlarged = max(1.0, side / math.sqrt(wide * high))",
        "enlarged = 1.0",
        REGION,
        "a crop holds fewer pixels than the model takes",
    ),
    Fault(
        "samplers/working_region.py",
        "min(max(0, round((first + last - extent) / 2)), most - extent)",
        "max(0, round((first + last - extent) / 2))",
        REGION,
        "a crop reaches beyond the picture",
    ),
    Fault(
        "samplers/changed_region.py",
        "max(smallest, CERTAIN * otsu_threshold((each / CERTAIN).clamp(max=1)))",
        "max(smallest, otsu_threshold(each))",
        CHANGED,
        "a strong change hides a weaker one",
    ),
    Fault(
        "samplers/region_composite.py",
        "blend, LEAST_WEIGHT)",
        "blend)",
        COMPOSITE,
        "weights that no mask of eight bits shows change the photo",
    ),
    Fault(
        "samplers/region_composite.py",
        "resized(difference, *size)",
        "resized(edited, *size)",
        COMPOSITE,
        "the edit is added in place of the difference",
    ),
    Fault(
        "samplers/guided_difference.py",
        "_mean_of_alike(difference.to(photo), guide)",
        "difference.to(photo)",
        ("tests/unit/test_guided_difference.py",),
        "a floor beside a thing takes part in its change",
    ),
    Fault(
        "nodes/edit_graph.py",
        'if cells >= 4 else "half"',
        'if cells >= 2 else "half"',
        ("tests/component/test_edit_image.py",),
        "words are found on maps of 8 cells",
    ),
)
