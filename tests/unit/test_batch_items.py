"""Tables and folders as items, and the workflow filled in for each: what is wrong is all said before anything runs."""

import json

import pytest
from retrace_pack.batch.defaults import COLUMNS, default_settings
from retrace_pack.batch.items import InputError, Item, read_items
from retrace_pack.batch.tasks import tasks_of
from retrace_pack.batch.workflow import TEMPLATES, Setting, as_prompt, fill, read_workflow

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Photo"}},
    "2": {"class_type": "Prompt", "inputs": {"text": "x", "clip": ["1", 0]}, "_meta": {"title": "Target prompt"}},
    "3": {"class_type": "Sampler", "inputs": {"cfg": 3.0, "steps": 20, "noise": False}, "_meta": {"title": "Edit"}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}, "_meta": {"title": "Save"}},
}


def item(**values):
    return Item("row", None, None, values)


def photos(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"pixels of " + name.encode())


def test_a_folder_gives_its_photos_in_order(tmp_path):
    photos(tmp_path, "b.jpg", "a.PNG", "sub/a.png", "notes.txt")
    assert [each.name for each in read_items(tmp_path)] == ["a", "b", "sub_a"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_table_gives_its_rows(tmp_path, form):
    photos(tmp_path, "a.png", "m.png")
    table = tmp_path / f"rows.{form}"
    if form == "csv":
        table.write_text('\ufeffimage,mask,id,after\na.png,m.png,first,"a cat, asleep"\na.png,,,a dog\n', "utf-8")
    else:
        first = {"image": "a.png", "mask": "m.png", "id": "first", "after": "a cat, asleep"}
        rows = [first, {"image": "a.png", "after": "a dog"}]
        table.write_text("\n".join(map(json.dumps, rows)) + "\n\n", "utf-8")
    first, second = read_items(table)
    assert (first.name, first.image, first.mask) == ("first", tmp_path / "a.png", tmp_path / "m.png")
    assert first.values["after"] == "a cat, asleep"
    assert (second.name, second.mask, second.values["after"]) == ("a", None, "a dog")


def test_all_faults_of_a_table_are_listed(tmp_path):
    photos(tmp_path, "a.png")
    table = tmp_path / "rows.csv"
    table.write_text("image\na.png\nb.png\na.png\n", "utf-8")
    with pytest.raises(InputError) as caught:
        read_items(table)
    assert len(caught.value.faults) == 2
    assert "row 2" in str(caught.value) and "b.png" in str(caught.value) and "rows 1 and 3" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.csv", "image,after\na.png,b,c\n", "row 1 has more fields"),
        ("a.csv", "image\n", "no photos or rows"),
        ("a.jsonl", "{\n[1]\n", "line 1 is not JSON"),
        ("a.jsonl", "{\n[1]\n", "line 2 is not an object"),
        ("a.txt", "", "neither a folder nor"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, name, content, fault):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=fault):
        read_items(tmp_path / name)


def test_settings_fill_inputs_in_the_type_that_they_have():
    settings = map(Setting.parse, ("Target prompt.text=a {what}", "Edit.cfg=4", "Edit.steps={n}", "Edit.noise=true"))
    filled = fill(GRAPH, list(settings), item(what="dog", n="30"), {"image": "batch/x.png"})
    assert filled["2"]["inputs"]["text"] == "a dog"
    assert filled["3"]["inputs"] == {"cfg": 4.0, "steps": 30, "noise": True}
    assert filled["1"]["inputs"]["image"] == "batch/x.png"
    assert GRAPH["2"]["inputs"]["text"] == "x"


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("Nobody.text=a", "0 nodes have this title.*Target prompt"),
        ("Target prompt.words=a", "no such input, only text, clip"),
        ("Target prompt.clip=a", "linked"),
        ("Target prompt.text={color}", "no column 'color'"),
        ("Edit.steps=many", "many"),
        ("Edit.noise=perhaps", "neither true nor false"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(setting, fault):
    with pytest.raises(InputError, match=fault):
        fill(GRAPH, [Setting.parse(setting)], item(), {})


@pytest.mark.parametrize("text", ["Title.input", "text=a", ".a=b", "Title.=b"])
def test_a_setting_of_another_form_is_refused(text):
    with pytest.raises(InputError, match="not of the form"):
        Setting.parse(text)


def test_columns_go_to_their_places_unless_a_setting_says_otherwise():
    rows = [item(after="a dog")]
    place = Setting("Target prompt", "text", "{after}")
    assert default_settings(GRAPH, rows, [Setting.parse("Edit.cfg=4")]) == [place]
    assert default_settings(GRAPH, rows, [Setting.parse("Target prompt.text=a cat")]) == []
    assert default_settings(GRAPH, rows, [Setting.parse("Edit.words=now {after}")]) == []
    assert default_settings(GRAPH, [*rows, item()], []) == []
    with pytest.raises(InputError, match="'before'.*'Source prompt'"):
        default_settings(GRAPH, [item(before="a cat")], [])


def test_a_mask_needs_a_node_that_loads_it():
    with pytest.raises(InputError, match="one LoadImageMask node for the mask, and it has none"):
        fill(GRAPH, [], item(), {"mask": "m.png"})


def test_a_key_names_the_graph_and_the_pixels(tmp_path):
    photos(tmp_path, "a.png")
    items = read_items(tmp_path)
    setting = Setting.parse("Edit.cfg=4")
    first, again = tasks_of(items, GRAPH, [])[0], tasks_of(items, GRAPH, [])[0]
    other_setting = tasks_of(items, GRAPH, [setting])[0]
    (tmp_path / "a.png").write_bytes(b"other pixels")
    other_pixels = tasks_of(items, GRAPH, [])[0]
    assert first.key == again.key and len({first.key, other_setting.key, other_pixels.key}) == 3
    assert first.order().files.keys() == first.files.keys()


def test_workflows_are_templates_or_api_files(tmp_path):
    (tmp_path / "api.json").write_text(json.dumps(GRAPH))
    assert as_prompt(read_workflow(str(tmp_path / "api.json")), {}) == GRAPH
    (tmp_path / "ui.json").write_text(json.dumps({"nodes": [], "links": []}))
    with pytest.raises(InputError, match="Export"):
        read_workflow(str(tmp_path / "ui.json"))
    with pytest.raises(InputError, match="neither a file nor one of the templates: "):
        read_workflow("no_such_template")


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.json")), ids=lambda path: path.stem)
def test_before_and_after_have_a_place_in_every_template_that_edits(path):
    nodes = json.loads(path.read_text("utf-8"))["nodes"]
    places = {(node["title"], slot["name"]) for node in nodes for slot in node["inputs"] if "widget" in slot}
    found = [column for column, wanted in COLUMNS.items() if places & set(wanted)]
    assert found == ([] if path.stem.startswith("8 ") else ["before", "after"])
