"""libvirt by its own library, where it is installed, with its driver that needs no daemon and no machine."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pytest

from ringfence.errors import HypervisorError
from ringfence.hypervisor.kvm.libvirt import LIBRARY, Code, Connection, LibvirtError, State, connected
from ringfence.hypervisor.kvm.libvirt_operations import LibvirtOperations
from ringfence.world.steps import Status

URI = "test:///default"
UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
"""Of the one domain of that driver (libvirt src/test/test_driver.c)."""


@pytest.fixture(autouse=True)
def _installed() -> None:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        pytest.skip("libvirt's library is not installed here")


def test_what_is_closed_leaves_nothing_behind() -> None:
    """Each reconnection would else keep a socket, a place among libvirtd's clients, and events that come twice."""
    for _ in range(3):
        connection = Connection(URI)
        connection.on_lifecycle(lambda: None)
        connection.on_memory_failure(lambda *_: None)
        with suppress(LibvirtError):  # this driver has no connection to lose
            connection.on_close(lambda: None)
        assert connection.close() == 0


def test_the_domains_are_there_with_their_state_and_size() -> None:
    with connected(URI) as connection, connection.domains() as domains:
        (domain,) = domains
        assert (domain.name, domain.uuid, domain.state[0]) == ("test", UUID, State.RUNNING)
        assert domain.size == (8 << 20, 2) and domain.is_persistent and not domain.is_saved
        assert "<domain" in domain.xml


def test_a_domain_that_is_not_there_is_an_error_with_its_code() -> None:
    with connected(URI) as connection, pytest.raises(LibvirtError) as caught, connection.domain(UUID[:-1] + "0"):
        pass
    assert caught.value.code == Code.NO_DOMAIN and caught.value.is_refusal


def test_where_there_is_no_libvirt_it_is_said() -> None:
    with pytest.raises(HypervisorError, match="test:///none"):
        Connection("test:///none")


def test_operations_are_done_and_refused_by_libvirt_s_own_word() -> None:
    libvirt = LibvirtOperations(URI)  # each connection of this driver has a domain of its own
    assert libvirt.pause(UUID).status is Status.DONE
    assert libvirt.destroy(UUID).status is Status.DONE
    assert libvirt.restore(UUID).status is Status.REFUSED
    assert libvirt.pause(UUID[:-1] + "0").status is Status.REFUSED
