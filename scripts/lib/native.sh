# shellcheck shell=bash
# First stage of scripts/native: the session's directory and environment.

# run_native ROOTFS REPOSITORY COMMAND…
run_native() {
  local rootfs=$1 repository=$2 bin work
  shift 2
  bin=${DAVIT_BIN_DIR:-$repository/target/release}
  mkdir -p "$bin"
  sweep_dead_sessions
  # A real disk: containerd's snapshots cannot lie on an overlay or a tmpfs.
  work="$(cache_dir)/native/run.$$"
  mkdir -p "$work"/{upper,workdir,root,containerd,davit,cgroup}
  export NATIVE_ROOTFS=$rootfs NATIVE_WORK=$work NATIVE_REPOSITORY=$repository NATIVE_NAME=davit-native.$$
  NATIVE_BIN=$(realpath "$bin")
  export NATIVE_BIN
  # exec: the process that the caller started is the one that cleans up when it is told to end.
  exec unshare --mount --propagation private "$repository/scripts/lib/native-outer" "$@"
}

# Removes the directories of sessions that were killed before they could do it themselves.
sweep_dead_sessions() {
  local work
  for work in "$(cache_dir)"/native/run.*; do
    [[ -d $work && ! -d /proc/${work##*.} ]] || continue
    rm -rf --one-file-system "$work"
  done
}
