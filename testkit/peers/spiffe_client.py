"""An application that has its identity from the SPIFFE Workload API, by a public client that is not ours.

It finds the socket by SPIFFE_ENDPOINT_SOCKET alone and says what it sees in lines of JSON.

    spiffe_client.py fetch                         who it is, whom it may trust, and what lies around its socket's folder;
                                                   again at every change and every second, until killed
    spiffe_client.py call HOST PORT ID [SECONDS]   connections with mutual TLS to the workload ID, one after the other:
                                                   each with what the socket said last, and "ping" echoed over it
    spiffe_client.py token AUDIENCE                a token, judged here by the keys of the socket, and by the socket itself
"""

import json
import os
import socket
import ssl
import sys
import tempfile
import threading
import time

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import JwtSource, JwtSvid, TrustDomain, WorkloadApiClient, X509Source
from spiffe.errors import PySpiffeError

DOMAIN = TrustDomain("cluster.local")


def say(**what):
    print(json.dumps(what), flush=True)


def seen(source):
    svid = source.svid
    return {
        "id": str(svid.spiffe_id),
        "serial": format(svid.leaf.serial_number, "x"),
        "domains": sorted(bundle.trust_domain.name for bundle in source.bundles),
        "roots": len(source.get_bundle_for_trust_domain(DOMAIN).x509_authorities),
    }


def fetch():
    changed = threading.Event()
    folder = os.path.dirname(os.environ["SPIFFE_ENDPOINT_SOCKET"].removeprefix("unix://"))
    with X509Source(timeout_in_seconds=20) as source:
        source.subscribe_for_updates(changed.set)
        while True:
            say(**seen(source), around=len(os.listdir(os.path.dirname(folder))))
            changed.wait(1)
            changed.clear()


def context(source, folder):
    """Mutual TLS of the Python library, with the certificate, key and roots of this moment."""
    svid = source.svid
    chain, key = os.path.join(folder, "chain.pem"), os.path.join(folder, "key.pem")
    with open(chain, "wb") as file:
        file.writelines(certificate.public_bytes(Encoding.PEM) for certificate in svid.cert_chain)
    with open(key, "wb") as file:
        file.write(svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.check_hostname = False
    tls.load_cert_chain(chain, key)
    roots = source.get_bundle_for_trust_domain(DOMAIN).x509_authorities
    tls.load_verify_locations(cadata=b"".join(root.public_bytes(Encoding.DER) for root in roots))
    tls.set_alpn_protocols(["mesh-tcp/1"])
    return tls


def connect(source, folder, address, expected):
    with socket.create_connection(address, timeout=10) as plain:
        with context(source, folder).wrap_socket(plain) as secure:
            names = [value for kind, value in secure.getpeercert()["subjectAltName"] if kind == "URI"]
            if names != [expected]:
                raise ssl.SSLError(f"the peer is {names}")
            secure.sendall(b"ping\n")
            answer = b""
            while b"ping" not in answer:
                part = secure.recv(4096)
                if not part:
                    raise ConnectionError(f"the peer said {answer!r} and ended")
                answer += part


def call(host, port, expected, seconds="0"):
    until = time.monotonic() + float(seconds)
    failures, serials, roots, connections = [], set(), set(), 0
    with X509Source(timeout_in_seconds=20) as source, tempfile.TemporaryDirectory() as folder:
        while True:
            now = seen(source)
            serials.add(now["serial"])
            roots.add(now["roots"])
            connections += 1
            try:
                connect(source, folder, (host, int(port)), expected)
            except OSError as problem:
                failures.append(str(problem))
            if time.monotonic() >= until:
                break
        say(id=now["id"], connections=connections, failures=failures, serials=len(serials), roots=sorted(roots))


def token(audience):
    with JwtSource(timeout_in_seconds=20) as source, WorkloadApiClient() as client:
        given = source.fetch_svid(audience={audience})
        keys = source.get_bundle_for_trust_domain(DOMAIN)
        here = JwtSvid.parse_and_validate(given.token, keys, {audience})
        there = client.validate_jwt_svid(given.token, audience)
        refusals = []
        for judge in [
            lambda: JwtSvid.parse_and_validate(given.token, keys, {audience + "x"}),
            lambda: client.validate_jwt_svid(given.token, audience + "x"),
        ]:
            try:
                judge()
            except PySpiffeError as problem:
                refusals.append(type(problem).__name__)
        say(id=str(given.spiffe_id), here=str(here.spiffe_id), there=str(there.spiffe_id), refusals=refusals)


{"fetch": fetch, "call": call, "token": token}[sys.argv[1]](*sys.argv[2:])
