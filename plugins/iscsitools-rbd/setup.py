"""Builds the optional module in C; all else is in pyproject.toml. Without a compiler the binding does what it would.

ISCSITOOLS_CFLAGS adds options of the compiler.
"""

import os
import shlex

from setuptools import Extension, setup

_MORE = shlex.split(os.environ.get("ISCSITOOLS_CFLAGS", ""))

setup(
    ext_modules=[
        Extension(
            "iscsitools_rbd._native",
            sources=["native/module.c", "native/opening.c", "native/calls.c", "native/carrier.c"],
            depends=["native/carrier_interface.h", "native/ceph.h", "native/image.h", "setup.py"],
            extra_compile_args=["-Wall", "-Wextra", "-Wconversion", *_MORE],
            extra_link_args=_MORE,
            optional=True,
        )
    ]
)
