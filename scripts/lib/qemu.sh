# shellcheck shell=bash
# QEMU on the host: the right version, and whether KVM really works.
#
# QEMU before 10 corrupts flags in cmpxchg16b under TCG (guests oops in __kmalloc), so Debian 12 takes
# it from its backports suite. /dev/kvm may exist and still not run a kernel: only a trial boot tells.

readonly QEMU_MAJOR_MIN=10
readonly KVM_TRIAL_SECONDS=15

qemu_major() {
  qemu-system-x86_64 --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\)\..*/\1/p'
}

ensure_qemu() {
  local major
  major=$(qemu_major || true)
  [[ ${major:-0} -ge $QEMU_MAJOR_MIN ]] && command -v qemu-img >/dev/null && return 0
  need_root
  with_lock "$(cache_dir)/qemu-install.lock" install_qemu
  major=$(qemu_major || true)
  [[ ${major:-0} -ge $QEMU_MAJOR_MIN ]] || die "QEMU is ${major:-missing}, need $QEMU_MAJOR_MIN or newer"
}

install_qemu() {
  local codename mirror
  codename=$(host_codename)
  if [[ $codename == bookworm ]]; then
    local source=/etc/apt/sources.list.d/davit-backports.list
    mirror=$(apt_mirror)
    printf 'deb %s %s-backports main\n' "$mirror" "$codename" >"$source"
    say "installing QEMU from $codename-backports"
    apt_quietly update
    apt_quietly install -y --no-install-recommends -t "$codename-backports" \
      qemu-system-x86 qemu-utils
  else
    install_packages qemu-system-x86 qemu-utils
  fi
}

# kvm_works KERNEL INITRD: does a trial boot under KVM print the kernel's first line in time?
# The answer is kept for this host kernel.
kvm_works() {
  [[ -w /dev/kvm ]] || return 1
  local answer
  answer="$(cache_dir)/kvm-$(uname -r)-$(uname -n)"
  if [[ ! -f $answer ]]; then
    say "trying KVM for at most $KVM_TRIAL_SECONDS s"
    local serial
    serial=$(mktemp)
    timeout -k 1 "$KVM_TRIAL_SECONDS" qemu-system-x86_64 -accel kvm -cpu host -m 512 -nodefaults -display none \
      -no-reboot -kernel "$1" -initrd "$2" -append "console=ttyS0 panic=-1 rdinit=/nonexistent" \
      -serial "file:$serial" >/dev/null 2>&1 </dev/null || true
    if grep -q 'Linux version' "$serial"; then echo yes >"$answer"; else echo no >"$answer"; fi
    rm -f "$serial"
    say "KVM works: $(cat "$answer")"
  fi
  [[ $(cat "$answer") == yes ]]
}
