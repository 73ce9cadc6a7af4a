"""The pack reads as a native writer would put it: word-for-word translations and British spelling stay out.

Comments, strings, pages, templates and translations are read; identifiers are not. The input id `match_colour` stays: it is a
promise to saved workflows.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

VERB_ROOTS = """binari categori colori emphasi equali generali harmoni initiali locali materiali maximi minimi neutrali
normali optimi organi parameteri penali quanti randomi reali recogni regulari seriali speciali stabili standardi summari
synchroni tokeni utili vectori visuali"""

PHRASES: dict[str, str] = {
    # Spelling.
    rf"\b({'|'.join(VERB_ROOTS.split())})s(e[drs]?|ing|ations?)\b|\banalys(ed|ing)\b": "-ize, -yze",
    r"\b(re)?colou?r(?<=our)(s|ed|ful|ing|less|ation)?\b": "color",
    r"\b(behavi|fav|flav|hon|neighb|vap)our\w*": "-or",
    r"\bgr(?-i:ey)(s|scale|ish)?\b": "gray",
    r"\bcentr(e|es|ed|ing)\b": "center",
    r"\b(kilo|centi|milli)?metres?\b": "meter",
    r"\blicence\b": "license",
    r"\b(catalogue|dialogue box|artefact\w*)\b": "catalog, dialog, artifact",
    r"\b(cancell|labell|modell|travell|signall)(ed|ing|er)\b": "one l",
    r"\b(learnt|spelt|whilst|amongst|towards|afterwards)\b": "learned, spelled, while, among, toward, afterward",
    r"\bhalf way\b": "halfway",
    # Quaint or translated words.
    r"\bshall\b": "should, will",
    r"\b(in|out)side of\b": "inside, outside",
    r"\bin the mean\b": "on average",
    r"\banew\b": "again",
    r"\bbears? (a|an|the|no|strong|it|any)\b": "holds up under, withstands",
    r"\bbut for (what|who|the|those|that|a|its?|one)\b": "except",
    r"\bfurther on\b": "downstream, later",
    r"\b(one|the) door\b": "entry point",
    r"\bso many (of|steps|times|values|pixels|rows|as)\b|\bat most so many\b": "this many",
    r"\btells? of\b": "reports",
    r"\bwants? to know\b": "needs",
    r"\bled astray\b": "diverged",
    r"\bto and fro\b": "back and forth",
    r"\bwithout a word\b": "silently",
    r"\bnothing but\b": "only",
    r"\bnothing of (ComfyUI|comfy|the host|it)\b": "nothing from, nothing about",
    r"\bmap of the house\b": "repository layout",
    r"\brules of the house\b": "house rules",
    r"\bspeaks? ComfyUI": "uses standard ComfyUI types",
    r"\blives? on (noise|what|the)\b": "requires, relies on",
    r"\bmissing to\b": "that still differs from",
    r"\bif wanted\b": "optional",
    r"\bkept part\b": "unmasked area",
    r"\bin one's\b|\bfor who\b": "for hooks that",
    r"\bby (his|her) own\b": "on its own",
    r"\b(files?|trajector(y|ies)|checkpoints?|weights|workflows?) lies?\b": "is stored",
    r"\bsampl(e|es|ed|ing) on (from|with)\b": "continue",
    r"\bgo(es|ing)? on from\b": "continue from",
    r"\banother sigma table\b": "a different sigma table",
    r"\bsteps after the noise end\b": "number of noisiest steps to skip",
    r"\b(the|as a) part of the (steps|layers|way)\b": "the fraction of the",
    r"\ba target of its own\b": "a separate edit",
    r"\btests? holds? (this|that|it|all)\b": "checks",
    r"(?<!there )(?-i:\bis none\b)": "is not a",
    r"\bwalks? (an? |the |it )?(image|picture|photo|it)? ?back (to|into) noise\b": "inverts",
    r"\b(that|this) node\b[^.]{0,20}\bbehind\b|\bbehind (that|this) node\b|\bput\b[^.]{1,40}\bbehind\b": "connect it after",
    r", for (it|they|there|rows|nothing|he|ComfyUI) (is|are|was|were|would|has|have|do|does|will|can|cannot)\b": "because",
    # The network is evaluated; it predicts.
    r"\bask(s|ed|ing)? (the|its|a|this|each|one|no) (network|model|UNet|denoiser)\b": "evaluates the network",
    r"\b(network|model|UNet|denoiser|prompt|source) (is|was|are|were|be) (not |only |never |first )?asked\b": "is evaluated",
    r"\b(only )?asked (when|where|once|again|at the level|at a level)\b": "used, evaluated",
    r"\b(network|model|UNet|denoiser)'s answers?\b|\banswers? of the (network|model|UNet|denoiser)\b": "prediction, output",
}  # fmt: skip
"""What must not come back, as regular expressions, and what to write instead."""
PATTERNS = {re.compile(phrase, re.IGNORECASE): instead for phrase, instead in PHRASES.items()}

ENGLISH = ("*.md", "*.py", "*.json", "*.sh", "*.toml", "*.yml")
APART = " .|. "
"""Between the texts of a file, which are searched together: much faster, and no phrase reaches across."""
SKIPPED = {".dev", ".git", "saved_workflows", "golden", "results", "demo-output", "node_modules", "__pycache__"}


def files() -> list[Path]:
    found = [path for pattern in ENGLISH for path in ROOT.rglob(pattern) if not SKIPPED & set(path.parts)]
    return sorted(path for path in found if path != Path(__file__).resolve())


def python_texts(source: str) -> Iterator[str]:
    """Every string, with implicit concatenation joined, and all comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    yield " ".join(token.string.lstrip("#") for token in tokens if token.type == tokenize.COMMENT)


def json_texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from json_texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from json_texts(each)


def texts(path: Path) -> Iterator[str]:
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from python_texts(source)
    elif path.suffix == ".json":
        yield from json_texts(json.loads(source))
    else:
        yield source


def complaints(text: str) -> list[str]:
    """Each phrase found, with its context and what to write instead."""
    line = re.sub(r"\s+", " ", text)
    return [
        f"...{line[max(found.start() - 40, 0) : found.end() + 20]}... -> {instead}"
        for phrase, instead in PATTERNS.items()
        for found in phrase.finditer(line)
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_phrase_has_come_back(path):
    assert complaints(APART.join(texts(path))) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "what it shall show",
        "the same words, but for what shall change",
        "o-belm bears strong edits",
        "only asked when cfg is not 1",
        "asks the network at the level",
        "put the node behind that node",
        "another node further on",
        "the pair is none",
        "tells of the steps",
        "what a preview wants to know",
        "the part of the steps",
        "inside of the mask",
        "higher in the mean",
        "another sigma table",
        "the one door",
        "a map of the house",
        "where trajectories lie",
        "the method lives on noise",
        "led astray by rounding",
        "for who acts on x",
        "samples on from any trajectory",
        "begin this many steps after the noise end",
        "each line is a target of its own",
        "at most so many",
        "where the kept part comes from",
        "it speaks ComfyUI's own types",
        "nothing but Python is needed",
        "an optimised embedding, its colour grey in the centre, towards the neighbours",
        "the network's answers",
    ],
)
def test_a_phrase_is_found(sentence):
    assert complaints(sentence)


@pytest.mark.parametrize(
    "text", ["match_colour", "`mask is None`", "a part of the decoder", "it lies between 0 and 1", "a color"]
)
def test_other_words_are_left_alone(text):
    assert complaints(text) == []
