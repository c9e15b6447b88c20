# syntax=docker/dockerfile:1

FROM node:22.23.1-bookworm-slim AS explorer
WORKDIR /src/web/explorer
# Before the sources, so that a change in them does not install all packages again.
COPY web/explorer/package.json web/explorer/package-lock.json ./
RUN --mount=type=cache,target=/tmp/npm npm ci --cache /tmp/npm --no-audit --no-fund
COPY web/explorer ./
RUN npm run build

FROM rust:1.95.0-bookworm AS build
# What libopus is built with. The image's own release decides its version.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The binary embeds them.
COPY --from=explorer /src/web/explorer/dist web/explorer/dist
# The cache mounts go away with this step, so it ends by copying the binary out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked --bin parlance \
    && install /target/release/parlance /usr/local/bin/parlance

FROM debian:bookworm-slim
# Outgoing TLS (object storage, push services) needs the roots; copied, since installing would need apt.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/parlance /usr/local/bin/parlance
# A number, which orchestrators can tell from root without reading /etc/passwd.
RUN install -d -o 10001 -g 10001 /var/lib/parlance
USER 10001:10001
WORKDIR /var/lib/parlance
ENV LISTEN_ADDR=0.0.0.0:8080 \
    DATA_DIR=/var/lib/parlance
VOLUME /var/lib/parlance
EXPOSE 8080
# The binary asks itself, so the image needs no curl.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["parlance", "health"]
ENTRYPOINT ["parlance"]
CMD ["serve"]
