"""The way most would build it: FastAPI, the SQLAlchemy ORM in the thread pool, and a look before each booking."""
