# The initramfs: the static guest agent as /init and the modules needed to mount the root disk. Sourced by build.sh.
# shellcheck shell=bash

initramfs_key() { content_key "$IMAGES_SOURCE"/{initramfs.sh,boot-modules.txt} "$1" "$2"; }

# Prints the file of a module below MODULES, or nothing when it is built into the kernel.
module_file() {
  local modules=$1 name=$2 pattern=${2//_/[-_]}
  if ! grep -qE "/$pattern\.ko$" "$modules"/*/modules.builtin; then
    find "$modules" -name "$pattern.ko*" | grep . || fail "the kernel has no module $name"
  fi
}

# Adds a module's dependencies and then itself to ROOT's /etc/modules.load; a module that is there already is skipped.
add_module() {
  local modules=$1 root=$2 name=${3//-/_} file target dependency
  target=/lib/modules/$name.ko
  file=$(module_file "$modules" "$name")
  if [[ -z $file || -e $root$target ]]; then return; fi
  xz -dc "$file" >"$root$target"
  for dependency in $(tr '\0' '\n' <"$root$target" | sed -n 's/^depends=//p' | tr ',' ' '); do
    add_module "$modules" "$root" "$dependency"
  done
  printf '%s\n' "$target" >>"$root/etc/modules.load"
}

# Fills the last folder named with initramfs.cpio.
build_initramfs() {
  local kernel=$1 agent=$2 folder=$3 root=$3/root name
  mkdir -p "$root"/{etc,lib/modules,dev,proc,sys,newroot}
  install -m 755 "$agent" "$root/init"
  sed 's/#.*//' "$IMAGES_SOURCE/boot-modules.txt" | grep . >"$folder/wanted"
  while read -r name; do
    add_module "$kernel/modules" "$root" "$name"
  done <"$folder/wanted"
  find "$root" -exec touch -h -d @0 {} +
  # Not compressed: LZ4 halves its 1.3 MB and boots no sooner.
  (cd "$root" && find . -print | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0) >"$folder/initramfs.cpio"
  rm -rf "$root" "$folder/wanted"
}
