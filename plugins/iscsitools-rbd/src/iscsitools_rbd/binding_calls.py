"""Requests to librbd by the calls of its Python binding, where the module in C could not be built.

The callbacks run in threads of librbd; they do no more than complete the request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from iscsitools.backstores.base import Operation, Request

from iscsitools_rbd.ceph import failure
from iscsitools_rbd.image import OpenImage
from iscsitools_rbd.patience import Patience


def refusal(error: BaseException, operation: Operation) -> BaseException:
    """What an exception of the bindings means for a request: an OSError where it has librbd's code."""
    code = getattr(error, "errno", None)
    return (failure(-code, operation.name) or error) if isinstance(code, int) and code else error


class BindingCalls:
    """What :class:`.native_image.NativeImage` does for requests, for an image that the binding has opened.

    ``failed`` gets a request that has failed, and librbd's code.
    """

    def __init__(self, image: OpenImage, patience: Patience, failed: Callable[[Request, int], None]) -> None:
        self._cached = image.cached
        self._image = image.image
        self._patience = patience
        self._failed = failed
        self.look = patience.look
        self.give_up = patience.give_up

    @property
    def waiting_for(self) -> float:
        """Seconds since the oldest request that was late was sent; 0: none is late."""
        return self._patience.waiting_for

    def submit(self, request: Request) -> None:
        """Hand a request to librbd; one whose blocks a late one may still change gets BUSY. Raises what it raises."""
        if not self._patience.begin(request):
            return
        image, offset, length = self._image, request.offset, request.length
        try:
            match request.operation:
                case Operation.READ:
                    image.aio_read(offset, length, lambda done, data: self._read(request, done, data))
                case Operation.WRITE:
                    image.aio_write(bytes(request.buffer), offset, lambda done: self._written(request, done))
                case Operation.FLUSH:
                    image.aio_flush(lambda done: self._done(request, done))
                case Operation.DISCARD:
                    image.aio_discard(offset, length, lambda done: self._done(request, done))
                case _:
                    image.aio_write_zeroes(offset, length, lambda done: self._done(request, done))
        except BaseException:
            self._patience.end(request)
            raise

    def _read(self, request: Request, done: Any, data: bytes | None) -> None:
        if not self._patience.end(request):
            return
        code = done.get_return_value()
        if code == request.length and data is not None:
            request.buffer[:] = data
            request.complete()
        else:
            self._failed(request, code)

    def _written(self, request: Request, done: Any) -> None:
        if request.durable and self._cached and done.get_return_value() >= 0:
            try:
                self._image.aio_flush(lambda flushed: self._done(request, flushed))
                return
            except BaseException as error:
                self._patience.end(request)
                request.complete(refusal(error, Operation.FLUSH))
                return
        self._done(request, done)

    def _done(self, request: Request, done: Any) -> None:
        if self._patience.end(request):
            code = done.get_return_value()
            if code < 0:
                self._failed(request, code)
            else:
                request.complete()
