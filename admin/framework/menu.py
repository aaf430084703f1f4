"""The menu entries of our own pages."""

from sqladmin._menu import ItemMenu
from starlette.requests import Request

from admin.framework.page_state import page_state
from bookit.policy import permissions
from bookit.policy.permissions import Ability


class PageMenu(ItemMenu):
    """The entry of a page, for users who have the ability that it needs."""

    def __init__(self, name: str, icon: str, *, route: str, ability: Ability | None) -> None:
        super().__init__(name, icon)
        self.route, self.ability = route, ability

    def is_visible(self, request: Request) -> bool:
        """Return whether the user may see the page."""
        return self.ability is None or permissions.has_ability(page_state(request).actor, self.ability)

    def is_active(self, request: Request) -> bool:
        """Return whether this page is open."""
        return str(self.url(request)).rstrip("/") == str(request.url.replace(query="")).rstrip("/")

    def url(self, request: Request) -> str:
        """Return the URL of the page."""
        return str(request.url_for(self.route))
