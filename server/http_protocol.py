"""The wire: how much of a connection a client may take, in bytes, seconds and number.

uvicorn limits the head of a request for h11 alone, and waits for a client as long as it likes. This subclass of its
httptools protocol counts bytes until something is complete; one sweep a second counts the seconds of all connections.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from server.connections import Connections, connections_of

SLICE_BYTES = 8 * 1024  # parsed at once: some hundred pipelined requests

IDLE, HEAD, BODY = "", "head", "body"  # what a client owes


class HttpProtocol(HttpToolsProtocol):
    """A connection whose client may take only so much of the server."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = None  # BookIt has no web sockets, whose connections would have no limits.
        self.all: Connections = connections_of(config)
        self.max_head_bytes = self.all.limits.max_head_bytes
        self.address = ""
        self.owes = HEAD
        self.owed_seconds = 0
        self.untaken_seconds = 0
        self.head_bytes = 0  # since a head, a part of a body or a message was complete
        self.unparsed = b""  # what follows requests that wait for the response to the one before them
        self.is_refused = False
        self.running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin, or refuse one connection too many."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if reason := self.all.add(self):
            self.refuse(503, "Too many connections.", reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and tell the request that is being answered: uvicorn tells the last that has arrived."""
        self.all.discard(self)
        if self.running:
            self.running.disconnected = True
            self.running.message_event.set()
        self.pipeline.clear()
        self.unparsed = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived. What follows a waiting request is parsed when that is answered."""
        self._unset_keepalive_if_required()
        if self.is_refused:
            return
        if not self.owes:
            self.owes, self.owed_seconds = HEAD, 0
        if self.unparsed:
            self.unparsed += data
            self.flow.pause_reading()
        elif len(data) <= SLICE_BYTES:
            self.parse(data)
        else:
            self.unparsed = data
            self.parse_slices()

    def parse_slices(self) -> None:
        """Parse what has arrived, until a request must wait for the response to the one before it."""
        data, start = self.unparsed, 0
        while start < len(data) and not self.pipeline and not self.is_refused:
            self.parse(data[start : start + SLICE_BYTES])
            start += SLICE_BYTES
        self.unparsed = b"" if self.is_refused else data[start:]

    def parse(self, data: bytes) -> None:
        """Parse a slice. Refuse a head, trailers or a chunk extension that is too long."""
        self.head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # The request is answered as if it had not asked for another protocol.
        except httptools.HttpParserError:
            self.refuse(400, "Invalid HTTP request received.", "unreadable request")
        if self.head_bytes > self.max_head_bytes:
            self.refuse_head()

    def on_headers_complete(self) -> None:
        """Start the request, unless its head is too long."""
        is_long = self.head_bytes > self.max_head_bytes - SLICE_BYTES
        self.owes, self.owed_seconds, self.head_bytes = BODY, 0, 0
        if self.is_refused:
            return
        if is_long and self.measure_head() > self.max_head_bytes:
            self.refuse_head()
            return
        super().on_headers_complete()

    def measure_head(self) -> int:
        """Return the bytes of a head, but for its request line's method and version."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body."""
        self.head_bytes = 0
        if not self.is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request: the client owes nothing."""
        self.owes, self.head_bytes = IDLE, 0
        if not self.is_refused:
            super().on_message_complete()

    def on_message_begin(self) -> None:
        """Begin a request, whose head is due."""
        self.owes, self.owed_seconds = HEAD, 0
        super().on_message_begin()

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        super().on_response_complete()
        if self.unparsed and not self.transport.is_closing():
            self.flow.pause_reading()
            if not self.pipeline:
                self._unset_keepalive_if_required()
                self.parse_slices()
                if not self.unparsed and not self.pipeline:
                    self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def resume_writing(self) -> None:
        """Go on with a response, since the client has taken what was waiting."""
        self.untaken_seconds = 0
        super().resume_writing()

    def sweep(self) -> None:
        """Count a second: close the connection if what the client owes, or has not taken, is overdue."""
        limits = self.all.limits
        if self.transport.get_write_buffer_size():
            self.untaken_seconds += 1
            if self.untaken_seconds > limits.response_seconds:
                self.all.report(self.address, "answer not taken")
                self.transport.abort()
                return
        else:
            self.untaken_seconds = 0
        if not self.owes or self.flow.read_paused:
            return
        self.owed_seconds += 1
        if self.owed_seconds > (limits.head_seconds if self.owes == HEAD else limits.body_seconds):
            self.cut()

    def cut(self) -> None:
        """Close the connection of a client that is late. A browser opens connections in advance: that is no event."""
        if self.owes == HEAD and not self.head_bytes:
            self.transport.close()
        elif self.running is None or self.running.response_complete:
            self.refuse(408, "The request took too long.", f"{self.owes} too late")
        else:
            self.all.report(self.address, f"{self.owes} too late")
            self.transport.abort()

    def refuse_head(self) -> None:
        """Refuse a request whose head is too long."""
        self.refuse(431, "The head of the request is too long.", "head too long")

    def refuse(self, status: int, text: str, reason: str) -> None:
        """Close the connection with this answer, unless another answer is being written; log the reason."""
        if self.is_refused:
            return
        self.is_refused = True
        self.all.report(self.address, reason)
        if self.running is None or self.running.response_complete:
            body = f"{text}\n".encode()
            head = (
                f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()
