"""How the database came to be what ``bookit/tables.py`` says: numbered sentences, run by ``bookit migrate``."""
