# An image with official_selftrain and its exact set of packages, for CPU or CUDA by argument. It is not built in our
# tests, which have no container engine.
#
#   docker build -t selftrain .
#   docker build -t selftrain:cuda --build-arg BASE=nvidia/cuda:12.2.2-cudnn8-runtime-ubuntu22.04 .
#   docker run --rm -v "$PWD/data:/data" -v "$PWD/runs:/runs" selftrain train \
#     --experiment=retinanet_resnetfpn_selftrain --mode=train_and_eval --dataset=/data --model_dir=/runs/mine
#
# TensorFlow 2.15 is made for CUDA 12.2 and cuDNN 8. With CUDA: docker run --gpus=all.
ARG BASE=python:3.11-slim
FROM ${BASE}

RUN command -v python3.11 && python3.11 -c 'import venv, ensurepip' || (apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3.11 python3.11-venv \
    && rm -rf /var/lib/apt/lists/*)

WORKDIR /opt/official_selftrain
# The packages first: they change less often than the code.
COPY requirements.lock setup.cfg pyproject.toml README.md LICENSE ./
COPY tools tools
# The version alone; the installation points to this folder, so it finds the rest later.
COPY official_selftrain/__init__.py official_selftrain/__init__.py
RUN tools/setup_environment.sh /opt/venv python3.11
COPY official_selftrain official_selftrain
COPY experiments experiments

ENV PATH=/opt/venv/bin:$PATH MALLOC_ARENA_MAX=2
WORKDIR /work
ENTRYPOINT ["selftrain"]
CMD ["doctor"]
