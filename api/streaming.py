"""Long responses, sent part by part while they are made."""

from collections.abc import AsyncGenerator, Mapping

from anyio import CancelScope
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.parsing import JSON


class StreamedJson(StreamingResponse):
    """A JSON document in parts. What makes them ends with the response, also when the client has disconnected."""

    body_iterator: AsyncGenerator[bytes, None]

    def __init__(self, parts: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> None:
        super().__init__(parts, headers=headers, media_type=JSON)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts, and release what they are made of."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await self.body_iterator.aclose()
