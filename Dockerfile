# Four targets from one file: `runtime` (the service), `backup` (the same with PostgreSQL's client programs),
# `research` (backtests and searches: vectorbt, optimisers, Ray, machine code made at build time).
# No syntax line: it would make every build fetch a frontend. The base is pinned by digest; override it by --build-arg.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

# --- what is compiled, fetched and pruned here stays here ---------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
 && apt-get update -q && apt-get install -qy --no-install-recommends binutils
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONFIG_FILE=/dev/null PIP_CACHE_DIR=/var/cache/pip
RUN python -m venv --without-pip /opt/grodt
WORKDIR /src
# The lock first: as long as it is the same, this layer is the same. `ca` is the certificate store of a machine whose
# registries are behind a proxy; without the secret the image's own is used.
COPY requirements.lock ./
RUN --mount=type=cache,target=/var/cache/pip \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    pip --python /opt/grodt/bin/python install --require-hashes --only-binary :all: -r requirements.lock

FROM build AS wheel
# There is no git in here to take the version from.
ARG GRODT_VERSION=0.0.0
ENV SETUPTOOLS_SCM_PRETEND_VERSION=${GRODT_VERSION}
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY configs configs
COPY grodtd grodtd
RUN pip --python /opt/grodt/bin/python wheel --no-deps --no-build-isolation --wheel-dir /wheel .

# What built the wheel, tests of libraries, and symbols of the two largest ones are never used in production.
FROM build AS slim
WORKDIR /opt/grodt/lib/python3.11/site-packages
RUN pip --python /opt/grodt/bin/python uninstall -qy hatchling hatch-vcs setuptools-scm vcs-versioning setuptools \
      trove-classifiers pathspec pluggy tomlkit \
 && find . -type d -name tests -prune -exec rm -rf {} + \
 && strip --strip-unneeded _polars_runtime_32/*.so llvmlite/binding/libllvmlite.so

# --- the service --------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS bare
ARG GRODT_VERSION=0.0.0
ARG GRODT_REVISION=unknown
ARG GRODT_CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="grodt" \
      org.opencontainers.image.description="From an intraday crypto strategy idea to honest evidence to safe production" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${GRODT_VERSION}" \
      org.opencontainers.image.revision="${GRODT_REVISION}" \
      org.opencontainers.image.created="${GRODT_CREATED}"
ENV PATH=/opt/grodt/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1 \
    GRODT_HOME=/app/data GRODT_REVISION=${GRODT_REVISION} \
    NUMBA_CACHE_DIR=/var/cache/grodt
# Folders that volumes are mounted on: a new named volume takes owner and mode from here.
RUN groupadd --gid 10001 grodt \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin grodt \
 && install -d -o 10001 -g 10001 -m 0750 /app/data /var/cache/grodt
WORKDIR /app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["grodt"]
CMD ["serve", "--host", "0.0.0.0"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["python", "-m", "grodtd.health"]

# Libraries and program in layers of their own: a new release of ours is a few megabytes to fetch.
FROM bare AS runtime
COPY --from=slim /opt/grodt /opt/grodt
USER root
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/grodt/bin/python install -q --no-cache-dir --no-deps --no-index /wheel/*.whl
USER 10001:10001

# --- nightly backups: pg_dump and pg_restore beside the service's own program -------------------------------------
FROM runtime AS backup
USER root
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
 && apt-get update -q && apt-get install -qy --no-install-recommends postgresql-client-15
USER 10001:10001
CMD ["backup", "serve", "--host", "0.0.0.0"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["python", "-m", "grodtd.health", "--heartbeat", "/app/data/run/backup.heartbeat", "--max-age", "60"]

# --- research -----------------------------------------------------------------------------------------------------
FROM build AS build-research
COPY requirements-research.lock requirements-ray.lock ./
RUN --mount=type=cache,target=/var/cache/pip \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    pip --python /opt/grodt/bin/python install --require-hashes --only-binary :all: \
        -r requirements-research.lock -r requirements-ray.lock

FROM bare AS research
COPY --from=build-research /opt/grodt /opt/grodt
USER root
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/grodt/bin/python install -q --no-cache-dir --no-deps --no-index /wheel/*.whl
USER 10001:10001
# Machine code is made once, here, by the user who will run it; vectorbt fails where its cache cannot be written.
# It is keyed by processor: on another kind it is made anew, into the same folder.
RUN grodt data synth G1 --bars 20000 --seed 7 --home /tmp/warm \
 && grodt backtest s1_trend --home /tmp/warm --venue synthetic --symbol G1 --timeframe 1m --engine vectorbt >/dev/null \
 && rm -rf /tmp/warm
CMD ["--help"]
HEALTHCHECK NONE
