package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// A token is a JSON Web Token (RFC 7519) in compact form, signed with HS256
// under the signing secret of a server key. It says who its bearer is and what
// they may do with which channels, until when:
//
//	{"kid":"key_…","sub":"user-17","exp":1764000000,
//	 "channels":{"chat:17:*":["subscribe","publish"],"news":["subscribe","history"]},
//	 "origins":["https://app.example.com"]}
//
// kid may stand in the header instead; nbf and iat are honoured, origins may be
// missing, further claims mean nothing. The console's own tokens have the kid
// "console", a project, the cluster's secret for their signature, and as sub the
// console session or admin token that they live with.
const (
	maxTokenBytes  = 4 << 10
	maxScopes      = 100
	tokenLeeway    = 30 * time.Second
	consoleTokenID = "console"
)

// token is what a bearer may do.
type token struct {
	subject string
	person  uint64 // hash of the subject
	endsAt  int64  // Unix ms by the cluster's stamp, leeway included
	scopes  []scope
	origins []string // rules; nil when no origin is asked for
}

// scope is what a token allows in the channels that match a pattern.
type scope struct {
	pattern string
	actions [toReadHistory + 1]bool
}

var scopeActions = map[string]action{"subscribe": toSubscribe, "publish": toPublish, "history": toReadHistory}

func (t *token) may(do action, channel string) bool {
	for _, s := range t.scopes {
		if s.actions[do] && fsm.MatchesPattern(s.pattern, channel) {
			return true
		}
	}
	return false
}

// looksLikeToken tells a token from a key: three parts with dots between.
func looksLikeToken(text string) bool { return strings.Count(text, ".") == 2 }

// claims are the claims of a token as they are read, strictly: a name that comes
// twice, or in another case, is refused.
type claims struct {
	jwt.RegisteredClaims
	keyID, project string
	scopes         []scope
	origins        []string
}

var claimsShape = strictjson.Shape{Names: []string{"kid", "sub", "exp", "nbf", "iat", "channels", "origins", "project"}}

// UnmarshalJSON implements json.Unmarshaler.
func (c *claims) UnmarshalJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return strictjson.ErrSyntax
	}
	var values [8][]byte
	if err := claimsShape.Scan(raw, strictjson.MaxNesting, values[:]); err != nil {
		return err
	}
	for i, text := range map[int]*string{0: &c.keyID, 1: &c.Subject, 7: &c.project} {
		var ok bool
		if *text, ok = strictjson.Unquote(values[i]); !ok && values[i] != nil {
			return fmt.Errorf("%s is not a string", claimsShape.Names[i])
		}
	}
	for i, date := range map[int]**jwt.NumericDate{2: &c.ExpiresAt, 3: &c.NotBefore, 4: &c.IssuedAt} {
		if strictjson.IsNull(values[i]) {
			continue
		}
		at, ok := numericDate(values[i])
		if !ok {
			return fmt.Errorf("%s is not a time", claimsShape.Names[i])
		}
		*date = at
	}
	if values[6] != nil {
		var err error
		if c.origins, err = parseOrigins(values[6]); err != nil {
			return err
		}
	}
	return c.readScopes(values[5])
}

// latestDate is some thousand years that can be counted in ms.
const latestDate = 1 << 38 // s

// numericDate reads seconds since 1970 (RFC 7519 section 2), maybe with a fraction.
// One that is out of range would wrap around somewhere and mean another time.
func numericDate(raw []byte) (*jwt.NumericDate, bool) {
	var seconds float64
	if json.Unmarshal(raw, &seconds) != nil || seconds < 0 || seconds > latestDate {
		return nil, false
	}
	return jwt.NewNumericDate(time.Unix(int64(seconds), 0)), true
}

func (c *claims) readScopes(raw []byte) error {
	if raw == nil || raw[0] != '{' {
		return errors.New("channels is not an object of patterns and lists of actions")
	}
	return strictjson.ScanObject(raw, strictjson.MaxNesting, func(pattern string, raw []byte) error {
		if err := checkPattern(pattern); err != nil {
			return fmt.Errorf("channels: %w", err)
		}
		if len(c.scopes) == maxScopes {
			return fmt.Errorf("channels has more than %d patterns", maxScopes)
		}
		s := scope{pattern: pattern}
		err := strictjson.ScanArray(raw, strictjson.MaxNesting, func(raw []byte) error {
			name, _ := strictjson.Unquote(raw) // what is no text is no action either
			do, known := scopeActions[name]
			if !known {
				return fmt.Errorf("channels: %s is none of subscribe, publish, history", refusal.Clip(string(raw)))
			}
			s.actions[do] = true
			return nil
		})
		c.scopes = append(c.scopes, s)
		return err
	})
}

// errKeyOfToken says that a token names a key, or as one of the console's a session,
// that this node does not know.
var errKeyOfToken = errors.New("the token names no live server key or session")

// readToken returns whose a token is. The error wraps errKeyOfToken when its key
// is not known here; every other one is final. now is the cluster's stamp.
func readToken(text string, b Broker) (principal, error) {
	var who principal
	read := claims{}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(), jwt.WithExpirationRequired(), jwt.WithLeeway(tokenLeeway),
		jwt.WithTimeFunc(func() time.Time { return time.UnixMilli(b.Stamp()) }),
	)
	if len(text) > maxTokenBytes {
		return who, fmt.Errorf("token of more than %d bytes", maxTokenBytes)
	}
	_, err := parser.ParseWithClaims(text, &read, func(t *jwt.Token) (any, error) {
		var secret []byte
		var err error
		who, secret, err = signerOf(t, &read, b)
		return secret, err
	})
	if err != nil {
		return who, err
	}
	who.token = &token{
		subject: read.Subject,
		person:  fsm.HashSubject(read.Subject),
		endsAt:  read.ExpiresAt.Add(tokenLeeway).UnixMilli(),
		scopes:  read.scopes,
		origins: read.origins,
	}
	return who, nil
}

// signerOf returns who a token says has signed it, and their secret.
func signerOf(t *jwt.Token, read *claims, b Broker) (principal, []byte, error) {
	if _, there := t.Header["crit"]; there {
		return principal{}, nil, errors.New("crit: extensions are not understood") // RFC 7515 section 4.1.11
	}
	id := read.keyID
	if given, there := t.Header["kid"]; there {
		text, ok := given.(string)
		if !ok || id != "" && id != text {
			return principal{}, nil, errors.New("kid is not one string")
		}
		id = text
	}
	if id == consoleTokenID {
		_, live := b.AdminTokenByID(read.Subject)
		secret := b.ConsoleSecret()
		if !live || len(secret) == 0 {
			return principal{key: id}, nil, errKeyOfToken
		}
		return principal{kind: bearer, key: id, project: read.project}, secret, nil
	}
	key, live := b.KeyByID(id)
	secret, signs := b.SigningSecret(id)
	if !live || !signs || len(secret) == 0 { // an empty secret would be everybody's
		return principal{key: id}, nil, errKeyOfToken
	}
	return principal{kind: bearer, key: id, prefix: key.Prefix, project: key.Project}, secret, nil
}
