"""One line a request: for a person at a terminal, as JSON anywhere else."""

import asyncio
import logging
import sys
from typing import Any, TextIO, cast

import structlog
from pydantic_core import to_json

# Our own lines, one a request, take the short way: by the standard library's loggers each costs three times as much.
OURS: list[structlog.typing.Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]
THEIRS: list[structlog.typing.Processor] = [*OURS, structlog.stdlib.add_logger_name]


class TogetherWritten:
    """A file that takes the lines of one turn of the event loop at once: each write is a call to the system."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        """Take a line; without an event loop it is written now."""
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._write_all)
            except RuntimeError:
                self._write_all()

    def flush(self) -> None:
        """Leave it to the end of this turn."""

    def _write_all(self) -> None:
        lines, self._lines = self._lines, []
        self._file.write("".join(lines))
        self._file.flush()


def write_logs(*, debug: bool = False) -> None:
    """Send every log line, our own and the libraries', to standard error in one form."""
    level = logging.DEBUG if debug else logging.INFO
    form: list[Any]
    if sys.stderr.isatty():
        # A pretty traceback would show the values of variables, and so passwords and tokens.
        form = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        form = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=as_json)]
    structlog.configure(
        processors=[*OURS, *form],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", TogetherWritten(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    ready = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *form]
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=THEIRS, processors=ready))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for quiet in ("uvicorn.access", "psycopg.pool", "alembic.runtime.plugins"):
        logging.getLogger(quiet).setLevel(logging.WARNING)


def as_json(line: object, **_: object) -> str:
    return to_json(line, fallback=repr).decode()
