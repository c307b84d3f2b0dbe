"""URLs as they may be shown and written down: without what lets others in.

What is harmless is listed, everything else is hidden: a driver's next option for a secret is hidden before anybody
knows of it.
"""

import re
from urllib.parse import unquote

HIDDEN = "***"
HARMLESS_OPTIONS = frozenset(
    (
        *("application_name", "charset", "client_encoding", "connect_timeout", "dbname", "host", "keepalives"),
        *("keepalives_count", "keepalives_idle", "keepalives_interval", "port", "read_timeout", "sslmode"),
        *("target_session_attrs", "timeout", "user", "write_timeout"),
        *("cache", "check_same_thread", "mode", "nolock", "uri"),  # SQLite's
    )
)
"""What may be read of a URL's options: names, places and numbers."""
_AUTHORITY = re.compile(r"(?<=://)[^\s]*")
_SHORTEST_SECRET = 3
"""Characters: a shorter one stands in too many other words to be taken out of them."""


def without_secrets(text: str, *, keeps_user: bool = False) -> str:
    """A URL, or a text with one in it, without passwords and options that might be secret."""
    return _AUTHORITY.sub(lambda match: _without_secrets(match[0], keeps_user), text)


def _without_secrets(rest: str, keeps_user: bool) -> str:
    """Of a URL, what stands behind ``://``."""
    place, mark, options = rest.partition("?")
    people, at, host = place.rpartition("@")
    # A password that was not quoted may hold a slash; an @ further on belongs to a path.
    if at and ("/" not in people or ":" in people.partition("/")[0]):
        user, colon, _ = people.partition(":")
        place = f"{user}{colon and ':' + HIDDEN}@{host}" if keeps_user else f"{HIDDEN}@{host}"
    if not mark:
        return place
    return f"{place}?{'&'.join(_shown_option(option) for option in options.split('&'))}"


def _shown_option(option: str) -> str:
    name, equals, _ = option.partition("=")
    return option if not equals or name.lower() in HARMLESS_OPTIONS else f"{name}={HIDDEN}"


def secrets_of(text: str, *, keeps_user: bool = False) -> tuple[str, ...]:
    """What `without_secrets` hides, as written and as meant, the longest first."""
    found = set()
    for match in _AUTHORITY.finditer(text):
        place, _, options = match[0].partition("?")
        people, at, _ = place.rpartition("@")
        if at and ("/" not in people or ":" in people.partition("/")[0]):
            user, _, password = people.partition(":")
            found |= {password} if keeps_user else {people, password, user}
        for option in options.split("&"):
            if _shown_option(option) != option:
                found.add(option.partition("=")[2])
    found |= {unquote(secret) for secret in found}
    return tuple(sorted((each for each in found if len(each) >= _SHORTEST_SECRET), key=len, reverse=True))


def scrubbed(message: str, url: str, *, keeps_user: bool = False) -> str:
    """A message of somebody else's, such as a driver's, without what is secret in the URL that it is about."""
    for secret in secrets_of(url, keeps_user=keeps_user):
        message = message.replace(secret, HIDDEN)
    return without_secrets(message, keeps_user=keeps_user)
