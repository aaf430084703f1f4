"""Entries of the menu that lead to pages of our own."""

from sqladmin._menu import ItemMenu
from starlette.requests import Request

from bookit.policy import permissions


class PageMenu(ItemMenu):
    """An entry that leads to a page of figures, for whoever may see them."""

    def __init__(self, name: str, icon: str, *, route: str) -> None:
        super().__init__(name, icon)
        self.route = route

    def is_visible(self, request: Request) -> bool:
        """Whether this person may see the page."""
        return permissions.may_see_reports(request.state.actor)

    def is_active(self, request: Request) -> bool:
        """Whether this is the page that is open."""
        return str(self.url(request)).rstrip("/") == str(request.url.replace(query="")).rstrip("/")

    def url(self, request: Request) -> str:
        """Give the page's address."""
        return str(request.url_for(self.route))
