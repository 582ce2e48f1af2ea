# Under either init: the network, DTrace's helper device, then the script; its status to the host; and power off.
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
init=plain
# shellcheck source=/dev/null
. /run/lab/settings

ip link set lo up
modprobe virtio_net
until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2

# The device by which a process registers its probes.
modprobe cuse
mkdir -p /run/dtrace
if [ "$init" = systemd ]; then
    systemctl start dtprobed.service >/run/dtprobed.log
else
    dtprobed -F >/run/dtprobed.log 2>&1 &
fi
tries=0
until [ -e /dev/dtrace/helper ] || [ $tries -eq 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
done

cd /tmp || exit
sh /run/lab/script
echo $? >/run/lab/status
sync
exec >/dev/null 2>&1
echo o >/proc/sysrq-trigger
sleep 60
