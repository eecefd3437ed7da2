"""The External Client App that the function signs in with: its key, certificate and five files.

With JWT bearer it needs no click. The files are made at run time, and are in no repository.
https://help.salesforce.com/s/articleView?id=xcloud.meta_configure_oauth_jwt_flow_external_client_apps.htm
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

NAME = "Clockify"
PERMISSION_SET = "Clockify_Integration"
YEARS = 10  # that the certificate is valid
# Asked for by Salesforce, and never used.
_CALLBACK = "https://login.salesforce.com/services/oauth2/success"
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_XMLNS = "http://soap.sforce.com/2006/04/metadata"

# folder, the end of the file's name, type
FILES = (
    ("externalClientApps", "eca", "ExternalClientApplication"),
    ("extlClntAppGlobalOauthSets", "ecaGlblOauth", "ExtlClntAppGlobalOauthSettings"),
    ("extlClntAppOauthSettings", "ecaOauth", "ExtlClntAppOauthSettings"),
    ("extlClntAppOauthPolicies", "ecaOauthPlcy", "ExtlClntAppOauthConfigurablePolicies"),
    ("extlClntAppPolicies", "ecaPlcy", "ExtlClntAppConfigurablePolicies"),
)


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair and the name that the app is known by. `private`: PEM, which is never deployed."""

    consumer_key: str
    private: str
    certificate: str  # PEM

    def credentials(self, *, domain: str, username: str) -> str:
        """The JSON of SALESFORCE_CREDENTIALS. `domain`: like acme.my."""
        return json.dumps(
            {
                "domain": domain,
                "username": username,
                "consumer_key": self.consumer_key,
                "privatekey": self.private,
            },
            sort_keys=True,
        )


def new_key() -> Key:
    """Make a key, its certificate, and a consumer key; all of it only in memory."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Clockify to Salesforce")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .sign(private, hashes.SHA256())
    )
    return Key(
        consumer_key=secrets.token_hex(32),
        private=private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
    )


def write_project(folder: Path, key: Key, *, contact: str) -> list[str]:
    """Write the five files as an sf project; return the options that deploy it.

    `contact`: whom Salesforce writes to about the app.
    """
    app = _project(folder)
    for (place, end, kind), fields in zip(FILES, _fields(key, contact), strict=True):
        (app / place).mkdir(parents=True)
        (app / place / f"{NAME}.{end}-meta.xml").write_text(_file(kind, fields))
    return ["--source-dir", "app"]


def write_removal(folder: Path) -> list[str]:
    """Write what takes the app away as an sf project; return the options that deploy it."""
    return write_manifests(folder, [(kind, [NAME]) for _, _, kind in reversed(FILES)])


def _project(folder: Path) -> Path:
    project = {"packageDirectories": [{"path": "app", "default": True}], "sourceApiVersion": "65.0"}
    (folder / "sfdx-project.json").write_text(json.dumps(project))
    (folder / "app").mkdir()
    return folder / "app"


def write_manifests(folder: Path, types: list[tuple[str, list[str]]]) -> list[str]:
    """Write what deletes components as an sf project; return the options that deploy it.

    `types`: type and names.
    """
    _project(folder)
    listed = "".join(
        "<types>"
        + "".join(f"<members>{escape(each)}</members>" for each in members)
        + f"<name>{kind}</name></types>"
        for kind, members in types
    )
    for name, content in (("package.xml", ""), ("destructiveChangesPost.xml", listed)):
        text = f'{_XML}<Package xmlns="{_XMLNS}">{content}<version>65.0</version></Package>\n'
        (folder / name).write_text(text)
    deleted = ["--post-destructive-changes", "destructiveChangesPost.xml"]
    return ["--manifest", "package.xml", *deleted]


def _fields(key: Key, contact: str) -> list[dict[str, str]]:
    """What the five files hold, in the order of FILES, which the schema wants alphabetically."""
    app = {"externalClientApplication": NAME}
    return [
        {
            "contactEmail": contact,
            "description": "Clockify's time entries as Events. Made by set_up_salesforce.",
            "distributionState": "Local",
            "isProtected": "false",
            "label": NAME,
        },
        {
            "callbackUrl": _CALLBACK,
            "certificate": key.certificate,
            "consumerKey": key.consumer_key,
            **app,
            "isConsumerSecretOptional": "false",
            "isPkceRequired": "true",
            "isSecretRequiredForRefreshToken": "true",
            "label": NAME,
            "shouldRotateConsumerKey": "false",
            "shouldRotateConsumerSecret": "false",
        },
        {"commaSeparatedOauthScopes": "Api,RefreshToken", **app, "label": NAME},
        {
            "commaSeparatedPermissionSet": PERMISSION_SET,
            **app,
            "ipRelaxationPolicyType": "Enforce",
            "label": NAME,
            "permittedUsersPolicyType": "AdminApprovedPreAuthorized",
            "refreshTokenPolicyType": "Infinite",
        },
        {
            **app,
            "isEnabled": "true",
            "isOauthPluginEnabled": "true",
            "label": NAME,
            "startPage": "None",
        },
    ]


def _file(kind: str, fields: dict[str, str]) -> str:
    lines = "".join(f"    <{name}>{escape(text)}</{name}>\n" for name, text in fields.items())
    return f'{_XML}<{kind} xmlns="{_XMLNS}">\n{lines}</{kind}>\n'
