"""What BookIt's templates, style and script take from SQLAdmin's pages: blocks, macros, ids and classes."""

import re
from pathlib import Path

import pytest
import sqladmin
from jinja2 import Environment, FileSystemLoader

import admin

OURS, THEIRS = (Path(str(package.__file__)).parent for package in (admin, sqladmin))
PAGES = OURS / "templates/sqladmin"
THEIR_PAGES = THEIRS / "templates/sqladmin"
OUR_PAGES = {  # that take the place of none
    "_figures.html", "_history.html", "_today.html", "act.html", "act_again.html", "acts.html", "bulk.html",
    "calendar.html", "erase.html", "filters/day_filter.html", "filters/row_filter.html", "modals/act.html",
    "password.html", "reports.html", "save.html", "search.html", "stale_edit.html", "today.html", "week.html",
}  # fmt: skip
OUR_BLOCKS = {"choices", "more", "page_name", "page_tools"}
# Of their pages, by id, what the style and the script find.
IDS = {
    "dropdownMenuButton": "list.html",
    "filter-sidebar": "list.html",
    "search-input": "list.html",
    "search-reset": "list.html",
    "modal-delete-button": "modals/delete.html",
    "navbar-menu": "layout.html",
}
OUR_IDS = {"bk-stale": "stale_edit.html"}
MADE = re.compile("select2|alert-|badge|bg-|is-|form-check|form-hint")  # classes by a library, or put together
STYLE = re.sub(r"/\*.*?\*/", "", (OURS / "static/staff.css").read_text("utf-8"), flags=re.DOTALL)
SELECTORS = " ".join(re.findall(r"([^{}]+)\{", STYLE))
SCRIPT = (OURS / "static/staff.js").read_text("utf-8")
FOUND = " ".join(re.findall(r"\"([^\"]*)\"", SCRIPT))  # every text of the script: selectors are among them
ours = sorted(str(path.relative_to(PAGES)) for path in PAGES.rglob("*.html"))


def blocks(name: str) -> set[str]:
    """Give the blocks of a page of theirs, with those of the pages it extends."""
    source = (THEIR_PAGES / name).read_text("utf-8")
    parent = re.search(r"{% extends [\"']sqladmin/([\w./]+)", source)
    return set(re.findall(r"{% block (\w+)", source)) | (blocks(parent[1]) if parent else set())


def macros(folder: Path) -> object:
    """Give the macros of a folder of pages."""
    return Environment(loader=FileSystemLoader(folder), autoescape=True).get_template("_macros.html").module


def test_our_pages_take_the_place_of_theirs() -> None:
    assert {name for name in ours if not (THEIR_PAGES / name).exists()} == OUR_PAGES


@pytest.mark.parametrize("name", ours)
def test_what_a_page_of_ours_fills_a_page_of_theirs_has(name: str) -> None:
    """A page in the place of one of theirs fills blocks of that one; another fills those of the page it extends."""
    source = (PAGES / name).read_text("utf-8")
    extended = re.search(r"{% extends \"sqladmin/([\w./]+)", source)
    theirs = name if name not in OUR_PAGES else extended[1] if extended else None

    filled = set(re.findall(r"{% block (\w+)", source)) - OUR_BLOCKS

    assert filled <= (blocks(theirs) if theirs else set())


def test_their_pages_do_not_have_blocks_with_the_names_of_ours() -> None:
    theirs = {
        block
        for path in THEIR_PAGES.rglob("*.html")
        for block in re.findall(r"{% block (\w+)", path.read_text("utf-8"))
    }

    assert not theirs & OUR_BLOCKS


def test_the_macros_that_their_pages_ask_for_are_ours_and_take_the_same() -> None:
    asked = {
        name.strip()
        for path in THEIR_PAGES.rglob("*.html")
        for names in re.findall(r"{% from 'sqladmin/_macros.html' import ([\w, ]+) %}", path.read_text("utf-8"))
        for name in names.split(",")
    }
    assert asked == {"display_menu", "render_form_fields"}

    for name in asked:
        took, takes = (
            getattr(
                Environment(loader=FileSystemLoader(folder), autoescape=True).get_template("_macros.html").module, name
            )
            for folder in (THEIR_PAGES, PAGES)
        )
        assert takes.arguments == took.arguments


@pytest.mark.parametrize(
    ("page", "handed"),
    [
        ("list.html", "list_action_confirmation.html"),
        ("details.html", "details_action_confirmation.html"),
    ],
)
def test_the_question_before_an_act_is_handed_what_it_asks_with(page: str, handed: str) -> None:
    source = " ".join((THEIR_PAGES / page).read_text("utf-8").split())

    (given,) = re.findall(rf"{{% with ([^%]+) %}} {{% include 'sqladmin/modals/{handed}' %}}", source)
    names = set(re.findall(r"(?:^|, ?)(\w+) ?=", given))
    names.add("custom_action")  # which the page of one row goes through by that name
    assert {"confirmation_message", "custom_action", "url"} == names
    assert 'data-bs-target="#modal-confirmation-{{ custom_action }}"' in source


def test_a_message_is_asked_for_by_a_page_of_its_own() -> None:
    assert "{% include 'sqladmin/flash.html' %}" in (THEIR_PAGES / "layout.html").read_text("utf-8")


def test_every_id_that_the_style_and_the_script_find_is_known() -> None:
    assert set(re.findall(r"#([a-zA-Z][\w-]*)", SELECTORS + FOUND)) == IDS.keys() | OUR_IDS.keys()


@pytest.mark.parametrize("name", IDS)
def test_an_id_that_we_find_is_in_their_page(name: str) -> None:
    assert f'id="{name}"' in (THEIR_PAGES / IDS[name]).read_text("utf-8")


@pytest.mark.parametrize("name", OUR_IDS)
def test_an_id_of_ours_that_we_find_is_in_our_page(name: str) -> None:
    assert f'id="{name}"' in (PAGES / OUR_IDS[name]).read_text("utf-8")


def test_a_refusal_stands_in_their_form_where_the_style_hides_it_below_both_versions() -> None:
    assert ".bk-stale + form > .row > .alert-danger" in STYLE

    form = " ".join((THEIR_PAGES / "edit.html").read_text("utf-8").partition("<form")[2].split())
    row = r'<div class="row"> {% if error %} <div class="alert alert-danger" role="alert">{{ error }}</div> {% endif %}'
    assert re.match(rf"[^<]*{re.escape(row)}", form)
    assert '{% include "sqladmin/stale_edit.html" %}{% endif %}{% endwith %}\n{{ super() }}' in (
        PAGES / "edit.html"
    ).read_text("utf-8")


def test_every_class_that_the_style_and_the_script_find_is_in_their_pages_or_ours() -> None:
    found = set(re.findall(r"\.(-?[a-zA-Z][\w-]*)", SELECTORS))
    found |= set(re.findall(r"(?:^|[ ,>(])[a-z]*\.([a-z][\w-]*)", FOUND))
    pages = [path.read_text("utf-8") for folder in (PAGES, THEIR_PAGES) for path in folder.rglob("*.html")]
    pages += [" ".join(re.findall(r'class="([^"{]*)"', path.read_text("utf-8"))) for path in OURS.rglob("*.py")]
    libraries = " ".join(path.read_text("utf-8") for path in (THEIRS / "statics/css").glob("*.css"))

    assert len(found) > 50
    assert {name for name in found if name not in " ".join(pages) and not MADE.match(name)} == set()
    assert {name for name in found if MADE.match(name) and f".{name}" not in libraries} == set()
