"""The properties of clients that only ask and read."""

from typing import Any, Dict

import pytest

from orderflow.kafka.client_properties import without_membership
from orderflow.kafka.reader import consumer_config

MEMBER: Dict[str, Any] = {"group.instance.id": "one", "group.protocol": "consumer", "client.id": "me"}


@pytest.mark.parametrize("properties", [without_membership(MEMBER), consumer_config(MEMBER, "group")])
def test_who_only_reads_is_no_member(properties: Dict[str, Any]) -> None:
    """What makes a member is left out, so that a static member of that name is not taken for us."""
    assert properties["client.id"] == "me"
    assert not {"group.instance.id", "group.protocol"} & set(properties)
