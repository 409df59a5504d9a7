# shellcheck shell=bash
# The guest's disk: an ext4 image of the root file system, with kernel and initrd beside it.

readonly DISK_SIZE=12G

disk_path() {
  printf '%s/disk-%s-%s\n' "$(cache_dir)" "$1" "$(recipe_key build_disk -- "$DISK_SIZE" "$(rootfs_path "$1")")"
}

# Prints a directory with disk.img, vmlinuz, initrd.img; builds it first when it is missing.
ensure_disk() {
  local suite=$1 dir rootfs
  dir=$(disk_path "$suite")
  if [[ ! -d $dir ]]; then
    rootfs=$(ensure_rootfs "$suite")
    install_packages e2fsprogs
    build_once "$dir" build_disk "$rootfs"
  fi
  printf '%s\n' "$dir"
}

build_disk() {
  local rootfs=$1 dir=$2
  cp "$rootfs"/boot/vmlinuz-* "$dir/vmlinuz" &&
    cp "$rootfs"/boot/initrd.img-* "$dir/initrd.img" &&
    mke2fs -q -t ext4 -L davit-root -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 \
      -d "$rootfs" "$dir/disk.img" "$DISK_SIZE" >/dev/null
}
