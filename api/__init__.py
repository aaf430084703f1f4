"""The customer door: a JSON API. It reads a request, calls one rule of ``bookit``, and answers."""
