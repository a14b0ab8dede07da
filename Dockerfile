# Roost in a container: server, front end, guest images and QEMU. compose.yaml gives it the devices that it needs.
#
# The second stage was built and run with podman; of the first each step is a command that was run on Debian 12 by itself.

FROM debian:12-slim AS build
ENV ROOST_CACHE=/cache
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git
WORKDIR /source
# System packages first: they change less often than the source.
COPY dev rust-toolchain.toml ./
RUN ./dev deps
COPY . .
RUN ./dev product /product \
 && tar -C /product/images -czSf /product/images.tar.gz . \
 && sha256sum /product/images/manifest.json | cut -c 1-16 > /product/images.key \
 && rm -r /product/images

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends qemu-system-x86 qemu-utils nftables iproute2 ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /product/ /opt/roost/
COPY images/container-entry.sh /opt/roost/entry
ENV PATH=/opt/roost/bin:$PATH ROOST_WEB=/opt/roost/web
VOLUME /var/lib/roost
EXPOSE 7070
ENTRYPOINT ["/opt/roost/entry"]
CMD ["up"]
