# rtprune on an NVIDIA GPU; the host needs its driver and the NVIDIA Container Toolkit.
#   docker build -t rtprune .
#   docker run --rm --gpus all --shm-size 1g -v rtprune-models:/models -v "$PWD":/work rtprune ocr scans -r -o out
FROM python:3.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HF_HOME=/models

RUN useradd --create-home --uid 1000 rtprune \
    && mkdir /models /work \
    && chown rtprune /models /work

COPY pyproject.toml README.md LICENSE constraints.txt /src/
COPY rtprune_cli /src/rtprune_cli
COPY docs/*.md /src/docs/
# torch's own wheels bring the CUDA libraries.
# --build-arg EXTRAS='[cluster,s3]' for a Ray cluster and buckets.
ARG EXTRAS=""
RUN pip install -c /src/constraints.txt "/src${EXTRAS}" && rm -r /src

USER 1000
WORKDIR /work
VOLUME ["/models"]
ENTRYPOINT ["rtprune"]
CMD ["info"]
