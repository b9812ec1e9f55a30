"""Other TLS libraries as servers: GnuTLS, and Go's crypto/tls where Go is. Each hands the messages of a connection, one after the
other, to a fake server over TCP. (OpenSSL needs no such thing: it is what the fake server itself runs on.)"""

import ctypes
import ctypes.util
import os
import shutil
import socket
import struct
import subprocess
import threading

from .fake import DOT_PORT
from .program import port_open
from .waiting import wait_until

START_S = 60  # go compiles
VERSIONS = ["1.2", "1.3"]


class Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_uint)]


class GnuTls:
    """libgnutls, called directly; a thread for each connection."""

    SERVER, CREDENTIALS_CERTIFICATE, PEM, SHUT_WR = 1, 1, 1, 1
    AGAIN, INTERRUPTED = -28, -52

    @staticmethod
    def is_there():
        return ctypes.util.find_library("gnutls") is not None

    def __init__(self, directory, address, certificate, target, version):
        self.lib = ctypes.CDLL(ctypes.util.find_library("gnutls"))
        for function in ("gnutls_record_recv", "gnutls_record_send"):
            getattr(self.lib, function).argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
            getattr(self.lib, function).restype = ctypes.c_ssize_t
        self.address, self.target = address, target
        self.priority = f"NORMAL:-VERS-ALL:+VERS-TLS{version}".encode()
        self.credentials, self.ticket_key = ctypes.c_void_p(), Datum()
        self._check("certificate_allocate_credentials", ctypes.byref(self.credentials))
        self._check(
            "certificate_set_x509_key_file",
            self.credentials,
            os.fsencode(certificate.chain_file),
            os.fsencode(certificate.key_file),
            self.PEM,
        )
        self._check("session_ticket_key_generate", ctypes.byref(self.ticket_key))
        self.listener = socket.create_server((address, DOT_PORT))
        threading.Thread(target=self._accept, daemon=True).start()

    def _check(self, function, *arguments):
        result = getattr(self.lib, "gnutls_" + function)(*arguments)
        assert result >= 0, f"gnutls_{function}: {result}"

    def stop(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _session(self, sock):
        session = ctypes.c_void_p()
        self._check("init", ctypes.byref(session), self.SERVER)
        self._check("priority_set_direct", session, self.priority, None)
        self._check("credentials_set", session, self.CREDENTIALS_CERTIFICATE, self.credentials)
        self._check("session_ticket_enable_server", session, ctypes.byref(self.ticket_key))
        self.lib.gnutls_transport_set_int2(session, sock.fileno(), sock.fileno())
        return session

    def _serve(self, sock):
        with sock, socket.create_connection(self.target) as plain:
            session = self._session(sock)
            result = self.AGAIN
            while result in (self.AGAIN, self.INTERRUPTED):
                result = self.lib.gnutls_handshake(session)
            if result == 0:
                self._relay(session, plain)
            self.lib.gnutls_deinit(session)

    def _relay(self, session, plain):
        buffer, stream = ctypes.create_string_buffer(65536), b""
        while (size := self.lib.gnutls_record_recv(session, buffer, len(buffer))) > 0:
            stream += buffer.raw[:size]
            while len(stream) >= 2 and len(stream) >= (end := 2 + struct.unpack_from("!H", stream)[0]):
                plain.sendall(stream[:end])
                stream = stream[end:]
                answer = frame_from(plain)
                if self.lib.gnutls_record_send(session, answer, len(answer)) != len(answer):
                    return
        self.lib.gnutls_bye(session, self.SHUT_WR)


def frame_from(sock):
    head = sock.recv(2, socket.MSG_WAITALL)
    return head + sock.recv(struct.unpack("!H", head)[0], socket.MSG_WAITALL)


GO = """package main

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"os"
)

func frame(from io.Reader, to io.Writer) error {
	head := make([]byte, 2)
	if _, err := io.ReadFull(from, head); err != nil {
		return err
	}
	body := make([]byte, binary.BigEndian.Uint16(head))
	if _, err := io.ReadFull(from, body); err != nil {
		return err
	}
	_, err := to.Write(append(head, body...))
	return err
}

func serve(client net.Conn, target string) {
	defer client.Close()
	plain, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer plain.Close()
	for frame(client, plain) == nil && frame(plain, client) == nil {
	}
}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[2], os.Args[3])
	if err != nil {
		panic(err)
	}
	version := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[os.Args[5]]
	config := &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   version,
		MaxVersion:   version,
		NextProtos:   []string{"dot"},
	}
	listener, err := tls.Listen("tcp", os.Args[1], config)
	if err != nil {
		panic(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go serve(client, os.Args[4])
	}
}
"""


class Go:
    """A program made with Go's standard library alone."""

    @staticmethod
    def is_there():
        return shutil.which("go") is not None

    def __init__(self, directory, address, certificate, target, version):
        program = directory / "server"
        (directory / "server.go").write_text(GO)
        environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "CGO_ENABLED": "0"}
        environment.setdefault("HOME", str(directory))  # for its cache
        subprocess.run(["go", "build", "-o", program, "server.go"], cwd=directory, env=environment, check=True)
        self.process = subprocess.Popen(
            [
                program,
                f"{address}:{DOT_PORT}",
                certificate.chain_file,
                certificate.key_file,
                "{}:{}".format(*target),
                version,
            ],
            stdin=subprocess.DEVNULL,
        )
        wait_until(lambda: port_open(address, DOT_PORT), START_S, "the Go server to listen")

    def stop(self):
        self.process.terminate()
        self.process.wait(5)


STACKS = {"GnuTLS": GnuTls, "Go": Go}
