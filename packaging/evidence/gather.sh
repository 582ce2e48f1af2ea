#!/bin/sh
# On a system that was just installed: what the evidence needs, and the evidence. As root, in the checkout.
# The results are in build/evidence.
set -eu

case $(uname -s) in
FreeBSD)
    pkg install -y gmake python3
    kldload -n dtraceall
    program=gmake
    ;;
SunOS)
    # 4: everything is there already.
    pkg install -q developer/gcc13 developer/build/gnu-make runtime/python-312 system/header developer/dtrace || [ $? -eq 4 ]
    program=gmake
    ;;
Darwin | Linux)
    program="make"
    ;;
*)
    echo "gather.sh: $(uname -s) has no DTrace that is known here" >&2
    exit 1
    ;;
esac

python=
for name in python3.13 python3.12 python3.11 python3; do
    if command -v $name >/dev/null && $name -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        python=$name
        break
    fi
done
if [ -z "$python" ]; then
    echo "gather.sh: Python 3.11 or newer is needed" >&2
    exit 1
fi
dtrace -V
exec $program evidence PYTHON=$python
