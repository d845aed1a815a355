// Package testtoken makes tokens for tests, good and bad ones.
package testtoken

import (
	"encoding/base64"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Header is the header of a good token.
const Header = `{"alg":"HS256","typ":"JWT"}`

// Mint signs claims, written as JSON, with a secret. header and payload are taken as given,
// so that they can be wrong.
func Mint(header, payload string, secret []byte) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	text := part(header) + "." + part(payload)
	signature, err := jwt.SigningMethodHS256.Sign(text, secret)
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// SwapPart replaces one part of a token and keeps its signature.
func SwapPart(text string, part int, by string) string {
	parts := strings.Split(text, ".")
	parts[part] = base64.RawURLEncoding.EncodeToString([]byte(by))
	return strings.Join(parts, ".")
}
