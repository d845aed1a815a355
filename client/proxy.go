package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// dialThrough returns what opens the TCP connection to a node: directly or through an
// HTTP proxy (RFC 9110 section 9.3.6), as the options say for the endpoint.
func (o *Options) dialThrough(
	endpoint string,
) (func(ctx context.Context, network, addr string) (net.Conn, error), error) {
	u, err := url.Parse(strings.Replace(endpoint, "ws", "http", 1))
	if err != nil {
		return nil, fmt.Errorf("parse endpoint: %w", err)
	}
	choose := o.Proxy
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	proxy, err := choose(&http.Request{URL: u})
	if err != nil {
		return nil, fmt.Errorf("choose proxy: %w", err)
	}
	if proxy == nil {
		return (&net.Dialer{}).DialContext, nil
	}
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, fmt.Errorf("proxy %s: only http and https proxies are known", proxy.Redacted())
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := connectThrough(ctx, proxy, network, addr)
		if err != nil {
			return nil, fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
		}
		return conn, nil
	}, nil
}

// connectThrough asks a proxy for a connection to an address.
func connectThrough(ctx context.Context, proxy *url.URL, network, addr string) (_ net.Conn, err error) {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	at := net.JoinHostPort(proxy.Hostname(), port)
	var conn net.Conn
	if proxy.Scheme == "https" {
		conn, err = (&tls.Dialer{}).DialContext(ctx, network, at)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, at)
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		stop()
		if err != nil {
			_ = conn.Close()
		}
	}()
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: make(http.Header)}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		ask.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := ask.Write(conn); err != nil {
		return nil, err
	}
	// The node says nothing before it is spoken to, so nothing of it is read ahead.
	answer, err := http.ReadResponse(bufio.NewReader(conn), ask) //nolint:bodyclose // the body is the connection itself
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", answer.Status)
	}
	return conn, nil
}
