"""What a user sees in ComfyUI's own frontend: the templates, a run, an error and the help."""

import base64
import json
import re
from html import escape
from itertools import combinations
from pathlib import Path

import pytest
from tiny_models import photos

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "web" / "docs"
NOTEBOOK = "7 Invert, rebuild, edit"


def test_the_pack_adds_no_error_to_the_page(frontend):
    """What is logged before a template is opened is a bare ComfyUI's own: nothing in it is about this pack."""
    assert [error for error in frontend.opening_errors if "retrace" in error.lower()] == []


def test_a_template_opens_whole_and_queues_what_it_stores(frontend, server, template, api_prompt):
    name, graph = template
    frontend.open(graph)
    unknown = (
        "() => app.graph.nodes.filter(node => !(node.type in LiteGraph.registered_node_types)).map(node => node.type)"
    )
    queued = frontend.prompt()
    frontend.screenshot(name)
    assert frontend.page.evaluate(unknown) == []
    assert frontend.page.evaluate("() => app.graph.nodes.filter(node => node.has_errors).map(node => node.title)") == []
    assert {
        node: {"class_type": each["class_type"], "inputs": each["inputs"], "_meta": {"title": each["_meta"]["title"]}}
        for node, each in queued.items()
    } == api_prompt(graph, server.get("/object_info"))
    assert set(frontend.errors) - frontend.opening_errors == set()


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_no_two_nodes_overlap_whatever_they_show(frontend, template, vue):
    """In both renderers, with every picture, live preview and text that a run brings."""
    name, graph = template
    frontend.set_renderer(vue)
    try:
        frontend.open(graph)
        frontend.screenshot(f"{name} empty")
        empty = frontend.boxes()
        frontend.show_everything()
        frontend.page.wait_for_timeout(2000)
        frontend.screenshot(f"{name} {'vue' if vue else 'canvas'}")
        boxes = frontend.boxes()
    finally:
        frontend.set_renderer(vue=False)
    assert any(boxes[title] != empty[title] for title in boxes)
    pairs = [(a, b) for a, b in combinations(boxes, 2) if overlap(boxes[a], boxes[b])]
    assert {pair: (boxes[pair[0]], boxes[pair[1]]) for pair in pairs} == {}


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_the_first_template_opens_as_an_app_with_photo_two_sentences_and_run(frontend):
    graph = json.loads((ROOT / "workflows" / "1 Edit a photo.json").read_text(encoding="utf-8"))
    frontend.open(graph, as_app=True)
    frontend.wait_for_text("before")
    frontend.page.wait_for_timeout(1000)
    frontend.page.screenshot(path=ROOT / ".dev" / "screenshots" / "app.png")
    sentences = frontend.page.evaluate(
        "() => [...document.querySelectorAll('textarea')].filter(e => e.offsetParent).map(e => e.value)"
    )
    (edit,) = (node for node in graph["nodes"] if node["type"] == "RetraceEditImage")
    assert sentences == edit["widgets_values"][:2]
    assert frontend.page.evaluate(
        "() => app.canvas.canvas.offsetParent === null || app.canvas.canvas.clientWidth === 0"
    )
    assert frontend.page.get_by_text("example.png").first.is_visible()
    assert frontend.page.get_by_role("button", name="Run").first.is_visible()
    assert set(frontend.errors) - frontend.opening_errors == set()


def test_run_in_the_app_edits_and_the_node_shows_its_steps_and_what_it_decided(frontend, set_value):
    graph = json.loads((ROOT / "workflows" / "1 Edit a photo.json").read_text(encoding="utf-8"))
    (edit,) = (node for node in graph["nodes"] if node["type"] == "RetraceEditImage")
    set_value(edit, steps=4, working_size=128)
    frontend.open(graph, as_app=True)
    frontend.wait_for_text("before")
    frontend.page.evaluate(
        """() => {
            window.ran = {texts: [], saved: [], finished: false}
            app.api.addEventListener('progress_text', ({detail}) => ran.texts.push([detail.nodeId, detail.text]))
            app.api.addEventListener('executed', ({detail}) => ran.saved.push(...(detail.output?.images ?? [])))
            app.api.addEventListener('execution_success', () => { ran.finished = true })
        }"""
    )
    frontend.page.get_by_role("button", name="Run").first.click()
    frontend.page.wait_for_function("() => ran.finished")
    frontend.wait_until_drawn()
    ran = frontend.page.evaluate("() => ran")
    shown = frontend.page.evaluate(
        """() => app.graph.nodes.find(node => node.type === 'RetraceEditImage').widgets
            .find(widget => widget.name.includes('text-preview')).value"""
    )
    settings = "object or shape (read from the sentences): prompt-to-prompt, cfg 5, at 128 x 128"
    decided = f"{settings}. nothing is painted, so that the edit finds its place by itself"
    assert {node for node, _ in ran["texts"]} == {str(edit["id"])}
    assert {text.partition("\n")[0] for text in (shown, *(text for _, text in ran["texts"]))} == {decided}
    assert {f"{phase}: step {step} of 4" for phase in ("inverting the photo", "editing") for step in range(1, 5)} <= {
        text.partition("\n")[2].partition(",")[0] for _, text in ran["texts"]
    }
    (saved,) = (image["filename"] for image in ran["saved"] if image["type"] == "output")
    frontend.page.locator(f"img[src*='{saved}']").first.wait_for()
    frontend.page.screenshot(path=ROOT / ".dev" / "screenshots" / "app finished.png")


@pytest.mark.parametrize("name", ["Edit a real image", "Edit a real image (zh)"])
def test_the_blueprint_has_a_label_on_every_widget(frontend, name):
    graph = json.loads((ROOT / "subgraphs" / f"{name}.json").read_text(encoding="utf-8"))
    (subgraph,) = graph["definitions"]["subgraphs"]
    frontend.open({"extra": {}, **graph})
    widgets, slots = frontend.page.evaluate(
        """() => {
            const [node] = app.graph.nodes
            return [node.widgets, [...node.inputs, ...node.outputs]].map(all => all.map(each => each.label))
        }"""
    )
    frontend.screenshot(name)
    labels = [each["label"] for each in (*subgraph["inputs"], *subgraph["outputs"])]
    assert len(widgets) == 6 and set(widgets) <= set(labels) and sorted(slots) == sorted(labels)
    queued = frontend.prompt().values()
    assert sorted(each["class_type"] for each in queued) == ["CheckpointLoaderSimple", "RetraceEditImage"]
    assert set(frontend.errors) - frontend.opening_errors == set()


def test_the_notebook_path_is_the_prompt_that_the_server_tests_run(frontend):
    """tests/server/prompts/edit.json is the same graph, with the miniature's names, words and sizes, and with img2img beside it."""
    graph = json.loads((ROOT / "workflows" / f"{NOTEBOOK}.json").read_text(encoding="utf-8"))
    tested = json.loads((ROOT / "tests" / "server" / "prompts" / "edit.json").read_text(encoding="utf-8"))
    frontend.open(graph)
    queued = frontend.prompt()
    assert set(queued) <= set(tested)
    for node, each in queued.items():
        assert each["class_type"] == tested[node]["class_type"]
        assert set(each["inputs"]) == set(tested[node]["inputs"])
        links = {name: value for name, value in each["inputs"].items() if isinstance(value, list)}
        assert links == {name: value for name, value in tested[node]["inputs"].items() if isinstance(value, list)}


def test_a_queued_prompt_shows_progress_and_preview_on_its_nodes(frontend, small_edit):
    frontend.open(small_edit)
    frontend.page.evaluate(
        """() => {
            window.seen = {progress: {}, shown: new Set(), previews: new Set(), finished: false}
            app.api.addEventListener('progress', ({detail}) => {
                (seen.progress[detail.node] ??= new Set()).add(detail.value)
            })
            // What a node is given to draw is noted when it is given: on a busy machine it may be gone before one looks.
            for (const node of app.graph.nodes) {
                let progress = node.progress
                Object.defineProperty(node, 'progress', {
                    configurable: true,
                    get: () => progress,
                    set: value => { progress = value; if (value) seen.shown.add(String(node.id)) },
                })
            }
            app.api.addEventListener('b_preview_with_metadata', ({detail}) => seen.previews.add(String(detail.displayNodeId)))
            app.api.addEventListener('execution_success', () => { seen.finished = true })
        }"""
    )
    frontend.page.evaluate("async () => { await app.queuePrompt(0) }")
    frontend.page.wait_for_function("() => seen.previews.size > 0")
    frontend.screenshot("running")
    frontend.page.wait_for_function("() => seen.finished")
    frontend.screenshot("finished")
    titles = {str(node["id"]): node["title"] for node in small_edit["nodes"]}
    previews = frontend.page.evaluate("() => [...seen.previews]")
    shown = frontend.page.evaluate("() => [...seen.shown]")
    progress = frontend.page.evaluate(
        "() => Object.fromEntries(Object.entries(seen.progress).map(([k, v]) => [k, [...v]]))"
    )
    assert "Invert" in {titles[node] for node in previews} & {titles[node] for node in shown}
    # ComfyUI sends the first step and the last, and may drop those between.
    (values,) = (values for node, values in progress.items() if titles[node] == "Invert")
    assert values == sorted(values) and values[0] < values[-1] == 10


def test_a_bad_input_shows_our_message_on_the_node(frontend, small_edit, set_value):
    set_value(next(node for node in small_edit["nodes"] if node["title"] == "Start step"), value=60)
    frontend.open(small_edit)
    frontend.page.evaluate(
        "() => app.api.addEventListener('execution_error', ({detail}) => { window.failure = detail })"
    )
    frontend.page.evaluate("async () => { await app.queuePrompt(0) }")
    frontend.page.wait_for_function("() => window.failure")
    failure = frontend.page.evaluate("() => failure")
    frontend.screenshot("refused")
    message = "start_step 60 is beyond the trajectory's 10 steps; choose 0 to 9"
    assert message in failure["exception_message"]
    assert failure["node_type"] == "RetraceTrajectoryLatent"


def test_the_picture_of_the_readme_opens_its_workflow_when_dropped(frontend):
    frontend.errors.clear()
    frontend.page.evaluate(
        """content => {
            app.graph.clear()
            const bytes = Uint8Array.from(atob(content), character => character.charCodeAt(0))
            const dataTransfer = new DataTransfer()
            dataTransfer.items.add(new File([bytes], 'edit.webp', {type: 'image/webp'}))
            app.canvas.canvas.dispatchEvent(new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true}))
        }""",
        base64.b64encode((ROOT / "docs" / "edit.webp").read_bytes()).decode(),
    )
    frontend.wait_for_node("Edit Image")
    template = json.loads((ROOT / "workflows" / "1 Edit a photo.json").read_text(encoding="utf-8"))
    opened = frontend.page.evaluate("() => app.graph.nodes.map(node => [String(node.id), node.type])")
    assert sorted(opened) == sorted([str(node["id"]), node["type"]] for node in template["nodes"])
    (edit,) = (node["inputs"] for node in frontend.prompt().values() if node["class_type"] == "RetraceEditImage")
    before = photos.PHOTOS["cone"].before
    assert (edit["before"], edit["after"]) == (before, before.replace("blue", "red"))


def open_help(frontend) -> None:
    """Of the node Invert: a click on its title, and one on the "i" of the toolbox that appears over it."""
    title = frontend.page.evaluate(
        """() => {
            const node = app.graph.nodes.find(node => node.title === 'Invert')
            app.canvas.ds.scale = 0.8
            app.canvas.centerOnNode(node)
            const {left, top} = app.canvas.canvas.getBoundingClientRect()
            const [x, y] = app.canvas.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] - 15])
            return [left + x, top + y]
        }"""
    )
    frontend.wait_until_drawn()
    frontend.page.mouse.click(*title)
    frontend.page.get_by_test_id("info-button").click()


def as_html(page: str) -> str:
    """A help page as far as widths go: its lists, headings, code, links and bold words."""
    lines = []
    for line in escape(re.sub(r"!\[.*?\]\(.*?\)", "", page), quote=False).splitlines():
        for markdown, html in ((r"`(.*?)`", "code"), (r"\*\*(.*?)\*\*", "strong"), (r"\[(.*?)\]\(.*?\)", "a")):
            line = re.sub(markdown, rf"<{html}>\1</{html}>", line)
        listed = line.startswith(("- ", "* "))
        lines.append(
            f"<ul><li>{line[2:]}</li></ul>" if listed else f"<h1>{line}</h1>" if line[:1] == "#" else f"<p>{line}</p>"
        )
    return "".join(lines)


def too_wide_for_the_help_panel(frontend, pages: dict[str, str]) -> dict[str, list[str]]:
    """Page -> its texts that reach beyond the open help panel of a small screen, where the panel is narrowest."""
    before = frontend.page.viewport_size
    frontend.page.set_viewport_size({"width": 1280, "height": 800})
    try:
        frontend.wait_until_drawn()
        return frontend.page.evaluate(
            """pages => {
                const help = document.querySelector('.node-help-content')
                const shown = help.querySelector('.markdown-content')
                const reach = each => {
                    const {left, right} = each.getBoundingClientRect()
                    return Math.max(right, left + each.scrollWidth)
                }
                const wide = html => {
                    if (html) shown.innerHTML = html
                    const limit = help.getBoundingClientRect().right + 1
                    return [...shown.querySelectorAll('*')].filter(each => reach(each) > limit).map(each => each.innerText)
                }
                const found = {'as the frontend shows it': wide(''),
                    ...Object.fromEntries(Object.entries(pages).map(([page, html]) => [page, wide(html)]))}
                return Object.fromEntries(Object.entries(found).filter(([page, texts]) => texts.length))
            }""",
            pages,
        )
    finally:
        frontend.page.set_viewport_size(before)


def test_the_help_of_a_node_opens_from_its_toolbox(frontend):
    """As a person opens it. The page is shown with its picture, and no page is wider than the panel of a small screen."""
    frontend.open(json.loads((ROOT / "workflows" / f"{NOTEBOOK}.json").read_text(encoding="utf-8")))
    open_help(frontend)
    try:
        frontend.wait_for_text("Each iteration evaluates the network again at the state just found")
        frontend.page.wait_for_function(
            "() => document.querySelector('img[src$=\"/pictures/RetraceDDIMInvert.webp\"]')?.naturalWidth > 0"
        )
        frontend.page.screenshot(path=ROOT / ".dev" / "screenshots" / "help.png")
        pages = {str(path.relative_to(DOCS)): as_html(path.read_text(encoding="utf-8")) for path in DOCS.rglob("*.md")}
        pages["a long word"] = f"<p>{'x' * 60}</p>"
        assert set(too_wide_for_the_help_panel(frontend, pages)) == {"a long word"}
    finally:
        frontend.page.evaluate("() => app.canvas.deselectAll()")


FOUND_BY = {
    "edit photo": "RetraceEditImage",
    "remove object": "RetraceEditImage",
    "change word": "RetraceEditImage",
    "style": "RetracePlugAndPlay",
    "inpaint": "RetraceLatentBlendSample",
    "unsample": "RetraceDDIMInvert",
}


def test_a_search_in_plain_words_shows_the_node_without_scrolling(frontend, server):
    names = server.get("/object_info")
    frontend.page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    try:
        shown = {}
        for words, node in FOUND_BY.items():
            name = names[node]["display_name"]
            frontend.page.get_by_role("combobox", name="Add a node").fill(words)
            frontend.page.wait_for_function(
                "name => [...document.querySelectorAll('[role=option]')].some(each => each.innerText.startsWith(name))",
                arg=name,
            )
            frontend.wait_until_drawn()
            shown[words] = frontend.page.evaluate(
                """name => {
                    const option = [...document.querySelectorAll('[role=option]')].find(each => each.innerText.startsWith(name))
                    const {left, bottom, width} = option.getBoundingClientRect()
                    return option.contains(document.elementFromPoint(left + width / 2, bottom - 1))
                }""",
                name,
            )
        frontend.page.screenshot(path=ROOT / ".dev" / "screenshots" / "search.png")
    finally:
        frontend.page.keyboard.press("Escape")
    assert shown == dict.fromkeys(FOUND_BY, True)


def test_in_chinese_the_nodes_are_chinese(frontend, server, small_edit):
    chinese = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))["RetraceDDIMInvert"]
    server.request("/settings", {"Comfy.Locale": "zh"})
    try:
        frontend.page.reload()
        frontend.page.wait_for_function("window.app?.graph && !!LiteGraph.registered_node_types.RetraceDDIMInvert")
        frontend.page.wait_for_load_state("networkidle")
        frontend.open(small_edit)
        labels = frontend.page.evaluate(
            "() => app.graph.nodes.find(node => node.title === 'Invert').widgets.map(widget => widget.label)"
        )
        assert chinese["inputs"]["fixed_point_iterations"]["name"] in labels
        frontend.page.screenshot(path=ROOT / ".dev" / "screenshots" / "chinese.png")
    finally:
        server.request("/settings", {"Comfy.Locale": "en"})
