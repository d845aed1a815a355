package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// A token is a JSON Web Token (RFC 7519) in compact form, signed with HS256
// under the signing secret of a server key. It names its bearer and the actions that the
// bearer may take in channels, and when this ends:
//
//	{"kid":"key_…","sub":"user-17","exp":1764000000,
//	 "channels":{"chat:17:*":["subscribe","publish","presence","members"],"news":["subscribe","history"]},
//	 "origins":["https://app.example.com"]}
//
// kid may stand in the header instead. nbf and iat are honoured, origins may be missing, and
// further claims mean nothing. The console's own tokens have the kid "console" and a project.
// The cluster's secret signs them. Their sub is the console session or admin token that they
// end with.
const (
	maxTokenBytes = 4 << 10
	maxScopes     = 100
	Leeway        = 30 * time.Second
	consoleKeyID  = "console"
)

// Token has the rights of a bearer.
type Token struct {
	subject string
	person  uint64 // hash of the subject
	EndsAt  int64  // Unix ms by the cluster's stamp, leeway included
	scopes  []scope
	Origins []string // rules; nil when no origin is asked for
}

// scope has the actions that a token allows in the channels that match a pattern.
type scope struct {
	pattern string
	actions [SeeMembers + 1]bool
}

var scopeActions = map[string]Action{
	"subscribe": Subscribe, "publish": Publish, "history": ReadHistory, "presence": Enter, "members": SeeMembers,
}

// Subject returns the name that the backend gave the bearer, "" without one.
func (t *Token) Subject() string { return t.subject }

// ChannelActions returns the actions that a token can allow in a channel.
func ChannelActions() []Action { return slices.Sorted(maps.Values(scopeActions)) }

// May reports whether the token allows an action in a channel.
func (t *Token) May(do Action, channel string) bool {
	for _, s := range t.scopes {
		if s.actions[do] && fsm.MatchesPattern(s.pattern, channel) {
			return true
		}
	}
	return false
}

// looksLikeToken tells a token from a key: three parts with dots between.
func looksLikeToken(text string) bool { return strings.Count(text, ".") == 2 }

// claims are the claims of a token, read strictly: a name that occurs twice or in another case
// is refused.
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
		if c.origins, err = ParseOrigins(values[6]); err != nil {
			return err
		}
	}
	return c.readScopes(values[5])
}

// latestDate is some thousand years from now; in ms it still fits an int64.
const latestDate = 1 << 38 // s

// numericDate reads seconds since 1970 (RFC 7519 section 2), maybe with a fraction. Numbers
// out of range are refused: they would wrap around and mean another time.
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
		if err := CheckPattern(pattern); err != nil {
			return fmt.Errorf("channels: %w", err)
		}
		if len(c.scopes) == maxScopes {
			return fmt.Errorf("channels has more than %d patterns", maxScopes)
		}
		s := scope{pattern: pattern}
		err := strictjson.ScanArray(raw, strictjson.MaxNesting, func(raw []byte) error {
			name, _ := strictjson.Unquote(raw) // another type than text is no action either
			do, known := scopeActions[name]
			if !known {
				return fmt.Errorf("channels: %s is none of %s", refusal.Clip(string(raw)),
					strings.Join(slices.Sorted(maps.Keys(scopeActions)), ", "))
			}
			s.actions[do] = true
			return nil
		})
		c.scopes = append(c.scopes, s)
		return err
	})
}

// errKeyOfToken says that this node does not know the key of a token, or the session of a
// console token.
var errKeyOfToken = errors.New("the token names no live server key or session")

// ReadToken returns the principal of a token. The error wraps errKeyOfToken when its key is not
// known here; every other error is final. Times are compared with the cluster's stamp.
func ReadToken(text string, keys Keys) (Principal, error) {
	var who Principal
	read := claims{}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(), jwt.WithExpirationRequired(), jwt.WithLeeway(Leeway),
		jwt.WithTimeFunc(func() time.Time { return time.UnixMilli(keys.Stamp()) }),
	)
	if len(text) > maxTokenBytes {
		return who, fmt.Errorf("token of more than %d bytes", maxTokenBytes)
	}
	if err := checkHeader(text); err != nil {
		return who, err
	}
	_, err := parser.ParseWithClaims(text, &read, func(t *jwt.Token) (any, error) {
		var secret []byte
		var err error
		who, secret, err = signerOf(t, &read, keys)
		return secret, err
	})
	if err != nil {
		return who, err
	}
	who.Token = &Token{
		subject: read.Subject,
		person:  fsm.HashSubject(read.Subject),
		EndsAt:  read.ExpiresAt.Add(Leeway).UnixMilli(),
		scopes:  read.scopes,
		Origins: read.origins,
	}
	return who, nil
}

var headerShape = strictjson.Shape{Names: []string{"alg", "kid", "crit", "typ"}}

// checkHeader refuses a token whose header has a name twice or in another case, of which
// two readers may each believe a different one (RFC 7515 section 4).
func checkHeader(text string) error {
	part, _, _ := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err == nil && !utf8.Valid(raw) {
		err = strictjson.ErrSyntax
	}
	var values [4][]byte
	if err == nil {
		err = headerShape.Scan(raw, strictjson.MaxNesting, values[:])
	}
	if err != nil {
		return fmt.Errorf("header: %w: %w", jwt.ErrTokenMalformed, err)
	}
	return nil
}

// signerOf returns the principal that a token names as its signer, and the signer's secret.
func signerOf(t *jwt.Token, read *claims, keys Keys) (Principal, []byte, error) {
	if _, there := t.Header["crit"]; there {
		return Principal{}, nil, errors.New("crit: extensions are not understood") // RFC 7515 section 4.1.11
	}
	id := read.keyID
	if given, there := t.Header["kid"]; there {
		text, ok := given.(string)
		if !ok || id != "" && id != text {
			return Principal{}, nil, errors.New("kid is not one string")
		}
		id = text
	}
	if id == consoleKeyID {
		_, live := keys.AdminTokenByID(read.Subject)
		secret := keys.ConsoleSecret()
		if !live || len(secret) == 0 {
			return Principal{KeyID: id}, nil, errKeyOfToken
		}
		return Principal{Kind: Bearer, KeyID: id, Project: read.project}, secret, nil
	}
	key, live := keys.KeyByID(id)
	secret, signs := keys.SigningSecret(id)
	if !live || !signs || len(secret) == 0 { // an empty secret would be known to all
		return Principal{KeyID: id}, nil, errKeyOfToken
	}
	return Principal{Kind: Bearer, KeyID: id, KeyPrefix: key.Prefix, Project: key.Project}, secret, nil
}

// SignToken returns a token with some claims that is signed as a backend would, under the
// signing secret of a server key.
func SignToken(secret []byte, keyID string, expires time.Time, claims map[string]json.RawMessage) (string, error) {
	all := jwt.MapClaims{"kid": keyID, "exp": expires.Unix()}
	for name, value := range claims {
		all[name] = value
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return text, nil
}

// SignConsoleToken returns a token with which the console watches the channels of a project:
// it may read everything and publish nothing. It ends with the session or admin token.
func SignConsoleToken(secret []byte, session, project string, expires time.Time) (string, error) {
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"kid":      consoleKeyID,
		"sub":      session,
		"project":  project,
		"exp":      expires.Unix(),
		"channels": map[string][]string{"*": {"subscribe", "history", "members"}},
	}).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign console token: %w", err)
	}
	return text, nil
}
