# BookIt as one image. Build and run it: docker build -t bookit . && docker compose up
FROM python:3.13-slim

WORKDIR /app
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The libraries and what builds BookIt, with their hashes: this layer is made again only when their versions change.
COPY requirements.lock requirements-build.lock requirements-node.lock ./
RUN pip install --require-hashes -r requirements.lock -r requirements-build.lock -r requirements-node.lock

# BookIt itself, which also fetches the front-end libraries of its pages.
COPY . .
RUN pip install --no-build-isolation -r requirements.txt && useradd --create-home bookit && mkdir .bookit && chown bookit .bookit

USER bookit
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD python -c "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/readyz')"
CMD ["sh", "-c", "alembic upgrade head && exec uvicorn main:app --host 0.0.0.0 --port ${PORT:-8000} \
--no-access-log --no-server-header --timeout-graceful-shutdown 10"]
