"""Properties of the clients where several processes share their settings."""

from typing import Optional

import pytest

from orderflow.consume.client_config import (
    Clients,
    as_member,
    lasting_name,
    producer_config,
    require_plain_names,
)
from orderflow.exits import UsageError


def test_each_process_is_a_static_member_of_its_own() -> None:
    """Two members of one name would fence each other; the successor of a process has its name."""
    given = {"group.instance.id": "shop", "client.id": "c"}

    assert as_member(given, 2) == {"group.instance.id": "shop-2", "client.id": "c"}
    assert given["group.instance.id"] == "shop"


def test_who_is_no_static_member_does_not_become_one() -> None:
    """A static member does not leave when it stops, which is for the user to choose."""
    assert as_member({"client.id": "c"}, 2) == {"client.id": "c"}


def test_a_name_is_shared_with_those_before_only_if_one_process_has_it_at_a_time() -> None:
    """A place of a supervisor's, or a static member's name, which the group gives to one process."""
    assert lasting_name({"client.id": "c"}, None) is None
    assert lasting_name({"client.id": "c"}, "host-1a2b-1") == "host-1a2b-1"
    assert lasting_name({"group.instance.id": "shop-1"}, None) == "shop-1"
    assert lasting_name({"group.instance.id": "shop-1"}, "host-1a2b-1") == "shop-1"


@pytest.mark.parametrize(
    ("name", "owner"),
    [("host-17-1a2b3c4d", "host-17-1a2b3c4d"), ("shop 1", None), ("x" * 49, None), ("x" * 48, "x" * 48)],
)
def test_commits_name_the_owner_where_they_have_room_for_it(name: str, owner: Optional[str]) -> None:
    """By it a successor finds the transactional id of a transaction that a death left open."""
    clients = Clients({"group.id": "shop.eu"}, producer_config({}, f"shop.eu.{name}"), exactly_once=True)
    assert clients.owner == owner
    assert clients._replace(exactly_once=False).owner is None
    assert clients.of_owner("other-1")["transactional.id"] == "shop.eu.other-1"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("group.id", "größe", "CONSUMER_GROUP größe"),
        ("group.id", "a\nb", "CONSUMER_GROUP a"),
        ("client.id", "tab\there", "client.id"),
        ("group.instance.id", "☃", "group.instance.id"),
    ],
)
def test_a_name_that_no_transaction_takes_is_refused_at_the_start(name: str, value: str, told: str) -> None:
    """The client would refuse every settlement, for ever, and call that a passing trouble."""
    with pytest.raises(UsageError, match=told):
        require_plain_names({"group.id": "shop", name: value})


def test_a_name_may_hold_any_printable_ascii_character() -> None:
    """Blanks too."""
    require_plain_names({"group.id": "the shop's ~ group!", "client.id": "c 1"})
