# docker build -t luxs2 . && docker run --rm -it -v "$PWD/runs:/work/runs" luxs2 train
# On GPUs: docker run --gpus all ... (torch of Linux brings CUDA). A small image without it: --build-arg PIP_EXTRA_INDEX_URL=INDEX_OF_TORCH_FOR_CPUS
FROM python:3.12-slim
ARG PIP_EXTRA_INDEX_URL
COPY . /src
RUN pip install --no-cache-dir /src
WORKDIR /work
ENTRYPOINT ["luxs2"]
