"""The base of every table's page: which application it belongs to, and how it reads and shows values."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sqladmin import ModelView
from sqlmodel import SQLModel

from admin.framework.context import AdminContext
from admin.framework.formatting import type_formatters
from bookit.schema.tables import table_of


class TableView(ModelView):
    """The page of one table in one application. Two applications in a process share the class and nothing else."""

    model: ClassVar[type[SQLModel]]

    def __init__(self) -> None:
        formatters = type_formatters(lambda: self.context.zone)
        vars(self).update(column_type_formatters=formatters, column_type_formatters_detail=formatters)
        super().__init__()

    @property
    def context(self) -> AdminContext:
        """The context of the application that this page belongs to."""
        context: AdminContext = self._admin_ref.app.state.admin_context
        return context

    @property
    def views_by_table(self) -> Mapping[str, "TableView"]:
        """The page of each table that has one."""
        return {table_of(view.model).name: view for view in self._admin_ref.views if isinstance(view, TableView)}

    async def fetch_rows(self, statement: Any) -> Sequence[Any]:
        """Run a statement and return its rows."""
        rows: Sequence[Any] = await self._run_arbitrary_query(statement)
        return rows
