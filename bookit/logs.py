"""One line a request: for a person at a terminal, as JSON anywhere else."""

import logging
import sys

import structlog


def write_logs(*, debug: bool = False) -> None:
    """Send every log line, our own and the libraries', to standard error in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    is_terminal = sys.stderr.isatty()
    # A pretty traceback would show the values of variables, and so passwords and tokens.
    on_terminal = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    last: structlog.typing.Processor = on_terminal if is_terminal else structlog.processors.JSONRenderer()
    ready: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, last]
    if not is_terminal:
        ready.insert(1, structlog.processors.format_exc_info)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=ready))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for quiet in ("uvicorn.access", "psycopg.pool", "alembic.runtime.plugins"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
