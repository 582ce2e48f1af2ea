"""A kit for authors of backstores and filters: the tests that this project's own have to pass.

- :func:`iscsitools.testing.model.check_model`: whatever is done to a disk, it reads as what was written last.
- :func:`iscsitools.testing.crash.check_crashes`: after a power failure at any moment, what was flushed is there.
- :func:`iscsitools.testing.faults.check_faults`: an error from below comes out as an error, and breaks nothing.
- :func:`iscsitools.testing.serving.serve`: a store behind a server, and an initiator that reads and writes it.

None of them needs pytest; they raise AssertionError with the seed that repeats what they have found. The fixtures of
:mod:`iscsitools.testing.fixtures` need it.
"""
