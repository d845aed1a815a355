package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds the body of one HTTP answer.
const maxAnswer = 64 << 20

// call is one HTTP request to a node.
type call struct {
	method string
	path   string // may hold "{id}"
	id     string // stands there; one that a node made
	query  url.Values
	body   any // encoded as JSON unless nil
	header http.Header
	want   int // the only status that means success; 0 means 200
}

// do makes the call and decodes a successful answer into result, unless that is
// nil. A refusal comes back as *Error.
func do(ctx context.Context, httpClient *http.Client, baseURL string, c call, result any) error {
	if err := c.fillPath(); err != nil {
		return err
	}
	target, err := apiURL(baseURL, c)
	if err != nil {
		return err
	}
	var body io.Reader
	if c.body != nil {
		encoded, err := encodeBody(c.body)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, c.method, target, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	maps.Copy(request.Header, c.header)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := withoutRedirects(httpClient).Do(request)
	if err != nil {
		return fmt.Errorf("call %s %s: %w", c.method, c.path, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer to %s %s: %w", c.method, c.path, err)
	}
	if response.StatusCode/100 != 2 {
		return refusalOf(response, answer)
	}
	if want := cmp.Or(c.want, http.StatusOK); response.StatusCode != want {
		return fmt.Errorf("%s %s is answered with %s, not with %d: what answers is no node of this version",
			c.method, c.path, response.Status, want)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("decode answer to %s %s: what answers is no node: %w", c.method, c.path, err)
	}
	return nil
}

// fillPath puts the id into the path. Only what can be an id goes there: escaped or
// not, a name such as ".." would make the call another one, here or at a proxy.
func (c *call) fillPath() error {
	if !strings.Contains(c.path, "{id}") {
		return nil
	}
	if !isID(c.id) {
		return fmt.Errorf("%q is not an id: ids have letters, digits, \"_\" and \"-\" only", c.id)
	}
	c.path = strings.Replace(c.path, "{id}", c.id, 1)
	return nil
}

func isID(text string) bool {
	for i := range len(text) {
		b := text[i]
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && (b < '0' || b > '9') && b != '_' && b != '-' {
			return false
		}
	}
	return text != ""
}

// withoutRedirects returns a client that follows no redirect: who answers with one
// chooses what is called next, with the credential of this call.
func withoutRedirects(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

func encodeBody(body any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return b.Bytes(), nil
}

// apiURL accepts the same ways to write a node as Options.Endpoints.
func apiURL(baseURL string, c call) (string, error) {
	u, err := parseEndpoint(baseURL)
	if err != nil {
		return "", err
	}
	u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	return u.String() + c.path + query(c.query), nil
}

func query(values url.Values) string {
	if len(values) == 0 {
		return ""
	}
	return "?" + values.Encode()
}

// maxPlainReason bounds an answer that is told as it is, in bytes.
const maxPlainReason = 200

// refusalOf reads the error that a node answered with; where something between
// answered in its stead, the status is the reason.
func refusalOf(response *http.Response, answer []byte) *Error {
	var body struct {
		Error string `json:"error"`
		Code  Code   `json:"code"`
	}
	if err := json.Unmarshal(answer, &body); err != nil || body.Error == "" {
		body.Error = "HTTP status " + response.Status
		if text := bytes.TrimSpace(answer); len(text) > 0 && len(text) <= maxPlainReason && text[0] != '<' && text[0] != '{' {
			body.Error += ": " + string(text)
		}
	}
	if to := response.Header.Get("Location"); to != "" && response.StatusCode/100 == 3 {
		body.Error = fmt.Sprintf("HTTP status %s to %s: a node redirects nobody, and no redirect is followed",
			response.Status, to)
	}
	refusal := &Error{Code: body.Code, Reason: body.Error}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		refusal.RetryAfter = time.Duration(seconds) * time.Second
	}
	return refusal
}
