# syntax=docker/dockerfile:1

FROM node:22.23.1-bookworm-slim AS explorer
WORKDIR /src/web/explorer
# Packages are installed before the sources are copied, so that a change of the sources keeps the cached layer.
COPY web/explorer/package.json web/explorer/package-lock.json ./
RUN --mount=type=cache,target=/tmp/npm npm ci --cache /tmp/npm --no-audit --no-fund
COPY web/explorer ./
# The tabs of the explorers are the tour in README.md.
COPY README.md /src/
RUN npm run build

FROM rust:1.95.0-bookworm AS build
# The build of libopus needs cmake. The base image's Debian release decides its version.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The binary embeds the explorer.
COPY --from=explorer /src/web/explorer/dist web/explorer/dist
# The cache mounts exist only in this step, so it also copies the binary out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked --package parlance \
    && install /target/release/parlance /usr/local/bin/parlance

FROM debian:bookworm-slim
# Outgoing TLS, such as to S3, needs root certificates. Copying them needs no apt in this image.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/parlance /usr/local/bin/parlance
# A numeric user: orchestrators can see that it is not root without reading /etc/passwd.
RUN install -d -o 10001 -g 10001 /var/lib/parlance
USER 10001:10001
WORKDIR /var/lib/parlance
ENV LISTEN_ADDR=0.0.0.0:8080 \
    DATA_DIR=/var/lib/parlance
VOLUME /var/lib/parlance
EXPOSE 8080
# `parlance health` queries the server, so the image needs no curl.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["parlance", "health"]
ENTRYPOINT ["parlance"]
CMD ["serve"]
