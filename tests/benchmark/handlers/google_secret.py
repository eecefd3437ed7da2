"""How the floor and the recipe read a secret: with Google's client, as its documentation shows."""

import functools
import os

from google.cloud import secretmanager


def secret(setting: str) -> str:
    """Read the secret that this setting names."""
    name = f"{os.environ[setting]}/versions/latest"
    answer = secret_manager().access_secret_version(name=name)
    return str(answer.payload.data.decode())


@functools.cache
def secret_manager() -> secretmanager.SecretManagerServiceClient:
    """Google's client."""
    return secretmanager.SecretManagerServiceClient()
