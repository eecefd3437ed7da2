"""Let `requests` send at once through this machine's proxy, as it does where there is none.

urllib3 leaves TCP_NODELAY out behind a proxy, and each message would wait 40 ms for an ACK.
"""

from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection


def send_at_once() -> None:
    """Give every connection through a proxy the options of one without."""
    plain = HTTPAdapter.proxy_manager_for

    def proxy_manager_for(self: HTTPAdapter, proxy: Any, **kwargs: Any) -> Any:
        return plain(
            self, proxy, **{"socket_options": HTTPConnection.default_socket_options} | kwargs
        )

    HTTPAdapter.proxy_manager_for = proxy_manager_for  # type: ignore[method-assign]
