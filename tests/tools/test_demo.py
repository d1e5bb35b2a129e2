"""The demo, as `make demo` runs it, against a Kafka that is there already."""

import subprocess
import sys
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.support.pipeline import ROOT, bare_environment


@pytest.mark.broker
def test_the_demo_closes_its_account_and_leaves_nothing(kafka: Any) -> None:
    """Every order has one fate, then every real one is processed; topics and group are gone afterwards."""
    environ = {**bare_environment(), "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    told = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "demo.py")], env=environ, capture_output=True, timeout=170
    )

    shown = told.stdout.decode()
    assert told.returncode == 0, shown + told.stderr.decode()
    assert "The account closes: 7,057 = 6,807 + 250, each exactly once." in shown
    assert "The account closes: 7,057 = 6,919 + 138, each exactly once." in shown
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 2})
    assert [name for name in admin.list_topics(timeout=10).topics if name.startswith("demo-")] == []
    groups = admin.list_consumer_groups().result().valid
    assert [group.group_id for group in groups if group.group_id.startswith("demo-")] == []
