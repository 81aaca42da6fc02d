"""Who comes in to the admin API: by the key, by a session of the dashboard, or from this machine when there is no key.

A browser sends a cookie, and reaches this machine, also for a page of somebody else. So whoever comes by either must
come from a page of ours (Sec-Fetch-Site, or Origin where a browser does not say), and a session changes something only
with its own word in a header of ours. A bearer key is sent by nobody's page, and needs none of it.

Callers of /v1 may need no key either, and then any page could have a model work and spend: what a page of another site
sends has to be JSON by name, which a browser asks leave for first, and nobody here gives it.
"""

import hmac
from dataclasses import dataclass, field

from gateway.callers.auth import AdminRule, Headers
from gateway.callers.caller import ADMIN_READ, ADMIN_WRITE, Caller
from gateway.callers.sessions import Attempts, Session, Sessions
from gateway.errors import AdminRefused, NotAdmin, NotJson

SAFE = ("GET", "HEAD")
OWN_SITES = (None, "same-origin", "none")  # none: an address that somebody typed
CSRF_HEADER = "x-twicetold-csrf"


@dataclass(frozen=True, slots=True)
class Visit:
    """What a request says of where it comes from. None: nothing."""

    method: str
    host: str | None
    address: str = ""
    authorization: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)  # of the session
    csrf: str | None = field(default=None, repr=False)
    fetch_site: str | None = None
    origin: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether a page of another site did not send it."""
        if self.fetch_site is not None or self.method in SAFE:
            return self.fetch_site in OWN_SITES
        return _is_of(self.origin, self.host)


class Door:
    """Lets in or refuses. Belongs to one event loop."""

    def __init__(self, rule: AdminRule, sessions: Sessions, attempts: Attempts) -> None:
        self.rule = rule
        self.sessions = sessions
        self._attempts = attempts

    def admit(self, visit: Visit, caller: Caller | None = None) -> None:
        """`caller` is who is known by what the visit shows. Raises `NotAdmin`, `AdminRefused`, `ScopeLacking` or
        `TooManyAttempts`."""
        if caller is not None and not self.is_open:
            caller.need(ADMIN_READ if visit.method in SAFE else ADMIN_WRITE)
        elif not self.rule.key:
            self.rule.check(None, visit.host)
            if not visit.is_ours:
                raise AdminRefused("The admin API does not answer pages of other sites.")
        elif visit.authorization is not None:
            self._try(visit, visit.authorization)
        else:
            self._admit_session(visit)

    @property
    def is_open(self) -> bool:
        """Whether nobody needs anything but to be on this machine."""
        return not self.rule.key and self.rule.is_local

    def still_admits(self, visit: Visit) -> bool:
        """Whether who was admitted by a session still has it: for what goes on after the door."""
        by_session = self.rule.key and visit.authorization is None
        return not by_session or self.session_of(visit) is not None

    def session_of(self, visit: Visit) -> Session | None:
        return self.sessions.read(visit.cookie) if visit.cookie else None

    def log_in(self, visit: Visit, key: str) -> tuple[str, Session]:
        """A session for who has the key, and its cookie. Raises as `admit`."""
        if not visit.is_ours:
            raise AdminRefused("Nobody is logged in by a page of another site.")
        if not self.rule.key:
            raise AdminRefused("There is no admin key to log in with.")
        try:
            self._try(visit, f"Bearer {key}")
        except NotAdmin as error:
            raise NotAdmin("That is not the admin key.") from error
        return self.sessions.begin()

    def _try(self, visit: Visit, authorization: str) -> None:
        """An address that has to wait is not heard, whatever it shows: where a right key were let in meanwhile, every
        guess would be told right or wrong at once, and the wait slow nobody down. A session, or a key that may
        administer, is no guess at the admin key and does not wait."""
        self._attempts.check(visit.address)
        try:
            self.rule.check(authorization, visit.host)
        except NotAdmin:
            self._attempts.failed(visit.address)
            raise
        self._attempts.succeeded(visit.address)

    def _admit_session(self, visit: Visit) -> None:
        session = self.session_of(visit)
        if session is None:
            raise NotAdmin("The admin API needs the admin key as a bearer token, or a session of the dashboard.")
        if not visit.is_ours:
            raise AdminRefused("The admin API does not answer pages of other sites.")
        given = (visit.csrf or "").encode("utf-8", "surrogateescape")
        if visit.method not in SAFE and not hmac.compare_digest(given, session.csrf.encode()):
            raise AdminRefused(f"A session changes something only with its own word in {CSRF_HEADER}.")


def check_page(headers: Headers) -> None:
    """Raises `NotJson` for what a page of another site can send without asking: a form, a text. Who is no page names
    its content type or does not."""
    is_ours = headers.get("sec-fetch-site") in OWN_SITES and _is_of(headers.get("origin"), headers.get("host"))
    if not is_ours and not is_json(headers.get("content-type")):
        raise NotJson("A page of another site has to send application/json.")


def is_json(content_type: str | None) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == "application/json"


def _is_of(origin: str | None, host: str | None) -> bool:
    """Whether a page of `origin` is of this host, or there is no page."""
    return origin is None or origin.partition("://")[2] == host
