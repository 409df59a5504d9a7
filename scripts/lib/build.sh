# shellcheck shell=bash
# Building davit: the packages the build needs, and the release binaries.

install_build_packages() {
  command -v cargo >/dev/null || die "needs Rust (cargo is not in PATH)"
  install_packages gcc libc6-dev protobuf-compiler
}

repository() { dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")"; }

target_dir() {
  printf '%s\n' "${CARGO_TARGET_DIR:-$(repository)/target}"
}

# Builds what runs on hosts and the behaviour tests; prints their directory.
build_release() {
  install_build_packages
  say "building davit (release)"
  (cd "$(repository)" && cargo build --release --locked \
    -p davit -p containerd-shim-davit-v1 -p davit-vm-tests) >&2
  printf '%s/release\n' "$(target_dir)"
}

# Prints the paths of the executor's integration tests.
build_daemon_tests() {
  (cd "$(repository)" && cargo test --locked --no-run -p davit-executor --test '*' --message-format=json) |
    sed -n 's/.*"kind":\["test"\].*"executable":"\([^"]*\)".*/\1/p'
}
