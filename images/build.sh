#!/usr/bin/env bash
# Builds the guest images and prints the folder of the finished set: kernel, initramfs, base disk and manifest.
#
#   images/build.sh AGENT        the whole set; AGENT is the static guest agent (or $ROOST_AGENT)
#   images/build.sh --prepare    kernel and base disk only: the slow part, which needs no agent
#
# Everything lies in ${ROOST_CACHE:-~/.cache/roost}/images by content key; what is there already is not built again.
# Nothing is mounted on this machine. Needs mmdebstrap, python3, zstd, xz and cpio; root, or user namespaces.
set -euo pipefail
IMAGES_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in cache guest-apt kernel base initramfs; do
  # shellcheck source=/dev/null
  source "$IMAGES_SOURCE/$part.sh"
done

# Prints one file of the set as the manifest shows it.
described() {
  local folder=$1 path=$2
  jq -n --arg path "$path" --arg sha256 "$(sha256sum <"$folder/$path" | cut -d ' ' -f 1)" --argjson size "$(stat -c %s "$folder/$path")" \
    '{path: $path, sha256: $sha256, size: $size}'
}

# Fills the last folder named with links to the parts and the manifest that names them.
build_set() {
  local kernel=$1 base=$2 initramfs=$3 folder=$4
  mkdir "$folder/kernel"
  ln "$kernel/vmlinux" "$kernel/vmlinuz" "$folder/kernel/"
  ln "$initramfs/initramfs.cpio" "$base/base.ext4" "$folder/"
  jq -n --arg architecture x86_64 --arg suite "$GUEST_SUITE" --arg version "$(cat "$kernel/version")" --arg package "$(cat "$kernel/package")" \
    --argjson vmlinux "$(described "$folder" kernel/vmlinux)" --argjson vmlinuz "$(described "$folder" kernel/vmlinuz)" \
    --argjson initramfs "$(described "$folder" initramfs.cpio)" --arg base_digest "$(cat "$base/blocks_sha256")" --argjson base_size "$(stat -c %s "$folder/base.ext4")" \
    '{format: 1, architecture: $architecture, suite: $suite,
      kernel: ($vmlinux + {version: $version, package: $package, bzimage: $vmlinuz}),
      initramfs: $initramfs, base: {path: "base.ext4", blocks_sha256: $base_digest, size: $base_size}}' >"$folder/manifest.json"
}

main() {
  local agent=${1:-${ROOST_AGENT:-}} kernel base initramfs
  [[ $(uname -m) == x86_64 ]] ||
    fail "guest images are built for x86-64 only; this machine is $(uname -m). Build them on an x86-64 machine."
  if [[ $agent != --prepare ]]; then
    [[ -f $agent ]] || fail "usage: images/build.sh AGENT (the static guest agent; './dev images' builds it and calls this)"
  fi
  mkdir -p "$IMAGES_CACHE"
  # One build at a time: a second one waits, and then finds everything there.
  exec 9>"$IMAGES_CACHE/.lock"
  flock --nonblock 9 || { say "another image build is running; waiting for it" && flock 9; }
  rm -rf "$IMAGES_CACHE"/.building-*

  kernel=$(cached kernel "$(kernel_key)" build_kernel)
  base=$(cached base "$(base_key "$kernel")" build_base "$kernel")
  if [[ $agent == --prepare ]]; then
    printf '%s\n' "$kernel" "$base"
    return
  fi
  initramfs=$(cached initramfs "$(initramfs_key "$kernel" "$agent")" build_initramfs "$kernel" "$agent")
  cached set "$(content_key "$IMAGES_SOURCE/build.sh" "$(basename "$kernel")" "$(basename "$base")" "$(basename "$initramfs")")" \
    build_set "$kernel" "$base" "$initramfs"
}

main "$@"
