# One binary on a small image.
#
#   docker build -t backbeat .
#   docker run -p 8080:8080 -e JWT_SECRET="$(openssl rand -hex 32)" -v backbeat:/data backbeat

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The caches outlive the layer, so the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --package backbeat --bin backbeat \
    && install -D target/release/backbeat /out/backbeat

FROM debian:bookworm-slim
# The directory exists before the volume does, so that a new volume belongs to the user too.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin backbeat \
    && install -d -o backbeat -g backbeat -m 0750 /data
COPY --from=build /out/backbeat /usr/local/bin/backbeat

USER backbeat
WORKDIR /data
VOLUME /data
ENV DATABASE_URL=sqlite:///data/backbeat.db \
    HOST=0.0.0.0 \
    PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["backbeat", "healthcheck"]
ENTRYPOINT ["backbeat"]
CMD ["serve"]
