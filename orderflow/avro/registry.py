"""A client for a schema registry (Confluent's REST API) that can never block the consumer.

confluent_kafka's own client makes the requests, imported only if a registry is configured. Each request runs
in a thread of its own: that client limits the time of every read, but not of a whole answer that trickles in.
"""

import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional

from orderflow.avro import evolution
from orderflow.avro.references import whole
from orderflow.avro.registry_client import (
    RegistryConfig,
    RegistryMisconfigured,
    RegistrySchema,
    avro_schema,
    new_client,
    shown,
    without,
)
from orderflow.avro.schema import SchemaRefused, load_schema
from orderflow.errors import RegistryUnavailable, UnknownSchema
from orderflow.exits import CommandError

__all__ = ["Registry", "RegistryConfig", "RegistryMisconfigured", "SchemaRejected", "Version"]

ANSWER_TIMEOUT_S = 3.0
"""Limit of the whole wait for one answer; the engine's thread is blocked meanwhile."""
OUTAGE_TIMEOUT_S = 0.1
"""The same while the registry is down: other partitions go on, and a late answer is found next time."""
ASK_AGAIN_S = 1.0
"""How long a failure or an unknown id is answered from memory, so that a busy partition does not flood it."""
MAX_ID = 2**31 - 1
"""The largest id of a schema: a registry numbers them in 32 bits with a sign."""
MAX_REMEMBERED = 1_000
MAX_UNDER_WAY = 4
GIVE_UP_S = 60.0
"""How long an unanswered request counts as pending. After that, a new one is started."""

NOT_FOUND_CODES = (40401, 40402, 40403)
"""The registry's own codes: no such subject, version, schema. A 404 without one is from another server."""


class SchemaRejected(CommandError):
    """The registry rejects the producer's schema, or lacks it. Says which field, and what to do next."""


class Version(NamedTuple):
    """One version of a subject."""

    number: int
    schema_id: int
    text: str


class _NotFound(RegistryUnavailable):
    """The registry says that it does not have it; where that is no answer, it is out of order."""


class _Conflict(RegistryUnavailable):
    """The registry rejects a schema as incompatible or invalid; where that is no answer, the same holds."""


class Registry:
    """The registry at one URL. Every method may raise `RegistryUnavailable`, within about 3 seconds.

    Thread-safe: worker threads decode too.
    """

    def __init__(self, config: RegistryConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = shown(config.url)
        self._config = config
        self._clock = clock
        self._client = new_client(config)
        self._under_way: Dict[str, _Question] = {}
        self._lock = threading.Lock()
        self._unknown_until: Dict[int, float] = {}
        self._down_until = 0.0
        self._down_because = ""

    def schema_text(self, schema_id: int) -> str:
        """The text of the schema with this id. May also raise `UnknownSchema` or `SchemaRefused`."""
        if self._clock() < self._unknown_until.get(schema_id, 0.0):
            raise self._unknown(schema_id)
        try:
            what = f"schema id {schema_id}"
            answer = self._ask(
                what, lambda client: RegistrySchema.whole(client, client.get_schema(schema_id))
            )
        except _NotFound:
            self._remember_unknown(schema_id)
            raise self._unknown(schema_id) from None
        return self._avro_text(answer, f"id {schema_id}")

    def register(self, subject: str, text: str) -> int:
        """The id of a schema under a subject, registering it if it is new. May raise `SchemaRejected`."""
        try:
            schema = avro_schema(text)
            what = f"registering {subject}"
            answer = self._ask(what, lambda client: client.register_schema(subject, schema))
        except _Conflict as error:
            raise SchemaRejected(*self._why_rejected(subject, text, error)) from None
        return self._id(answer)

    def look_up(self, subject: str, text: str) -> int:
        """The id of a schema already registered under a subject. May raise `SchemaRejected`."""
        try:
            schema = avro_schema(text)
            answer = self._ask(f"look-up in {subject}", lambda client: client.lookup_schema(subject, schema))
        except (_NotFound, _Conflict):
            raise SchemaRejected(
                f"subject {subject} of {self.url} does not have this schema",
                "next: have it registered, or set SCHEMA_REGISTRY_REGISTER=true",
            ) from None
        return self._id(getattr(answer, "schema_id", None))

    def versions(self, subject: str) -> List[Version]:
        """All versions of a subject, oldest first; empty if the subject does not exist."""
        try:
            numbers = self._ask(f"versions of {subject}", lambda client: client.get_versions(subject))
        except _NotFound:
            return []
        if not isinstance(numbers, list) or not all(type(number) is int and number > 0 for number in numbers):
            self._garbage(f"the versions of {subject} are not numbers")
        return [self._version(subject, number) for number in sorted(numbers)]

    def _version(self, subject: str, number: int) -> Version:
        def request(client: Any) -> RegistrySchema:
            return RegistrySchema.registered(client, client.get_version(subject, number))

        what = f"version {number} of {subject}"
        answer = self._ask(what, request)
        return Version(number, self._id(answer.schema_id), self._avro_text(answer, what))

    def _why_rejected(self, subject: str, text: str, error: Exception) -> List[str]:
        """The registry's message, and ours, which names the fields."""
        lines = [f"the registry rejects this schema for subject {subject}: {error}"]
        try:
            latest = self.versions(subject)[-1:]
            lines += [line for version in latest for line in _differences(text, version)]
        except (RegistryUnavailable, SchemaRefused, _Conflict):
            pass
        lines.append("next: make check-schema shows what breaks; give new fields a default, keep old ones")
        return lines

    def _avro_text(self, found: "RegistrySchema", what: str) -> str:
        """The Avro schema in an answer, with its references inlined."""
        if not isinstance(found.text, str) or not all(isinstance(text, str) for text in found.referenced):
            self._garbage(f"{what} has no schema text")
        if (found.kind or "AVRO") != "AVRO":
            raise SchemaRefused(f"{what} in {self.url} is a {found.kind} schema, not Avro")
        return whole(found.text, found.referenced) if found.referenced else found.text

    def _id(self, answer: Any) -> int:
        if type(answer) is not int or not 0 <= answer <= MAX_ID:
            self._garbage("no schema id")
        return int(answer)

    def _garbage(self, what: str) -> NoReturn:
        # The client never drops this answer from its cache, so the next request needs a new client.
        self._client = new_client(self._config)
        self._down(f"does not answer as a schema registry: {what}")

    def _unknown(self, schema_id: int) -> UnknownSchema:
        return UnknownSchema(f"schema id {schema_id} is not known to {self.url}")

    def _remember_unknown(self, schema_id: int) -> None:
        if len(self._unknown_until) >= MAX_REMEMBERED:
            self._unknown_until.clear()
        self._unknown_until[schema_id] = self._clock() + ASK_AGAIN_S

    def _ask(self, what: str, request: Callable[[Any], Any]) -> Any:
        """The answer to one request, within a limited time. May also raise `_NotFound` and `_Conflict`."""
        if self._clock() < self._down_until:
            raise RegistryUnavailable(self._down_because)
        question = self._question(what, request)
        patience_s = OUTAGE_TIMEOUT_S if self._down_because else ANSWER_TIMEOUT_S
        if not question.done.wait(patience_s):
            self._down(f"has not answered yet ({what})")
        self._under_way.pop(what, None)
        if question.error is not None:
            self._explain(question.error)
        self._down_because = ""
        return question.answer

    def _question(self, what: str, request: Callable[[Any], Any]) -> "_Question":
        """The request in its thread: an earlier one that timed out is picked up again, unless it failed."""
        now = self._clock()
        with self._lock:
            self._under_way = {key: each for key, each in self._under_way.items() if each.is_of_use(now)}
            if what not in self._under_way:
                if sum(not each.done.is_set() for each in self._under_way.values()) >= MAX_UNDER_WAY:
                    self._down(f"has not answered {MAX_UNDER_WAY} requests yet")
                self._under_way[what] = _Question(request, self._client, now)
            return self._under_way[what]

    def _explain(self, error: Exception) -> NoReturn:
        status = getattr(error, "http_status_code", None)
        said = without(self._config, " ".join(str(getattr(error, "error_message", error))[:3000].split()))[
            :300
        ]
        if status == 404 and getattr(error, "error_code", None) in NOT_FOUND_CODES:
            self._down_because = ""
            raise _NotFound(f"schema registry {self.url} answers {status}: {said}") from None
        if status in (409, 422):
            self._down_because = ""
            raise _Conflict(f"schema registry {self.url} answers {status}: {said}") from None
        if status is None:
            self._down(f"does not answer properly: {type(error).__name__}: {said}")
        self._down(f"answers {status}{_hint(status)}: {said}")

    def _down(self, what: str) -> NoReturn:
        self._down_because = f"schema registry {self.url} {what}"
        self._down_until = self._clock() + ASK_AGAIN_S
        raise RegistryUnavailable(self._down_because) from None


class _Question:
    """One request in a daemon thread. Once `done` is set, `answer` or `error` is there."""

    def __init__(self, request: Callable[[Any], Any], client: Any, asked_at: float) -> None:
        self.asked_at = asked_at
        self.done = threading.Event()
        self.answer: Any = None
        self.error: Optional[Exception] = None
        threading.Thread(target=self._run, args=(request, client), daemon=True).start()

    def is_of_use(self, now: float) -> bool:
        """Whether its answer has arrived or may still arrive."""
        return self.error is None and self.asked_at > now - GIVE_UP_S

    def _run(self, request: Callable[[Any], Any], client: Any) -> None:
        try:
            self.answer = request(client)
        except Exception as error:  # noqa: BLE001 - whatever client, HTTP and JSON raise is the answer
            self.error = error
        self.done.set()


def _differences(text: str, version: Version) -> List[str]:
    new, old = load_schema(text), load_schema(version.text)
    name = f"version {version.number}"
    return [
        *(f"  it cannot read {name}: {problem}" for problem in evolution.all_problems(new, old)),
        *(f"  {name} cannot read it: {problem}" for problem in evolution.all_problems(old, new)),
    ]


def _hint(status: int) -> str:
    if status in (401, 403):
        return " (check SCHEMA_REGISTRY_USER_INFO or the client certificate)"
    if 300 <= status < 400:
        return " (a redirect: set SCHEMA_REGISTRY_URL to where it leads)"
    return " (is there a path missing in SCHEMA_REGISTRY_URL?)" if status == 404 else ""
