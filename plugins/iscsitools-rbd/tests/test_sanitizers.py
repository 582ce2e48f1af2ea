"""The tests of the backstore and of heads once more, the module in C built under sanitizers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

sanitized = pytest.importorskip("support.sanitized", reason="in the folder of iscsitools only")

pytestmark = [pytest.mark.ceph, pytest.mark.slow]
HERE = Path(__file__).parent
TESTS = "import pytest\nsys.exit(pytest.main(sys.argv[1:]))"
NOT_OF_THE_MODULE = "not binding and not model and not cache and not needs_no_threads and not one_line and not without"


def test_calls_and_heads(tmp_path: Path) -> None:
    module = sanitized.build("iscsitools_rbd._native", HERE.parent, tmp_path)
    # Ceph throws exceptions of C++, whose library has to be there when the sanitizer's looks for it.
    preload = f"{module.environment['LD_PRELOAD']} {sanitized.runtime('gcc', 'libstdc++.so.6')}"
    module = replace(module, environment={**module.environment, "LD_PRELOAD": preload})
    files = [str(HERE / name) for name in ("test_rbd.py", "test_outages.py", "test_heads.py", "test_carried.py")]
    words = ("-q", "-x", "-s", "-p", "no:cacheprovider", "-m", "ceph", "-k", NOT_OF_THE_MODULE, *files)
    done = module.run(TESTS, *words, cwd=HERE.parents[2], seconds=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[:4000]
    assert " passed" in done.stdout
    assert b"__asan_report" in module.module.read_bytes()
