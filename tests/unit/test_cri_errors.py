"""Errors of all packages to statuses: codes, texts, and what is told to nobody."""

from __future__ import annotations

import asyncio
import errno
import inspect

import grpc
import pytest

import cni.errors
import imagesvc.errors
import oci.errors
from cri import errors
from cri.errors import LONGEST_TEXT, CriError, NotFound, Unimplemented, shortened, status_of

C = grpc.StatusCode


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NotFound("sandbox", "abc"), C.NOT_FOUND, "sandbox 'abc' not found"),
        (Unimplemented("Attach"), C.UNIMPLEMENTED, "method Attach not implemented"),
        (
            imagesvc.errors.RegistryUnavailable("r.test/a", "r.test", "refused"),
            C.UNKNOWN,
            "RegistryUnavailable: cannot pull r.test/a from r.test: refused",
        ),
        (imagesvc.errors.ImageNotFound("r.test/a", "", "no"), C.NOT_FOUND, "cannot pull r.test/a: no"),
        (errors.ImageVolumeMountFailed("x"), C.UNKNOWN, "ImageVolumeMountFailed: x"),
        (oci.errors.SpecError("root", "is missing"), C.INVALID_ARGUMENT, "invalid config: root: is missing"),
        (oci.errors.ContainerNotFound("c"), C.NOT_FOUND, "container 'c': does not exist"),
        (oci.errors.ContainerError("execve", errno.ENOENT, "sh: no such file"), C.UNKNOWN, "execve: sh: no such file"),
        (cni.errors.InvalidAttachment("port", "x"), C.INVALID_ARGUMENT, "invalid port: x"),
        (asyncio.CancelledError(), C.CANCELLED, "the call was cancelled"),
        (TimeoutError(), C.DEADLINE_EXCEEDED, "the deadline passed"),
        (OSError(errno.ENOSPC, "x", "/var"), C.RESOURCE_EXHAUSTED, "no space left: /var"),
        (OSError(errno.EMFILE, "x"), C.RESOURCE_EXHAUSTED, "too many open files in this process"),
    ],
)
def test_what_is_foreseen_is_said(error: BaseException, code: grpc.StatusCode, text: str) -> None:
    status = status_of(error)
    assert (status.code, status.text, status.unexpected) == (code, text, False)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("secret"), "internal error (KeyError)"),
        (AssertionError("secret"), "internal error (AssertionError)"),
        (OSError(errno.EIO, "Input/output error", "/dev/x"), "Input/output error: /dev/x"),
    ],
)
def test_what_is_not_foreseen_is_internal(error: BaseException, text: str) -> None:
    status = status_of(error)
    assert (status.code, status.text, status.unexpected) == (C.INTERNAL, text, True)


def test_every_error_of_ours_has_a_code_of_its_own() -> None:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, CriError)]
    assert [one.__name__ for one in classes if one is not CriError and one.code is C.INTERNAL] == []


@pytest.mark.parametrize("package", [oci.errors, cni.errors, imagesvc.errors])
def test_every_error_of_the_packages_is_foreseen(package: object) -> None:
    for _, one in inspect.getmembers(package, inspect.isclass):
        if issubclass(one, Exception) and one.__module__ == getattr(package, "__name__"):  # noqa: B009
            assert not status_of(one.__new__(one)).unexpected, one


def test_long_texts_keep_their_ends() -> None:
    text = shortened("a" * 5000 + "the cause")
    assert len(text) <= LONGEST_TEXT
    assert text.endswith("the cause")
