# shellcheck shell=bash
# What benchmarks need beside a suite's root file system: docker and podman, davit's peers.
#
# A layer of its own over the root file system (overlayfs: what was installed, and nothing else), so that
# tests neither wait for it nor carry it. Invariants: the root file system below is never written, and the
# cached layer is never written after it was built.

readonly PEERS_SECONDS_MAX=900

# docker.io is dockerd, docker-cli the command; conmon writes podman's logs.
peer_packages() { printf '%s\n' docker.io docker-cli podman conmon netavark; }

peers_path() {
  local suite=$1 key
  key=$(recipe_key peer_packages build_peers install_peers -- "$(rootfs_path "$suite")")
  printf '%s/peers-%s-%s\n' "$(cache_dir)" "$suite" "$key"
}

# Prints the layers, topmost first, as overlayfs takes them; builds what is missing.
ensure_peers() {
  local suite=$1 rootfs dir
  rootfs=$(ensure_rootfs "$suite")
  dir=$(peers_path "$suite")
  if [[ ! -d $dir ]]; then
    need_root
    build_once "$dir" build_peers "$rootfs"
  fi
  printf '%s/layer:%s\n' "$dir" "$rootfs"
}

# build_peers ROOTFS DIR: makes DIR/layer.
build_peers() {
  local rootfs=$1 dir=$2
  mkdir -p "$dir"/{layer,work,root}
  # All mounts end with the namespace.
  export -f install_peers peer_packages
  # shellcheck disable=SC2016
  timeout "$PEERS_SECONDS_MAX" unshare --mount --pid --fork --kill-child --propagation private \
    bash -euo pipefail -c 'install_peers "$1" "$2"' peers "$rootfs" "$dir" || return 1
  rm -rf --one-file-system "$dir/work" "$dir/root"
}

install_peers() {
  local rootfs=$1 dir=$2 root="$2/root"
  mount -t overlay overlay -o "lowerdir=$rootfs,upperdir=$dir/layer,workdir=$dir/work" "$root"
  mount -t proc proc "$root/proc"
  mount -t tmpfs tmpfs "$root/run"
  mount -t tmpfs tmpfs "$root/var/cache/apt"
  mount -t tmpfs tmpfs "$root/var/lib/apt/lists"
  mount --rbind /dev "$root/dev"
  # apt reaches the archive as this machine does.
  mount --bind "$(readlink -f /etc/resolv.conf)" "$root/etc/resolv.conf"
  local -a names
  mapfile -t names < <(peer_packages)
  export DEBIAN_FRONTEND=noninteractive
  chroot "$root" apt-get -qq -o Acquire::Check-Valid-Until=false update
  chroot "$root" apt-get -qq install -y --no-install-recommends "${names[@]}" >/dev/null
}
