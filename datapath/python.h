/* The limited API of Python 3.11: one build serves that and every later version. Before all system headers. */
#ifndef PYTHON_H
#define PYTHON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#endif
