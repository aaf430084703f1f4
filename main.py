"""The application for ASGI servers that are given a module: ``uvicorn main:app``. `bookit serve` needs no such file."""

from server.asgi import load

app = load()
