package gateway

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/aptlyd/aptlyd/fsm"
)

// mint signs claims, written as JSON, with a secret. header and payload are as
// given, so that they can be wrong.
func mint(header, payload string, secret []byte) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	text := part(header) + "." + part(payload)
	signature, err := jwt.SigningMethodHS256.Sign(text, secret)
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// claimsOf are claims of a token that ends after a while.
func (b *fakeBroker) claimsOf(kid string, ends time.Duration, more string) string {
	return fmt.Sprintf(`{"kid":%q,"sub":"user-17","exp":%d%s}`, kid, time.UnixMilli(b.Stamp()).Add(ends).Unix(), more)
}

const plainHeader = `{"alg":"HS256","typ":"JWT"}`

// token mints a token under a server key of the harness; more are claims, each
// with a comma before it.
func (h *harness) token(key string, ends time.Duration, more string) string {
	h.t.Helper()
	k, _ := h.broker.Key(key)
	secret, found := h.broker.SigningSecret(k.ID)
	if !found {
		h.t.Fatalf("key %q signs nothing", k.ID)
	}
	return mint(plainHeader, h.broker.claimsOf(k.ID, ends, more), secret)
}

const someChannels = `,"channels":{"chat:*":["subscribe","publish"],"news":["subscribe"],"log":["history"]}`

func TestTokens(t *testing.T) {
	b := newFakeBroker()
	defer b.close()
	b.projects[testProject] = &fsm.Project{ID: testProject}
	server, public := b.addKey(testProject, fsm.ServerKey), b.addKey(testProject, fsm.PublicKey)
	key, _ := b.Key(server)
	other, _ := b.Key(b.addKey(testProject, fsm.ServerKey))
	bare, _ := b.Key(public)
	secret, _ := b.SigningSecret(key.ID)
	foreign, _ := b.SigningSecret(other.ID)
	good := b.claimsOf(key.ID, time.Minute, someChannels)
	b.admins["a session's"] = fsm.AdminToken{ID: "user-17", Parent: fsm.FirstAdminToken}
	header := func(more string) string { return `{"alg":"HS256","typ":"JWT"` + more + `}` }
	claim := func(ends time.Duration, more string) string { return b.claimsOf(key.ID, ends, more) }
	noKid := strings.Replace(good, fmt.Sprintf(`"kid":%q,`, key.ID), "", 1)
	unsigned := mint(`{"alg":"none"}`, good, secret)

	for name, c := range map[string]struct {
		text string
		want error // nil: it is good
	}{
		"good":                 {mint(plainHeader, good, secret), nil},
		"kid in the header":    {mint(header(`,"kid":"`+key.ID+`"`), noKid, secret), nil},
		"kid in both":          {mint(header(`,"kid":"`+key.ID+`"`), good, secret), nil},
		"other claims":         {mint(plainHeader, claim(time.Minute, someChannels+`,"name":"Eve","aud":["a"],"iss":"b","jti":7`), secret), nil},
		"within the leeway":    {mint(plainHeader, claim(-29*time.Second, someChannels), secret), nil},
		"not yet, in leeway":   {mint(plainHeader, claim(time.Minute, someChannels+fmt.Sprintf(`,"nbf":%d`, b.Stamp()/1000+29)), secret), nil},
		"no channel":           {mint(plainHeader, claim(time.Minute, `,"channels":{}`), secret), nil},
		"expired":              {mint(plainHeader, claim(-31*time.Second, someChannels), secret), jwt.ErrTokenExpired},
		"not yet":              {mint(plainHeader, claim(time.Minute, someChannels+fmt.Sprintf(`,"nbf":%d`, b.Stamp()/1000+31)), secret), jwt.ErrTokenNotValidYet},
		"another key's secret": {mint(plainHeader, good, foreign), jwt.ErrTokenSignatureInvalid},
		"empty secret":         {mint(plainHeader, good, nil), jwt.ErrTokenSignatureInvalid},
		"expired and forged":   {mint(plainHeader, claim(-time.Hour, someChannels), foreign), jwt.ErrTokenSignatureInvalid},
		"claims changed":       {swapPart(mint(plainHeader, good, secret), 1, strings.Replace(good, "user-17", "user-18", 1)), jwt.ErrTokenSignatureInvalid},
		"alg none":             {unsigned, jwt.ErrTokenSignatureInvalid},
		"alg none, unsigned":   {unsigned[:strings.LastIndexByte(unsigned, '.')+1], jwt.ErrTokenSignatureInvalid},
		"alg changed":          {swapPart(mint(plainHeader, good, secret), 0, `{"alg":"HS512"}`), jwt.ErrTokenSignatureInvalid},
		"alg in another case":  {mint(`{"alg":"hs256"}`, good, secret), jwt.ErrTokenUnverifiable},
		"alg of public keys":   {mint(`{"alg":"RS256"}`, good, secret), jwt.ErrTokenSignatureInvalid},
		"no alg":               {mint(`{"typ":"JWT"}`, good, secret), jwt.ErrTokenUnverifiable},
		"critical extension":   {mint(header(`,"crit":["b64"],"b64":false`), good, secret), errAny},
		"unknown kid":          {mint(plainHeader, b.claimsOf("key-none", time.Minute, someChannels), secret), errKeyOfToken},
		"kid of a public key":  {mint(plainHeader, b.claimsOf(bare.ID, time.Minute, someChannels), []byte("ss_"+bare.ID)), errKeyOfToken},
		"no kid":               {mint(plainHeader, noKid, secret), errKeyOfToken},
		"two kids":             {mint(header(`,"kid":"`+other.ID+`"`), good, secret), errAny},
		"kid is a number":      {mint(header(`,"kid":7`), noKid, secret), errAny},
		"no exp":               {mint(plainHeader, `{"kid":"`+key.ID+`"`+someChannels+`}`, secret), jwt.ErrTokenRequiredClaimMissing},
		"exp is text":          {mint(plainHeader, `{"exp":"soon"`+someChannels+`}`, secret), jwt.ErrTokenMalformed},
		"exp too late":         {mint(plainHeader, `{"kid":"`+key.ID+`","exp":1e15`+someChannels+`}`, secret), errAny},
		"exp overflows":        {mint(plainHeader, `{"kid":"`+key.ID+`","exp":1e300`+someChannels+`}`, secret), jwt.ErrTokenMalformed},
		"exp is no number":     {mint(plainHeader, `{"kid":"`+key.ID+`","exp":1e999`+someChannels+`}`, secret), jwt.ErrTokenMalformed},
		"exp is negative":      {mint(plainHeader, `{"kid":"`+key.ID+`","exp":-1`+someChannels+`}`, secret), jwt.ErrTokenMalformed},
		"exp has a fraction":   {mint(plainHeader, fmt.Sprintf(`{"kid":%q,"sub":"user-17","exp":%d.75%s}`, key.ID, b.Stamp()/1000+60, someChannels), secret), nil},
		"exp is null":          {mint(plainHeader, `{"kid":"`+key.ID+`","exp":null`+someChannels+`}`, secret), jwt.ErrTokenRequiredClaimMissing},
		"nbf overflows":        {mint(plainHeader, claim(time.Minute, someChannels+`,"nbf":1e300`), secret), jwt.ErrTokenMalformed},
		"nbf wraps around":     {mint(plainHeader, claim(time.Minute, someChannels+`,"nbf":18446744073709551617`), secret), jwt.ErrTokenMalformed},
		"nbf is negative":      {mint(plainHeader, claim(time.Minute, someChannels+`,"nbf":-1`), secret), jwt.ErrTokenMalformed},
		"nbf is -0":            {mint(plainHeader, claim(time.Minute, someChannels+`,"nbf":-0`), secret), nil},
		"nbf far ahead":        {mint(plainHeader, claim(time.Minute, someChannels+`,"nbf":2e11`), secret), jwt.ErrTokenNotValidYet},
		"pattern twice":        {mint(plainHeader, claim(time.Minute, `,"channels":{"a":["subscribe"],"\u0061":["publish"]}`), secret), jwt.ErrTokenMalformed},
		"too many patterns":    {mint(plainHeader, claim(time.Minute, `,"channels":{`+manyPatterns(maxScopes+1)+`}`), secret), jwt.ErrTokenMalformed},
		"most patterns":        {mint(plainHeader, claim(time.Minute, `,"channels":{`+manyPatterns(maxScopes)+`}`), secret), nil},
		"action twice":         {mint(plainHeader, claim(time.Minute, `,"channels":{"a":["publish","publish"]}`), secret), nil},
		"actions are null":     {mint(plainHeader, claim(time.Minute, `,"channels":{"a":null}`), secret), jwt.ErrTokenMalformed},
		"action is a number":   {mint(plainHeader, claim(time.Minute, `,"channels":{"a":[1]}`), secret), jwt.ErrTokenMalformed},
		"bad UTF-8":            {mint(plainHeader, claim(time.Minute, ",\"channels\":{\"a\xff\":[]}"), secret), jwt.ErrTokenMalformed},
		"no channels":          {mint(plainHeader, claim(time.Minute, ""), secret), jwt.ErrTokenMalformed},
		"channels is null":     {mint(plainHeader, claim(time.Minute, `,"channels":null`), secret), jwt.ErrTokenMalformed},
		"channels is a list":   {mint(plainHeader, claim(time.Minute, `,"channels":["a"]`), secret), jwt.ErrTokenMalformed},
		"unknown action":       {mint(plainHeader, claim(time.Minute, `,"channels":{"a":["own"]}`), secret), jwt.ErrTokenMalformed},
		"star in the middle":   {mint(plainHeader, claim(time.Minute, `,"channels":{"a*b":["publish"]}`), secret), jwt.ErrTokenMalformed},
		"empty pattern":        {mint(plainHeader, claim(time.Minute, `,"channels":{"":["publish"]}`), secret), jwt.ErrTokenMalformed},
		"bad origin":           {mint(plainHeader, claim(time.Minute, someChannels+`,"origins":["x"]`), secret), jwt.ErrTokenMalformed},
		"claim twice":          {mint(plainHeader, claim(time.Minute, someChannels+`,"channels":{"*":["publish"]}`), secret), jwt.ErrTokenMalformed},
		"claim in other case":  {mint(plainHeader, claim(time.Minute, someChannels+`,"Exp":1`), secret), jwt.ErrTokenMalformed},
		"sub is a number":      {mint(plainHeader, strings.Replace(good, `"user-17"`, "17", 1), secret), jwt.ErrTokenMalformed},
		"too long":             {mint(plainHeader, claim(time.Minute, someChannels+`,"pad":"`+strings.Repeat("x", maxTokenBytes)+`"`), secret), errAny},
		"padded base64":        {mint(plainHeader, good, secret) + "=", jwt.ErrTokenMalformed},
		"two parts":            {"a.b", jwt.ErrTokenMalformed},
		"nothing between":      {"..", jwt.ErrTokenMalformed},
		"not an object":        {mint(plainHeader, `[]`, secret), jwt.ErrTokenMalformed},
		"console, forged":      {mint(plainHeader, b.claimsOf(consoleTokenID, time.Minute, someChannels), secret), jwt.ErrTokenSignatureInvalid},
		"console":              {mint(plainHeader, b.claimsOf(consoleTokenID, time.Minute, someChannels+`,"project":"`+testProject+`"`), b.ConsoleSecret()), nil},
		"console, no session":  {mint(plainHeader, strings.Replace(b.claimsOf(consoleTokenID, time.Minute, someChannels), "user-17", "adm-ended", 1), b.ConsoleSecret()), errKeyOfToken},
		"project of its own":   {mint(plainHeader, claim(time.Minute, someChannels+`,"project":"prj-other"`), secret), nil},
	} {
		who, err := readToken(c.text, b)
		switch {
		case errors.Is(c.want, errAny) && err == nil, !errors.Is(c.want, errAny) && !errors.Is(err, c.want):
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		case errors.Is(err, jwt.ErrTokenExpired) != errors.Is(c.want, jwt.ErrTokenExpired):
			t.Errorf("%s: error %v", name, err)
		case err == nil && (who.kind != bearer || who.project != testProject || who.token.subject != "user-17"):
			t.Errorf("%s: %+v", name, who)
		}
	}

	who, err := readToken(mint(plainHeader, good, secret), b)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		do      action
		channel string
		want    bool
	}{
		{toSubscribe, "chat:1", true}, {toPublish, "chat:1", true}, {toReadHistory, "chat:1", false},
		{toSubscribe, "news", true}, {toPublish, "news", false}, {toSubscribe, "news2", false}, {toSubscribe, "chat", false},
		{toReadHistory, "log", true}, {toSubscribe, "log", false},
	} {
		if got := who.token.may(c.do, c.channel); got != c.want {
			t.Errorf("%s on %s is %v", c.do, c.channel, got)
		}
	}
}

// manyPatterns are members of a token's channels.
func manyPatterns(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"c%d":["publish"]`, i)
	}
	return strings.Join(members, ",")
}

// errAny stands for an error of any kind.
var errAny = errors.New("any")

// swapPart replaces one part of a token and leaves its signature as it is.
func swapPart(text string, part int, by string) string {
	parts := strings.Split(text, ".")
	parts[part] = base64.RawURLEncoding.EncodeToString([]byte(by))
	return strings.Join(parts, ".")
}

// Whatever is signed or changed, nothing is let in that was not signed as it is,
// and what is let in says nothing that its text does not.
func FuzzToken(f *testing.F) {
	b := newFakeBroker()
	f.Cleanup(b.close)
	b.projects[testProject] = &fsm.Project{ID: testProject}
	key, _ := b.Key(b.addKey(testProject, fsm.ServerKey))
	secret, _ := b.SigningSecret(key.ID)
	good := b.claimsOf(key.ID, time.Minute, someChannels)
	f.Add(plainHeader, good, true)
	f.Add(plainHeader, good, false)
	f.Add(`{"alg":"none"}`, good, false)
	f.Add(`{"alg":"HS256","kid":"console"}`, `{"exp":9e18,"channels":{"*":["publish"]},"origins":[]}`, true)
	f.Add(plainHeader, `{"exp":1764000000.5,"nbf":null,"channels":{"a":null}}`, true)
	f.Fuzz(func(t *testing.T, header, payload string, signed bool) {
		with := secret
		if !signed {
			with = []byte("another secret")
		}
		who, err := readToken(mint(header, payload, with), b)
		switch {
		case err != nil && who.token != nil:
			t.Errorf("%s.%s: rights beside %v", header, payload, err)
		case err == nil && !signed:
			t.Errorf("%s.%s is let in unsigned", header, payload)
		case err == nil && (who.project != testProject || who.token.endsAt < b.Stamp()):
			t.Errorf("%s.%s is let in as %+v, %+v", header, payload, who, who.token)
		}
		_, _ = readToken(header+"."+payload, b)
	})
}

func BenchmarkReadToken(b *testing.B) {
	broker := newFakeBroker()
	b.Cleanup(broker.close)
	key, _ := broker.Key(broker.addKey(testProject, fsm.ServerKey))
	secret, _ := broker.SigningSecret(key.ID)
	text := mint(plainHeader, broker.claimsOf(key.ID, time.Minute, someChannels), secret)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readToken(text, broker); err != nil {
			b.Fatal(err)
		}
	}
}
