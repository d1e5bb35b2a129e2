"""The PEM files for a schema registry: what is at fault is told by its setting, before any request."""

from pathlib import Path
from typing import Callable, Dict

import pytest
from cryptography.hazmat.primitives import serialization

from orderflow.avro.registry_client import RegistryConfig, RegistryMisconfigured, new_client
from tests.support.secured_kafka import Authority

PASSWORD = b"opensesame"


class Files:
    """A client's files, good and bad."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.garbage = _written(folder / "garbage.pem", b"garbage")
        self.missing = str(folder / "missing.pem")
        certificate, key = Authority(folder).issue("client")
        _, other = Authority(folder, "other").issue("stranger")
        self.certificate, self.key, self.strangers_key = str(certificate), str(key), str(other)
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        locked = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSWORD),
        )
        self.locked_key = _written(folder / "locked.key", locked)


def _written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("pem"))


Chosen = Callable[[Files], Dict[str, str]]


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (lambda f: {"ca_location": f.missing}, "CA_LOCATION: .*missing.pem: no such file"),
        (lambda f: {"ca_location": f.garbage}, "CA_LOCATION: .*garbage.pem: holds no certificate"),
        (lambda f: {"certificate_location": f.missing}, "CERTIFICATE_LOCATION: .*: no such file"),
        (lambda f: {"certificate_location": f.garbage}, "CERTIFICATE_LOCATION: .*: holds no certificate"),
        (lambda f: {"certificate_location": f.certificate}, "CERTIFICATE_LOCATION: .*: holds no private key"),
        (lambda f: {"key_location": f.key}, "KEY_LOCATION needs .*CERTIFICATE_LOCATION"),
        (lambda f: {"key_password": "x"}, "KEY_PASSWORD needs .*CERTIFICATE_LOCATION"),
        (lambda f: with_key(f, f.missing), "KEY_LOCATION: .*: no such file"),
        (lambda f: with_key(f, f.folder), "KEY_LOCATION: .*: is a folder"),
        (lambda f: with_key(f, f.strangers_key), "KEY_LOCATION: .*: holds no private key of that"),
        (lambda f: with_key(f, f.locked_key, "wrong"), "KEY_PASSWORD is not its password"),
    ],
)
def test_the_file_that_cannot_be_used_is_named_with_its_setting(
    files: Files, chosen: Chosen, says: str
) -> None:
    """The client itself says `[Errno 2]` or `PEM lib`, of whichever file."""
    with pytest.raises(RegistryMisconfigured, match=f"SCHEMA_REGISTRY_{says}"):
        new_client(RegistryConfig("https://127.0.0.1:1", **chosen(files)))


def test_a_key_without_its_password_is_refused_and_nobody_is_asked(files: Files) -> None:
    """A service has nobody who could answer, and would wait."""
    with pytest.raises(RegistryMisconfigured, match="or it needs SCHEMA_REGISTRY_KEY_PASSWORD"):
        new_client(RegistryConfig("https://127.0.0.1:1", **with_key(files, files.locked_key)))


def test_good_files_are_taken(files: Files) -> None:
    """A folder of authorities, too."""
    for ca in (files.certificate, files.folder):
        given = with_key(files, files.locked_key, PASSWORD.decode())
        assert new_client(RegistryConfig("https://127.0.0.1:1", ca_location=ca, **given))


def with_key(files: Files, key: str, password: str = "") -> Dict[str, str]:
    secret = {"key_password": password} if password else {}
    return {"certificate_location": files.certificate, "key_location": key, **secret}
