"""A typical implementation: FastAPI, the SQLAlchemy ORM in the thread pool, and a query before each booking."""
