"""What stands for a Clockify API key: the key, its region or subdomain, and what is neither."""

import pytest

from clockify_salesforce.clockify.api_key import api_url, region_and_key, reports_url
from clockify_salesforce.errors import SettingsError

KEY = "MjVjZDc0NzItOTRkYi00ODE5LWE0ZDctODhhODM2NTdkYWU0"


@pytest.mark.parametrize(
    ("text", "region"),
    [
        (KEY, ""),
        (f"  {KEY}\n", ""),
        (f"euc1 {KEY}", "euc1"),
        (f"acme {KEY}", "acme"),
        (f"acme-2 {KEY}", "acme-2"),
        (f"https://acme.clockify.me/tracker {KEY}", "acme"),
        (f"ACME.clockify.me\t{KEY}", "acme"),
        (f"https://app.clockify.me {KEY}", ""),
        (f"https://api.clockify.me/api/v1 {KEY}", ""),
    ],
)
def test_key_is_told_from_its_region(text: str, region: str) -> None:
    assert region_and_key(text) == (region, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "euc1",
        f"{KEY} euc1",
        f"euc1 x {KEY}",
        f"a/b {KEY}",
        f"acme.example.org {KEY}",
        f"-acme {KEY}",
        f"acmé {KEY}",
        f"{KEY}é",
        f"{KEY} {KEY[:20]}",
    ],
)
def test_anything_else_is_refused_and_never_quoted(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        region_and_key(text)
    assert KEY[:8] not in str(caught.value)


@pytest.mark.parametrize(
    ("region", "api", "reports"),
    [
        ("", "https://api.clockify.me/api/v1", "https://reports.api.clockify.me/v1"),
        ("euc1", "https://euc1.clockify.me/api/v1", "https://euc1.clockify.me/report/v1"),
        ("acme", "https://acme.clockify.me/api/v1", "https://acme.clockify.me/report/v1"),
    ],
)
def test_addresses_of_a_region(region: str, api: str, reports: str) -> None:
    assert (api_url(region), reports_url(region)) == (api, reports)
