"""Numbered changes of the schema, run by ``bookit migrate`` or by Alembic. Imports nothing of one subject."""
