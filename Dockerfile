# The daemon and the iptables programs, nothing else: no shell, no package manager.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) .
#   make image
#
# Both bases are Debian; name them by digest (IMAGE@sha256:…) to get the same image again. The build needs .git, from which
# the Go toolchain takes the version.
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm
ARG BASE=docker.io/library/debian:bookworm-slim

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG TARGETOS=linux
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -buildvcs=true -ldflags='-s -w -buildid=' -o /kube-ipvs-proxy ./cmd/kube-ipvs-proxy

# What iptables needs at run time, under its usual paths: both variants (the daemon takes the one that the node uses), the
# libraries they are linked with, the extensions, and what Debian knows of these packages, for scanners and licences.
FROM ${BASE} AS programs
ARG SOURCE_DATE_EPOCH=0
RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update -qq; \
    apt-get install -qq -y --no-install-recommends iptables; \
    mkdir -p /image/usr/sbin /image/var/lib/dpkg/status.d /image/usr/share/doc /image/etc \
        /image/run /image/proc /image/sys /image/dev; \
    cd /usr/sbin; \
    for variant in nft legacy; do \
        cp xtables-$variant-multi /image/usr/sbin/; \
        for family in iptables ip6tables; do \
            for verb in '' -save -restore; do \
                ln -s xtables-$variant-multi /image/usr/sbin/$family-$variant$verb; \
                test $variant = legacy || ln -s xtables-nft-multi /image/usr/sbin/$family$verb; \
            done; \
        done; \
    done; \
    extensions=$(dirname "$(dpkg -L iptables libxtables12 | grep -m1 '/xtables/libxt_')"); \
    mkdir -p "/image$extensions"; \
    cp "$extensions"/lib*.so "/image$extensions/"; \
    ldd xtables-nft-multi xtables-legacy-multi "$extensions"/*.so | grep -o ' /[^ ]*\.so[^ ]*\|^\s/[^ ]*\.so[^ ]*' \
        | tr -d ' \t' | grep -v "$extensions" | sort -u > /libraries; \
    while read -r library; do \
        mkdir -p "/image$(dirname "$library")"; \
        cp -L "$library" "/image$library"; \
        dpkg -S "$library" "/usr$library" 2>/dev/null | cut -d: -f1 >> /packages || true; \
    done < /libraries; \
    for package in iptables $(sort -u /packages); do \
        dpkg-query -s "$package" > "/image/var/lib/dpkg/status.d/$package"; \
        mkdir -p "/image/usr/share/doc/$package"; \
        cp "/usr/share/doc/$package/copyright" "/image/usr/share/doc/$package/"; \
    done; \
    cp -L /etc/os-release /image/etc/; \
    find /image -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kube-ipvs-proxy" \
      org.opencontainers.image.description="kube-proxy's job on a Kubernetes node, with the kernel's IPVS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=programs /image/ /
COPY --from=build /kube-ipvs-proxy /kube-ipvs-proxy
COPY LICENSE /usr/share/doc/kube-ipvs-proxy/copyright
ENV PATH=/usr/sbin
ENTRYPOINT ["/kube-ipvs-proxy"]
