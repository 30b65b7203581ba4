// An application that has its identity from the SPIFFE Workload API, by the public client for Go. It finds the socket by
// SPIFFE_ENDPOINT_SOCKET alone.
//
//	spiffe fetch                 says who it is
//	spiffe serve ADDRESS         says to each client with mutual TLS who that is
//	spiffe call HOST:PORT ID     says what the server with this identity answered
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(words []string) error {
	patience, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	source, err := workloadapi.NewX509Source(patience)
	if err != nil {
		return err
	}
	defer source.Close()
	switch {
	case len(words) == 1 && words[0] == "fetch":
		svid, err := source.GetX509SVID()
		if err != nil {
			return err
		}
		fmt.Println(svid.ID)
		return nil
	case len(words) == 2 && words[0] == "serve":
		return serve(source, words[1])
	case len(words) == 3 && words[0] == "call":
		return call(patience, source, words[1], words[2])
	}
	return fmt.Errorf("unknown words: %q", words)
}

func serve(source *workloadapi.X509Source, address string) error {
	mode := spiffetls.MTLSServerWithRawConfig(tlsconfig.AuthorizeAny(), source, source)
	listener, err := spiffetls.ListenWithMode(context.Background(), "tcp", address, mode)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go greet(conn)
	}
}

func greet(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	// The identity is there after the handshake, which the first read does.
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		log.Print(err)
		return
	}
	id, err := spiffetls.PeerIDFromConn(conn)
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Fprintln(conn, id)
}

func call(ctx context.Context, source *workloadapi.X509Source, address, id string) error {
	server, err := spiffeid.FromString(id)
	if err != nil {
		return err
	}
	mode := spiffetls.MTLSClientWithRawConfig(tlsconfig.AuthorizeID(server), source, source)
	conn, err := spiffetls.DialWithMode(ctx, "tcp", address, mode)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("?")); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	fmt.Print(string(answer))
	return err
}
