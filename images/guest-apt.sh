# apt for the guest's release, from the mirror that this machine's apt uses. Sourced by build.sh.
# shellcheck shell=bash

readonly GUEST_SUITE=trixie
readonly GUEST_ARCH=amd64
readonly GUEST_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# mirror_of SUITE-SUFFIX: the address from which this machine's apt takes its own release (with "" or "-security").
mirror_of() {
  local codename
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  apt-get indextargets --no-release-info --format '$(CREATED_BY) $(RELEASE) $(REPO_URI)' |
    awk -v release="$codename$1" '$1 == "Packages" && $2 == release {print $3; exit}'
}

# guest_sources: the lines of a sources.list for the guest's release.
guest_sources() {
  local mirror security
  mirror=${ROOST_DEBIAN_MIRROR:-$(mirror_of "")}
  security=${ROOST_DEBIAN_SECURITY_MIRROR:-$(mirror_of -security)}
  [[ -n $mirror ]] || fail "found no Debian mirror in apt's configuration; set ROOST_DEBIAN_MIRROR to one"
  [[ -e /usr/share/keyrings/debian-archive-$GUEST_SUITE-stable.gpg ]] ||
    fail "debian-archive-keyring is too old to know $GUEST_SUITE; run: sudo ./dev deps"
  printf 'deb [signed-by=%s] %s %s main\n' "$GUEST_KEYRING" "$mirror" "$GUEST_SUITE"
  printf 'deb [signed-by=%s] %s %s-updates main\n' "$GUEST_KEYRING" "$mirror" "$GUEST_SUITE"
  [[ -z $security ]] || printf 'deb [signed-by=%s] %s %s-security main\n' "$GUEST_KEYRING" "$security" "$GUEST_SUITE"
}

# guest_apt_options: this machine's own ways of reaching its mirror (proxy, certificates), one NAME "VALUE"; a line.
guest_apt_options() {
  apt-config dump | grep -E '^Acquire::(https?::(Proxy|CaInfo|CaPath|Verify-Peer)|Check-(Valid-Until|Date)|Retries) ' || true
}

# guest_apt FOLDER COMMAND…: apt for the guest's release with its state below FOLDER, independent of this machine's.
guest_apt() {
  local state=$1 command=$2
  shift 2
  APT_CONFIG=$state/apt.conf "$command" "$@"
}

# guest_apt_prepare FOLDER: fetches the guest's package lists.
guest_apt_prepare() {
  local state=$1
  mkdir -p "$state"/{lists/partial,cache/archives/partial,empty}
  : >"$state/status"
  guest_sources >"$state/sources.list"
  {
    cat <<CONF
APT::Architecture "$GUEST_ARCH";
APT::Architectures { "$GUEST_ARCH"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::Etc::SourceList "$state/sources.list";
Dir::Etc::SourceParts "$state/empty";
Dir::Etc::PreferencesParts "$state/empty";
Dir::Etc::Parts "$state/empty";
Dir::Etc::Main "/dev/null";
Dir::State "$state";
Dir::State::Lists "$state/lists";
Dir::State::Status "$state/status";
Dir::Cache "$state/cache";
CONF
    guest_apt_options
  } >"$state/apt.conf"
  guest_apt "$state" apt-get update -qq
}

# release_epoch LISTS-FOLDER: when the newest of the release files was made, in seconds: the clock of the build.
release_epoch() {
  local file newest=0 seconds
  for file in "$1"/*Release; do
    seconds=$(date -u -d "$(sed -n 's/^Date: //p' "$file" | head -n 1)" +%s)
    ((seconds <= newest)) || newest=$seconds
  done
  ((newest > 0)) || fail "no release file in $1"
  printf '%s\n' "$newest"
}

# extract_packages STATE FOLDER NAME…: downloads the packages and unpacks them below FOLDER, installing nothing.
extract_packages() {
  local state=$1 folder=$2 package
  shift 2
  mkdir -p "$state/debs" "$folder"
  (cd "$state/debs" && guest_apt "$state" apt-get download -qq "$@")
  for package in "$state"/debs/*.deb; do
    dpkg-deb -x "$package" "$folder"
  done
}
