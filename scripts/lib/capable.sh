# shellcheck shell=bash
# Can this host run davit with real limits, or is a VM needed?

# Prints what is missing; nothing when the host will do.
host_lacks() {
  local controller version
  [[ -f /sys/fs/cgroup/cgroup.controllers ]] || { echo "this host has no pure cgroup v2 hierarchy"; return; }
  for controller in cpu memory pids; do
    grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers ||
      { echo "this host's cgroup v2 lacks the $controller controller"; return; }
  done
  command -v containerd >/dev/null || { echo "containerd is not installed on this host"; return; }
  version=$(containerd --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)
  printf '1.7.0\n%s\n' "$version" | sort -VC || echo "containerd $version is older than 1.7"
}
