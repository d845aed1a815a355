package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/internal/testtoken"
)

const grants = `,"channels":{"chat:*":["subscribe","publish"],"news":["subscribe"],"log":["history"]}`

func TestTokens(t *testing.T) {
	b := newFakeKeys()
	server, public := b.addKey(ownProject, fsm.ServerKey), b.addKey(ownProject, fsm.PublicKey)
	key, _ := b.Key(server)
	other, _ := b.Key(b.addKey(ownProject, fsm.ServerKey))
	bare, _ := b.Key(public)
	secret, _ := b.SigningSecret(key.ID)
	foreign, _ := b.SigningSecret(other.ID)
	good := b.claimsOf(key.ID, time.Minute, grants)
	b.sessions["user-17"] = fsm.AdminToken{ID: "user-17", Parent: fsm.FirstAdminToken}
	header := func(more string) string { return `{"alg":"HS256","typ":"JWT"` + more + `}` }
	console := b.claimsOf(consoleKeyID, time.Minute, grants+`,"project":"`+ownProject+`"`)
	mint := func(claims string) string { return testtoken.Mint(testtoken.Header, claims, secret) }
	claim := func(ends time.Duration, more string) string { return b.claimsOf(key.ID, ends, more) }
	noKid := strings.Replace(good, fmt.Sprintf(`"kid":%q,`, key.ID), "", 1)
	unsigned := testtoken.Mint(`{"alg":"none"}`, good, secret)

	for name, c := range map[string]struct {
		text string
		want error // nil: it is good
	}{
		"good":               {mint(good), nil},
		"kid in the header":  {testtoken.Mint(header(`,"kid":"`+key.ID+`"`), noKid, secret), nil},
		"kid in both":        {testtoken.Mint(header(`,"kid":"`+key.ID+`"`), good, secret), nil},
		"other claims":       {mint(claim(time.Minute, grants+`,"name":"Eve","aud":["a"],"iss":"b","jti":7`)), nil},
		"within the leeway":  {mint(claim(-29*time.Second, grants)), nil},
		"not yet, in leeway": {mint(claim(time.Minute, grants+fmt.Sprintf(`,"nbf":%d`, b.Stamp()/1000+29))), nil},
		"no channel":         {mint(claim(time.Minute, `,"channels":{}`)), nil},
		"expired":            {mint(claim(-31*time.Second, grants)), jwt.ErrTokenExpired},
		"not yet": {
			mint(claim(time.Minute, grants+fmt.Sprintf(`,"nbf":%d`, b.Stamp()/1000+31))),
			jwt.ErrTokenNotValidYet,
		},
		"another key's secret": {testtoken.Mint(testtoken.Header, good, foreign), jwt.ErrTokenSignatureInvalid},
		"empty secret":         {testtoken.Mint(testtoken.Header, good, nil), jwt.ErrTokenSignatureInvalid},
		"expired and forged": {
			testtoken.Mint(testtoken.Header, claim(-time.Hour, grants), foreign),
			jwt.ErrTokenSignatureInvalid,
		},
		"claims changed": {
			testtoken.SwapPart(mint(good), 1, strings.Replace(good, "user-17", "user-18", 1)),
			jwt.ErrTokenSignatureInvalid,
		},
		"alg none":            {unsigned, jwt.ErrTokenSignatureInvalid},
		"alg none, unsigned":  {unsigned[:strings.LastIndexByte(unsigned, '.')+1], jwt.ErrTokenSignatureInvalid},
		"alg changed":         {testtoken.SwapPart(mint(good), 0, `{"alg":"HS512"}`), jwt.ErrTokenSignatureInvalid},
		"alg in another case": {testtoken.Mint(`{"alg":"hs256"}`, good, secret), jwt.ErrTokenUnverifiable},
		"alg of public keys":  {testtoken.Mint(`{"alg":"RS256"}`, good, secret), jwt.ErrTokenSignatureInvalid},
		"no alg":              {testtoken.Mint(`{"typ":"JWT"}`, good, secret), jwt.ErrTokenUnverifiable},
		"critical extension":  {testtoken.Mint(header(`,"crit":["b64"],"b64":false`), good, secret), errAny},
		"two algs":            {testtoken.Mint(`{"alg":"none","alg":"HS256"}`, good, secret), jwt.ErrTokenMalformed},
		"kid twice, equal": {
			testtoken.Mint(header(`,"kid":"`+key.ID+`","kid":"`+key.ID+`"`), noKid, secret),
			jwt.ErrTokenMalformed,
		},
		"another header twice": {testtoken.Mint(header(`,"x":1,"x":2`), good, secret), jwt.ErrTokenMalformed},
		"header name in caps":  {testtoken.Mint(header(`,"KID":"`+key.ID+`"`), noKid, secret), jwt.ErrTokenMalformed},
		"unknown kid":          {mint(b.claimsOf("key-none", time.Minute, grants)), errKeyOfToken},
		"kid of a public key": {testtoken.Mint(testtoken.Header, b.claimsOf(bare.ID, time.Minute, grants),
			[]byte("ss_"+bare.ID)), errKeyOfToken},
		"no kid":           {mint(noKid), errKeyOfToken},
		"two kids":         {testtoken.Mint(header(`,"kid":"`+other.ID+`"`), good, secret), errAny},
		"kid is a number":  {testtoken.Mint(header(`,"kid":7`), noKid, secret), errAny},
		"no exp":           {mint(`{"kid":"` + key.ID + `"` + grants + `}`), jwt.ErrTokenRequiredClaimMissing},
		"exp is text":      {mint(`{"exp":"soon"` + grants + `}`), jwt.ErrTokenMalformed},
		"exp too late":     {mint(`{"kid":"` + key.ID + `","exp":1e15` + grants + `}`), errAny},
		"exp overflows":    {mint(`{"kid":"` + key.ID + `","exp":1e300` + grants + `}`), jwt.ErrTokenMalformed},
		"exp is no number": {mint(`{"kid":"` + key.ID + `","exp":1e999` + grants + `}`), jwt.ErrTokenMalformed},
		"exp is negative":  {mint(`{"kid":"` + key.ID + `","exp":-1` + grants + `}`), jwt.ErrTokenMalformed},
		"exp has a fraction": {mint(fmt.Sprintf(`{"kid":%q,"sub":"user-17","exp":%d.75%s}`, key.ID, b.Stamp()/1000+60,
			grants)), nil},
		"exp is null":      {mint(`{"kid":"` + key.ID + `","exp":null` + grants + `}`), jwt.ErrTokenRequiredClaimMissing},
		"nbf overflows":    {mint(claim(time.Minute, grants+`,"nbf":1e300`)), jwt.ErrTokenMalformed},
		"nbf wraps around": {mint(claim(time.Minute, grants+`,"nbf":18446744073709551617`)), jwt.ErrTokenMalformed},
		"nbf is negative":  {mint(claim(time.Minute, grants+`,"nbf":-1`)), jwt.ErrTokenMalformed},
		"nbf is -0":        {mint(claim(time.Minute, grants+`,"nbf":-0`)), nil},
		"nbf far ahead":    {mint(claim(time.Minute, grants+`,"nbf":2e11`)), jwt.ErrTokenNotValidYet},
		"pattern twice": {
			mint(claim(time.Minute, `,"channels":{"a":["subscribe"],"\u0061":["publish"]}`)),
			jwt.ErrTokenMalformed,
		},
		"too many patterns": {
			mint(claim(time.Minute, `,"channels":{`+manyPatterns(maxScopes+1)+`}`)),
			jwt.ErrTokenMalformed,
		},
		"most patterns":       {mint(claim(time.Minute, `,"channels":{`+manyPatterns(maxScopes)+`}`)), nil},
		"action twice":        {mint(claim(time.Minute, `,"channels":{"a":["publish","publish"]}`)), nil},
		"actions are null":    {mint(claim(time.Minute, `,"channels":{"a":null}`)), jwt.ErrTokenMalformed},
		"action is a number":  {mint(claim(time.Minute, `,"channels":{"a":[1]}`)), jwt.ErrTokenMalformed},
		"bad UTF-8":           {mint(claim(time.Minute, ",\"channels\":{\"a\xff\":[]}")), jwt.ErrTokenMalformed},
		"no channels":         {mint(claim(time.Minute, "")), jwt.ErrTokenMalformed},
		"channels is null":    {mint(claim(time.Minute, `,"channels":null`)), jwt.ErrTokenMalformed},
		"channels is a list":  {mint(claim(time.Minute, `,"channels":["a"]`)), jwt.ErrTokenMalformed},
		"unknown action":      {mint(claim(time.Minute, `,"channels":{"a":["own"]}`)), jwt.ErrTokenMalformed},
		"star in the middle":  {mint(claim(time.Minute, `,"channels":{"a*b":["publish"]}`)), jwt.ErrTokenMalformed},
		"empty pattern":       {mint(claim(time.Minute, `,"channels":{"":["publish"]}`)), jwt.ErrTokenMalformed},
		"bad origin":          {mint(claim(time.Minute, grants+`,"origins":["x"]`)), jwt.ErrTokenMalformed},
		"claim twice":         {mint(claim(time.Minute, grants+`,"channels":{"*":["publish"]}`)), jwt.ErrTokenMalformed},
		"claim in other case": {mint(claim(time.Minute, grants+`,"Exp":1`)), jwt.ErrTokenMalformed},
		"sub is a number":     {mint(strings.Replace(good, `"user-17"`, "17", 1)), jwt.ErrTokenMalformed},
		"too long":            {mint(claim(time.Minute, grants+`,"pad":"`+strings.Repeat("x", maxTokenBytes)+`"`)), errAny},
		"padded base64":       {mint(good) + "=", jwt.ErrTokenMalformed},
		"two parts":           {"a.b", jwt.ErrTokenMalformed},
		"nothing between":     {"..", jwt.ErrTokenMalformed},
		"not an object":       {mint(`[]`), jwt.ErrTokenMalformed},
		"console, forged":     {mint(b.claimsOf(consoleKeyID, time.Minute, grants)), jwt.ErrTokenSignatureInvalid},
		"console": {
			testtoken.Mint(testtoken.Header, console, b.ConsoleSecret()), nil,
		},
		"console, no session": {
			testtoken.Mint(testtoken.Header, strings.Replace(console, "user-17", "adm-ended", 1), b.ConsoleSecret()),
			errKeyOfToken,
		},
		"project of its own": {mint(claim(time.Minute, grants+`,"project":"prj-other"`)), nil},
	} {
		who, err := ReadToken(c.text, b)
		switch {
		case errors.Is(c.want, errAny) && err == nil, !errors.Is(c.want, errAny) && !errors.Is(err, c.want):
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		case errors.Is(err, jwt.ErrTokenExpired) != errors.Is(c.want, jwt.ErrTokenExpired):
			t.Errorf("%s: error %v", name, err)
		case err == nil && (who.Kind != Bearer || who.Project != ownProject || who.Token.subject != "user-17"):
			t.Errorf("%s: %+v", name, who)
		}
	}

	who, err := ReadToken(mint(good), b)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		do      Action
		channel string
		want    bool
	}{
		{Subscribe, "chat:1", true},
		{Publish, "chat:1", true},
		{ReadHistory, "chat:1", false},
		{Subscribe, "news", true},
		{Publish, "news", false},
		{Subscribe, "news2", false},
		{Subscribe, "chat", false},
		{ReadHistory, "log", true},
		{Subscribe, "log", false},
	} {
		if got := who.Token.May(c.do, c.channel); got != c.want {
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

// Whatever is signed or changed, nothing is let in that was not signed as it is,
// and what is let in says nothing that its text does not.
func FuzzToken(f *testing.F) {
	b := newFakeKeys()
	key, _ := b.Key(b.addKey(ownProject, fsm.ServerKey))
	secret, _ := b.SigningSecret(key.ID)
	good := b.claimsOf(key.ID, time.Minute, grants)
	f.Add(testtoken.Header, good, true)
	f.Add(testtoken.Header, good, false)
	f.Add(`{"alg":"none"}`, good, false)
	f.Add(`{"alg":"HS256","kid":"console"}`, `{"exp":9e18,"channels":{"*":["publish"]},"origins":[]}`, true)
	f.Add(testtoken.Header, `{"exp":1764000000.5,"nbf":null,"channels":{"a":null}}`, true)
	f.Fuzz(func(t *testing.T, header, payload string, signed bool) {
		with := secret
		if !signed {
			with = []byte("another secret")
		}
		who, err := ReadToken(testtoken.Mint(header, payload, with), b)
		switch {
		case err != nil && who.Token != nil:
			t.Errorf("%s.%s: rights beside %v", header, payload, err)
		case err == nil && !signed:
			t.Errorf("%s.%s is let in unsigned", header, payload)
		case err == nil && (who.Project != ownProject || who.Token.EndsAt < b.Stamp()):
			t.Errorf("%s.%s is let in as %+v, %+v", header, payload, who, who.Token)
		}
		_, _ = ReadToken(header+"."+payload, b)
	})
}

func BenchmarkReadToken(b *testing.B) {
	keys := newFakeKeys()
	key, _ := keys.Key(keys.addKey(ownProject, fsm.ServerKey))
	secret, _ := keys.SigningSecret(key.ID)
	text := testtoken.Mint(testtoken.Header, keys.claimsOf(key.ID, time.Minute, grants), secret)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadToken(text, keys); err != nil {
			b.Fatal(err)
		}
	}
}
