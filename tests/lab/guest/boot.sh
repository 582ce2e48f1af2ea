# The first process of the root file system, started by initrd.sh. /run/lab is a folder that the host shares:
#   settings   shell assignments: init=plain or systemd, host=yes when there is a folder for /host
#   images     lines "SERIAL PATH": read-only disks, where they are mounted
#   script     what is run; status, which is written at its end; and the files beside this one
host=no init=plain
# shellcheck source=/dev/null
. /run/lab/settings

# By the serial number of each virtio disk, as udev names them; without the time that udev takes.
mkdir -p /dev/disk/by-id
for disk in /sys/block/vd*; do
    ln -sf "/dev/${disk##*/}" "/dev/disk/by-id/virtio-$(cat "$disk/serial")"
done
while read -r serial path; do
    mkdir -p "$path"
    mount -t ext4 -o ro "/dev/disk/by-id/virtio-$serial" "$path"
done </run/lab/images
if [ "$host" = yes ]; then mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 host /host; fi

if [ "$init" = systemd ]; then
    mkdir -p /run/systemd/system
    cp /run/lab/lab.service /run/systemd/system/
    exec /lib/systemd/systemd
fi

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
ln -sf /proc/self/fd /dev/fd
for name in 0:stdin 1:stdout 2:stderr; do ln -sf "/proc/self/fd/${name%%:*}" "/dev/${name#*:}"; done
mkdir -p /run/lock
exec setsid sh /run/lab/go.sh
