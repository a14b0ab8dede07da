# The guest kernel: Debian's cloud kernel package, unpacked; vmlinux for the quickest boot. Sourced by build.sh.
# shellcheck shell=bash

kernel_key() { content_key "$IMAGES_SOURCE"/{kernel.sh,guest-apt.sh,extract_vmlinux.py} "$GUEST_SUITE" "$GUEST_ARCH"; }

# Fills FOLDER with vmlinux, vmlinuz, version and modules/ (the tree that belongs at /usr/lib/modules).
build_kernel() {
  local folder=$1 state=$1/apt package release
  timed "package lists of $GUEST_SUITE" guest_apt_prepare "$state"
  package=$(guest_apt "$state" apt-cache depends "linux-image-cloud-$GUEST_ARCH" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
  [[ -n $package ]] || fail "$GUEST_SUITE has no cloud kernel for $GUEST_ARCH"
  timed "$package" extract_packages "$state" "$folder/unpacked" "$package"
  release=${package#linux-image-}
  mv "$folder/unpacked/boot/vmlinuz-$release" "$folder/vmlinuz"
  mv "$folder/unpacked/boot/config-$release" "$folder/config"
  python3 "$IMAGES_SOURCE/extract_vmlinux.py" "$folder/vmlinuz" | zstd -dqc >"$folder/vmlinux"
  mv "$(dirname "$(find "$folder/unpacked" -type d -path "*lib/modules/$release")")" "$folder/modules"
  basename "$state"/debs/*.deb .deb >"$folder/package"
  printf '%s\n' "$release" >"$folder/version"
  rm -rf "$state" "$folder/unpacked"
}
