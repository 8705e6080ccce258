"""Verify the certificates of servers, in the same way for a load and for the questions beside it.

Trusted are the certificates of the system and those that SSL_CERT_FILE and SSL_CERT_DIR name.
"""

import os
import ssl

from gptoss_client.errors import UsageError
from gptoss_client.outside import one_line

CA_FILE_VARIABLE = "SSL_CERT_FILE"  # read by OpenSSL; `--cacert` sets it


def tls_context(url: str = "https:") -> ssl.SSLContext | bool:
    """Return what verifies the server of a URL; False for http, which needs none. It takes milliseconds to make.

    Raises UsageError if SSL_CERT_FILE is not a file of certificates, which OpenSSL would ignore.
    """
    if not url.startswith("https:"):
        return False
    context = ssl.create_default_context()
    if file := os.environ.get(CA_FILE_VARIABLE):
        try:
            context.load_verify_locations(file)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{one_line(file)} holds no certificates ({reason}): give a PEM file of CAs") from None
    return context


def connect_reason(error: BaseException) -> str:
    """Return why a connection could not be opened, in one line, with its own words for a certificate and for TLS."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused, {one_line(cause.verify_message)}: {_advice(cause)}"
    if cause is not None:
        return f"TLS failed ({one_line(str(cause))}): is it an https server?"
    return one_line(str(error)) or type(error).__name__


def _advice(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _UNKNOWN_CA:
        return f"name its CA in a PEM file by --cacert or {CA_FILE_VARIABLE}"
    return "use the name and the time for which it is valid, or another certificate"


_UNKNOWN_CA = {2, 18, 19, 20, 21}  # OpenSSL's codes for an issuer that is missing, self-signed or not trusted
