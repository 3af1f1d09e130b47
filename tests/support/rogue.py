"""HTTP servers that do what no server should: each connection is answered by a function that writes to a socket."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time


class Rogue:
    """A server on this machine.

    :param answer: ``answer(self, connection, request)`` writes what it likes; ``request`` is the head, as text.
    """

    def __init__(self, answer, context=None):
        self.answer, self.context, self.asked = answer, context, []
        self.over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self):
        return f"{'https' if self.context else 'http'}://localhost:{self.port}/shop.tar"

    def _serve(self):
        while not self.over.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=[connection], daemon=True).start()

    def _handle(self, connection):
        with contextlib.suppress(OSError, ssl.SSLError), contextlib.ExitStack() as open_:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            open_.enter_context(connection)
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                piece = connection.recv(1)
                if not piece:
                    return
                request += piece
            self.asked.append(request.decode())
            self.answer(self, connection, request.decode())

    def close(self):
        self.over.set()
        # Closing alone would leave accept() waiting.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextlib.contextmanager
def rogue(answer, context=None):
    """Start a Rogue."""
    server = Rogue(answer, context)
    try:
        yield server
    finally:
        server.close()


def reply(body=b"", status="200 OK", **headers):
    """Return an answer that is as it should be."""
    lines = {"Content_Length": len(body), "Connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())

    def answer(server, connection, request):
        connection.sendall(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + (b"" if request.startswith("HEAD") else body))

    return answer


def redirect(target, status="302 Found"):
    """Return an answer that redirects to ``target``."""
    return reply(status=status, Location=target)


def drip(pieces, pause):
    """Return an answer that sends one of ``pieces`` after the other, with a pause in seconds, until nobody listens."""

    def answer(server, connection, request):
        for piece in pieces:
            connection.sendall(piece)
            if server.over.wait(pause):
                return

    return answer


def certificate(folder, clients=False):
    """Make a certificate of this machine; return a server's context with it, and the path of its authority.

    The file ``server.pem`` beside it has the certificate and its key.

    :param clients: whether the server demands a certificate of its clients, of the same authority.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    own, above = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc)

    def sign(name, key, *extensions):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(above, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    pem = folder / "server.pem"
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + sign("it", own, x509.SubjectAlternativeName([x509.DNSName("localhost")])))
    authority = folder / "authority.pem"
    authority.write_bytes(sign("authority", above, x509.BasicConstraints(ca=True, path_length=None)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority)
    return context, authority
