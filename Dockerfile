FROM python:3.11-slim
# Where pip takes torch's CPU build from, e.g. --build-arg TORCH="--index-url URL"; empty: the default index.
ARG TORCH=""
WORKDIR /app
RUN pip install --no-cache-dir ${TORCH} torch==2.13.0
COPY pyproject.toml constraints.txt README.md CHANGELOG.md LICENSE ./
COPY gateway gateway
COPY embeddings embeddings
COPY kvtier kvtier
COPY backends backends
RUN pip install --no-cache-dir -c constraints.txt '.[semantic,local]' \
    && useradd --create-home twicetold && mkdir /data && chown twicetold /data
USER twicetold
EXPOSE 8420
CMD ["twicetold", "serve"]
