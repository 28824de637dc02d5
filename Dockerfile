# A web page and `POST /predict` for a system's champion (docs/serving.md):
#   docker build -t lamina .
#   docker run --rm --publish 127.0.0.1:8080:8080 --volume "$PWD:/system:ro" lamina
# python:3.12.15-slim-bookworm; the digest of another version: docker buildx imagetools inspect python:3.12-slim-bookworm
FROM python:3.12-slim-bookworm@sha256:54c85f3c47607a77f32adec749d3c81d1348bf25833671f512b26a9b6d778cb3

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /lamina
COPY requirements/build.txt requirements/run.txt requirements/
# two packages come as source: what builds them is of the lock, too
RUN python -m pip install --require-hashes --requirement requirements/build.txt && \
    python -m pip install --require-hashes --no-deps --no-build-isolation --requirement requirements/run.txt
COPY pyproject.toml README.md LICENSE dvc.yaml ./
COPY src src
RUN python -m pip install --no-deps --no-build-isolation . && useradd --uid 10001 --create-home lamina

# whatever user runs it: what libraries write goes to /tmp, and lamina knows a name for the user
ENV HOME=/tmp LOGNAME=lamina
USER 10001
WORKDIR /system
EXPOSE 8080
# until the network is loaded, /health answers 503
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
# inside a container 127.0.0.1 is the container itself: --publish decides who reaches it
ENTRYPOINT ["lamina", "serve", "--host", "0.0.0.0", "--port", "8080"]
