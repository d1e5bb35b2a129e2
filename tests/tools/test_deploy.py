"""deploy/: what reads each file accepts it, and it says what the code does."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import pytest
import yaml

import config
import consumer
import dlq_handler
import producer
from orderflow import exits
from orderflow.kafka import topics
from orderflow.supervise.supervisor import GRACE_S

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "orderflow-consumer.service"
DOCKERFILE = DEPLOY / "Dockerfile"
IGNORE = DEPLOY / "Dockerfile.dockerignore"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
LONGEST_STOP_S = config.load({}, {}, "/nowhere").shutdown_timeout_s + GRACE_S
"""How long `consumer.py --processes` takes to stop, at the most."""
KUBERNETES = "1.31"
"""An old one that is still maintained by the large providers."""


# ---- the image


def instructions() -> List[Tuple[str, str]]:
    """The Dockerfile's instructions, each on one line."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.M))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines() if line]


def copied() -> Iterator[Tuple[List[str], str]]:
    """What the Dockerfile copies from the project, and where to."""
    for name, rest in instructions():
        if name == "COPY" and "--from=" not in rest:
            *sources, target = rest.split()
            yield sources, target


def test_the_dockerfile_has_nothing_to_complain_about() -> None:
    """By its linter."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("there is no hadolint for this machine")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_in_particular() -> None:
    """A number, which Kubernetes can check, and not that of root."""
    assert [rest for name, rest in instructions() if name == "USER"] == ["10001:10001"]


def test_the_image_holds_what_the_scripts_need(tmp_path: Path) -> None:
    """Copied as the Dockerfile says, each of them runs, with a handler of the examples."""
    app = tmp_path / "app"
    app.mkdir()
    for sources, target in copied():
        if target.startswith("/"):
            continue
        for source in sources:
            _copy(ROOT / source, app / target if (ROOT / source).is_dir() else app)
    for arguments in (["producer.py"], ["consumer.py"], ["dlq_handler.py"], ["dlq_handler.py", "groups"]):
        done = subprocess.run([sys.executable, *arguments, "--help"], cwd=app, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    arguments = ["consumer.py", "-b", "127.0.0.1:1", "--handler", "examples/checkout.py:charge"]
    done = subprocess.run([sys.executable, *arguments], cwd=app, capture_output=True, text=True)
    assert "Kafka does not answer" in done.stderr


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    """No .env, no .git: they cannot get into a layer by mistake."""
    lines = IGNORE.read_text(encoding="utf-8").splitlines()
    given = {line[1:] for line in lines if line.startswith("!")}

    assert lines[1] == "*"
    assert given == {source for sources, _ in copied() for source in sources}


def test_the_command_of_the_image_is_one() -> None:
    """It parses, and restarts what dies."""
    (command,) = [rest for name, rest in instructions() if name == "CMD"]

    assert _flags(yaml.safe_load(command)).processes == "1"


def _flags(words: List[str]) -> Any:
    """The parsed flags of a command that runs the consumer."""
    assert words[0] == "consumer.py"
    return consumer._parser().parse_args(words[1:])


# ---- Compose

SCRIPTS = {
    name: service
    for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"].items()
    if "scripts" in service.get("profiles", [])
}


def test_the_three_scripts_run_beside_kafka() -> None:
    """With commands that are ones, and settings that are ours."""
    parsers: Dict[str, Callable[[List[str]], Any]] = {
        "producer.py": producer._parser().parse_args,
        "consumer.py": consumer._parser().parse_args,
        "dlq_handler.py": dlq_handler.parse,
    }
    known = {setting.env for setting in config.SETTINGS}
    started = set()
    for service in SCRIPTS.values():
        script, *words = service["command"]
        assert parsers[script](words)
        assert service["environment"].keys() <= known
        config.load({}, service["environment"], "/nowhere")
        started.add(script)

    assert started == parsers.keys()


def test_compose_waits_for_a_clean_stop() -> None:
    """Longer than that takes."""
    assert int(SCRIPTS["consumer"]["stop_grace_period"].rstrip("s")) > LONGEST_STOP_S


# ---- systemd


def unit() -> Mapping[str, str]:
    """The unit's settings, by name."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """By its own check, with programs that exist on this machine in place of those of /opt."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("this machine has no systemd")
    here = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8").replace("/opt/orderflow/.venv/bin/python", sys.executable)
    here.write_text(text.replace("file:///opt/orderflow", "https://example.com"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True)

    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []


def test_a_misspelt_setting_of_the_unit_would_be_seen(tmp_path: Path) -> None:
    """The check is strict enough to be worth asking."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("this machine has no systemd")
    broken = tmp_path / UNIT.name
    broken.write_text("[Service]\nExecStart=/bin/true\nRestrat=always\n", encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(broken)], capture_output=True, text=True)

    assert "Restrat" in done.stderr


def test_the_unit_restarts_what_a_restart_can_help() -> None:
    """Whatever an order did to the process; not what is wrong in the settings, nor what was stopped."""
    settings = unit()

    assert (settings["Restart"], settings["StartLimitIntervalSec"]) == ("always", "0")
    assert settings["RestartPreventExitStatus"] == str(exits.USAGE)
    assert settings["SuccessExitStatus"] == str(exits.TERMINATED)


def test_the_unit_waits_for_a_clean_stop() -> None:
    """Longer than that takes; and only the supervisor is asked."""
    assert int(unit()["TimeoutStopSec"]) > LONGEST_STOP_S
    assert unit()["KillMode"] == "mixed"


def test_the_command_of_the_unit_is_one() -> None:
    """It parses."""
    python, *words = shlex.split(unit()["ExecStart"])

    assert python.endswith("python")
    assert int(_flags(words).processes) >= 1


# ---- Kubernetes


def documents(path: Path) -> List[Dict[str, Any]]:
    """What the file describes."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def described(kind: str) -> Dict[str, Any]:
    """The one of this kind."""
    (found,) = [each for path in MANIFESTS for each in documents(path) if each["kind"] == kind]
    return found


OWN_KINDS = ("ScaledObject",)
"""Of extensions, whose schemas Kubernetes does not have."""


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_accepts_the_manifests(path: Path) -> None:
    """By its own schemas, in which a misspelt field is a fault."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs a newer Python")
    for document in documents(path):
        if document["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_a_misspelt_field_would_be_seen() -> None:
    """The schemas are strict enough to be worth asking."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs a newer Python")
    broken = described("Deployment")
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 40

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def pod() -> Dict[str, Any]:
    """What the Deployment runs."""
    found: Dict[str, Any] = described("Deployment")["spec"]["template"]["spec"]
    return found


def test_the_pod_waits_for_a_clean_stop() -> None:
    """Longer than that takes."""
    assert pod()["terminationGracePeriodSeconds"] > LONGEST_STOP_S


def test_the_settings_of_the_pod_are_ours() -> None:
    """Each is known and valid; the commented ones too."""
    path = next(path for path in MANIFESTS if path.name == "consumer.yaml")
    given = described("ConfigMap")["data"]
    commented = dict(re.findall(r"^  # (\w+): (\S+)$", path.read_text(encoding="utf-8"), re.M))
    known = {setting.env for setting in config.SETTINGS}

    settings = config.load({}, given, "/nowhere")
    assert settings.metrics_port == pod()["containers"][0]["ports"][0]["containerPort"]
    assert settings.metrics_address == "0.0.0.0"
    assert {name for name in given if name not in known} == set()
    secured = {**given, **commented, "KAFKA_SASL_PASSWORD_FILE": str(path)}
    assert config.load({}, secured, "/nowhere").client.keys() >= {"sasl.password", "security.protocol"}


def test_secrets_are_files_where_the_settings_look_for_them() -> None:
    """Not in the environment, where `kubectl describe` and every child process would show them."""
    (mount,) = [each for each in pod()["containers"][0]["volumeMounts"] if each["name"] == "kafka-secrets"]
    text = next(path for path in MANIFESTS if path.name == "consumer.yaml").read_text(encoding="utf-8")

    assert f"KAFKA_SASL_PASSWORD_FILE: {mount['mountPath']}/password" in text
    assert "env" not in pod()["containers"][0]


def test_the_command_of_the_pod_is_one() -> None:
    """It parses, and restarts what dies: the kubelet's own pauses are longer than a search for a killer."""
    assert int(_flags(pod()["containers"][0]["args"]).processes) >= 1


def test_no_more_consumers_than_partitions() -> None:
    """One more would only stand by."""
    partitions = topics.orders("orders").partitions

    assert described("Deployment")["spec"]["replicas"] <= partitions
    assert described("ScaledObject")["spec"]["maxReplicaCount"] <= partitions


def test_what_scales_names_what_it_scales() -> None:
    """And scales by a figure that only running consumers have, so never to none."""
    scaled = described("ScaledObject")["spec"]

    assert scaled["scaleTargetRef"]["name"] == described("Deployment")["metadata"]["name"]
    assert scaled["minReplicaCount"] >= 1


def test_a_drained_node_takes_one_consumer_at_a_time() -> None:
    """The budget is about the pods of the Deployment."""
    budget, deployment = described("PodDisruptionBudget")["spec"], described("Deployment")["spec"]

    assert budget["selector"] == deployment["selector"]
    assert budget["maxUnavailable"] == 1
