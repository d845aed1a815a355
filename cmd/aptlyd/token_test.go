package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/aptlyd/aptlyd/client"
)

func TestAllowedIsParsed(t *testing.T) {
	got, err := parseAllowed([]string{"chat:*=subscribe,publish", "a=b=history", "chat:*=history"})
	want := map[string][]string{"chat:*": {"subscribe", "publish", "history"}, "a=b": {"history"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "a", "=subscribe", "a=", "a=read", "a=subscribe,"} {
		if got, err := parseAllowed([]string{bad}); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestGrantsAreParsed(t *testing.T) {
	got, err := parseGrants([]string{"cursor:*=10/20", "a=b=0.5"})
	want := []client.PublishGrant{{Pattern: "cursor:*", Rate: 10, Burst: 20}, {Pattern: "a=b", Rate: 0.5}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"a", "=1", "a=x", "a=1/x", "a=1/2.5", "a=NaN", "a=Inf", "a=-0", "a=-1"} {
		if got, err := parseGrants([]string{bad}); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestTokenIsMinted(t *testing.T) {
	mint := func(args ...string) (string, error) {
		cmd := newToken()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs(append([]string{"mint"}, args...))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.Execute()
		return out.String(), err
	}
	const secret = "ss_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	text, err := mint("--signing-secret", secret, "--kid", "key_1", "--sub", "user", "--ttl", "1h",
		"--allow", "chat:*=subscribe,publish", "--origin", "https://a.example", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Token     string
		ExpiresAt int64
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Parse(answer.Token, func(*jwt.Token) (any, error) { return []byte(secret), nil },
		jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		t.Fatal(err)
	}
	claims := token.Claims.(jwt.MapClaims)
	want := jwt.MapClaims{
		"kid": "key_1", "sub": "user", "exp": float64(answer.ExpiresAt / 1000),
		"channels": map[string]any{"chat:*": []any{"subscribe", "publish"}}, "origins": []any{"https://a.example"},
	}
	if !reflect.DeepEqual(claims, want) || time.Until(time.UnixMilli(answer.ExpiresAt)) > time.Hour {
		t.Errorf("claims %v, want %v", claims, want)
	}
	for _, args := range [][]string{
		{"--kid", "k", "--allow", "a=subscribe"},
		{"--signing-secret", secret, "--allow", "a=subscribe"},
		{"--signing-secret", secret, "--kid", "k"},
		{"--signing-secret", secret, "--kid", "k", "--allow", "a=subscribe", "--ttl", "0"},
		{"--signing-secret", "sk_x", "--kid", "k", "--allow", "a=subscribe"},
	} {
		if out, err := mint(args...); !isMisuse(err) {
			t.Errorf("%q: %v, %q", args, err, out)
		}
	}
}
