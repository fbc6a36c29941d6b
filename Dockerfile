# Fleetgate in a container: hash-locked, without pip, as a numeric user, on a root file system that may be read-only.
#
#   docker build -t fleetgate .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -p 8080:8080 \
#     -v "$PWD:/etc/fleetgate:ro" -v fleetgate-data:/data fleetgate
#
# The configuration folder is mounted, never copied in. Two settings matter there: `store: sqlite:/data/fleetgate.db` (or redis://…),
# since nothing else can be written to, and `auth`, since off loopback the server refuses to start with `mode: open`.
#
# The base image is pinned by tag so that security fixes arrive with a rebuild. To pin a build for good, name the digest that you
# tested: --build-arg BASE=python:3.13-slim-trixie@sha256:…
#
# --build-arg LOCK=requirements-extras.lock adds traces, energy, and what `ledger ship` needs for PostgreSQL and Parquet.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
ARG LOCK=requirements.lock
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python -m venv /opt/build && python -m venv --without-pip /opt/fleetgate && mkdir /data
COPY requirements.lock requirements-extras.lock requirements-build.lock ./
RUN /opt/build/bin/python -m pip install --require-hashes --only-binary=:all: -r requirements-build.lock
# A layer of its own: the build's tools stay cached while what serves changes.
# hadolint ignore=DL3059
RUN /opt/build/bin/python -m pip --python /opt/fleetgate/bin/python install --require-hashes --only-binary=:all: -r "${LOCK}"
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY proxy proxy
RUN /opt/build/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/build/bin/python -m pip --python /opt/fleetgate/bin/python install --no-index --no-deps /dist/*.whl \
 && /opt/fleetgate/bin/python -m compileall -q /opt/fleetgate/lib

FROM ${BASE}
COPY --from=build /opt/fleetgate /opt/fleetgate
COPY --from=build --chown=65532:65532 /data /data
# MALLOC_*: few arenas (there are few threads), and keep freed memory for the next large body instead of giving it back each time.
ENV PATH=/opt/fleetgate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    MALLOC_ARENA_MAX=2 \
    MALLOC_TRIM_THRESHOLD_=67108864 \
    MALLOC_TOP_PAD_=16777216 \
    MALLOC_MMAP_THRESHOLD_=33554432 \
    FLEETGATE_LISTEN_HOST=0.0.0.0
WORKDIR /data
VOLUME ["/data"]
USER 65532:65532
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["/opt/fleetgate/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9090/healthz', timeout=2)"]
ENTRYPOINT ["fleetgate"]
CMD ["serve", "--config", "/etc/fleetgate/fleetgate.yaml"]
