# shellcheck shell=bash
# The guest's root file system: one recipe a suite, used by the VM (as a disk) and by scripts/native.
#
# Invariants: the cached directory is never written after it was built (users put an overlay on top);
# it holds no davit binary, only the OCI images that the tests run, already pushed to its registry.

readonly GUEST_SUITES=(trixie forky)

guest_packages() {
  printf '%s\n' linux-image-cloud-amd64 initramfs-tools systemd-sysv udev kmod dbus \
    containerd runc crun runsc busybox-static docker-registry skopeo \
    iproute2 nftables procps psmisc python3-minimal openssh-server strace ca-certificates curl jq \
    e2fsprogs xfsprogs dmsetup
}

check_suite() {
  local suite
  for suite in "${GUEST_SUITES[@]}"; do
    [[ $1 == "$suite" ]] && return 0
  done
  die "unknown suite '$1': one of ${GUEST_SUITES[*]}"
}

rootfs_path() {
  local suite=$1 key
  key=$(recipe_key guest_packages debootstrap_into build_rootfs configure_rootfs configure_services \
    configure_boot write_registry_config fill_registry push_all_images push_image build_oci_images \
    write_oci_image put_blob entry_image_config build_python_rootfs build_busybox_rootfs write_accounts \
    -- "$suite" "$OCI_SUITE" "$(cat "$(ssh_key).pub")")
  printf '%s/rootfs-%s-%s\n' "$(cache_dir)" "$suite" "$key"
}

ssh_key() {
  local key
  key="$(cache_dir)/ssh_key"
  if [[ ! -f $key ]]; then
    install_packages openssh-client
    with_lock "$key.lock" make_ssh_key "$key"
  fi
  printf '%s\n' "$key"
}

make_ssh_key() {
  [[ -f $1 ]] || ssh-keygen -q -t ed25519 -N '' -C davit-vm -f "$1"
}

# Prints the directory; builds it first when it is missing.
ensure_rootfs() {
  local suite=$1 dir
  check_suite "$suite"
  dir=$(rootfs_path "$suite")
  if [[ ! -d $dir ]]; then
    need_root
    install_packages mmdebstrap debian-archive-keyring iproute2
    build_once "$dir" build_rootfs "$suite"
  fi
  printf '%s\n' "$dir"
}

# Debian snapshots served by a mirror may be past their Release file's date: that date is not checked.
debootstrap_into() {
  local dir=$1 suite=$2 mirror
  shift 2
  mirror=$(apt_mirror) || return 1
  mmdebstrap --mode=root --quiet --skip=check/empty \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='force-unsafe-io' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$@" "$suite" "$dir" "$mirror" >&2
}

build_rootfs() {
  local suite=$1 dir=$2 packages boot_hook
  packages=$(guest_packages | paste -sd,)
  # shellcheck disable=SC2016  # $1 is for the hook's own shell
  # A short module list keeps the initrd small: it is the slowest part of booting without KVM.
  boot_hook='mkdir -p "$1/etc/initramfs-tools" && printf "virtio_pci\nvirtio_blk\nvirtio_net\next4\n" >"$1/etc/initramfs-tools/modules"
    mkdir -p "$1/etc/initramfs-tools/conf.d" && echo MODULES=list >"$1/etc/initramfs-tools/conf.d/davit"'
  say "installing $suite packages"
  debootstrap_into "$dir" "$suite" --variant=minbase --include="$packages" --essential-hook="$boot_hook" &&
    configure_rootfs "$dir" &&
    configure_services "$dir" &&
    configure_boot "$dir" &&
    build_oci_images "$dir" &&
    fill_registry "$dir"
}

configure_rootfs() {
  local dir=$1
  echo davit-guest >"$dir/etc/hostname"
  printf '127.0.0.1 localhost davit-guest\n' >"$dir/etc/hosts"
  printf 'nameserver 10.0.2.3\n' >"$dir/etc/resolv.conf"
  mkdir -p "$dir/opt/davit/bin" "$dir/var/lib/davit" "$dir/root/.ssh" "$dir/etc/containerd"
  chmod 700 "$dir/root/.ssh"
  install -m 600 "$(ssh_key).pub" "$dir/root/.ssh/authorized_keys"
  printf 'PermitRootLogin prohibit-password\nUseDNS no\nUsePAM no\nMaxSessions 64\n' \
    >"$dir/etc/ssh/sshd_config.d/davit.conf"
  # Kubernetes' plugins only cost start-up time here.
  local version=3
  if chroot "$dir" containerd --version | grep -q ' 1\.'; then version=2; fi
  printf 'version = %s\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]\n' \
    "$version" >"$dir/etc/containerd/config.toml"
  ln -sf busybox "$dir/usr/bin/vi"
  write_registry_config "$dir"
}

write_registry_config() {
  local dir=$1 name address
  mkdir -p "$dir/etc/davit-registry" "$dir/var/lib/davit-registry"
  for name in open auth; do
    address=127.0.0.1:5000
    [[ $name == auth ]] && address=127.0.0.1:5001
    cat >"$dir/etc/davit-registry/$name.yml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: /var/lib/davit-registry}
  delete: {enabled: true}
http: {addr: $address}
YAML
  done
  printf 'auth:\n  htpasswd: {realm: davit, path: /etc/davit-registry/htpasswd}\n' >>"$dir/etc/davit-registry/auth.yml"
  # bcrypt of davit-test: a public test credential of a loopback registry.
  # shellcheck disable=SC2016
  printf '%s:%s\n' davit '$2b$05$ToNBm/q0U4pWfuIMRxj7WeDQTe5g.CM14g3auJ/8A4pStDTU5KQYW' >"$dir/etc/davit-registry/htpasswd"
}

configure_services() {
  local dir=$1 units="$1/etc/systemd/system"
  cat >"$units/davit-registry@.service" <<'UNIT'
[Unit]
Description=OCI registry for the tests (%i)
[Service]
ExecStart=/usr/bin/docker-registry serve /etc/davit-registry/%i.yml
Restart=on-failure
[Install]
WantedBy=multi-user.target
UNIT
  cat >"$units/davit-network.service" <<'UNIT'
[Unit]
Description=Static address in QEMU's user network
BindsTo=sys-subsystem-net-devices-eth0.device
After=sys-subsystem-net-devices-eth0.device
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link set lo up; ip link set eth0 up; ip address replace 10.0.2.15/24 dev eth0; ip route replace default via 10.0.2.2'
[Install]
WantedBy=multi-user.target
UNIT
  mkdir -p "$units/containerd.service.d"
  printf '[Service]\nEnvironment=PATH=/opt/davit/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n' \
    >"$units/containerd.service.d/davit.conf"
  mkdir -p "$units/multi-user.target.wants"
  local unit
  for unit in davit-registry@open davit-registry@auth davit-network; do
    ln -sf "/etc/systemd/system/${unit/@*/@}.service" "$units/multi-user.target.wants/$unit.service"
  done
  for unit in docker-registry.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer dpkg-db-backup.timer systemd-networkd-wait-online.service \
    systemd-timesyncd.service systemd-binfmt.service; do
    ln -sf /dev/null "$units/$unit"
  done
}

configure_boot() {
  local dir=$1
  printf '/dev/vda / ext4 defaults,discard 0 1\n' >"$dir/etc/fstab"
  ln -sf /lib/systemd/system/multi-user.target "$dir/etc/systemd/system/default.target"
  mkdir -p "$dir/etc/systemd/journald.conf.d"
  printf '[Journal]\nStorage=persistent\nRateLimitBurst=0\n' >"$dir/etc/systemd/journald.conf.d/davit.conf"
  echo 'PATH=/opt/davit/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' >"$dir/etc/environment"
  # sshd without PAM does not read /etc/environment, but it does read its own.
  printf 'SetEnv PATH=/opt/davit/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n' \
    >>"$dir/etc/ssh/sshd_config.d/davit.conf"
  ls "$dir"/boot/vmlinuz-* "$dir"/boot/initrd.img-* >/dev/null
}
