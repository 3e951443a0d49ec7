# syntax=docker/dockerfile:1
# Errata's HTTP API: it validates requests, and writes and reads the ledger. It has no torch and no model.
# Build it from the root of the repository:
#   docker build -f docker/api.Dockerfile -t errata-api .
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY docker/install.sh docker/
COPY editing_core editing_core
COPY worker worker
COPY service service
RUN docker/install.sh /opt/errata api

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin errata \
    && install -d -o errata -g errata /data /secrets/redis /secrets/api /secrets/generation /secrets/worker \
       /secrets/operator
COPY --from=build /opt/errata /opt/errata
COPY docker/healthcheck.py /opt/errata/
ENV PATH=/opt/errata/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    ERRATA_ROLE=api \
    ERRATA_HOST=0.0.0.0 \
    ERRATA_PORT=8000 \
    ERRATA_DATA=/data \
    ERRATA_LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "/opt/errata/healthcheck.py", "http://127.0.0.1:8000/readyz"]
CMD ["errata", "serve"]
