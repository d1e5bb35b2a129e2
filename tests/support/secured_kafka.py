"""A broker with a listener for each way to connect, and the certificates and passwords that it takes."""

import datetime
import ipaddress
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.utcnow()
DAY = datetime.timedelta(days=1)
USER, PASSWORD = "shop", "right-and-secret"
USERS = (USER, "producer", "consumer", "reader", "operator", "importer")
"""Who may log in at LOGIN, all with one password."""
LISTENERS: Dict[str, str] = {
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
    "SCRAM": "SASL_SSL",
    "LOGIN": "SASL_PLAINTEXT",
    "TOKEN": "SASL_SSL",
}
"""What each listener is for, by its name, and the protocol it speaks."""

_SECURITY = "org.apache.kafka.common.security."
_JAAS = {
    "scram.scram-sha-512": f"{_SECURITY}scram.ScramLoginModule required;",
    "login.plain": f"{_SECURITY}plain.PlainLoginModule required "
    + " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
    + ";",
    "token.oauthbearer": f"{_SECURITY}oauthbearer.OAuthBearerLoginModule required "
    'unsecuredLoginStringClaim_sub="broker";',
}


class Authority:
    """A certificate authority of the test's own, which writes PEM files into one folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        made = self._builder(self._name, self._key, DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, host: Optional[str] = "localhost", days: int = 1) -> Tuple[Path, Path]:
        """A certificate and its key; with `days` below 0 one that has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(_named(name), key, days * DAY)
        if host is not None:
            names: List[x509.GeneralName] = [x509.DNSName(host)]
            if host == "localhost":
                names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate, private = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def _builder(self, name: x509.Name, key: Any, lasts: datetime.timedelta) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(name).issuer_name(self._name)
        made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return made.not_valid_before(NOW - 10 * DAY).not_valid_after(NOW + lasts)


def broker_settings(folder: Path, authority: Authority) -> Dict[str, str]:
    """What the broker needs for all listeners in LISTENERS."""
    protocols = {"CLIENT": "PLAINTEXT", "INTERNAL": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
    found = {"listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items())}
    good = _key_store(folder, *authority.issue("broker"))
    stores = {
        "expired": _key_store(folder, *authority.issue("expired", days=-1)),
        "elsewhere": _key_store(folder, *authority.issue("elsewhere", host="kafka.example.org")),
    }
    for name, protocol in LISTENERS.items():
        prefix = f"listener.name.{name.lower()}."
        if "SSL" in protocol:
            found[prefix + "ssl.keystore.type"] = "PEM"
            found[prefix + "ssl.keystore.location"] = str(stores.get(name.lower(), good))
    found["listener.name.mutual.ssl.client.auth"] = "required"
    found["listener.name.mutual.ssl.truststore.type"] = "PEM"
    found["listener.name.mutual.ssl.truststore.location"] = str(authority.path)
    found["listener.name.scram.scram-sha-512.connections.max.reauth.ms"] = "1000"
    found["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    found["super.users"] = "User:ANONYMOUS"
    found["sasl.enabled.mechanisms"] = "SCRAM-SHA-512,PLAIN,OAUTHBEARER"
    for name, jaas in _JAAS.items():
        listener, mechanism = name.split(".")
        found[f"listener.name.{listener}.sasl.enabled.mechanisms"] = mechanism.upper()
        found[f"listener.name.{name}.sasl.jaas.config"] = jaas
    found["listener.name.token.oauthbearer.sasl.server.callback.handler.class"] = (
        _SECURITY + "oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
    )
    return found


def set_password(servers: str, user: str, password: str) -> None:
    """Give a user this SCRAM password, whatever it was."""
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    change = UserScramCredentialUpsertion(user, info, password.encode())
    admin = AdminClient({"bootstrap.servers": servers})
    for done in admin.alter_user_scram_credentials([change]).values():
        done.result(20)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_store(folder: Path, certificate: Path, key: Path) -> Path:
    path = folder / f"{certificate.stem}.store"
    path.write_bytes(key.read_bytes() + certificate.read_bytes())
    return path
