# shellcheck shell=bash
# Building davit: the packages the build needs, and the release binaries.

install_build_packages() {
  command -v cargo >/dev/null || die "needs Rust (cargo is not in PATH)"
  install_packages gcc libc6-dev make protobuf-compiler
}

# What tests start beside themselves: the store's conformance suite makes PostgreSQL clusters of its own
# (initdb, as the package's unprivileged user). The package's own cluster is not used. curl asks served schedulers; clocks
# step under libfaketime.
install_test_packages() {
  install_packages postgresql openssl curl libfaketime
  install_s3_server
}

# moto, a server that speaks S3, from PyPI: the logs' tests start it on a free port. No Debian package has such a server.
readonly MOTO_VERSION=5.2.5
install_s3_server() {
  local dir
  dir="$(cache_dir)/moto"
  [[ -f $dir/installed-$MOTO_VERSION ]] && return 0
  install_packages python3-venv
  say "installing moto $MOTO_VERSION"
  rm -rf "$dir"
  python3 -m venv "$dir"
  "$dir/bin/pip" install --quiet --disable-pip-version-check "moto[server,s3]==$MOTO_VERSION"
  touch "$dir/installed-$MOTO_VERSION"
}

repository() { dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")"; }

target_dir() {
  printf '%s\n' "${CARGO_TARGET_DIR:-$(repository)/target}"
}

# Builds what runs on hosts and the behaviour tests; prints their directory. The shim is built apart: built
# together, cargo would give it every feature of tokio that the executor asks for.
build_release() {
  install_build_packages
  say "building davit (release)"
  (
    cd "$(repository)" || exit 1
    cargo build --release --locked -p davit -p davit-vm-tests
    cargo build --release --locked -p containerd-shim-davit-v1
  ) >&2
  printf '%s/release\n' "$(target_dir)"
}

# Builds all tests, and the shim that some start; prints the path of each binary that holds tests for
# scripts/lib/host-tests whose names hold $1.
build_host_tests() {
  local binary
  (
    cd "$(repository)" || exit 1
    cargo build --locked -p containerd-shim-davit-v1 >&2
    cargo test --workspace --locked --no-run --message-format=json
  ) | sed -n 's|.*"test":true},"features":.*"executable":"\([^"]*\)".*|\1|p' |
    while read -r binary; do
      # Not `grep -q`: it would leave early, and a list that breaks off counts as none.
      if "$binary" --ignored --list --format terse --skip not_a_test "$1" | grep ': test$' >/dev/null; then
        printf '%s\n' "$binary"
      fi
    done
}
