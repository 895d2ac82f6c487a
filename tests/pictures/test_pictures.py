"""The pictures of a tree: whole, well-formed, and safe to open."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from restrl.pictures.__main__ import main
from restrl.pictures.page import trees_page
from restrl.pictures.svg import tree_svg
from restrl.pictures.words import colour
from restrl.record_files import RecordLog
from restrl.search.mcts import STATE, TESTS
from restrl.search.saved import SavedTree
from tests.search.scripted import World, grow, script, settings, some_lines, some_rating, start

EVIL = "\n<script>alert('a & b')</script>"
VOID = {"meta"}


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        assert not {name for name, _ in attrs} & {"src", "href", "onclick"}
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


@pytest.mark.parametrize("reward_source", [TESTS, STATE], ids=["collect", "vm"])
def test_the_page_shows_every_node_and_every_rollout(reward_source) -> None:
    tree = grow(World(some_lines(), some_rating), start(), reward_source, settings())
    reader = read(trees_page([tree, tree]))
    assert reader.tags.count("details") == 2 * (len(tree.nodes) + len(tree.rollouts))
    assert reader.text.count("whole program") >= 2 * sum(node.terminal for node in tree.nodes)
    assert f"N {tree.nodes[0].visits}" in reader.text


def test_what_a_model_wrote_stays_text() -> None:
    world = World(script({"p": [EVIL + "\n<b>.", EVIL + "."]}), lambda _program, _whole: 0.5)
    config = settings(iterations=1)
    config.sampling.n = 2
    tree = grow(world, start(), TESTS, config)
    reader = read(trees_page([tree]))
    assert "script" not in reader.tags
    assert "<script>alert('a & b')</script>" in reader.text
    assert "<script>" in "".join(ElementTree.fromstring(tree_svg(tree)).itertext())


def test_a_tree_without_rollouts_and_a_very_deep_one() -> None:
    empty = grow(World(lambda _program, _n: [], some_rating), start(), TESTS, settings())
    read(trees_page([empty]))
    ElementTree.fromstring(tree_svg(empty))
    config = settings(iterations=1200, revisit_terminals=False)
    config.sampling.n, config.sampling.max_tokens = 1, 9999
    deep = grow(World(lambda _program, _n: ["\na\nb."], lambda *_: 0.5), start(), TESTS, config)
    assert max(node.depth for node in deep.nodes) == 1200
    assert read(trees_page([deep])).tags.count("details") == 1 + 2 * 1200


def test_the_svg_shows_the_most_visited_visible_nodes() -> None:
    tree = grow(World(some_lines("abcd", 5), some_rating), start(), TESTS, settings(iterations=40))
    picture = ElementTree.fromstring(tree_svg(tree, most=10))
    background, *boxes = picture.findall("{http://www.w3.org/2000/svg}rect")
    assert background.get("fill") == "white"
    assert 2 <= len(boxes) <= 10
    assert len(picture.findall("{http://www.w3.org/2000/svg}path")) == len(boxes) - 1
    places = {(box.get("x"), box.get("y")) for box in boxes}
    assert len(places) == len(boxes)


def test_the_command_draws_what_is_asked_for(tmp_path, capsys) -> None:
    world = World(some_lines("abcd", 5), some_rating)
    trees = [grow(world, start(name), TESTS, settings()) for name in "pq"]
    RecordLog(tmp_path / "trees.jsonl", SavedTree).append(trees)
    svg, page = tmp_path / "tree.svg", tmp_path / "trees.html"
    assert main([str(tmp_path / "trees.jsonl"), str(svg), "--task", "q", "--most", "5"]) == 0
    assert svg.read_text() == tree_svg(trees[1], 5)
    assert main([str(tmp_path / "trees.jsonl"), str(page)]) == 0
    assert page.read_text() == trees_page(trees)
    for arguments, message in (
        (["trees.jsonl", "x.svg", "--task", "z"], "no tree of a task_id that contains 'z'"),
        (["none.jsonl", "x.svg"], "none.jsonl: no such file"),
        (["trees.jsonl", "x.png"], "x.png: a picture ends in .svg, a page in .html"),
    ):
        assert main([str(tmp_path / arguments[0]), *arguments[1:]]) == 2
        assert message in capsys.readouterr().err


def test_the_picture_in_the_documentation_is_one_of_ours() -> None:
    tree = grow(World(some_lines("abcd", 5), some_rating), start(), TESTS, settings(iterations=40))
    texts = (Path("docs/searched_tree.svg").read_text(), tree_svg(tree, most=16))
    shapes = [
        {(node.tag, *sorted(node.attrib)) for node in ElementTree.fromstring(text).iter()} for text in texts
    ]
    assert shapes[0] == shapes[1]


def test_colours_stay_in_range() -> None:
    assert [colour(v) for v in (None, -5.0, 0.0, 0.5, 1.0, 7.0)] == [
        "#e8e8e8", "hsl(0,70%,80%)", "hsl(0,70%,80%)", "hsl(60,70%,80%)", "hsl(120,70%,80%)",
        "hsl(120,70%,80%)",
    ]  # fmt: skip
