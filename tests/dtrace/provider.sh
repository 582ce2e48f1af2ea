#!/bin/sh
# In the lab's guest: what a real dtrace sees of the provider. Usage: provider.sh PYTHON OUT, beside fire.py and
# provider.d; OUT gets sent.dof, types.txt, events.txt, events.status, fired.txt, two.txt, killed.txt, files.txt, gone.txt.
here=$(dirname "$0")
python=$1
out=$2
mkdir -p "$out" /tmp/types
# The types and translators of provider.d as a D library, for the list of argument types.
sed '/^iscsi\*:::login-command/,$d; /^int fired/d; /^#pragma/d' "$here/provider.d" > /tmp/types/iscsi.d

start() { # start NAME ARG ...: fire.py in the background, until it says that it is ready
    name=$1
    shift
    "$python" "$here/fire.py" "$@" > "/tmp/$name.log" 2>&1 &
    started=$!
    until grep -q '^ready' "/tmp/$name.log"; do
        kill -0 "$started" || { cat "/tmp/$name.log"; exit 1; }
        sleep 0.1
    done
}
providers() { dtrace -l -P 'iscsi*' | awk 'NR > 1 { print $2 }' | sort | uniq -c; }

start one --dof "$out/sent.dof"
dtrace -L /tmp/types -lv -P 'iscsi*' > "$out/types.txt" 2>&1
timeout 150 dtrace -s "$here/provider.d" > "$out/events.txt" 2> "$out/events.err"
echo $? > "$out/events.status"
wait "$started"
cp /tmp/one.log "$out/fired.txt"
ls /tmp /var/tmp | grep iscsitools-probes- > "$out/files.txt"

start two --hold
two=$started
start three --hold
three=$started
echo "pids $two $three" > "$out/two.txt"
providers >> "$out/two.txt"
kill -9 "$two"
kill -TERM "$three"
wait "$two" "$three"
ls /tmp | grep -c iscsitools-probes- > "$out/killed.txt"
start four --hold
ls /tmp | grep -c iscsitools-probes- >> "$out/killed.txt"
kill -TERM "$started"
wait "$started"
ls /tmp | grep -c iscsitools-probes- >> "$out/killed.txt"
providers > "$out/gone.txt" 2>&1
exit 0
