"""Logging: one line for each request; coloured text in a terminal, JSON everywhere else."""

import logging
import sys
from typing import Any

import structlog
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from structlog.typing import EventDict

from bookit.clock import system_clock

QUIET_LOGGERS = ("uvicorn.access", "alembic.runtime.plugins")
SILENT_LOGGERS = ("psycopg.pool",)  # It has a line for each attempt to connect; bookit.db.incidents has one a minute.
MAX_PATH_LENGTH = 200  # of a line; a path may have thirty thousand letters
EXTRA_FIELDS = ["event_kind", "address", "account", "request_id", "reason", "detail", "count"]


def shorten_path(event: EventDict) -> EventDict:
    """Return an event whose path, which a stranger writes, is cut."""
    path = event.get("path")
    if not isinstance(path, str) or len(path) <= MAX_PATH_LENGTH:
        return event
    return {**event, "path": f"{path[:MAX_PATH_LENGTH]}…"}


def escape_controls(logger: Any, level: str, event: EventDict) -> EventDict:  # noqa: ARG001 -- structlog's signature
    """Return an event that cannot move the cursor of a terminal, colour it or name its window."""
    return {
        name: escape(value, name) if isinstance(value, str) else value for name, value in shorten_path(event).items()
    }


def escape(text: str, name: str) -> str:
    """Return a text with its control characters as Python writes them. A traceback keeps its lines."""
    if text.isprintable():
        return text
    kept = "\n" if name == "exception" else ""
    return "".join(each if each.isprintable() or each in kept else ascii(each)[1:-1] for each in text)


TERMINAL_PROCESSORS: list[Any] = [
    structlog.processors.format_exc_info,  # A pretty traceback would show the values of variables, and so passwords.
    escape_controls,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.dev.ConsoleRenderer(),
]


def configure_logging(*, debug: bool = False) -> None:
    """Write every log line, BookIt's own and the libraries', to standard error in one format."""
    level = logging.DEBUG if debug else logging.INFO
    is_terminal = sys.stderr.isatty()
    processors = TERMINAL_PROCESSORS if is_terminal else [render_json]
    structlog.configure(
        processors=[drop_disconnect, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr)
        if is_terminal
        else structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [build_library_handler(processors)]
    root.setLevel(level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in SILENT_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def build_library_handler(processors: list[Any]) -> logging.Handler:
    """Return the handler that formats the lines of libraries, which use the standard library's logging."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(EXTRA_FIELDS)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors, decode_line],
        )
    )
    handler.addFilter(lambda record: not (record.exc_info and is_disconnect(record.exc_info[1])))
    return handler


def render_json(logger: Any, level: str, event: EventDict) -> bytes:
    """Return an event as one line of JSON, in half the time of structlog's own five processors."""
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, level, event)
    timestamp = system_clock().isoformat().replace("+00:00", "Z")
    return to_json({**shorten_path(event), "level": level, "timestamp": timestamp}, fallback=repr)


def decode_line(logger: Any, level: str, line: Any) -> str:  # noqa: ARG001 -- structlog's signature
    return str(line, "utf-8") if isinstance(line, bytes) else str(line)


def drop_disconnect(logger: Any, level: str, event: EventDict) -> EventDict:  # noqa: ARG001 -- structlog's signature
    """Drop an event whose exception only says that the client has disconnected."""
    if "exc_info" in event and is_disconnect(sys.exception()):
        raise structlog.DropEvent
    return event


def is_disconnect(error: BaseException | None) -> bool:
    """Whether this only says that the client has hung up.

    It is Starlette's error for a body that ends too soon, or uvloop's for a write to a closed connection. uvicorn drops
    such writes, except for a client that sent several requests at once (HTTP pipelining).
    """
    if isinstance(error, ClientDisconnect):
        return True
    return isinstance(error, RuntimeError) and "TCPTransport" in str(error) and "handler is closed" in str(error)
