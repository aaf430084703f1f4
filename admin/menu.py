"""Entries of the menu that lead to pages of our own."""

from typing import ClassVar

from sqladmin._menu import ItemMenu
from starlette.requests import Request

from bookit import policy


class PageMenu(ItemMenu):
    """An entry that leads to a page of figures, for whoever may see them."""

    route: ClassVar[str]

    def is_visible(self, request: Request) -> bool:
        """Whether this person may see the page."""
        return policy.may_see_figures(request.state.actor)

    def is_active(self, request: Request) -> bool:
        """Whether this is the page that is open."""
        return str(self.url(request)).rstrip("/") == str(request.url.replace(query="")).rstrip("/")

    def url(self, request: Request) -> str:
        """Give the page's address."""
        return str(request.url_for(self.route))


class TodayMenu(PageMenu):
    """Leads to the page of today."""

    route = "admin:index"


class ReportsMenu(PageMenu):
    """Leads to the reports."""

    route = "admin:reports"


def own_pages() -> list[PageMenu]:
    """Give the entries of our own pages, in their order."""
    return [TodayMenu("Today", "fa-solid fa-sun"), ReportsMenu("Reports", "fa-solid fa-chart-column")]
