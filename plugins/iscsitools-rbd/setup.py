"""Builds the optional module in C; all else is in pyproject.toml. Without a compiler the binding does what it would."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "iscsitools_rbd._native",
            sources=["native/module.c", "native/calls.c", "native/carrier.c"],
            depends=["native/carrier_interface.h", "native/ceph.h", "native/image.h"],
            extra_compile_args=["-Wall", "-Wextra", "-Wconversion"],
            optional=True,
        )
    ]
)
