"""docker-compose.yml, without Docker: well formed, in step with the code, and proven on a real broker."""

import json
import re
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import jsonschema
import pytest
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

from config import SETTINGS
from orderflow.kafka import topics
from tests.conftest import missing
from tools import jvm
from tools.kafka_cluster import DEFAULT_VERSION, free_ports, kafka_jars
from tools.kafka_settings import HOST, as_file

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
KAFKA = COMPOSE["services"]["kafka"]


def published_schema(name: str) -> Any:
    """A JSON schema as its authors publish it; check-jsonschema carries current copies."""
    module = pytest.importorskip("check_jsonschema", reason="its releases for this Python lack the schemas")
    vendored = Path(module.__file__).parent / "builtin_schemas" / "vendor"
    return json.loads((vendored / f"{name}.json").read_text(encoding="utf-8"))


def default(env: str) -> str:
    """The default of one of our settings."""
    return next(setting.default or "" for setting in SETTINGS if setting.env == env)


# ---- the file


def test_the_file_is_a_compose_file() -> None:
    """It satisfies the schema of the Compose specification."""
    jsonschema.validate(COMPOSE, published_schema("compose-spec"))


def test_a_misspelt_key_would_be_seen() -> None:
    """The schema is strict enough to be worth asking."""
    broken = {**COMPOSE, "services": {"kafka": {**KAFKA, "enviroment": {}}}}

    with pytest.raises(jsonschema.ValidationError, match="enviroment"):
        jsonschema.validate(broken, published_schema("compose-spec"))


def test_the_workflow_is_a_workflow() -> None:
    """What GitHub runs satisfies the schema of its workflows."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    # YAML 1.1 reads the key `on` as true.
    workflow = {"on" if key is True else key: value for key, value in yaml.safe_load(text).items()}

    jsonschema.validate(workflow, published_schema("github-workflows"))


def test_every_dependency_is_a_service_that_can_become_healthy() -> None:
    """A service waits only for one that exists and, where it waits for health, has a check."""
    services = COMPOSE["services"]
    for service in services.values():
        for name, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] != "service_healthy" or "healthcheck" in services[name]


def test_nothing_is_offered_to_the_network() -> None:
    """Every published port is this machine's own: nothing here asks for a password."""
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]

    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


# ---- in step with the code


def test_clients_of_this_machine_need_no_setting() -> None:
    """The published port and the advertised address are the default of KAFKA_BOOTSTRAP_SERVERS."""
    address = default("KAFKA_BOOTSTRAP_SERVERS")

    assert f"HOST://{address}" in KAFKA["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert KAFKA["ports"] == [f"127.0.0.1:{address.split(':')[1]}:9092"]


def test_docker_and_make_start_the_same_kafka() -> None:
    """The image is the version that the tests run on."""
    assert KAFKA["image"] == f"apache/kafka:{DEFAULT_VERSION}"


@pytest.mark.parametrize(
    ("env", "spec"),
    [("ORDERS_TOPIC", topics.orders), ("DLQ_TOPIC", topics.dead_letters), ("DLQ_AUDIT_TOPIC", topics.audit)],
)
def test_topics_are_as_the_scripts_create_them(env: str, spec: Callable[[str], topics.TopicSpec]) -> None:
    """Names, partitions and settings of the topics are those of the code."""
    wanted = spec(default(env))
    (script,) = COMPOSE["services"]["topics"]["command"]
    lines = script.replace("\\\n", "").splitlines()
    (line,) = [line for line in lines if f'--topic "${{{env}:-' in line]

    assert f"--partitions {wanted.partitions}" in line
    assert re.findall(r"--config (\S+)", line) == [f"{name}={value}" for name, value in wanted.config.items()]
    assert default(env) in line


# ---- on a real broker


@pytest.fixture(scope="module")
def properties() -> Iterator[Dict[str, str]]:
    """All properties of a running broker that has each from docker-compose.yml, moved to free ports."""
    try:
        java, jars = jvm.find_java(), kafka_jars(DEFAULT_VERSION)
    except jvm.MissingPiece as error:
        missing(str(error))
    scratch = jvm.Scratch("orderflow-compose-")
    moved = _properties_here(scratch.path)
    file = scratch.path / "broker.properties"
    file.write_text(as_file(moved))
    program = [java, "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]
    cluster = KAFKA["environment"]["CLUSTER_ID"]
    formatting = [*program, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file)]
    assert scratch.start("format", formatting).wait() == 0
    scratch.start("broker", [*program, "kafka.Kafka", str(file)])
    yield moved
    scratch.close()


def _properties_here(home: Path) -> Dict[str, str]:
    """Each KAFKA_ variable as the image turns it into a property, with addresses of this machine."""
    ports = dict(zip(("9092", "19092", "9093"), free_ports(3)))
    given = {
        name[len("KAFKA_") :].lower().replace("_", "."): re.sub(
            r"(?<=[/@])(?:kafka|localhost)?:(\d+)", lambda found: f"{HOST}:{ports[found.group(1)]}", value
        )
        for name, value in KAFKA["environment"].items()
        if name.startswith("KAFKA_")
    }
    return {**given, "log.dirs": str(home / "data")}


@pytest.mark.broker
def test_a_real_broker_takes_every_setting(properties: Dict[str, str]) -> None:
    """The broker says of itself what the file says of it: no name is misspelt, no value refused."""
    admin = AdminClient({"bootstrap.servers": _address(properties, "HOST"), "log_level": 0})
    assert _soon(lambda: admin.list_topics(timeout=1).brokers), "the broker does not answer"
    resource = ConfigResource(ConfigResource.Type.BROKER, properties["node.id"])

    told = admin.describe_configs([resource])[resource].result(20)

    assert {name: told[name].value if name in told else None for name in properties} == properties


@pytest.mark.broker
@pytest.mark.parametrize("listener", ["HOST", "CONTAINERS"])
def test_a_client_is_sent_to_an_address_that_it_can_reach(properties: Dict[str, str], listener: str) -> None:
    """A client that connects by one listener gets that listener's own address."""
    address = _address(properties, listener)
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})

    (broker,) = _soon(lambda: admin.list_topics(timeout=1).brokers).values()

    assert f"{broker.host}:{broker.port}" == address


def _address(properties: Dict[str, str], listener: str) -> str:
    return dict(each.split("://") for each in properties["advertised.listeners"].split(","))[listener]


def _soon(ask: Callable[[], Any], within_s: float = 60) -> Any:
    """The first answer that is not empty; asked again for as long as Kafka gives none."""
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > deadline_s:
                raise
