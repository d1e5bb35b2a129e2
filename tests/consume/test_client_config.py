"""Properties of the clients where several processes share their settings."""

from orderflow.consume.client_config import as_member, lasting_name


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
