"""How the database came to be what ``bookit/schema/tables.py`` says: numbered sentences, run by ``bookit migrate``."""
