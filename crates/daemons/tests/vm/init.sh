#!/bin/busybox sh
# The first process of the virtual machine: this machine's root, below one in memory, and then its systemd with one unit.
set -e
busybox() { /bin/busybox "$@"; }
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
busybox mount -t sysfs sys /sys
for module in virtio_pci 9pnet_virtio 9p overlay; do busybox modprobe "$module"; done
busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro root /lower
busybox mount -t tmpfs -o size=2g memory /upper
busybox mkdir /upper/new /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/new,workdir=/upper/work overlay /new
busybox mount -t tmpfs -o mode=755 run /new/run
busybox mkdir -p /new/run/job /new/run/systemd/system
busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none job /new/run/job
busybox cat >/new/run/systemd/system/job.service <<UNIT
[Unit]
DefaultDependencies=no
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/bin/bash /run/job/unit.sh
StandardOutput=file:/dev/ttyS0
StandardError=file:/dev/ttyS0
# As in examples/service/connector-host.service.
Delegate=yes
DelegateSubgroup=host
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
UNIT
# Where this machine is a container itself: the virtual one is none.
busybox rm -f /new/.dockerenv
busybox umount /proc /sys
busybox mount --move /dev /new/dev
exec busybox switch_root /new /lib/systemd/systemd
