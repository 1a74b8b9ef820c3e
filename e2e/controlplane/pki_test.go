package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// issued returns a fresh authority and a server certificate of it.
func issued(t *testing.T) (*authority, tls.Certificate) {
	t.Helper()
	ca, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.issue("server", []string{"kubernetes.default"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(pair.certificate, pair.key)
	if err != nil {
		t.Fatal(err)
	}
	return ca, certificate
}

func TestCertificateIsTrustedForItsNamesOnly(t *testing.T) {
	ca, certificate := issued(t)
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"127.0.0.1": true, "kubernetes.default": true, "127.0.0.2": false, "example.org": false} {
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.pool()})
		if got := err == nil; got != want {
			t.Errorf("valid for %s: %t (%v), want %t", name, got, err, want)
		}
	}
	other, _ := issued(t)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: other.pool()}); err == nil {
		t.Error("another run's authority vouches for the certificate")
	}
}

// fakeAPI serves what ready asks for.
func fakeAPI(t *testing.T, certificate tls.Certificate, token, clusterIP string) int {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"spec": map[string]string{"clusterIP": clusterIP}})
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).Port
}

func TestReadyBelievesOnlyItsOwnServer(t *testing.T) {
	ca, certificate := issued(t)
	_, foreign := issued(t)
	for _, test := range []struct {
		name        string
		certificate tls.Certificate
		token, ip   string
		want        string
	}{
		{"own server", certificate, "t", firstServiceAddress, ""},
		{"another authority's certificate", foreign, "t", firstServiceAddress, "certificate"},
		{"another token", certificate, "u", firstServiceAddress, "401"},
		{"no addresses handed out yet", certificate, "t", "", "has address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := fakeAPI(t, test.certificate, test.token, test.ip)
			client := newClient(port, "t", &tls.Config{RootCAs: ca.pool()})
			err := client.ready(t.Context())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v from port %s, want an error with %q", err, strconv.Itoa(port), test.want)
			}
		})
	}
}
