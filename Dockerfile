# The image of fx-pipeline. Two targets:
#   default  every role: up, serve, code-server, webserver, daemon, a Celery worker
#   api      `fx-pipeline serve` and `replica`, without Dagster and pandas, for nodes that only read
#
#   docker build --build-arg VERSION=0.2.0 --build-arg REVISION=$(git rev-parse HEAD) --tag fx-pipeline .
#   docker build --target api --tag fx-pipeline-api .
#
# The base is the same in all stages, because the virtual environment refers to its Python. Every package in the locks
# has a wheel for Python 3.12 to 3.14 on amd64 and arm64, so nothing is compiled here. Only pysqlite3 has none for arm64:
# the image then uses the SQLite of the base, and warns if that version can corrupt a database.
ARG BASE=python:3.12-slim-trixie
ARG UV=ghcr.io/astral-sh/uv:0.13.9

# hadolint ignore=DL3006
FROM ${UV} AS uv

# hadolint ignore=DL3006
FROM ${BASE} AS build
# Only `strip` is needed of it, and not in the image.
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
COPY --from=uv /uv /usr/local/bin/uv
COPY deploy/image /tools
WORKDIR /source
COPY requirements-build.lock ./
RUN --mount=type=cache,target=/root/.cache/uv /tools/install /opt/build requirements-build.lock
COPY pyproject.toml hatch_build.py README.md LICENSE CHANGELOG.md workspace.yaml dagster.yaml .env.example ./
COPY datasette_config datasette_config
COPY deploy/nginx deploy/nginx
COPY deploy/systemd deploy/systemd
COPY docs/operations/runbook.md docs/operations/runbook.md
COPY fx_pipeline fx_pipeline
ARG REVISION=
# The checkout's .git is not copied here. The build reads the commit from this file, as in an unpacked sdist.
RUN echo "${REVISION}" > COMMIT && /opt/build/bin/hatchling build --target wheel --directory /wheels

FROM build AS build-all
COPY requirements-cluster.lock ./
RUN --mount=type=cache,target=/root/.cache/uv /tools/install /opt/fx-pipeline requirements-cluster.lock /wheels/*.whl

FROM build AS build-api
COPY requirements-api.lock ./
RUN --mount=type=cache,target=/root/.cache/uv /tools/install /opt/fx-pipeline requirements-api.lock /wheels/*.whl

# hadolint ignore=DL3006
FROM ${BASE} AS runtime
# The base's own pip is not needed. A new named volume takes its owner from /data, or /replica if that has a replica.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
    && groupadd --gid 10001 fx-pipeline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fx-pipeline \
    && install --directory --owner=10001 --group=10001 /data /replica
# With a read-only root file system, /tmp must be a tmpfs.
ENV PATH=/opt/fx-pipeline/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FX_DATABASE=/data/fx.db \
    DAGSTER_HOME=/data/dagster
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8001
# For `up` and `serve`.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["python", "-c", "import http.client, os, sys; api = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('FX_API_PORT') or 8001), timeout=5); api.request('GET', '/-/health'); sys.exit(api.getresponse().status != 200)"]
ENTRYPOINT ["fx-pipeline"]
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title=fx-pipeline \
      org.opencontainers.image.description="A self-hosted Fixer: daily exchange rates with all revisions in SQLite" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION}

FROM runtime AS api
COPY --from=build-api /opt/fx-pipeline /opt/fx-pipeline
CMD ["serve", "--host", "0.0.0.0"]

FROM runtime AS all
EXPOSE 3000 4000
COPY --from=build-all /opt/fx-pipeline /opt/fx-pipeline
CMD ["up", "--host", "0.0.0.0"]
