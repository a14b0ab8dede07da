# Roost in a container: server, front end, guest images and QEMU. compose.yaml gives it the devices that it needs.
#
# Not run yet: no Docker engine was at hand. Each step is a command that was run on Debian 12 by itself.

FROM debian:12-slim AS build
ENV ROOST_CACHE=/cache
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git
WORKDIR /source
# System packages first: they change less often than the source.
COPY dev rust-toolchain.toml ./
RUN ./dev deps
COPY . .
RUN ./dev product /product

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends qemu-system-x86 qemu-utils nftables iproute2 ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /product/ /opt/roost/
ENV PATH=/opt/roost/bin:$PATH ROOST_IMAGES=/opt/roost/images ROOST_WEB=/opt/roost/web
VOLUME /var/lib/roost
EXPOSE 7070
ENTRYPOINT ["roost"]
CMD ["up"]
