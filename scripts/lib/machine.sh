# shellcheck shell=bash
# shellcheck disable=SC2154  # "here" is set by every script that sources this
# One running test VM: its state directory, boot, warm snapshot, ssh.
#
# A VM is named SUITE.NAME (NAME: DAVIT_VM, default "dev"), so people and test runs do not share one.
# The first `up` of a recipe boots cold and keeps a snapshot of the booted machine; later ones start from
# a copy of that in seconds. Writes go to a throwaway overlay; the cached images are never written.
# The disk's cache mode is writeback: what the guest flushed survives a kill -9 of QEMU, its page cache does not.

readonly VM_MEMORY_MIB=3072 VM_CPUS=2
readonly BOOT_WAIT_SECONDS=180 RESUME_WAIT_SECONDS=60 SAVE_WAIT_SECONDS=120 QUIT_WAIT_TENTHS=100
readonly PORT_TRIES=20
readonly SNAPSHOT=booted

vm_state() { printf '%s/vm/%s.%s\n' "$(cache_dir)" "$1" "${DAVIT_VM:-dev}"; }

# Prints QEMU's pid when the VM of this state directory runs.
vm_pid() {
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) || return 1
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == qemu-system* ]] || return 1
  printf '%s\n' "$pid"
}

# start_qemu STATE DISK_DIR EXTRA…: starts it in the background on a free loopback port.
start_qemu() {
  local state=$1 disk=$2 port try
  shift 2
  local -a accel
  read -r -a accel < <(vm_accel "$disk")
  for ((try = 0; try < PORT_TRIES; try++)); do
    port=$((20000 + RANDOM % 20000))
    if qemu-system-x86_64 "${accel[@]}" -m "$VM_MEMORY_MIB" -smp "$VM_CPUS" -nodefaults -display none \
      -kernel "$disk/vmlinuz" -initrd "$disk/initrd.img" \
      -append "console=ttyS0 quiet root=/dev/vda rw panic=1 mitigations=off net.ifnames=0 systemd.show_status=0 TERM=dumb" \
      -drive "file=$state/overlay.qcow2,if=virtio,format=qcow2,cache=writeback,discard=unmap" \
      -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$port-:22" -device virtio-net-pci,netdev=net,romfile= \
      -device virtio-rng-pci -serial "file:$state/console.log" \
      -monitor "unix:$state/monitor,server,nowait" -pidfile "$state/pid" -daemonize "$@" 2>"$state/qemu.err"; then
      echo "$port" >"$state/port"
      return 0
    fi
    grep -q 'host forwarding' "$state/qemu.err" || break
  done
  cat "$state/qemu.err" >&2
  return 1
}

vm_accel() {
  if kvm_works "$1/vmlinuz" "$1/initrd.img"; then
    echo "-accel kvm -cpu host"
  else
    echo "-accel tcg,thread=multi -cpu max"
  fi
}

# Ends the machines whose name ends in .pidN (a test run's) when process N is gone.
sweep_orphans() {
  local orphan
  for orphan in "$(cache_dir)"/vm/*.pid*; do
    [[ -d $orphan && ! -d /proc/${orphan##*.pid} ]] || continue
    say "removing ${orphan##*/}, whose test run is gone"
    stop_qemu "$orphan"
    rm -rf "$orphan"
  done
}

new_overlay() {
  qemu-img create -q -f qcow2 -F raw -b "$1/disk.img" "$2/overlay.qcow2"
}

# The ssh command line for the VM of STATE goes to the array ssh_command.
prepare_ssh() {
  local state=$1
  ssh_command=(ssh -q -i "$(ssh_key)" -p "$(cat "$state/port")" -o StrictHostKeyChecking=no
    -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 -o ServerAliveInterval=15 -o ServerAliveCountMax=8
    -o BatchMode=yes root@127.0.0.1)
  # One connection for all commands: a handshake takes about a second of emulated CPU. A socket path holds 107 bytes.
  if [[ ${#state} -lt 80 ]]; then
    ssh_command+=(-o ControlMaster=auto -o "ControlPath=$state/ssh" -o ControlPersist=600)
  fi
}

vm_ssh() {
  local -a ssh_command
  prepare_ssh "$1"
  shift
  "${ssh_command[@]}" "$@"
}

# wait_for_guest STATE SECONDS: until ssh answers and containerd and both registries serve.
wait_for_guest() {
  local state=$1 deadline=$((SECONDS + $2)) last="ssh does not answer"
  # shellcheck disable=SC2016
  local probe='ctr version >/dev/null 2>&1 || { echo "containerd does not answer"; exit 1; }
    for port in 5000 5001; do (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null || { echo "no registry on $port"; exit 1; }; done'
  while ((SECONDS < deadline)); do
    vm_pid "$state" >/dev/null || die "QEMU ended; see $state/console.log"
    if last=$(timeout 30 "$here/lib/in-vm" "$state" "$probe" </dev/null); then return 0; fi
    sleep 0.5
  done
  die "the guest is not ready after $2 s: ${last:-ssh does not answer}; see $state/console.log"
}

# boot STATE DISK_DIR
boot() {
  start_qemu "$1" "$2" || die "QEMU did not start"
  wait_for_guest "$1" "$BOOT_WAIT_SECONDS"
}

warm_image() {
  local disk=$1
  printf '%s/warm-%s\n' "$(cache_dir)" "$(recipe_key start_qemu vm_accel build_warm -- "$disk" \
    "$VM_MEMORY_MIB $VM_CPUS" "$(qemu-system-x86_64 --version | head -n 1)" "$(vm_accel "$disk")")"
}

# build_warm DISK_DIR DIR: boots cold and leaves DIR/overlay.qcow2 with a snapshot of the booted machine.
build_warm() {
  local disk=$1 dir=$2 state
  state=$(mktemp -d --suffix=".pid$$" "$(cache_dir)/vm/warm.XXXX")
  new_overlay "$disk" "$state" || return 1
  # The subshell catches `die`; the console log stays for a look until the next `up`.
  (boot "$state" "$disk") || { stop_qemu "$state"; return 1; }
  timeout 60 "$here/lib/in-vm" "$state" 'sync' </dev/null || return 1
  monitor "$state" "$SAVE_WAIT_SECONDS" "savevm $SNAPSHOT" || return 1
  stop_qemu "$state"
  mv "$state/overlay.qcow2" "$dir/" && rm -rf "$state"
}

# A resumed machine believes it is still the moment of the snapshot: its clock is set.
resume() {
  local state=$1 disk=$2 warm=$3
  cp --reflink=auto --sparse=always "$warm/overlay.qcow2" "$state/overlay.qcow2"
  start_qemu "$state" "$disk" -loadvm "$SNAPSHOT" || die "QEMU did not start"
  wait_for_guest "$state" "$RESUME_WAIT_SECONDS"
  vm_ssh "$state" "date -s @$(date +%s.%N) >/dev/null" </dev/null
}

# monitor STATE SECONDS COMMAND: gives QEMU a command and waits until it is done.
monitor() {
  timeout "$2" python3 - "$1/monitor" "$3" <<'PYTHON'
import socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
def until_prompt():
    text = b""
    while not text.endswith(b"(qemu) "):
        part = link.recv(65536)
        if not part:
            break
        text += part
    return text
until_prompt()
link.sendall(sys.argv[2].encode() + b"\n")
answer = until_prompt().decode(errors="replace")
if "Error" in answer:
    sys.exit(answer)
PYTHON
}

# set_priority PID realtime|normal: the guest's CPUs are threads of this machine's. When these wait for others, time goes on in
# the guest and nobody there did anything; at real-time priority they do not, and other programs here hardly run meanwhile.
# Nor does the thread that plays the guest's disk and network go before them: a disk takes no CPU away.
set_priority() {
  local pid=$1 task
  local -a policy=(--other -p 0)
  if [[ $2 == realtime ]]; then policy=(--rr -p 1); fi
  for task in "/proc/$pid/task"/*; do
    task=${task##*/}
    # A thread of QEMU's pool may have ended meanwhile.
    chrt "${policy[@]}" "$task" 2>/dev/null || [[ ! -d /proc/$pid/task/$task ]] || return 1
  done
}

# The end of a throwaway machine needs no ceremony.
stop_qemu() {
  local state=$1 pid tenth
  rm -f "$state/ssh"
  pid=$(vm_pid "$state") || return 0
  kill -9 "$pid"
  for ((tenth = 0; tenth < QUIT_WAIT_TENTHS; tenth++)); do
    [[ -d /proc/$pid ]] || return 0
    sleep 0.1
  done
  die "QEMU ($pid) does not end"
}
