"""What the demo makes of pictures: the templates' thumbnails, the README's animation and grid, and the words below them."""

import io
import json

import pytest
import readme_pictures
from PIL import Image
from prompt_words import words_of
from readme_pictures import SIDE, TEMPLATE, grid, moving, smallest, webp
from template_runs import Run, missing_files, painted, stored
from thumbnails import HINTED, HINTS, RUNS, middle, split
from tiny_models.photos import PHOTOS, mask, photo
from tiny_models.world.captions import WORDS
from tiny_models.world.judge import judge

RED, BLUE = ((200, 0, 0), (0, 0, 200))
RUN = Run(TEMPLATE, "ball", side=SIDE)


def plain(color, side=SIDE):
    return Image.new("RGB", (side, side), color)


def test_every_template_has_a_thumbnail_of_a_different_still_life(request):
    templates = {path.stem for path in (request.config.rootpath / "workflows").glob("*.json")}
    assert {*(run.template for run in RUNS.values()), HINTS} == templates
    photos = [run.photo for run in RUNS.values()]
    assert len(set(photos)) == len(photos)


def test_prompts_of_pictures_are_in_words_that_the_miniature_knows():
    runs = [*RUNS.values(), *readme_pictures.GRID.values()]
    texts = [*HINTED.values(), *(words for run in runs for words in run.words)]
    assert {word for text in texts for word in text.replace(",", " ,").split()} <= set(WORDS)
    assert all(run.words[0] != run.words[1] for run in runs)


def test_before_is_left_of_the_line_and_after_right_of_it():
    picture = split(plain(RED), plain(BLUE), 0.25, 100)
    assert [picture.getpixel((x, 50)) for x in (0, 22, 25, 28, 99)] == [RED, RED, (255, 255, 255), BLUE, BLUE]


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_line_goes_through_the_edited_solid(run):
    """Whose place the judge reads from the photo, in sixteenths."""
    edit = PHOTOS[run.photo]
    if edit.solid is None and not run.after:
        assert middle(run) == 0.5
        return
    (solid,) = (each for each in judge(photo(run.photo)).solids if each.color == edited_color(run))
    assert middle(run) == pytest.approx(solid.x, abs=1 / 16)


def edited_color(run):
    edit = PHOTOS[run.photo]
    return edit.source.solids[0 if run.after else edit.solid].color


def test_what_is_painted_covers_the_solid_and_its_surroundings():
    inside, solid = painted("two cylinders", 256), mask("two cylinders")
    assert inside[solid].all()
    assert 1.5 * solid.sum() < inside.sum() < 0.3 * inside.size


def test_the_animation_shows_before_and_after_and_comes_back():
    frames, milliseconds = moving(plain(RED), plain(BLUE), RUN)
    middle_frame = frames[len(frames) // 2]
    assert frames[0].getpixel((5, 5)) == frames[0].getpixel((SIDE - 5, 5)) == RED
    assert middle_frame.getpixel((5, 5)) == middle_frame.getpixel((SIDE - 5, 5)) == BLUE
    assert frames[3].getpixel((5, 5)) == BLUE and frames[3].getpixel((SIDE - 5, 5)) == RED
    assert sorted(set(milliseconds)) == [50, 1500] and milliseconds.count(1500) == 2
    content = webp(frames, milliseconds, {"prompt": {"1": {}}, "workflow": stored(TEMPLATE)})
    with Image.open(io.BytesIO(content)) as animation:
        assert animation.n_frames == len(frames)
        name, _, graph = animation.getexif()[0x010F].partition(":")
    assert name == "workflow" and json.loads(graph) == stored(TEMPLATE)


def test_a_grid_has_rows_of_three_pairs():
    sheet = grid({str(number): (plain(RED), plain(BLUE)) for number in range(6)}, side=64, gap=10)
    assert sheet.size == (3 * 130 + 2 * 10, 2 * 94 + 10)
    assert sheet.getpixel((280 + 20, 104 + 20)) == RED and sheet.getpixel((280 + 100, 104 + 20)) == BLUE


def test_a_picture_that_never_is_small_enough_is_refused():
    noise = Image.effect_noise((64, 64), 90)
    assert len(smallest(noise, "JPEG", 10_000)) <= 10_000
    with pytest.raises(ValueError, match="more than 10 bytes"):
        smallest(noise, "JPEG", 10)


def test_words_that_the_other_prompt_does_not_have_stand_out():
    assert words_of("a red ball on sand", "a blue ball on sand") == [
        ("a", False), ("red", True), ("ball", False), ("on", False), ("sand", False),
    ]  # fmt: skip
    assert not any(differs for _, differs in words_of("a red ball", "a red ball and a cube"))


def test_a_missing_miniature_is_named():
    assert all(name.endswith(".safetensors") for name in missing_files(HINTS))
