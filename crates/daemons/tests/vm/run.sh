#!/bin/bash
# Runs a command in a virtual machine whose kernel holds limits: as a unit of a systemd of its own, with a delegated cgroup. Its root is
# this machine's, and what is written there is gone afterwards. Made to be Cargo's runner, see docs/daemons.md.
#
# Needs Debian's packages qemu-system-x86, busybox-static, cpio, systemd and linux-image-amd64. A package of the kernel that is unpacked
# elsewhere (dpkg-deb -x) is named by VM_KERNEL.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
kernel=${VM_KERNEL:-/}
fail() { echo "run.sh: $*" >&2; exit 2; }

for program in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio /lib/systemd/systemd:systemd; do
  command -v "${program%:*}" >/dev/null || fail "${program%:*} is missing: apt-get install ${program#*:}"
done
image=$(find "$kernel/boot" -name 'vmlinuz-*' 2>/dev/null | sort -V | tail -n 1)
[ -n "$image" ] || fail "no kernel in $kernel/boot: apt-get install linux-image-amd64, or set VM_KERNEL"
version=${image##*/vmlinuz-}
[ -e "$kernel/lib/modules/$version/modules.dep" ] || busybox depmod -b "$kernel" "$version"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/job" "$work/root"/{bin,proc,sys,dev,lower,upper,new}

# What is to run, where, and what Cargo and rustup say to it. Nothing else of this environment is told.
{
  declare -px | grep -E '^declare -x (CARGO|RUST|HOME=|PATH=|LANG=|LD_LIBRARY_PATH=|VM_)' | grep -v TOKEN || true
  echo "export CGROUP_TESTS_MUST_RUN=1"
  echo "cd $(printf %q "$PWD")"
  echo "set -- $(printf '%q ' "$@")"
} >"$work/job/told"
cp "$here/unit.sh" "$work/job/unit.sh"

# A root in memory that finds this machine's by 9p.
cp "$(command -v busybox)" "$work/root/bin/busybox"
install -m 755 "$here/init.sh" "$work/root/init"
(cd "$kernel" && cp --parents -r "lib/modules/$version"/{modules.dep,kernel/{drivers/virtio,net/9p,fs/{9p,fscache,netfs,overlayfs}}} "$work/root")
(cd "$work/root" && find . | cpio -o -H newc --quiet) >"$work/initramfs"

qemu-system-x86_64 -machine "accel=${VM_ACCEL:-kvm:tcg}" -cpu max -smp 2 -m "${VM_MEMORY:-4G}" -nographic -no-reboot -nodefaults -serial stdio \
  -kernel "$image" -initrd "$work/initramfs" -append "earlyprintk=serial console=ttyS0 panic=-1 systemd.unit=job.service systemd.show_status=no" \
  -virtfs "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap" \
  -virtfs "local,path=$work/job,mount_tag=job,security_model=none" </dev/null &
machine=$!
trap 'kill "$machine" 2>/dev/null || true; rm -rf "$work"' EXIT
wait "$machine"
[ -e "$work/job/status" ] || fail "the machine ended before its command did"
exit "$(cat "$work/job/status")"
