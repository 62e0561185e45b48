"""What libraries of the network raise, as errors of ours; none of their words, which quote addresses and signatures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cxrzero.archive.limits import AGAIN, TransientError
from cxrzero.errors import CxrzeroError, ImageError, RemoteError

WHO = "the store"
# Codes of S3 that are about who asks, and not about what is asked for.
_LOGIN_CODES = frozenset({
    "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId",
    "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired", "AuthorizationHeaderMalformed", "NotSignedUp",
    "InvalidClientTokenId", "UnrecognizedClientException", "AuthenticationFailed", "InvalidAuthenticationInfo",
})  # fmt: skip
_AGAIN_CODES = frozenset({
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException",
    "RequestLimitExceeded", "TooManyRequestsException", "ServerBusy", "OperationTimedOut",
})  # fmt: skip
LOGINS = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or log in with aws sso login",
    "gs": "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "run az login, or set AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCOUNT_NAME with its key",
}


def login_error(service: str, what: str) -> RemoteError:
    """The end of a run whose login is at fault.

    Args:
        service: as `ObjectAddress.service`.
        what: is wrong with it.
    """
    scheme = service.partition("://")[0]
    hint = LOGINS.get("az" if scheme.startswith("abfs") else scheme, "give a login that may read there")
    return RemoteError(
        f"{service}: {what}; {hint} (docs/places.md), and run the same command again: what was embedded is not fetched "
        "again"
    )


def answer(service: str, status: int, code: str = "", wait_s: float | None = None) -> CxrzeroError:
    """The error for an answer that is none.

    Args:
        status: of HTTP; 0 where it is not known.
        code: the store's own word for it.
    """
    if code in _LOGIN_CODES or status == 401:
        return login_error(service, f"the login has expired or is not accepted ({code or f'HTTP {status}'})")
    if code in ("NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "AccountIsDisabled"):
        return RemoteError(f"{service} does not exist ({code})")
    if status == 412 or code == "PreconditionFailed":
        return changed()
    if status == 403:
        return ImageError("remote_refused", f"{WHO} refuses (HTTP 403)")
    if status in (404, 410):
        return missing()
    if code in _AGAIN_CODES or status in AGAIN:
        return TransientError("remote_error", f"{WHO} answers {code or f'HTTP {status}'}", wait_s)
    if 300 <= status < 400:
        return ImageError("remote_redirect", f"{WHO} redirects to another host or port, or to plain http; refused")
    return ImageError("remote_error", f"{WHO} answers {code if code.isalnum() else f'HTTP {status}'}")


def changed() -> ImageError:
    return ImageError("changed", "the object was replaced after it had been listed; run again to read what it is now")


def missing() -> ImageError:
    return ImageError("missing", f"{WHO} does not have it (any more)")


def too_large(most_bytes: int) -> ImageError:
    return ImageError("file_too_large", f"{WHO} has more than {most_bytes:,} bytes of it; refused")


def broke_off() -> TransientError:
    return TransientError("truncated", f"{WHO}'s answer broke off")


def absence(does: str) -> TransientError:
    return TransientError("remote_error", f"{WHO} {does}", is_absence=True)


@contextmanager
def translated(service: str) -> Iterator[None]:
    """What any of the libraries raises inside, as an error of ours; `OSError` among it, but no fault of this code."""
    try:
        yield
    except CxrzeroError:
        raise
    except Exception as error:
        raise _of(service, error) from None


def _of(service: str, error: Exception) -> Exception:
    names = {kind.__name__ for kind in type(error).__mro__}
    # A library that is not loaded has raised nothing, so its errors are known by name: none is imported for this.
    if "ClientError" in names and isinstance(response := getattr(error, "response", None), dict):  # botocore
        meta = response.get("ResponseMetadata", {})
        return answer(service, int(meta.get("HTTPStatusCode", 0)), str(response.get("Error", {}).get("Code", "")))
    if "AzureError" in names and isinstance(status := getattr(error, "status_code", None), int):
        return answer(service, status, str(getattr(error, "error_code", None) or ""))
    if "HttpError" in names or "ClientResponseError" in names:  # gcsfs, aiohttp
        status = getattr(error, "status", None) or getattr(error, "code", None) or 0
        return answer(service, int(status))
    if names & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "SSOTokenLoadError",
                "UnauthorizedSSOTokenError", "TokenRetrievalError", "ProfileNotFound", "GoogleAuthError",
                "ClientAuthenticationError", "RefreshError"}:  # fmt: skip
        return login_error(service, f"there is no login, or none that can be used ({type(error).__name__})")
    if names & {"SSLError", "ClientSSLError", "ClientConnectorCertificateError", "SSLCertVerificationError"}:
        return RemoteError(f"{service}: its certificate cannot be verified")
    if names & {"ClientPayloadError", "IncompleteReadError", "ResponseStreamingError", "IncompleteRead",
                "ServerDisconnectedError", "ConnectionClosedError", "HTTPClientError",
                "FlexibleChecksumError"}:  # fmt: skip
        return broke_off()
    if isinstance(error, TimeoutError) or any("Timeout" in name for name in names):
        return absence("does not answer in time")
    if isinstance(error, ConnectionError) or names & {
        "ClientConnectionError", "EndpointConnectionError", "ServiceRequestError", "ConnectTimeoutError",
    }:  # fmt: skip
        return absence("cannot be reached")
    if isinstance(error, FileNotFoundError):
        return missing()
    if isinstance(error, PermissionError):
        return ImageError("remote_refused", f"{WHO} refuses")
    if isinstance(error, OSError):
        return TransientError("remote_error", f"{WHO} cannot be read ({type(error).__name__})")
    return ImageError("remote_error", f"{WHO} cannot be asked ({type(error).__name__})")
