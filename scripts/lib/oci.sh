# shellcheck shell=bash
# The OCI images that the tests run, made of Debian packages, pushed to the guest's own registry.
#
# davit/python:1   sh, coreutils, tar, python3; no ENTRYPOINT, CMD python3
# davit/busybox:1  one static binary and its applets
# davit/entry:1    busybox with every image-config field set that a spec builder must handle or refuse
#
# The registry and skopeo run chrooted in the new root file system, in a network namespace of their own:
# nothing is installed on the host for it and no port is taken.

readonly OCI_SUITE=trixie
readonly REGISTRY_WAIT_TENTHS=150

build_oci_images() {
  local dir=$1 work="$1/var/tmp/oci"
  mkdir -p "$work"
  say "building OCI images"
  build_python_rootfs "$work/python" &&
    write_oci_image "$work/python" "$work/python.oci" '{"Cmd":["python3"],"Env":["PATH=/usr/local/bin:/usr/bin:/bin","LANG=C.UTF-8"]}' &&
    build_busybox_rootfs "$dir" "$work/busybox" &&
    write_oci_image "$work/busybox" "$work/busybox.oci" '{"Cmd":["sh"],"Env":["PATH=/usr/local/bin:/usr/bin:/bin"]}' &&
    write_oci_image "$work/busybox" "$work/entry.oci" "$(entry_image_config)"
}

# The labels and the volume are what a hostile image would try; davit must not act on them.
entry_image_config() {
  cat <<'JSON'
{"Entrypoint":["/bin/sh","-c","echo entry \"$@\"; id -u; pwd; echo $GREETING","entry"],
 "Cmd":["default-argument"],
 "Env":["PATH=/usr/local/bin:/usr/bin:/bin","GREETING=hello from the image","EMPTY="],
 "User":"1000:1000","WorkingDir":"/work/dir","StopSignal":"SIGINT",
 "Volumes":{"/data":{}},"ExposedPorts":{"8080/tcp":{}},
 "Labels":{"org.example.kind":"test","davit.run-id":"stolen","containerd.io/gc.root":"forever"}}
JSON
}

build_python_rootfs() {
  local dir=$1
  mkdir -p "$dir"
  debootstrap_into "$dir" "$OCI_SUITE" --variant=extract \
    --include=base-files,dash,coreutils,tar,python3 || return 1
  local root="$dir"
  rm -rf "$root"/usr/share/{doc,man,locale,info,lintian,bug,zoneinfo,perl5,bash-completion} \
    "$root"/usr/lib/x86_64-linux-gnu/{gconv,perl,perl-base} "$root"/usr/lib/python3*/test \
    "$root"/usr/bin/{dpkg,debconf,update-alternatives}* "$root"/usr/lib/dpkg \
    "$root"/var/{cache,lib}/{apt,dpkg,debconf,doc-base} "$root"/etc/apt "${root:?}/boot"
  mkdir -p "$root/var/lib" "$root/var/tmp" "$root/usr/local/bin"
  chmod 1777 "$root/var/tmp"
  write_accounts "$root"
}

build_busybox_rootfs() {
  local guest=$1 root=$2 applet
  mkdir -p "$root"/{bin,usr/bin,usr/local/bin,sbin,etc,proc,sys,dev,tmp,var/tmp,home,root,run}
  chmod 1777 "$root/tmp" "$root/var/tmp"
  chmod 700 "$root/root"
  install -m 755 "$guest/usr/bin/busybox" "$root/bin/busybox"
  for applet in $("$root/bin/busybox" --list); do
    [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
  done
  ln -s ../../bin/env "$root/usr/bin/env"
  write_accounts "$root"
}

write_accounts() {
  local root=$1
  printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'job:x:1000:1000:job:/home/job:/bin/sh' \
    'nobody:x:65534:65534:nobody:/nonexistent:/bin/false' >"$root/etc/passwd"
  printf '%s\n' 'root:x:0:' 'job:x:1000:' 'extra:x:2000:job' 'nogroup:x:65534:' >"$root/etc/group"
  mkdir -p "$root/home/job"
  chown 1000:1000 "$root/home/job"
}

# write_oci_image ROOT LAYOUT CONFIG_JSON: one layer, reproducible (no times, sorted names).
write_oci_image() {
  local root=$1 layout=$2 config=$3 blobs="$2/blobs/sha256" diff_id layer layer_size
  mkdir -p "$blobs"
  tar -C "$root" --sort=name --mtime=@0 --numeric-owner --one-file-system -cf "$layout/layer.tar" . || return 1
  diff_id=$(sha256sum <"$layout/layer.tar" | cut -d' ' -f1)
  gzip -n -6 "$layout/layer.tar"
  layer=$(sha256sum <"$layout/layer.tar.gz" | cut -d' ' -f1)
  layer_size=$(stat -c %s "$layout/layer.tar.gz")
  mv "$layout/layer.tar.gz" "$blobs/$layer"
  local config_blob manifest_blob kind='application/vnd.oci.image'
  config_blob=$(put_blob "$blobs" "{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"1970-01-01T00:00:00Z\",\"config\":$config,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$diff_id\"]}}")
  manifest_blob=$(put_blob "$blobs" "{\"schemaVersion\":2,\"mediaType\":\"$kind.manifest.v1+json\",\"config\":{\"mediaType\":\"$kind.config.v1+json\",$config_blob},\"layers\":[{\"mediaType\":\"$kind.layer.v1.tar+gzip\",\"digest\":\"sha256:$layer\",\"size\":$layer_size}]}")
  printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json",%s,"annotations":{"org.opencontainers.image.ref.name":"1"}}]}' \
    "$kind" "$manifest_blob" >"$layout/index.json"
  say "image ${layout##*/}: $((layer_size / 1024)) KiB compressed"
}

# Stores TEXT as a blob and prints its descriptor's digest and size fields.
put_blob() {
  local blobs=$1 text=$2 digest
  digest=$(printf '%s' "$text" | sha256sum | cut -d' ' -f1)
  printf '%s' "$text" >"$blobs/$digest"
  printf '"digest":"sha256:%s","size":%s' "$digest" "$(stat -c %s "$blobs/$digest")"
}

fill_registry() {
  local dir=$1
  say "pushing the images to the guest's registry"
  # The function runs in its own namespaces; --kill-child ends the registry with it.
  export -f push_all_images push_image wait_for_registry say
  export REGISTRY_WAIT_TENTHS
  # shellcheck disable=SC2016
  unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private \
    bash -euo pipefail -c 'push_all_images "$1"' vm-image "$dir" || return 1
  rm -rf "$dir/var/tmp/oci"
}

push_all_images() {
  local dir=$1 name
  ip link set lo up
  mount --bind "$dir" "$dir"
  mount -t proc proc "$dir/proc"
  mount -t devtmpfs devtmpfs "$dir/dev"
  mount -t tmpfs tmpfs "$dir/run"
  chroot "$dir" docker-registry serve /etc/davit-registry/open.yml >/dev/null 2>&1 &
  wait_for_registry
  for name in python busybox entry; do
    push_image "$dir" "$name"
  done
}

wait_for_registry() {
  local tenth
  for ((tenth = 0; tenth < REGISTRY_WAIT_TENTHS; tenth++)); do
    if (exec 3<>/dev/tcp/127.0.0.1/5000) 2>/dev/null; then return 0; fi
    sleep 0.1
  done
  say "the registry did not listen within $((REGISTRY_WAIT_TENTHS / 10)) s"
  return 1
}

push_image() {
  local dir=$1 name=$2
  chroot "$dir" skopeo copy --quiet --insecure-policy --dest-tls-verify=false \
    "oci:/var/tmp/oci/$name.oci:1" "docker://127.0.0.1:5000/davit/$name:1"
}
