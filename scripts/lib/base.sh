# shellcheck shell=bash
# Shared pieces of the scripts: progress lines, the cache, locks, host packages.
#
# Sourced, never run. Everything a script installs or downloads comes through the machine's own apt
# configuration: no mirror is ever named here. Progress goes to stderr; stdout is for results.

set -euo pipefail
# Without it a failure inside $(…) would not end the function there.
shopt -s inherit_errexit

readonly LOCK_WAIT_SECONDS=1800
readonly APT_LOCK_WAIT_SECONDS=600

say() { printf '[%s] %s\n' "${0##*/}" "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

need_root() { [[ $EUID -eq 0 ]] || die "needs root (mounts, namespaces, chroot)"; }

cache_dir() {
  local dir="${DAVIT_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/davit}"
  mkdir -p "$dir"
  printf '%s\n' "$dir"
}

# Sixteen hex digits that change when the text of any named function, or an extra word, changes.
# bash prints a function without its comments, so rewording a comment rebuilds nothing.
recipe_key() {
  local -a functions=()
  while [[ $# -gt 0 && $1 != -- ]]; do
    functions+=("$1")
    shift
  done
  { declare -f "${functions[@]}"; printf '%s\n' "${@:2}"; } | sha256sum | cut -c1-16
}

# with_lock FILE COMMAND…: runs COMMAND in a subshell that holds FILE's lock.
with_lock() {
  local file=$1
  shift
  (
    exec 9>"$file"
    if ! flock -n 9; then
      say "waiting for another process that builds the same thing (${file##*/})"
      flock -w "$LOCK_WAIT_SECONDS" 9 || die "gave up on $file after $LOCK_WAIT_SECONDS s"
    fi
    "$@"
  )
}

# build_once DIR COMMAND…: makes DIR by `COMMAND… TEMPORARY_DIR` unless it is there already.
# DIR appears by rename, so what exists is complete.
build_once() {
  local dir=$1
  shift
  [[ -d $dir ]] && return 0
  with_lock "$dir.lock" build_unlocked "$dir" "$@"
}

build_unlocked() {
  local dir=$1 started=$SECONDS
  shift
  [[ -d $dir ]] && return 0
  local building="$dir.building"
  rm -rf --one-file-system "$building"
  mkdir -p "$building"
  say "building ${dir##*/}"
  # `set -e` is off inside a condition: recipes chain their steps with &&.
  if ! "$@" "$building"; then
    say "building ${dir##*/} failed; what there is of it stays in $building"
    return 1
  fi
  mv "$building" "$dir"
  say "built ${dir##*/} in $((SECONDS - started)) s"
}

host_codename() {
  # shellcheck source=/dev/null
  (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}")
}

# The archive this machine installs from; other suites of the distribution live at the same place.
apt_mirror() {
  local mirror codename
  codename=$(host_codename)
  # shellcheck disable=SC2016  # apt's own placeholder
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $codename" "Created-By: Packages" | sort -u | head -n 1)
  [[ -n $mirror ]] || die "apt has no source for $codename: run apt-get update"
  printf '%s\n' "$mirror"
}

apt_quietly() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o "DPkg::Lock::Timeout=$APT_LOCK_WAIT_SECONDS" "$@" >/dev/null
}

is_installed() {
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# install_packages NAME…: installs what is missing; silent and fast when nothing is.
install_packages() {
  local -a missing=()
  local name
  for name in "$@"; do
    is_installed "$name" || missing+=("$name")
  done
  [[ ${#missing[@]} -eq 0 ]] && return 0
  need_root
  say "installing ${missing[*]}"
  apt_quietly update
  apt_quietly install -y --no-install-recommends "${missing[@]}"
}
