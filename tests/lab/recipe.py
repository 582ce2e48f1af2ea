"""What the lab's machine is made of. A change in this file has every machine built anew."""

from __future__ import annotations

from typing import Final

DTRACE_SUITE: Final = "sid"
"""The release of everything but the kernel: DTrace for Linux is in no stable one yet."""
KERNEL_SUITE: Final = "trixie"
"""The release of the kernel: DTrace's own D libraries do not know the newest kernels."""
KERNEL: Final = "linux-image-amd64"

BASE: Final = ("ca-certificates", "e2fsprogs", "iproute2", "kmod", "procps", "python3", "systemd-sysv", "udev")
"""What debootstrap installs besides what each system has."""
PACKAGES: Final = (
    # What the project is built with when it is installed.
    "gcc", "libc6-dev", "libdtrace2-dev", "make", "python3-dev", "python3-pip", "python3-venv",
    "bpftrace", "dtrace", "strace",
    "dmsetup", "multipath-tools", "open-iscsi", "sg3-utils", "smartmontools", "xfsprogs",
)  # fmt: skip

ROOT_MODULES: Final = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "9p", "9pnet_virtio")
"""The kernel modules without which the root cannot be mounted; all others are in the root."""
SPARE: Final = 2 << 30
"""Bytes that are free in the root file system."""

INSTALL: Final = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends {" ".join(PACKAGES)}
apt-get clean

# The kernel without its hooks, which would make an initial RAM disk for a machine that this is not.
image=$(apt-cache depends {KERNEL}/{KERNEL_SUITE} | awk '/Depends: linux-image/ {{ print $2; exit }}')
cd /tmp
apt-get download -q "$image"
dpkg -x "$image"_*.deb kernel
release=$(ls kernel/usr/lib/modules)
mkdir -p /usr/lib/modules
mv "kernel/usr/lib/modules/$release" /usr/lib/modules/
cp "kernel/boot/vmlinuz-$release" /boot/vmlinuz
echo "$release" > /boot/release
depmod "$release"

rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
mkdir -p /host
# Nothing that a package starts by itself may disturb a test; a script starts what it needs.
systemctl disable -q iscsid.socket open-iscsi.service multipathd.service multipathd.socket smartmontools.service || true
systemctl mask -q apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer dpkg-db-backup.timer
"""
"""Run with sh -eu in the root, which has the network."""
