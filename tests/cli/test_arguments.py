"""What the scripts' flags have in common: their version, and help for whoever mistypes one."""

import platform
from pathlib import Path
from typing import Any, Callable, Dict, Sequence, Tuple

import pytest

import consumer
import dlq_handler
import producer
from orderflow.cli.arguments import arguments
from orderflow.cli.log import JSON, TEXT
from orderflow.cli.run import Main, run
from orderflow.version import VERSION

PARSE: Dict[str, Callable[[Sequence[str]], Any]] = {
    "producer.py": lambda words: producer._parser().parse_args(words),
    "consumer.py": lambda words: consumer._parser().parse_args(words),
    "dlq_handler.py": dlq_handler.parse,
}
"""What each script does with what is typed, before anything else."""


MAIN: Dict[str, Main] = {
    "producer.py": producer.main,
    "consumer.py": consumer.main,
    "dlq_handler.py": dlq_handler.main,
}


def typed(
    capsys: pytest.CaptureFixture[str], script: str, *words: str, form: str = TEXT
) -> Tuple[int, str, str]:
    """How a script ends that has nothing to do, its data, and what else it says."""
    code = run(lambda argv, out, err: int(PARSE[script](argv) is None), words, lambda argv: form)
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.mark.parametrize("script", PARSE)
def test_every_script_tells_its_version(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [f"somewhere/{script}"])
    python = platform.python_version()

    assert typed(capsys, script, "--version") == (
        0,
        f"{script} of orderflow {VERSION}, Python {python}\n",
        "",
    )


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("producer.py", "--cuont", "3"), "did you mean --count?"),
        (("consumer.py", "--wokers=3"), "did you mean --workers?"),
        (("dlq_handler.py", "--exce", "mail"), "did you mean --exec?"),
        (("dlq_handler.py", "list", "--sinze", "2h"), "did you mean --since?"),
    ],
    ids=" ".join,
)
def test_a_mistyped_flag_names_the_nearest_one(
    command: Sequence[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = typed(capsys, *command)

    assert (code, out) == (2, "")
    assert err.rstrip().endswith(hint)


def test_a_flag_like_no_other_gets_no_guess(capsys: pytest.CaptureFixture[str]) -> None:
    run(lambda argv, out, err: bool(arguments("Doc.", ["x"]).parse_args(argv)), ["--zzzzzz"])

    assert "unrecognized arguments: --zzzzzz\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--sasl-password", "hunter2"],
        ["--sasl-password=hunter2"],
        ["--sasl-password", "-zhunter2"],
        ["--ssl-key-pem", "hunter2", "--schema-registry-user-info", "hunter2"],
        ["--API-TOKEN", "hunter2"],
    ],
    ids=" ".join,
)
def test_a_secret_after_a_flag_that_does_not_exist_is_not_repeated(
    words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no --sasl-password, as a password has no place on a command line; but it gets typed."""
    code, _, err = typed(capsys, "producer.py", *words)

    assert code == 2
    assert words[0].partition("=")[0] in err and "hunter2" not in err


LONG = "x" * 90


@pytest.mark.parametrize(
    "words",
    [
        ["producer.py", "-X", "sasl.username=u", "sasl.password=hunter2"],
        ["producer.py", "-X", "sasl.username=u", "sasl.password", "hunter2"],
        ["producer.py", "-X", "sasl.password", "hunter2"],
        ["producer.py", "-X", "sasl.password=", "hunter2"],
        ["producer.py", "sasl.password", "=", "hunter2"],
        ["producer.py", "-password=hunter2"],
        ["producer.py", "sasl.oauthbearer.config=a b hunter2"],
        ["producer.py", "SCHEMA_REGISTRY_USER_INFO=u:hunter2"],
        ["producer.py", "https://u:p/hunter2@registry"],
        ["producer.py", "--count", "sasl.password=hunter2"],
        ["producer.py", "--count", f"sasl.password={LONG}hunter2hunter2"],
        ["producer.py", "--count=sasl.password=p'hunter2"],
        ["producer.py", "--strict=password=hunter2"],
        ["consumer.py", "-x", "sasl.password=hunter2"],
        ["consumer.py", "-xsasl.password=hunter2"],
        ["consumer.py", "--X", "sasl.password=hunter2"],
        ["consumer.py", "--X=sasl.password=hunter2"],
        ["consumer.py", "X", "sasl.password=hunter2"],
        ["consumer.py", "a.password=hunt", "b.password=hunter2"],
        ["consumer.py", "a.password=password=hunter2"],
        ["dlq_handler.py", "sasl.password=hunter2"],
        ["dlq_handler.py", "list", "sasl.password=hunter2"],
        ["dlq_handler.py", "jobs", "sasl.password=hunter2"],
        ["dlq_handler.py", "jobs", "--sasl-password", "hunter2"],
        ["dlq_handler.py", "list", "-c", "sasl.password=hunter2"],
        ["dlq_handler.py", "list", "-c", "-password=hunter2"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("form", [TEXT, JSON])
def test_no_error_repeats_a_secret_that_was_typed_in_a_wrong_place(
    words: Sequence[str], form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second -X forgotten, a small x, or a setting of the environment typed as an argument."""
    code, _, err = typed(capsys, *words, form=form)

    assert code == 2
    assert "unter" not in err and LONG not in err


@pytest.mark.parametrize(
    "words",
    [
        ["producer.py", "--input", "SASL_PASSWORD=hunter2"],
        ["producer.py", "--input", "https://u:p/hunter2@host"],
        ["producer.py", "-token=hunter2"],
        ["producer.py", "-t", "sasl.password=hunter2"],
        ["producer.py", "--order-key", "sasl.password=hunter2"],
        ["consumer.py", "--workers", "sasl.password=hunter2"],
        ["consumer.py", "--handler", "sasl.password=hunter2"],
        ["consumer.py", "-vsasl.password=hunter2"],
        ["dlq_handler.py", "list", "--masked-fields", "sasl.password=hunter2,x"],
        ["dlq_handler.py", "list", "--where", "sasl.password=hunter2"],
    ],
    ids=" ".join,
)
def test_what_a_setting_is_refused_for_repeats_no_secret_either(
    words: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    code = run(MAIN[words[0]], words[1:])

    assert code == 2
    assert "unter" not in capsys.readouterr().err


def test_a_value_that_is_no_secret_is_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where its flag is called like one of secrets."""
    assert "'many' must be" in typed(capsys, "producer.py", "--order-key", "many", "--count", "many")[2]
    assert typed(capsys, "producer.py", "--order-key=order_id", "linger.ms=5")[2].endswith(": linger.ms=5\n")


def test_what_was_typed_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """A command line may be somebody else's text, too."""
    run(lambda argv, out, err: bool(arguments("Doc.", ["x"]).parse_args(argv)), ["\x1b[2J\nERROR forged"])

    assert "arguments: \\u001b[2J\\u000aERROR forged\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        (("producer.py",), "--orders-topic"),
        (("consumer.py",), "--orders-topic"),
        (("dlq_handler.py", "list"), "--dlq-topic"),
    ],
)
def test_the_topic_has_the_letter_that_kcat_gives_it(
    command: Sequence[str], setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The orders for the scripts that move them, the dead letters for the one that looks after those."""
    told = typed(capsys, *command, "--help")[1]
    assert f"-t TOPIC, {setting} TOPIC" in told or f"-t, {setting} TOPIC" in told  # as Python 3.13 writes it
