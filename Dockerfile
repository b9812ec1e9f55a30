# The image holds one static program, the CA certificates, and the list of what both were made from (SPDX). `make image`
# builds it.
#
# Another platform: `make image PLATFORM=linux/arm64`, which is `--platform linux/arm64` of docker or buildah. Both
# stages then run as that platform, by the kernel's emulation (binfmt_misc with QEMU) where the machine is another.

# Debian 13, whose wolfSSL resumes sessions with tickets of any nonce (Debian 12's: up to 8 octets).
ARG DEBIAN_IMAGE=docker.io/library/debian:trixie-slim

FROM ${DEBIAN_IMAGE} AS build
WORKDIR /src
COPY scripts/install-dependencies scripts/
RUN scripts/install-dependencies build
COPY . .
ARG VERSION=unknown
ARG CREATED=
RUN CREATED="$CREATED" make VERSION="$VERSION" sbom && \
    install -D -m 755 build/nodedot /image/nodedot && \
    install -D -m 644 build/sbom.spdx.json /image/usr/share/doc/nodedot/sbom.spdx.json && \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM scratch
ARG VERSION=unknown
ARG REVISION=
ARG CREATED=
ARG SOURCE=
LABEL org.opencontainers.image.title="nodedot" \
      org.opencontainers.image.description="DNS resolver of a Kubernetes node: cache, and DNS over pinned TLS" \
      org.opencontainers.image.licenses="GPL-3.0-or-later" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=build /image /
# Without root and capabilities all commands, and ports from 1024, work. The daemon of a node needs port 53: start it as
# root with NET_BIND_SERVICE, KILL, SETUID and SETGID as its only capabilities (`runAsUser: 0` in a pod). The process that
# reads from the network then drops to this same user by itself. A capability on the file, which would spare the root,
# does nothing where `allowPrivilegeEscalation` is false.
USER 65532:65532
EXPOSE 53/udp 53/tcp 9551/tcp 9552/tcp
ENTRYPOINT ["/nodedot"]
