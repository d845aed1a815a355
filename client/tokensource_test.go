package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// tokenOf makes an unsigned token that lives from one time to another.
func tokenOf(from, to time.Time) string {
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, from.Unix(), to.Unix())
	return "h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s"
}

func TestTokensAreAskedForAndRenewed(t *testing.T) {
	server := startFake(t)
	now := time.Now()
	tokens := map[TokenReason]string{
		Connecting: tokenOf(now.Add(-time.Hour), now.Add(-time.Minute)),
		Refused:    tokenOf(now.Add(-9*time.Second), now.Add(2*time.Second)), // 80% are over
		Refreshing: tokenOf(now, now.Add(time.Hour)),
	}
	var failed bool
	c, err := newClient(Options{
		Endpoints: []string{server.URL},
		Token: func(_ context.Context, reason TokenReason) (string, error) {
			if !failed {
				failed = true
				return "", errors.New("no network")
			}
			if reason == Reconnecting {
				reason = Connecting
			}
			return tokens[reason], nil
		},
	}, quick)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	want := func(conn *fakeConn, token string) {
		t.Helper()
		if auth := conn.expect("auth"); auth["apiKey"] != token {
			t.Errorf("authenticates with %v, want %v", auth["apiKey"], token)
		}
	}
	first := server.accept(t)
	want(first, tokens[Connecting])
	first.send(`{"type":"error","error":"expired","code":"token_expired"}`)
	first.close(ws.StatusNormalClosure)
	second := server.accept(t)
	want(second, tokens[Refused])
	second.send(`{"type":"connected","connectionId":"c1","node":"n1"}`)
	want(second, tokens[Refreshing])
}

func TestTokensThatAreRefusedTimeAndAgainEndTheClient(t *testing.T) {
	server := startFake(t)
	c, err := newClient(Options{
		Endpoints: []string{server.URL},
		Token: func(context.Context, TokenReason) (string, error) {
			return "token", nil
		},
	}, quick)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for range maxRefusedTokens {
		conn := server.accept(t)
		conn.expect("auth")
		conn.send(`{"type":"error","error":"bad","code":"token_invalid"}`)
		conn.close(ws.StatusNormalClosure)
	}
	var refusal *Error
	if err := c.Connect(t.Context()); !errors.As(err, &refusal) || refusal.Code != CodeTokenInvalid {
		t.Errorf("ended with %v", err)
	}
}
