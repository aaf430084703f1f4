"""What BookIt's templates, styles and script use of SQLAdmin's pages: blocks, macros, ids and classes."""

import re
from pathlib import Path

import pytest
import sqladmin
from jinja2 import Environment, FileSystemLoader

import admin

OURS, THEIRS = (Path(str(package.__file__)).parent for package in (admin, sqladmin))
PAGES = OURS / "templates/sqladmin"
THEIR_PAGES = THEIRS / "templates/sqladmin"
OUR_PAGES = {  # that replace none of SQLAdmin's
    "_money.html", "day_closing.html",
    "_export.html", "_figures.html", "_history.html", "_missing_hours.html", "_notes.html", "_stranded.html",
    "_today.html",
    "act.html", "act_again.html", "act_overlap.html", "acts.html", "bulk.html", "calendar.html", "delete.html",
    "erase.html", "note.html",
    "filters/day_filter.html", "filters/row_filter.html", "modals/act.html", "password.html", "reports.html",
    "reset_second_factor.html", "save.html", "search.html", "second_step.html", "sign_ins.html", "signing_in.html",
    "stale_edit.html", "today.html", "week.html",
}  # fmt: skip
OUR_BLOCKS = {"choices", "more", "page_name", "page_tools"}
# Ids in SQLAdmin's pages that our style and script select.
IDS = {
    "dropdownMenuButton": "list.html",
    "filter-sidebar": "list.html",
    "search-input": "list.html",
    "search-reset": "list.html",
    "modal-delete-button": "modals/delete.html",
    "navbar-menu": "layout.html",
}
OUR_IDS = {"bk-stale": "stale_edit.html"}
MADE = re.compile("select2|alert-|badge|bg-|is-|form-check|form-hint")  # classes of a library, or composed at run time
STYLE = re.sub(r"/\*.*?\*/", "", (OURS / "static/staff.css").read_text("utf-8"), flags=re.DOTALL)
SELECTORS = " ".join(re.findall(r"([^{}]+)\{", STYLE))
SCRIPT = (OURS / "static/staff.js").read_text("utf-8")
FOUND = " ".join(re.findall(r"\"([^\"]*)\"", SCRIPT))  # every string of the script, selectors included
ours = sorted(str(path.relative_to(PAGES)) for path in PAGES.rglob("*.html"))


def blocks(name: str) -> set[str]:
    """Return the blocks of one of SQLAdmin's pages, including those of the pages it extends."""
    source = (THEIR_PAGES / name).read_text("utf-8")
    parent = re.search(r"{% extends [\"']sqladmin/([\w./]+)", source)
    return set(re.findall(r"{% block (\w+)", source)) | (blocks(parent[1]) if parent else set())


def macros(folder: Path) -> object:
    """Return the macros of a folder of templates."""
    return Environment(loader=FileSystemLoader(folder), autoescape=True).get_template("_macros.html").module


def test_our_templates_override_theirs() -> None:
    assert {name for name in ours if not (THEIR_PAGES / name).exists()} == OUR_PAGES


@pytest.mark.parametrize("name", ours)
def test_our_templates_fill_existing_blocks(name: str) -> None:
    """A page that replaces one of SQLAdmin's fills its blocks; any other fills those of the page it extends."""
    source = (PAGES / name).read_text("utf-8")
    extended = re.search(r"{% extends \"sqladmin/([\w./]+)", source)
    theirs = name if name not in OUR_PAGES else extended[1] if extended else None

    filled = set(re.findall(r"{% block (\w+)", source)) - OUR_BLOCKS

    assert filled <= (blocks(theirs) if theirs else set())


def test_their_templates_define_none_of_our_blocks() -> None:
    theirs = {
        block
        for path in THEIR_PAGES.rglob("*.html")
        for block in re.findall(r"{% block (\w+)", path.read_text("utf-8"))
    }

    assert not theirs & OUR_BLOCKS


def test_our_macros_match_the_ones_that_their_templates_import() -> None:
    imported = {
        name.strip()
        for path in THEIR_PAGES.rglob("*.html")
        for names in re.findall(r"{% from 'sqladmin/_macros.html' import ([\w, ]+) %}", path.read_text("utf-8"))
        for name in names.split(",")
    }
    assert imported == {"display_menu", "render_form_fields"}

    for name in imported:
        took, takes = (
            getattr(
                Environment(loader=FileSystemLoader(folder), autoescape=True).get_template("_macros.html").module, name
            )
            for folder in (THEIR_PAGES, PAGES)
        )
        assert takes.arguments == took.arguments


@pytest.mark.parametrize(
    ("page", "included"),
    [
        ("list.html", "list_action_confirmation.html"),
        ("details.html", "details_action_confirmation.html"),
    ],
)
def test_the_confirmation_dialog_receives_its_variables(page: str, included: str) -> None:
    source = " ".join((THEIR_PAGES / page).read_text("utf-8").split())

    (arguments,) = re.findall(rf"{{% with ([^%]+) %}} {{% include 'sqladmin/modals/{included}' %}}", source)
    names = set(re.findall(r"(?:^|, ?)(\w+) ?=", arguments))
    names.add("custom_action")  # the loop variable of the page of one row
    assert {"confirmation_message", "custom_action", "url"} == names
    assert 'data-bs-target="#modal-confirmation-{{ custom_action }}"' in source


def test_messages_are_rendered_by_their_own_template() -> None:
    assert "{% include 'sqladmin/flash.html' %}" in (THEIR_PAGES / "layout.html").read_text("utf-8")


def test_every_selected_id_is_listed() -> None:
    assert set(re.findall(r"#([a-zA-Z][\w-]*)", SELECTORS + FOUND)) == IDS.keys() | OUR_IDS.keys()


@pytest.mark.parametrize("name", IDS)
def test_a_selected_id_exists_in_their_template(name: str) -> None:
    assert f'id="{name}"' in (THEIR_PAGES / IDS[name]).read_text("utf-8")


@pytest.mark.parametrize("name", OUR_IDS)
def test_a_selected_id_of_ours_exists_in_our_template(name: str) -> None:
    assert f'id="{name}"' in (PAGES / OUR_IDS[name]).read_text("utf-8")


def test_the_refusal_in_their_form_matches_the_style_that_hides_it() -> None:
    assert ".bk-stale + form > .row > .alert-danger" in STYLE

    form = " ".join((THEIR_PAGES / "edit.html").read_text("utf-8").partition("<form")[2].split())
    row = r'<div class="row"> {% if error %} <div class="alert alert-danger" role="alert">{{ error }}</div> {% endif %}'
    assert re.match(rf"[^<]*{re.escape(row)}", form)
    assert '{% include "sqladmin/stale_edit.html" %}{% endif %}{% endwith %}\n{{ super() }}' in (
        PAGES / "edit.html"
    ).read_text("utf-8")


def test_every_selected_class_exists_in_a_template() -> None:
    classes = set(re.findall(r"\.(-?[a-zA-Z][\w-]*)", SELECTORS))
    classes |= set(re.findall(r"(?:^|[ ,>(])[a-z]*\.([a-z][\w-]*)", FOUND))
    pages = [path.read_text("utf-8") for folder in (PAGES, THEIR_PAGES) for path in folder.rglob("*.html")]
    pages += [" ".join(re.findall(r'class="([^"{]*)"', path.read_text("utf-8"))) for path in OURS.rglob("*.py")]
    libraries = " ".join(path.read_text("utf-8") for path in (THEIRS / "statics/css").glob("*.css"))

    assert len(classes) > 50
    assert {name for name in classes if name not in " ".join(pages) and not MADE.match(name)} == set()
    assert {name for name in classes if MADE.match(name) and f".{name}" not in libraries} == set()
