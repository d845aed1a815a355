# The image holds the one static program and nothing else.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/aptlyd/aptlyd/node.Version=${VERSION}" -o /image/aptlyd ./cmd/aptlyd \
 && mkdir -m 0700 /image/data

FROM scratch
# A new volume takes its owner from /data. The node makes a folder of its own in it,
# since a volume that is mounted may be open to others.
COPY --from=build --chown=65532:65532 /image/ /
ARG VERSION=unknown
LABEL org.opencontainers.image.version=${VERSION}
USER 65532:65532
ENV APTLYD_DATA_DIR=/data/aptlyd
VOLUME /data
EXPOSE 8080 7400 7401/tcp 7401/udp
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/aptlyd", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/aptlyd"]
CMD ["serve"]
