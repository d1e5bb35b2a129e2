"""The schema registry: what each answer means, how long it may take, and that it works with a real one."""

import base64
import contextlib
import gzip
import json
import logging
import re
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

import pytest

import orderflow.avro.registry
import orderflow.avro.registry_client
from orderflow.avro.codec import OrderDecoder, confluent_prefix, load_schema, order_reader
from orderflow.avro.registry import Registry, RegistryConfig, RegistryMisconfigured, SchemaRejected
from orderflow.avro.schema_store import READER_PATH, SchemaStore, subject_of
from orderflow.errors import RegistryUnavailable, Undecodable, UnknownSchema
from tests.support.schemas_for_tests import ORDER, SHIPPED, encode, field, order_schema, shipped_fields
from tools.local_registry import LocalRegistry

pytest.importorskip("confluent_kafka.schema_registry")

QUICK_S = 15.0
"""On a busy machine too: a tried answer takes 3 s, and the silent server below says nothing for 30."""

Answer = Tuple[int, bytes]

RECURSIVE = {"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}


class Scripted(ThreadingHTTPServer):
    """A web server that gives one answer to everything, and counts. `answer` None: it says nothing."""

    daemon_threads = True

    def __init__(self, status: int = 200, body: bytes = b"{}") -> None:
        super().__init__(("127.0.0.1", 0), _Scripted)
        self.answer: Optional[Answer] = (status, body)
        self.trickle = False
        self.packed: Optional[str] = None
        self.requests: List[str] = []
        self.authorization: Optional[str] = None
        self.released = threading.Event()
        # It looks for its end this often, and the test waits for that.
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Scripted(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.authorization = self.headers.get("Authorization")
        if self.server.answer is None:
            self.server.released.wait(30)
            return
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        if self.server.packed is not None:
            self.send_header("Content-Encoding", self.server.packed)
        self.end_headers()
        for byte in body if self.server.trickle else ():
            self.wfile.write(bytes([byte]))
            if self.server.released.wait(0.05):
                return
        if not self.server.trickle:
            self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.released.set()
    scripted.shutdown()
    scripted.server_close()


def registry(url: str, clock: Callable[[], float] = time.monotonic) -> Registry:
    return Registry(RegistryConfig(url), clock)


def unavailable(url: str) -> str:
    started = time.monotonic()
    with pytest.raises(RegistryUnavailable) as caught:
        registry(url).schema_text(1)
    assert time.monotonic() - started < QUICK_S
    assert url in str(caught.value)
    return str(caught.value)


def said(code: int, message: str = "no") -> bytes:
    return json.dumps({"error_code": code, "message": message}).encode()


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, said(50001, "store is gone"), "answers 500: store is gone"),
        (503, b"<html>starting</html>", "answers 503"),
        (429, b"", "answers 429"),
        (401, said(40101, "who are you"), "answers 401 .check SCHEMA_REGISTRY_USER_INFO"),
        (403, b"", "answers 403 .check SCHEMA_REGISTRY_USER_INFO"),
        (301, b"", "answers 301 .a redirect: set SCHEMA_REGISTRY_URL"),
        (307, b"{}", "answers 307 .a redirect: set SCHEMA_REGISTRY_URL"),
        (404, b"<html>no such page</html>", "answers 404 .is there a path missing in SCHEMA_REGISTRY_URL"),
        (404, said(404, "HTTP 404"), "answers 404 .is there a path missing"),
        (200, b"<html>welcome to the hotel wifi</html>", "does not answer properly"),
        (200, b"[1, 2]", "does not answer properly"),
        (200, b"\xff\xfe", "does not answer properly"),
        (200, b"{}", "does not answer as a schema registry"),
        (200, b'{"schema": 5}', "does not answer"),
        (200, b"", "does not answer"),
    ],
)
def test_an_improper_answer_is_an_outage(server: Scripted, status: int, body: bytes, says: str) -> None:
    """It is never a fault of the order: the partition pauses. The message says what to check."""
    server.answer = (status, body)

    text = unavailable(server.url)

    assert re.search(says, text), text


@pytest.mark.parametrize("number", ["-1", "4294967296", "2147483648", "true", "1.0", '"1"', "null"])
def test_an_id_that_is_none_is_garbage(server: Scripted, number: str) -> None:
    """It stands in four bytes of each order."""
    server.answer = (200, b'{"id": %s, "subject": "s", "version": 1, "schema": "{}"}' % number.encode())
    for ask in (Registry.register, Registry.look_up):
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            ask(registry(server.url), "orders-value", SHIPPED.text)


def test_versions_that_are_no_numbers_are_garbage(server: Scripted) -> None:
    for numbers in (b"[true]", b"[-1]", b"[1.0]", b'["1"]'):
        server.answer = (200, numbers)
        with pytest.raises(RegistryUnavailable, match="are not numbers"):
            registry(server.url).versions("orders-value")


def test_a_registry_that_is_not_there_is_an_outage() -> None:
    """Connection refused."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert "refused" in unavailable(f"http://127.0.0.1:{port}")


def test_a_name_that_does_not_resolve_is_an_outage() -> None:
    """The name server does not know it."""
    unavailable("http://registry.invalid")


def test_a_registry_that_does_not_answer_blocks_nothing(server: Scripted) -> None:
    """It accepts the connection and hangs."""
    server.answer = None
    unavailable(server.url)


def test_an_answer_that_trickles_holds_nobody_up(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte arrives in time; the whole does not, and is cut off."""
    monkeypatch.setattr(orderflow.avro.registry, "ANSWER_TIMEOUT_S", 0.5)
    server.trickle = True
    server.answer = (200, b" " * 1000)

    assert "has not answered yet" in unavailable(server.url)


def test_an_answer_that_came_late_is_used(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request goes on after its time-out, and its answer is there at the next try."""
    monkeypatch.setattr(orderflow.avro.registry, "ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(orderflow.avro.registry, "ASK_AGAIN_S", 0.0)
    server.trickle = True
    server.answer = (200, b'{ "schema":"{}"}')
    late = registry(server.url)

    deadline = time.monotonic() + 20
    text = None
    while text is None and time.monotonic() < deadline:
        try:
            text = late.schema_text(1)
        except RegistryUnavailable:
            continue

    assert "{}" == text
    assert 1 == len(server.requests)


def test_garbage_is_not_kept(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client caches every answer indefinitely; a wrong one must not outlive the outage."""
    monkeypatch.setattr(orderflow.avro.registry, "ASK_AGAIN_S", 0.0)
    recovering = registry(server.url)
    with pytest.raises(RegistryUnavailable):
        recovering.schema_text(1)
    server.answer = (200, json.dumps({"schema": SHIPPED.text}).encode())

    assert SHIPPED.text == recovering.schema_text(1)


@pytest.mark.clock
def test_a_long_outage_delays_the_others_once(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first request of an outage waits; later ones check whether an answer has arrived."""
    monkeypatch.setattr(orderflow.avro.registry, "ASK_AGAIN_S", 0.0)
    server.answer = None
    asked = registry(server.url)
    with pytest.raises(RegistryUnavailable):
        asked.schema_text(1)

    started = time.monotonic()
    for schema_id in (1, 2, 3, 4, 5, 6):
        with pytest.raises(RegistryUnavailable):
            asked.schema_text(schema_id)
    assert time.monotonic() - started < 2.0


def test_requests_that_failed_meanwhile_do_not_stand_in_the_way(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many ids were asked for in the outage; once it is over, each is answered soon."""
    monkeypatch.setattr(orderflow.avro.registry, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(orderflow.avro.registry_client, "REQUEST_TIMEOUT_S", 0.3)
    server.answer = None
    asked = registry(server.url)
    for schema_id in range(1, 6):
        with pytest.raises(RegistryUnavailable):
            asked.schema_text(schema_id)
    server.answer = (200, json.dumps({"schema": SHIPPED.text}).encode())

    deadline = time.monotonic() + 10
    texts: List[str] = []
    while len(texts) < 5 and time.monotonic() < deadline:
        with contextlib.suppress(RegistryUnavailable):
            texts.append(asked.schema_text(len(texts) + 1))
    assert [SHIPPED.text] * 5 == texts


def test_an_unknown_id_may_be_known_later(server: Scripted) -> None:
    """It is remembered for a second only, so that a flood of such orders is not a flood of requests."""
    now = [100.0]
    asked = registry(server.url, lambda: now[0])
    server.answer = (404, said(40403, "Schema 7 not found"))
    for _ in range(3):
        with pytest.raises(UnknownSchema, match="id 7 is not known"):
            asked.schema_text(7)
    assert 1 == len(server.requests)
    server.answer = (200, json.dumps({"schema": SHIPPED.text}).encode())
    now[0] += 1.0

    assert SHIPPED.text == asked.schema_text(7)


def test_an_outage_is_remembered_for_a_second(server: Scripted) -> None:
    """Several partitions, one request."""
    now = [100.0]
    asked = registry(server.url, lambda: now[0])
    server.answer = (503, b"")
    for schema_id in range(5):
        with pytest.raises(RegistryUnavailable):
            asked.schema_text(schema_id)
    assert 1 == len(server.requests)
    now[0] += 1.0

    with pytest.raises(RegistryUnavailable):
        asked.schema_text(1)
    assert 2 == len(server.requests)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"schema": 'syntax = "proto3";', "schemaType": "PROTOBUF"}, "a PROTOBUF schema"),
        ({"schema": '"string"'}, "not a record"),
        ({"schema": json.dumps(RECURSIVE)}, "contains itself"),
    ],
)
def test_an_unusable_schema_is_a_fault_of_the_order(server: Scripted, answer: Any, says: str) -> None:
    """The registry answers well; what it has is not for reading orders."""
    server.answer = (200, json.dumps(answer).encode())
    store = SchemaStore(registry=RegistryConfig(server.url))

    with pytest.raises(Undecodable, match=says) as caught:
        OrderDecoder(store.reader, store.find_writer, 1000).decode(confluent_prefix(1) + b"abc")

    assert "decode.schema_refused" == caught.value.reason


def test_a_schema_is_requested_once(server: Scripted) -> None:
    """On first sight, and never again."""
    server.answer = (200, json.dumps({"schema": SHIPPED.text}).encode())
    store = SchemaStore(registry=RegistryConfig(server.url))
    read = order_reader(OrderDecoder(store.reader, store.find_writer, 1000))
    body = encode(ORDER)[10:]

    for _ in range(3):
        assert ORDER == read(confluent_prefix(1) + body)
    assert 1 == len(server.requests)
    server.answer = (500, b"")
    assert ORDER == read(confluent_prefix(1) + body)


@pytest.mark.parametrize(
    "config",
    [
        RegistryConfig("http://127.0.0.1:1", ca_location="/nowhere/ca.pem"),
        RegistryConfig("http://127.0.0.1:1", certificate_location="/nowhere/cert.pem"),
        RegistryConfig("http://127.0.0.1:1", key_location="/nowhere/key.pem"),
        RegistryConfig("http://127.0.0.1:1", user_info="no-colon-secret"),
        RegistryConfig("http://127.0.0.1:port"),
        RegistryConfig("http://127.0.0.1\x7f"),
    ],
)
def test_settings_that_can_never_work_are_reported_at_start(config: RegistryConfig) -> None:
    """Not an outage; and no secret in the message."""
    with pytest.raises(RegistryMisconfigured) as caught:
        SchemaStore(registry=config)

    assert "secret" not in str(caught.value) + repr(config)


def test_no_request_is_logged_with_its_address(server: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    """The path may hold a token, and the HTTP client would log it at INFO. Of other requests it still may."""
    server.answer = (200, json.dumps({"schema": SHIPPED.text}).encode())
    client = orderflow.avro.registry_client.new_client(RegistryConfig(f"{server.url}/t0ken/"))
    with caplog.at_level(logging.DEBUG):
        client.get_schema(1)
        client._rest_client.session.get(f"{server.url}/of-a-handler")

    assert "t0ken" not in caplog.text
    assert "/of-a-handler" in caplog.text


def test_user_and_password_are_sent(server: Scripted) -> None:
    """As the registry's basic authentication wants them."""
    server.answer = (200, json.dumps({"schema": SHIPPED.text}).encode())
    Registry(RegistryConfig(server.url, user_info="me:secret")).schema_text(1)

    assert "Basic " + base64.b64encode(b"me:secret").decode() == server.authorization


SENT = base64.b64encode("me:gehüïm".encode()).decode()


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"error_code": 401, "message": f"bad: Basic {SENT}, gehüïm"}),
        f"<p>bad: Basic {SENT}, gehüïm",
    ],
    ids=["JSON", "a page"],
)
def test_an_answer_that_repeats_the_log_in_is_told_without_it(server: Scripted, body: str) -> None:
    """In base64, as it was sent, or as escaped bytes it is still a password."""
    server.answer = (401, body.encode())

    with pytest.raises(RegistryUnavailable, match="bad: Basic …, …"):
        Registry(RegistryConfig(server.url, user_info="me:gehüïm")).schema_text(1)


class Certificates(NamedTuple):
    """Files of one authority, and of a server and a client that it vouches for."""

    ca: str
    certificate: str
    key: str


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made by openssl, for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(command: str) -> None:
        subprocess.run(["openssl", *command.split()], cwd=str(folder), check=True, stderr=subprocess.DEVNULL)

    authority = "-keyout ca.key -out ca.pem -subj /CN=authority -days 2"
    openssl(f"req -x509 -newkey rsa:2048 -nodes {authority} -addext keyUsage=critical,keyCertSign,cRLSign")
    openssl("req -newkey rsa:2048 -nodes -keyout own.key -out own.csr -subj /CN=127.0.0.1")
    (folder / "own.ext").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    signing = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile own.ext"
    openssl(f"x509 -req -in own.csr {signing} -out own.pem")
    return Certificates(str(folder / "ca.pem"), str(folder / "own.pem"), str(folder / "own.key"))


@pytest.fixture
def secure(server: Scripted, certificates: Certificates) -> str:
    """The URL of the server, which now speaks TLS and wants a client certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.answer = (200, json.dumps({"schema": SHIPPED.text}).encode())
    return server.url.replace("http:", "https:")


def test_a_client_certificate_opens_the_registry(secure: str, certificates: Certificates) -> None:
    """With the authority that vouches for the registry."""
    config = RegistryConfig(secure, None, certificates.ca, certificates.certificate, certificates.key)

    assert SHIPPED.text == Registry(config).schema_text(1)


def test_without_certificate_or_authority_it_is_an_outage(secure: str, certificates: Certificates) -> None:
    """Refused by it, or not trusted by us: the partition pauses until somebody fixes it."""
    for config in (RegistryConfig(secure, ca_location=certificates.ca), RegistryConfig(secure)):
        with pytest.raises(RegistryUnavailable):
            Registry(config).schema_text(1)


# --- with a real registry ---


def store_of(real: LocalRegistry, reader: Path = READER_PATH) -> SchemaStore:
    return SchemaStore(reader_path=reader, registry=RegistryConfig(real.url))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "order_schema.avsc"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.registry
def test_a_producer_registers_and_a_consumer_looks_up(real: LocalRegistry, topic: Callable[..., str]) -> None:
    """Under `<topic>-value`; a second producer gets the same id; look-up only finds it too."""
    name = topic()
    encoder = store_of(real).producer_encoder(name)
    consumer = store_of(real)

    value = encoder.encode(ORDER)

    assert ORDER == order_reader(OrderDecoder(consumer.reader, consumer.find_writer, 1000))(value)
    assert encoder.prefix == store_of(real).producer_encoder(name).prefix
    assert encoder.prefix == store_of(real).producer_encoder(name, register=False).prefix
    assert consumer.registry is not None
    versions = consumer.registry.versions(subject_of(name))
    assert [SHIPPED.parsed] == [load_schema(version.text).parsed for version in versions]


@pytest.mark.registry
def test_an_id_that_the_registry_does_not_have(real: LocalRegistry) -> None:
    """Retryable: it may be registered by the time of the next try."""
    store = store_of(real)
    with pytest.raises(UnknownSchema):
        OrderDecoder(store.reader, store.find_writer, 1000).decode(confluent_prefix(2_000_000) + b"abc")


@pytest.mark.registry
def test_look_up_only_never_registers(real: LocalRegistry, topic: Callable[..., str]) -> None:
    """The producer says what to do, and the subject stays empty."""
    store, name = store_of(real), topic()
    with pytest.raises(SchemaRejected, match="SCHEMA_REGISTRY_REGISTER=true"):
        store.producer_encoder(name, register=False)

    assert store.registry is not None
    assert [] == store.registry.versions(subject_of(name))


@pytest.mark.registry
def test_an_incompatible_schema_is_refused_by_field(
    real: LocalRegistry, topic: Callable[..., str], tmp_path: Path
) -> None:
    """The error names the field and the reason; the producer gets no encoder, so it sends nothing."""
    name = topic()
    store_of(real).producer_encoder(name)
    changed = written(tmp_path, order_schema(field("discount", "double")).text)

    with pytest.raises(SchemaRejected, match="cannot read version 1: field discount: not in the writer"):
        store_of(real, changed).producer_encoder(name)


@pytest.mark.registry
def test_an_older_and_a_newer_writer_are_read_by_id(
    real: LocalRegistry, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Both in one topic: the newer field is left out, the older order gets the default."""
    name = topic()
    newer = written(tmp_path, order_schema(field("note", ["null", "string"], default=None)).text)
    old_value = store_of(real).producer_encoder(name).encode(ORDER)
    new_value = store_of(real, newer).producer_encoder(name).encode({**ORDER, "note": "hi"})
    old_reader, new_reader = store_of(real), store_of(real, newer)

    assert ORDER == OrderDecoder(old_reader.reader, old_reader.find_writer, 1000).decode(new_value)
    back = OrderDecoder(new_reader.reader, new_reader.find_writer, 1000).decode(old_value)
    assert {**ORDER, "note": None} == back


@pytest.mark.registry
def test_confluents_own_serializers_understand_us(real: LocalRegistry, topic: Callable[..., str]) -> None:
    """Their bytes are ours, ours are theirs, byte for byte.

    The strategy is their default's outcome here, named because the default first asks for an association of
    the topic, which Apicurio does not know: about one such question in fifty is never answered, and their
    client waits without a limit unless it is given one.
    """
    from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
    from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    name = topic()
    context = SerializationContext(name, MessageField.VALUE)
    client = SchemaRegistryClient({"url": real.url, "timeout": 10})
    strategy = {"subject.name.strategy": topic_subject_name_strategy}
    theirs = AvroSerializer(client, SHIPPED.text, conf=strategy)(ORDER, context)
    store = store_of(real)
    ours = store.producer_encoder(name).encode(ORDER)

    assert theirs == ours
    assert ORDER == AvroDeserializer(client, conf=strategy)(ours, context)
    assert theirs is not None
    assert ORDER == OrderDecoder(store.reader, store.find_writer, 1000).decode(theirs)


@pytest.mark.registry
def test_a_schema_that_refers_to_others_is_read_whole(real: LocalRegistry, topic: Callable[..., str]) -> None:
    """Types that subjects share, one of them through another."""
    from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

    client, name = SchemaRegistryClient({"url": real.url, "timeout": 10}), topic()

    def register(subject: str, definition: Any, *references: str) -> int:
        refers = [SchemaReference(f"com.shared.{each}", f"{name}-{each}", 1) for each in references]
        schema = Schema(json.dumps(definition), "AVRO", refers)
        return int(client.register_schema(f"{name}-{subject}", schema))

    country = {"type": "enum", "name": "Country", "namespace": "com.shared", "symbols": ["DE", "FR"]}
    address = {
        "type": "record",
        "name": "Address",
        "namespace": "com.shared",
        "fields": [
            field("city", "string"),
            field("country", "Country"),
        ],
    }
    order = {
        "type": "record",
        "name": "Order",
        "namespace": "com.orders",
        "fields": [
            *shipped_fields(),
            field("to", "com.shared.Address"),
            field("bill", ["null", "com.shared.Address"]),
        ],
    }
    register("Country", country)
    register("Address", address, "Country")
    schema_id = register("value", order, "Address")
    inner = {**address, "fields": [field("city", "string"), field("country", country)]}
    alone = order_schema(field("to", inner), field("bill", ["null", "com.shared.Address"]))
    sent = {**ORDER, "to": {"city": "Lyon", "country": "FR"}, "bill": None}
    store = store_of(real)

    value = confluent_prefix(schema_id) + encode(sent, alone)[10:]

    assert ORDER == OrderDecoder(store.reader, store.find_writer, 1000).decode(value)
    assert store.registry is not None
    assert alone.fingerprint == load_schema(store.registry.schema_text(schema_id)).fingerprint


@pytest.mark.registry
def test_a_frozen_registry_comes_back(real: LocalRegistry, topic: Callable[..., str]) -> None:
    """While it is frozen every new id is an outage, soon said; known ids go on; afterwards all is well."""
    name = topic()
    value = store_of(real).producer_encoder(name).encode(ORDER)
    known, fresh = store_of(real), store_of(real)
    assert ORDER == OrderDecoder(known.reader, known.find_writer, 1000).decode(value)
    read = OrderDecoder(fresh.reader, fresh.find_writer, 1000)
    real.pause()
    try:
        started = time.monotonic()
        with pytest.raises(RegistryUnavailable):
            read.decode(value)
        assert time.monotonic() - started < QUICK_S
        assert ORDER == OrderDecoder(known.reader, known.find_writer, 1000).decode(value)
    finally:
        real.resume()

    deadline = time.monotonic() + 10
    order = None
    while order is None and time.monotonic() < deadline:
        order = read.inspect(value).order
        time.sleep(0.05)
    assert ORDER == order


@pytest.mark.registry
def test_a_schema_of_another_type_is_refused(real: LocalRegistry, topic: Callable[..., str]) -> None:
    """A JSON schema under the id: `decode.schema_refused`."""
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    text = json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"})
    schema_id = SchemaRegistryClient({"url": real.url}).register_schema(topic(), Schema(text, "JSON"))
    store = store_of(real)

    with pytest.raises(Undecodable, match="not Avro") as caught:
        OrderDecoder(store.reader, store.find_writer, 1000).decode(confluent_prefix(schema_id) + b"abc")
    assert "decode.schema_refused" == caught.value.reason


@pytest.mark.registry
def test_retyped_fields_are_explained_both_ways(
    real: LocalRegistry, topic: Callable[..., str], tmp_path: Path
) -> None:
    """A field whose type changed cannot be read either way."""
    name = topic()
    store_of(real).producer_encoder(name)
    changed = written(tmp_path, order_schema(fields=shipped_fields(product_id={"type": "long"})).text)

    store = SchemaStore(reader_path=changed, registry=RegistryConfig(real.url))
    with pytest.raises(SchemaRejected) as caught:
        store.producer_encoder(name)

    assert "it cannot read version 1: field product_id: string cannot be read as long" in str(caught.value)
    assert "version 1 cannot read it: field product_id: long cannot be read as string" in str(caught.value)


# --- an answer that is no answer


def test_an_answer_that_unpacks_to_gigabytes_is_refused(server: Scripted) -> None:
    """A few hundred kilobytes on the wire, and never more in memory."""
    server.packed = "gzip"
    server.answer = 200, gzip.compress(b'{"schema":"' + b" " * 300_000_000 + b'"}')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RegistryUnavailable, match="packed"):
        registry(server.url).schema_text(1)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_an_answer_without_end_is_cut_off(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than any schema is no schema."""
    monkeypatch.setattr(orderflow.avro.registry_client, "MAX_ANSWER_BYTES", 10_000)
    server.answer = 200, b'{"schema":"' + b" " * 20_000 + b'"}'
    with pytest.raises(RegistryUnavailable, match="longer than 10000 bytes"):
        registry(server.url).schema_text(1)


def test_an_answer_that_takes_too_long_ends_its_thread(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it any more, and it does not hold a thread for ever."""
    monkeypatch.setattr(orderflow.avro.registry_client, "ANSWER_DEADLINE_S", 0.3)
    server.trickle = True
    server.answer = 200, b" " * 60
    with pytest.raises(RegistryUnavailable, match="takes longer"):
        registry(server.url).schema_text(1)


@pytest.mark.parametrize("status", [404, 409, 422])
@pytest.mark.parametrize("code", [40401, 40403, 42201, None])
def test_whatever_a_registry_refuses_is_told_and_never_a_traceback(
    server: Scripted, status: int, code: Optional[int]
) -> None:
    """Each question, each refusal: one of the two errors that every caller tells in a line."""
    server.answer = status, json.dumps({"error_code": code, "message": "no"}).encode()
    asked = registry(server.url)
    told = (RegistryUnavailable, SchemaRejected, UnknownSchema)
    text = json.dumps(ORDER)
    for question in (
        lambda: asked.register("orders-value", text),
        lambda: asked.look_up("orders-value", text),
        lambda: asked.schema_text(7),
        lambda: asked.versions("orders-value"),
        lambda: asked._version("orders-value", 1),
    ):
        with contextlib.suppress(*told):
            question()


def test_a_token_in_the_address_is_told_nowhere(server: Scripted) -> None:
    """Not in what a dead letter quotes, and not where the server repeats the path."""
    for status, body in ((404, b'{"error_code": 40403, "message": "no"}'), (500, b"at /hush-token/schemas")):
        server.answer = status, body
        with pytest.raises((UnknownSchema, RegistryUnavailable)) as refusal:
            registry(f"{server.url}/hush-token/").schema_text(1)

        assert "hush" not in str(refusal.value)
        assert server.url in str(refusal.value)
