#!/bin/sh
# In the lab's guest: everything that needs a real dtrace, in one boot. Usage: evidence.sh BIN OUT CYCLES, beside the other
# files of this folder; BIN: the virtual environment's programs. Each step writes files into OUT; the tests judge them.
here=$(dirname "$0")
bin=$1
out=$2
cycles=$3
scripts=$("$bin/python" -c 'from iscsitools.dtrace.variants import DSCRIPTS; print(DSCRIPTS)')
export XDG_RUNTIME_DIR=/run/iscsitools-test PYTHONPATH="$here/.." PYTHONUNBUFFERED=1
mkdir -p -m 700 "$XDG_RUNTIME_DIR"
mkdir -p "$out"
cd /tmp || exit 1
iqn=iqn.2026-11.example:disk

serve() { # serve NAME PORT: a target in the background, until it listens; its process id is in $pid
    "$bin/iscsitools" serve --name "$1" --portal "127.0.0.1:$2" --iqn $iqn --lun ram:64M > "/tmp/$1.log" 2>&1 &
    pid=$!
    until grep -q ' listens on ' "/tmp/$1.log"; do sleep 0.2; done
}
load() { "$bin/python" -m initiator "127.0.0.1:$1" $iqn --reads "$2" --writes "$3" --nops 1; }
step() { echo "$(date +%T) $1" >> "$out/steps.txt"; }

step variants
# Each variant as installed, beside its system's own types. -e: compile only. A stub's module is one that is loaded
# here where the variant is for a loaded one.
compile() { # compile NAME STUBS VARIANT [MODULE]
    rm -rf /tmp/system
    mkdir /tmp/system
    cp /usr/lib/*/dtrace/bpf_dlib.o "$here/stubs/$2/"*.d "$scripts/lib/$3/iscsitools.d" /tmp/system/
    [ -z "$4" ] || sed -i "s/depends_on module stmf/depends_on module $4/" /tmp/system/*.d
    # dtrace 2.0.7 corrupts its memory now and then; a crash says nothing about the library.
    for try in 1 2 3; do
        dtrace -x syslibdir=/tmp/system -e -s "$here/scripts/events.d" > "$out/$1.compiled" 2>&1
        status=$?
        [ $status -ge 128 ] || break
    done
    echo "status $status" >> "$out/$1.compiled"
}
serve first 3261
first=$pid
compile illumos illumos illumos
compile illumos-stmf illumos illumos-stmf vmlinux
compile illumos-duplicate illumos illumos vmlinux
compile illumos-missing illumos illumos-stmf
compile freebsd freebsd freebsd
compile macos macos macos

step install
"$bin/iscsitools" dtrace install > "$out/install.txt" 2>&1
echo "status $?" >> "$out/install.txt"
dtrace -lv -P 'iscsi*' > "$out/listed.txt" 2>&1
dtrace -e -s "$scripts/iscsiio.d" > "$out/plain.txt" 2>&1
echo "status $?" >> "$out/plain.txt"

step run
"$bin/iscsitools" dtrace run iscsiwho > "$out/run.txt" 2> "$out/run.err" &
tracer=$!
until grep -q Tracing "$out/run.txt"; do sleep 0.5; done
load 3261 1 1 > /dev/null
load 3261 11 7 > "$out/run.load" 2>&1
sleep 2
kill -TERM $tracer
wait $tracer

step two targets
serve second 3262
second=$pid
dtrace -qn 'BEGIN { printf("Tracing...\n"); } iscsi*:::login-command { @[probeprov] = count(); }
    END { printa("%s %@d\n", @); }' > "$out/two.txt" 2> "$out/two.err" &
tracer=$!
until grep -q Tracing "$out/two.txt"; do sleep 0.5; done
load 3261 1 1 > /dev/null
load 3262 1 1 > /dev/null
load 3262 1 1 > /dev/null
echo "pids $first $second" > "$out/two.pids"

step one of two
"$bin/iscsitools" dtrace run --pid $second iscsiwho > "$out/one.txt" 2> "$out/one.err" &
one=$!
until grep -q Tracing "$out/one.txt"; do sleep 0.5; done
load 3262 1 1 > /dev/null
load 3261 1 1 > /dev/null
load 3262 3 2 > /dev/null
sleep 2
kill -TERM $one
wait $one

step target killed with dtrace attached
kill -9 $second
load 3261 5 3 > "$out/other-killed.load" 2>&1
echo "status $?" >> "$out/other-killed.load"
sleep 2
kill -TERM $tracer
wait $tracer

step dtrace killed under load
load 3261 20000 20000 > "$out/tracer-killed.load" 2>&1 &
loader=$!
dtrace -qn 'BEGIN { printf("Tracing...\n"); } iscsi*:::scsi-command, iscsi*:::data-send { @ = count(); }' > /tmp/killed.txt 2>&1 &
tracer=$!
until grep -q Tracing /tmp/killed.txt; do sleep 0.5; done
sleep 1
kill -9 $tracer

step cycles
cycle=0
while [ $cycle -lt "$cycles" ]; do
    dtrace -qn 'BEGIN { @ = count(); } iscsi*:::nop-receive { exit(0); } tick-1s { exit(0); }' > /tmp/cycle.txt 2>&1
    cycle=$((cycle + 1))
    echo $cycle > "$out/cycles.txt"
done
wait $loader
echo "status $?" >> "$out/tracer-killed.load"
load 3261 11 7 > "$out/after-cycles.load" 2>&1
echo "status $?" >> "$out/after-cycles.load"
"$bin/iscsitools" probes --name first > "$out/after-cycles.probes" 2>&1

step open-iscsi
modprobe iscsi_tcp
modprobe sd_mod
mkdir -p /run/lock/iscsi
iscsid -f > /tmp/iscsid.log 2>&1 &
until [ -e /run/iscsid.pid ] || [ -e /var/run/iscsid.pid ] || pgrep iscsid > /dev/null; do sleep 0.2; done
sleep 2
dtrace -s "$scripts/iscsiio.d" > "$out/open-iscsi.io" 2> /tmp/open-iscsi.err &
tracer=$!
until grep -q Tracing "$out/open-iscsi.io"; do sleep 0.5; done
{
    iscsiadm -m node -o new -T $iqn -p 127.0.0.1:3261 && iscsiadm -m node -T $iqn -p 127.0.0.1:3261 --login
    until [ -b /dev/sda ]; do sleep 0.5; done
    dd if=/dev/urandom of=/tmp/random bs=64k count=32 2> /dev/null
    dd if=/tmp/random of=/dev/sda bs=64k oflag=direct && dd if=/dev/sda of=/tmp/back bs=64k count=32 iflag=direct
    cmp /tmp/random /tmp/back && echo same
    iscsiadm -m node -T $iqn -p 127.0.0.1:3261 --logout
} > "$out/open-iscsi.txt" 2>&1
sleep 2
kill -TERM $tracer
wait $tracer
kill -TERM $first
wait $first
echo "$?" > "$out/first.status"

step scene
"$bin/python" "$here/scene.py" "$out/scene" "$scripts" "$here/scripts" > "$out/scene.txt" 2>&1
echo "status $?" >> "$out/scene.txt"
ps -e -o comm= | grep -c '^dtrace$' > "$out/left.txt"
"$bin/iscsitools" dtrace install --uninstall >> "$out/install.txt" 2>&1
step end
exit 0
