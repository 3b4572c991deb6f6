# One image for every role of ratelimitd; the role is the container's argument:
#
#   docker run ratelimit:dev                    everything in one process, on embedded parts
#   docker run ratelimit:dev worker             answers checks that come over NATS
#   docker run ratelimit:dev bridge             answers HTTP and asks over NATS
#   docker run --entrypoint /ratelimit ratelimit:dev check user_123
#
# Both programs are static: the base has CA roots, time zones and a user without rights, and no shell.

FROM golang:1.26 AS build
WORKDIR /src

# Modules have a layer of their own: it is rebuilt when go.mod or go.sum change, not with every edit.
COPY go.mod go.sum ./
RUN go mod download

COPY . .
ARG VERSION=dev
RUN --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/ratelimitd ./cmd/ratelimit

FROM gcr.io/distroless/static-debian12:nonroot
COPY LICENSE /LICENSE
COPY --from=build /out/ratelimitd /out/ratelimit /
USER 65532:65532

# 4222 NATS (only when it is embedded), 8080 HTTP bridge, 9464 health and metrics. All of them listen on
# loopback inside the container until RATELIMIT_NATS_ADDR, RATELIMIT_HTTP_ADDR, RATELIMIT_ADMIN_ADDR say otherwise.
EXPOSE 4222 8080 9464

# Asks this container's own /readyz: there is no shell or curl here to do it with.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["/ratelimitd", "healthcheck"]
ENTRYPOINT ["/ratelimitd"]

ARG VERSION=dev
LABEL org.opencontainers.image.title="ratelimit" \
      org.opencontainers.image.description="Rate limiter as a service over NATS, with token buckets in Redis" \
      org.opencontainers.image.source="https://github.com/quotaworker/ratelimit" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
