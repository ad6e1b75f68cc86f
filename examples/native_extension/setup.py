"""Builds the example extension; treadle has to be installed:

    python setup.py build_ext --inplace
    python try_it.py
"""

import treadle
from setuptools import Extension, setup

setup(
    name="montecarlo",
    version="1.0",
    ext_modules=[
        Extension(
            "montecarlo",
            ["montecarlo.c"],
            include_dirs=[treadle.get_include()],
            extra_compile_args=["-std=c11"],
        )
    ],
    py_modules=[],
)
