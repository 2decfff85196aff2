# syntax=docker/dockerfile:1
ARG PYTHON_IMAGE=python:3.11-slim

# Stage 1: an environment with what requirements/ pins, then the gateway built with the pinned
# backend. The caches, pip and the sources stay behind here.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/ requirements/
RUN pip install --require-hashes -r requirements/build.txt \
 && python -m venv --without-pip /opt/gateway \
 && pip --python /opt/gateway/bin/python install --require-hashes -r requirements/runtime.txt
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY gateway/ gateway/
RUN pip wheel --no-deps --no-build-isolation -w /tmp/wheel . \
 && pip --python /opt/gateway/bin/python install --no-deps --no-index /tmp/wheel/*.whl

# Stage 2: the same interpreter and that environment, nothing that compiles.
FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/gateway --create-home gateway
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# The embedded stores put their file into the working directory.
WORKDIR /var/lib/gateway
EXPOSE 8000
STOPSIGNAL SIGTERM
# Where a configuration file moves the port or turns TLS on, replace this check.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/health/live' % (os.environ.get('GATEWAY_PORT') or os.environ.get('PORT') or 8000), timeout=2)"]
CMD ["gateway", "serve"]
