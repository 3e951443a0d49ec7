# syntax=docker/dockerfile:1
# Errata's generation process: the resident model and its versions behind /generate, /score and /v1.
# Build it from the root of the repository:
#   docker build -f docker/generation.Dockerfile -t errata-generation .
# VARIANT is cpu or cuda. If pip's default index has another build of torch, set TORCH_INDEX_URL to an index that has it:
#   docker build --build-arg VARIANT=cuda …
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG VARIANT=cpu
ARG TORCH_INDEX_URL=""
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY docker/install.sh docker/
COPY editing_core editing_core
COPY worker worker
COPY service service
RUN PIP_EXTRA_INDEX_URL="${TORCH_INDEX_URL}" docker/install.sh /opt/errata generation "${VARIANT}"

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin errata \
    && install -d -o errata -g errata /data
COPY --from=build /opt/errata /opt/errata
COPY docker/healthcheck.py /opt/errata/
ENV PATH=/opt/errata/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/data/huggingface \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    ERRATA_ROLE=generation \
    ERRATA_HOST=0.0.0.0 \
    ERRATA_PORT=8001 \
    ERRATA_DATA=/data \
    ERRATA_LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python", "/opt/errata/healthcheck.py", "http://127.0.0.1:8001/readyz"]
CMD ["errata", "serve"]
