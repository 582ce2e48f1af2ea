#!/bin/busybox sh
# The initial RAM disk's init: finds the root's disk by its serial number, and goes on with what the host has in the
# folder that it shares as "lab" (boot.sh beside this file).
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
for module in /lib/*.ko; do $b insmod "$module"; done

find_root() {
    for disk in /sys/block/vd*; do
        if [ "$($b cat "$disk/serial")" = lab-root ]; then
            echo "/dev/${disk##*/}"
            return
        fi
    done
}
until root=$(find_root) && [ -b "$root" ]; do $b sleep 0.1; done
$b mount -t ext4 -o noatime "$root" /newroot
$b mount -t tmpfs -o mode=755 tmpfs /newroot/run
$b mkdir /newroot/run/lab
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 lab /newroot/run/lab
for folder in dev proc sys; do $b mount -o move /$folder /newroot/$folder; done
exec $b switch_root /newroot /bin/sh /run/lab/boot.sh
