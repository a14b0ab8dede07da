#!/bin/sh
# The container's entry: unpacks the guest images once for each version of them, then runs roost.
# A base disk is a sparse file: it takes 1 GB where it lies unpacked, and would take 16 in a layer of a container image.
set -eu
packed=/opt/roost/images.tar.gz
folder=/var/lib/roost/unpacked/$(cat /opt/roost/images.key)
if [ ! -d "$folder" ]; then
  rm -rf /var/lib/roost/unpacked
  mkdir -p "$folder.new"
  tar -C "$folder.new" -xzSf "$packed"
  mv "$folder.new" "$folder"
fi
export ROOST_IMAGES="$folder"
exec roost "$@"
