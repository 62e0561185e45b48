"""Who asks: from the environment, or from a netrc file. What is found here is shown and written nowhere."""

from __future__ import annotations

import netrc
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxrzero.archive.address import Address
from cxrzero.errors import ConfigError

USER, PASSWORD, TOKEN = "CXRZERO_DICOMWEB_USER", "CXRZERO_DICOMWEB_PASSWORD", "CXRZERO_DICOMWEB_TOKEN"


@dataclass(frozen=True, slots=True)
class Login:
    """What an archive is shown.

    Attributes:
        token: a bearer token (RFC 6750); else user and password (RFC 7617).
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def logins_for(services: Sequence[Address]) -> dict[Address, Login]:
    """The logins of DICOMweb services; those without are asked without.

    Raises:
        ConfigError: half a login, one for which of several archives, a netrc file that others can read or that cannot
            be read, or a login that would go over an open line.
    """
    of_one = _from_environment()
    if of_one and len(services) > 1:
        raise ConfigError(
            f"{USER}, {PASSWORD} and {TOKEN} are for one archive, and several are named; put each into a netrc file"
        )
    logins = {}
    for service in services:
        login = of_one or _from_netrc(service.host.strip("[]"))
        if login and not service.is_encrypted and not service.is_local:
            raise ConfigError(
                "a login is not sent over http, where others can read it on its way; give the archive's "
                f"dicomweb+https address, or unset {USER} and {TOKEN} and take it out of the netrc file"
            )
        if login:
            logins[service] = login
    return logins


def login_for_host(host: str, *, is_safe: bool) -> Login | None:
    """What a netrc file has for a web server; None where it has nothing.

    Args:
        is_safe: whether nobody can read on its way what is sent to it.

    Raises:
        ConfigError: see `logins_for`.
    """
    login = _from_netrc(host)
    if login and not is_safe:
        raise ConfigError(
            "a login is not sent over http, where others can read it on its way; give the server's https address, or "
            "take it out of the netrc file"
        )
    return login


def _from_environment() -> Login | None:
    user, password, token = (os.environ.get(name, "") for name in (USER, PASSWORD, TOKEN))
    if token and (user or password):
        raise ConfigError(f"{TOKEN} and {USER} are both set; an archive takes one of them")
    if bool(user) != bool(password):
        raise ConfigError(f"{USER} and {PASSWORD} belong together; set both")
    if any(not each.isprintable() for each in (user, password, token)) or not token.isascii():
        raise ConfigError(f"{USER}, {PASSWORD} or {TOKEN} has a character in it that cannot be part of a login")
    return Login(user, password, token) if user or token else None


def _from_netrc(host: str) -> Login | None:
    """What $NETRC or ~/.netrc has for a host by name; its "default" is for nobody in particular, and not taken."""
    stated = os.environ.get("NETRC")
    path = Path(stated or os.path.expanduser("~/.netrc"))
    try:
        status = path.stat()
        hosts = netrc.netrc(str(path)).hosts
    except FileNotFoundError:
        if stated:
            raise ConfigError("the file that NETRC names does not exist") from None
        return None
    except netrc.NetrcParseError as error:  # whose words quote the file
        raise ConfigError(f"{path}, line {error.lineno}, is not as netrc files are") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__})") from None
    if host not in hosts:
        return None
    if sys.platform != "win32" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path} holds a password, and others on this machine can read it; run: chmod 600 {path}")
    user, _, password = hosts[host]
    return Login(user, password or "")
