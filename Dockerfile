# The gateway with everything: semantic tier, local engine, Redis.
#   docker build -t twicetold .
#   docker build -t twicetold --build-arg TORCH="--index-url URL" .      where pip takes torch's CPU build from
# The base is pinned by version; pin it by digest where your registry tells you one.

FROM python:3.11.13-slim-bookworm AS build
# Empty: the default index, whose torch is a CUDA build on Linux. It works, and is ten times larger.
ARG TORCH=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/twicetold
RUN /opt/twicetold/bin/pip install ${TORCH} torch==2.13.0
COPY pyproject.toml constraints.txt README.md CHANGELOG.md LICENSE ./
COPY gateway gateway
COPY embeddings embeddings
COPY kvtier kvtier
COPY backends backends
# What installs and what builds stays behind. Files that torch ships for newer Pythons are left alone.
RUN /opt/twicetold/bin/pip install -c constraints.txt '.[semantic,local,redis,patterns,kv-events,oidc,seal,otel]' \
    && python -m venv /build/bom && /build/bom/bin/pip install -c constraints.txt cyclonedx-bom \
    && /build/bom/bin/cyclonedx-py environment --pyproject pyproject.toml -o /opt/twicetold/sbom.cdx.json \
        /opt/twicetold/bin/python \
    && /opt/twicetold/bin/pip uninstall -y pip setuptools \
    && find /opt/twicetold -name __pycache__ -prune -exec rm -rf {} + \
    && /opt/twicetold/bin/python -m compileall -q -x '/py31[2-9]_' /opt/twicetold/lib

FROM python:3.11.13-slim-bookworm
LABEL org.opencontainers.image.title="Twicetold" \
      org.opencontainers.image.description="A caching gateway for LLM chat" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/twicetold /opt/twicetold
RUN useradd --uid 10001 --create-home twicetold && mkdir /data && chown twicetold:twicetold /data
# What is downloaded or compiled on the way goes where one may write, also when the rest is read-only.
ENV PATH=/opt/twicetold/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/data/models \
    NUMBA_CACHE_DIR=/tmp/numba \
    TWICETOLD_HOST=0.0.0.0 \
    TWICETOLD_DATA_DIR=/data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8420
# SIGTERM: no new connections, and what runs has drain_s (10 s) to end.
STOPSIGNAL SIGTERM
# It lives when it answers; whether it can answer a chat is for the balancer (/readyz), not a reason to end it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8420/healthz', timeout=4)"]
ENTRYPOINT ["twicetold"]
CMD ["serve"]
