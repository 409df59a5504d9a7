# shellcheck shell=bash
# Building davit: the packages the build needs, and the release binaries.

install_build_packages() {
  command -v cargo >/dev/null || die "needs Rust (cargo is not in PATH)"
  install_packages gcc libc6-dev protobuf-compiler
}

# What tests start beside themselves: the store's conformance suite makes PostgreSQL clusters of its own
# (initdb, as the package's unprivileged user). The package's own cluster is not used.
install_test_packages() {
  install_packages postgresql openssl
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

# Builds the tests that want a real host beside them, and the shim they start; prints the tests' names,
# which lie in target/debug/deps.
build_host_tests() {
  (
    cd "$(repository)" || exit 1
    cargo build --locked -p containerd-shim-davit-v1 >&2
    cargo test --locked --no-run -p davit-executor -p davit-cgroup -p containerd-shim-davit-v1 \
      --test host --test runs --test reconnect --test kernel --test slots --message-format=json
  ) | sed -n 's|.*"kind":\["test"\].*"executable":"[^"]*/\([^"/]*\)".*|\1|p'
}
