"""What the README and the pages of docs/ promise: their links, commands and files exist, and every node and template is named."""

import re
from pathlib import Path

import pytest
from retrace_pack.editing.kinds import KINDS
from retrace_pack.editing.recipes import RECIPES

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_WORDS = 900
PATH = re.compile(r"`((?!\.dev/)(?:[\w.-]+/)+[\w.-]*)`")
"""A path in backticks; what is in .dev/ is made when something runs. ComfyUI's own begin with no folder of this repository."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(text: str) -> list[list[str]]:
    """The words after dev.py of every command, in backticks or indented as a block, without options of dev.py itself."""
    found = re.findall(r"python dev\.py (?:--comfyui [\d.]+ )?([^`\n#\\]+)", text)
    return [command.split() for command in found]


@each_page
def test_every_link_leads_to_a_file(page):
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page)) if not link.startswith("https://")]
    assert [link for link in links if not (page.parent / link).exists()] == []


@each_page
def test_every_command_is_one_of_dev_py(page):
    source = text_of(ROOT / "dev.py")
    (known,) = re.findall(r"command\.__name__: command for command in \((.+)\)", source)
    for name, *arguments in commands(text_of(page)):
        assert name in known.split(", "), name
        paths = [each for each in arguments if each.startswith("tests/")]
        assert [path for path in paths if not (ROOT / path).exists()] == []
        if name == "bench" and arguments:
            benchmark = text_of(ROOT / "benchmarks" / f"{arguments[0]}.py")
            options = [each for each in arguments if each.startswith("--")]
            assert [option for option in options if f'"{option}"' not in benchmark] == []


@each_page
def test_every_path_exists(page):
    top = {path.name for path in ROOT.iterdir()}
    paths = [path for path in PATH.findall(text_of(page)) if path.split("/")[0] in top]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_commands_are_found():
    assert commands(
        "`python dev.py --comfyui 0.24.1 test` and\n\n    python dev.py bench saving --kills 3   # slow\n"
    ) == [
        ["test"],
        ["bench", "saving", "--kills", "3"],
    ]


def test_the_readme_is_short():
    assert len([word for word in text_of(README).split() if re.search(r"\w", word)]) <= MOST_WORDS


def test_the_readme_names_every_template():
    templates = {path.stem for path in (ROOT / "workflows").glob("*.json")}
    assert set(re.findall(r"\| (\d .+?) \|$", text_of(README), re.MULTILINE)) == templates


def test_the_overview_names_every_node():
    sources = [text_of(path) for path in (ROOT / "nodes").glob("*.py")]
    names = {name for source in sources for name in re.findall(r'display_name="([^":]+)(?:: .+)? \(Retrace\)"', source)}
    rows = re.findall(r"^\| (.+?) \|", text_of(ROOT / "docs" / "nodes.md"), re.MULTILINE)
    assert len(names) >= 35 and {name for row in rows for name in row.split(", ")} - {"Node", "---"} == names


@pytest.mark.parametrize("page", ["RetraceEditImage.md", "RetraceEditImage/zh.md"])
def test_the_help_of_edit_image_names_the_method_of_every_kind(page):
    called = {
        "prompt-to-prompt": "Prompt to Prompt",
        "MasaCtrl": "MasaCtrl",
        "plug-and-play": "Plug and Play",
        "edit-friendly inversion": "Edit Friendly Invert",
    }
    lines = [line for line in text_of(ROOT / "web" / "docs" / page).splitlines() if line.startswith("- ")]
    for kind in KINDS:
        (line,) = (line for line in lines if kind in line.split(":")[0])
        assert called[RECIPES["sd1"][kind].method] in line
