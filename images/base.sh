# The default environment: a Debian root on one ext4 disk image, immutable, named by its hash. Sourced by build.sh.
# shellcheck shell=bash

readonly BASE_SIZE=16G
readonly BASE_UUID=6f4e9d2a-3c5b-4d7e-8f10-726f6f737431
# What makes the file system: the guest release's own tools, so that every host writes the same bytes.
readonly MKFS_PACKAGES=(e2fsprogs libext2fs2t64 libcom-err2 libblkid1 libuuid1 libarchive13t64 libacl1 libbz2-1.0
  liblz4-1 liblzma5 libnettle8t64 libxml2 libzstd1 zlib1g libc6)

base_packages() { sed 's/#.*//' "$IMAGES_SOURCE/packages.txt" | grep . | LC_ALL=C sort -u; }

base_key() {
  content_key "$IMAGES_SOURCE"/{base.sh,base-customize.sh,blocks_digest.py,guest-apt.sh,packages.txt} "$(tree_key "$IMAGES_SOURCE/rootfs")" \
    "$GUEST_SUITE" "$GUEST_ARCH" "$BASE_SIZE" "$(cat "$1/package")"
}

# Runs mmdebstrap so that what it mounts for the packages' scripts is seen by nobody else.
debstrap() {
  # dpkg, as the namespace's root, must not look for its settings in a home that it may not enter.
  local -x HOME=/
  if [[ $(id -u) != 0 ]]; then
    mmdebstrap --mode=unshare "$@"
  elif unshare --mount true 2>/dev/null; then
    unshare --mount --propagation private mmdebstrap --mode=root "$@"
  else
    mmdebstrap --mode=root "$@"
  fi
}

# Fills the last folder named with base.ext4, its digest and packages (NAME VERSION of all that is in it).
build_base() {
  local kernel=$1 folder=$2 state=$2/apt option
  local -a options=()
  timed "package lists of $GUEST_SUITE" guest_apt_prepare "$state"
  SOURCE_DATE_EPOCH=$(release_epoch "$state/lists")
  export SOURCE_DATE_EPOCH
  while read -r option; do
    options+=("--aptopt=$option")
  done < <(guest_apt_options)
  timed "Debian $GUEST_SUITE with $(base_packages | wc -l) packages" debstrap \
    --variant=minbase --architectures="$GUEST_ARCH" --format=tar --keyring="$GUEST_KEYRING" \
    --include="$(base_packages | paste -sd,)" "${options[@]}" \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/locale/locale.alias' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='mkdir -p "$1/added/modules" "$1/added/rootfs"' \
    --customize-hook="sync-in '$kernel/modules' /added/modules" \
    --customize-hook="sync-in '$IMAGES_SOURCE/rootfs' /added/rootfs" \
    --customize-hook="kernel='$(cat "$kernel/version")'; $(cat "$IMAGES_SOURCE/base-customize.sh")" \
    --customize-hook="download /packages '$folder/packages'" --customize-hook='rm "$1/packages"' \
    --quiet "$GUEST_SUITE" "$folder/root.tar" "$state/sources.list"
  timed "ext4 image" make_ext4 "$state" "$folder"
  python3 "$IMAGES_SOURCE/blocks_digest.py" "$folder/base.ext4" >"$folder/blocks_sha256"
  rm -rf "$state" "$folder/root.tar" "$folder/mkfs"
}

make_ext4() {
  local state=$1 folder=$2 tools=$2/mkfs libraries
  extract_packages "$state" "$tools" "${MKFS_PACKAGES[@]}"
  libraries=$tools/usr/lib/x86_64-linux-gnu:$tools/lib/x86_64-linux-gnu
  # Tables are written out now, so that no guest's kernel does it later behind its user's back; zeros become holes below.
  # The archive's names are UTF-8, whatever this machine's locale is.
  LC_ALL=C.UTF-8 E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH MKE2FS_CONFIG="$tools/etc/mke2fs.conf" \
    "$(find "$tools" -name 'ld-linux-x86-64.so.2' | head -n 1)" --library-path "$libraries" \
    "$(find "$tools" -name mke2fs | head -n 1)" -q -t ext4 -b 4096 -I 256 -i 16384 -m 2 -J size=32 -L roost-root \
    -U "$BASE_UUID" -E "hash_seed=$BASE_UUID,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
    -d "$folder/root.tar" "$folder/base.raw" "$BASE_SIZE"
  cp --sparse=always "$folder/base.raw" "$folder/base.ext4"
  rm "$folder/base.raw"
  chmod 444 "$folder/base.ext4"
}
