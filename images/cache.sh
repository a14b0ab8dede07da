# The cache of finished image parts by content key, and saying what is being built. Sourced by build.sh.
# shellcheck shell=bash

readonly IMAGES_CACHE=${ROOST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roost}/images

say() { printf '  %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# timed TITLE COMMAND…: runs the command with its output on stderr, and says what it was and how long it took.
timed() {
  local title=$1 started=$SECONDS status
  shift
  say "$title …"
  # A subshell of its own, and no `||`: in a tested command bash ignores `set -e`.
  set +e
  (set -e && "$@") >&2
  status=$?
  set -e
  ((status == 0)) || fail "$title failed (exit code $status)"
  say "$title: $((SECONDS - started)) s"
}

# content_key WORD-OR-FILE…: 16 hex digits over the files' bytes and the other words.
content_key() {
  local input
  for input in "$@"; do
    if [[ -f $input ]]; then
      printf 'file %s\n' "$(sha256sum <"$input")"
    else
      printf 'word %s\n' "$input"
    fi
  done | sha256sum | cut -c 1-16
}

# tree_key FOLDER: one word for names, modes and bytes of all files below it.
tree_key() {
  (cd "$1" && find . -type f -printf '%m %P\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum) |
    sha256sum | cut -c 1-16
}

# cached KIND KEY COMMAND…: prints the folder KIND-KEY; where it is not there yet, calls COMMAND… with an empty
# folder to fill and renames that to its name at the end, so that a folder under its name is always complete.
cached() {
  local kind=$1 target=$IMAGES_CACHE/$1-$2 work status
  shift 2
  if [[ ! -d $target ]]; then
    work=$(mktemp -d "$IMAGES_CACHE/.building-$kind.XXXXXX")
    chmod 755 "$work"
    set +e
    (set -e && "$@" "$work") >&2
    status=$?
    set -e
    if ((status)); then
      rm -rf "$work"
      fail "the image step '$kind' failed (exit code $status)"
    fi
    sync -f "$work"
    mv -T "$work" "$target"
  fi
  # When it was used last: by this ./dev tells what can go.
  touch "$target"
  printf '%s\n' "$target"
}
