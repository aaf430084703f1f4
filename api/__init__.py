"""The customer door: a JSON API. It parses a request, calls one rule of ``bookit`` and encodes the result."""
