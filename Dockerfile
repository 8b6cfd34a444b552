# Two images:
#   docker build --target scorer -t wedefense_lite:scorer .      scores with an ONNX file, no PyTorch
#   docker build --target training -t wedefense_lite:training .  recipes, on CPUs and NVIDIA's GPUs
# docs/serving.md says how they are run.

# ---- Scorer: the packages first, so that neither pip's files nor the source are in the image

FROM python:3.11-slim-bookworm AS packages
WORKDIR /source
COPY docker/scorer.txt docker/service.txt docker/
RUN pip install --no-cache-dir --target /packages -r docker/service.txt
COPY setup.py pyproject.toml README.md ./
COPY wedefense_lite wedefense_lite
RUN pip install --no-cache-dir --no-deps --target /packages .

FROM python:3.11-slim-bookworm AS scorer
RUN useradd --uid 10001 --create-home scorer
COPY --from=packages /packages /packages
ENV PYTHONPATH=/packages PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/scorer
EXPOSE 8000
HEALTHCHECK --start-period=20s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["python", "-m", "wedefense_lite"]
# The network of a container is its own: publish the port on loopback, -p 127.0.0.1:8000:8000.
CMD ["serve", "--model", "/model/detector.onnx", "--host", "0.0.0.0"]

# ---- Training

FROM python:3.11-bookworm AS training
RUN useradd --uid 10001 --create-home trainer && mkdir /wedefense_lite && chown trainer /wedefense_lite
USER 10001
WORKDIR /wedefense_lite
ENV PATH=/home/trainer/.local/bin:$PATH PYTHONUNBUFFERED=1
COPY --chown=10001 . .
RUN pip install --no-cache-dir --user -e '.[mini,ssl,lora,separation,explain,serve,onnx]' \
  && pip install --no-cache-dir --user --no-deps distillmos==0.9.1
CMD ["egs/mini/run.sh"]
