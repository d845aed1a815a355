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
	claim := func(ends time.Duration, more string) string { return b.claimsOf(key.ID, ends, more) }
	noKid := strings.Replace(good, fmt.Sprintf(`"kid":%q,`, key.ID), "", 1)
	unsigned := testtoken.Mint(`{"alg":"none"}`, good, secret)

	for name, c := range map[string]struct {
		text string
		want error // nil: it is good
	}{
		"good":                 {testtoken.Mint(testtoken.Header, good, secret), nil},
		"kid in the header":    {testtoken.Mint(header(`,"kid":"`+key.ID+`"`), noKid, secret), nil},
		"kid in both":          {testtoken.Mint(header(`,"kid":"`+key.ID+`"`), good, secret), nil},
		"other claims":         {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"name":"Eve","aud":["a"],"iss":"b","jti":7`), secret), nil},
		"within the leeway":    {testtoken.Mint(testtoken.Header, claim(-29*time.Second, grants), secret), nil},
		"not yet, in leeway":   {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+fmt.Sprintf(`,"nbf":%d`, b.Stamp()/1000+29)), secret), nil},
		"no channel":           {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{}`), secret), nil},
		"expired":              {testtoken.Mint(testtoken.Header, claim(-31*time.Second, grants), secret), jwt.ErrTokenExpired},
		"not yet":              {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+fmt.Sprintf(`,"nbf":%d`, b.Stamp()/1000+31)), secret), jwt.ErrTokenNotValidYet},
		"another key's secret": {testtoken.Mint(testtoken.Header, good, foreign), jwt.ErrTokenSignatureInvalid},
		"empty secret":         {testtoken.Mint(testtoken.Header, good, nil), jwt.ErrTokenSignatureInvalid},
		"expired and forged":   {testtoken.Mint(testtoken.Header, claim(-time.Hour, grants), foreign), jwt.ErrTokenSignatureInvalid},
		"claims changed":       {testtoken.SwapPart(testtoken.Mint(testtoken.Header, good, secret), 1, strings.Replace(good, "user-17", "user-18", 1)), jwt.ErrTokenSignatureInvalid},
		"alg none":             {unsigned, jwt.ErrTokenSignatureInvalid},
		"alg none, unsigned":   {unsigned[:strings.LastIndexByte(unsigned, '.')+1], jwt.ErrTokenSignatureInvalid},
		"alg changed":          {testtoken.SwapPart(testtoken.Mint(testtoken.Header, good, secret), 0, `{"alg":"HS512"}`), jwt.ErrTokenSignatureInvalid},
		"alg in another case":  {testtoken.Mint(`{"alg":"hs256"}`, good, secret), jwt.ErrTokenUnverifiable},
		"alg of public keys":   {testtoken.Mint(`{"alg":"RS256"}`, good, secret), jwt.ErrTokenSignatureInvalid},
		"no alg":               {testtoken.Mint(`{"typ":"JWT"}`, good, secret), jwt.ErrTokenUnverifiable},
		"critical extension":   {testtoken.Mint(header(`,"crit":["b64"],"b64":false`), good, secret), errAny},
		"two algs":             {testtoken.Mint(`{"alg":"none","alg":"HS256"}`, good, secret), jwt.ErrTokenMalformed},
		"kid twice, equal":     {testtoken.Mint(header(`,"kid":"`+key.ID+`","kid":"`+key.ID+`"`), noKid, secret), jwt.ErrTokenMalformed},
		"another header twice": {testtoken.Mint(header(`,"x":1,"x":2`), good, secret), jwt.ErrTokenMalformed},
		"header name in caps":  {testtoken.Mint(header(`,"KID":"`+key.ID+`"`), noKid, secret), jwt.ErrTokenMalformed},
		"unknown kid":          {testtoken.Mint(testtoken.Header, b.claimsOf("key-none", time.Minute, grants), secret), errKeyOfToken},
		"kid of a public key":  {testtoken.Mint(testtoken.Header, b.claimsOf(bare.ID, time.Minute, grants), []byte("ss_"+bare.ID)), errKeyOfToken},
		"no kid":               {testtoken.Mint(testtoken.Header, noKid, secret), errKeyOfToken},
		"two kids":             {testtoken.Mint(header(`,"kid":"`+other.ID+`"`), good, secret), errAny},
		"kid is a number":      {testtoken.Mint(header(`,"kid":7`), noKid, secret), errAny},
		"no exp":               {testtoken.Mint(testtoken.Header, `{"kid":"`+key.ID+`"`+grants+`}`, secret), jwt.ErrTokenRequiredClaimMissing},
		"exp is text":          {testtoken.Mint(testtoken.Header, `{"exp":"soon"`+grants+`}`, secret), jwt.ErrTokenMalformed},
		"exp too late":         {testtoken.Mint(testtoken.Header, `{"kid":"`+key.ID+`","exp":1e15`+grants+`}`, secret), errAny},
		"exp overflows":        {testtoken.Mint(testtoken.Header, `{"kid":"`+key.ID+`","exp":1e300`+grants+`}`, secret), jwt.ErrTokenMalformed},
		"exp is no number":     {testtoken.Mint(testtoken.Header, `{"kid":"`+key.ID+`","exp":1e999`+grants+`}`, secret), jwt.ErrTokenMalformed},
		"exp is negative":      {testtoken.Mint(testtoken.Header, `{"kid":"`+key.ID+`","exp":-1`+grants+`}`, secret), jwt.ErrTokenMalformed},
		"exp has a fraction":   {testtoken.Mint(testtoken.Header, fmt.Sprintf(`{"kid":%q,"sub":"user-17","exp":%d.75%s}`, key.ID, b.Stamp()/1000+60, grants), secret), nil},
		"exp is null":          {testtoken.Mint(testtoken.Header, `{"kid":"`+key.ID+`","exp":null`+grants+`}`, secret), jwt.ErrTokenRequiredClaimMissing},
		"nbf overflows":        {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"nbf":1e300`), secret), jwt.ErrTokenMalformed},
		"nbf wraps around":     {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"nbf":18446744073709551617`), secret), jwt.ErrTokenMalformed},
		"nbf is negative":      {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"nbf":-1`), secret), jwt.ErrTokenMalformed},
		"nbf is -0":            {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"nbf":-0`), secret), nil},
		"nbf far ahead":        {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"nbf":2e11`), secret), jwt.ErrTokenNotValidYet},
		"pattern twice":        {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{"a":["subscribe"],"\u0061":["publish"]}`), secret), jwt.ErrTokenMalformed},
		"too many patterns":    {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{`+manyPatterns(maxScopes+1)+`}`), secret), jwt.ErrTokenMalformed},
		"most patterns":        {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{`+manyPatterns(maxScopes)+`}`), secret), nil},
		"action twice":         {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{"a":["publish","publish"]}`), secret), nil},
		"actions are null":     {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{"a":null}`), secret), jwt.ErrTokenMalformed},
		"action is a number":   {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{"a":[1]}`), secret), jwt.ErrTokenMalformed},
		"bad UTF-8":            {testtoken.Mint(testtoken.Header, claim(time.Minute, ",\"channels\":{\"a\xff\":[]}"), secret), jwt.ErrTokenMalformed},
		"no channels":          {testtoken.Mint(testtoken.Header, claim(time.Minute, ""), secret), jwt.ErrTokenMalformed},
		"channels is null":     {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":null`), secret), jwt.ErrTokenMalformed},
		"channels is a list":   {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":["a"]`), secret), jwt.ErrTokenMalformed},
		"unknown action":       {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{"a":["own"]}`), secret), jwt.ErrTokenMalformed},
		"star in the middle":   {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{"a*b":["publish"]}`), secret), jwt.ErrTokenMalformed},
		"empty pattern":        {testtoken.Mint(testtoken.Header, claim(time.Minute, `,"channels":{"":["publish"]}`), secret), jwt.ErrTokenMalformed},
		"bad origin":           {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"origins":["x"]`), secret), jwt.ErrTokenMalformed},
		"claim twice":          {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"channels":{"*":["publish"]}`), secret), jwt.ErrTokenMalformed},
		"claim in other case":  {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"Exp":1`), secret), jwt.ErrTokenMalformed},
		"sub is a number":      {testtoken.Mint(testtoken.Header, strings.Replace(good, `"user-17"`, "17", 1), secret), jwt.ErrTokenMalformed},
		"too long":             {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"pad":"`+strings.Repeat("x", maxTokenBytes)+`"`), secret), errAny},
		"padded base64":        {testtoken.Mint(testtoken.Header, good, secret) + "=", jwt.ErrTokenMalformed},
		"two parts":            {"a.b", jwt.ErrTokenMalformed},
		"nothing between":      {"..", jwt.ErrTokenMalformed},
		"not an object":        {testtoken.Mint(testtoken.Header, `[]`, secret), jwt.ErrTokenMalformed},
		"console, forged":      {testtoken.Mint(testtoken.Header, b.claimsOf(consoleKeyID, time.Minute, grants), secret), jwt.ErrTokenSignatureInvalid},
		"console":              {testtoken.Mint(testtoken.Header, b.claimsOf(consoleKeyID, time.Minute, grants+`,"project":"`+ownProject+`"`), b.ConsoleSecret()), nil},
		"console, no session":  {testtoken.Mint(testtoken.Header, strings.Replace(b.claimsOf(consoleKeyID, time.Minute, grants), "user-17", "adm-ended", 1), b.ConsoleSecret()), errKeyOfToken},
		"project of its own":   {testtoken.Mint(testtoken.Header, claim(time.Minute, grants+`,"project":"prj-other"`), secret), nil},
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

	who, err := ReadToken(testtoken.Mint(testtoken.Header, good, secret), b)
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
