# The dashboard and the engine, without root. Build: docker build -t sidelight .
# Run: docker run -p 127.0.0.1:8501:8501 -v sidelight:/workspace sidelight
# Train in it: docker run -v sidelight:/workspace sidelight python -m engine demo --no-serve
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 sidelight \
    && install -d -o sidelight /workspace
WORKDIR /srv/sidelight
COPY requirements*.txt ./
RUN pip install --no-cache-dir -r requirements.txt -r requirements-mcp.txt
COPY streamlit_config.toml ./
COPY app app
COPY engine engine
COPY data data
USER sidelight
ENV SIDELIGHT_WORKSPACE=/workspace HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp/numba
VOLUME /workspace
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=3)"]
CMD ["python", "-m", "app", "--host", "0.0.0.0"]
