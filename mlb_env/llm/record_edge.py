"""The edge to an external FHIR server: carries record requests out over httpx. A failure is a reply, never an exception."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..effects import Failure, RecordReply, RecordRequest, Reply

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 30.0
_MEDIA = {"Accept": "application/fhir+json", "Content-Type": "application/fhir+json"}
_CREATED = re.compile(r"/([A-Za-z0-9.\-]{1,64})(?:/_history/.*)?$")


class RecordEdge:
    """Requests to FHIR servers, one connection each; a read that a dropped connection broke is tried once more."""

    def perform(self, request: RecordRequest) -> Reply:
        """Blocks until the server has answered, or 30 seconds of silence have passed."""
        import httpx

        try:
            with httpx.Client(timeout=TIMEOUT_S, transport=httpx.HTTPTransport(retries=1)) as client:
                return _reply(client.request(request.method, _address(request), content=request.body or None, headers=_MEDIA))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _failure(request, error)

    async def aperform(self, request: RecordRequest) -> Reply:
        """The same, overlapping with other requests."""
        import httpx

        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S, transport=httpx.AsyncHTTPTransport(retries=1)) as client:
                return _reply(await client.request(request.method, _address(request), content=request.body or None, headers=_MEDIA))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _failure(request, error)


def _address(request: RecordRequest) -> str:
    return f"{request.base_url.rstrip('/')}/{request.path}"


def _reply(response: httpx.Response) -> Reply:
    if response.status_code >= 500:
        return Failure(f"the record server failed (HTTP {response.status_code} for {response.request.method} {response.request.url.path})")
    created = _CREATED.search(response.headers.get("Location", ""))
    return RecordReply(response.status_code, response.text, created.group(1) if created else "")


def _failure(request: RecordRequest, error: Exception) -> Failure:
    return Failure(f"the record server {request.base_url} cannot be used ({str(error) or type(error).__name__})")
