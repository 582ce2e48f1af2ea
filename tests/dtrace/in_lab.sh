# In the lab's guest: the evidence of this checkout, which is /host. Usage: sh in_lab.sh REVISION
set -eu
export XDG_RUNTIME_DIR=/run/iscsitools-evidence PYTHONPATH=/host/tests
bin=/opt/iscsitools/bin
mkdir -m 700 $XDG_RUNTIME_DIR
$bin/python -m dtrace.hold >/tmp/hold.txt &
until grep -q held /tmp/hold.txt; do sleep 0.2; done
exec $bin/python -m dtrace.evidence --out /host/build/evidence --revision "$1"
