package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// origin is the scheme, host and port that a page came from (RFC 6454), each in
// the one form in which it can be compared.
type origin struct {
	scheme string
	host   string // lower case, punycode; IPv6 in its canonical form without brackets
	port   uint16 // 0 when neither given nor implied by the scheme
}

var (
	errOriginSyntax = errors.New("not of the form scheme://host or scheme://host:port")
	errOriginHost   = errors.New("not a host name or address")
	errOriginPort   = errors.New("not a port")
	errOriginFile   = errors.New("the origin of every page from a file, which only * lets in")
)

const (
	maxOrigin = 512 // bytes
	portNone  = 0
	anyOrigin = "*"
)

// hostProfile maps host names as browsers do, but does not judge their
// characters: "_" is fine in a host name that somebody serves pages from.
var hostProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// parseOrigin reads the value of an Origin header. Anything but a plain scheme,
// host and port is an error: userinfo, a path, a trailing dot, a stray byte.
func parseOrigin(text string) (origin, error) {
	scheme, authority, err := splitOrigin(text)
	if err != nil {
		return origin{}, err
	}
	host, port, err := splitPort(authority)
	if err != nil {
		return origin{}, err
	}
	o := origin{scheme: scheme}
	switch {
	case scheme == "file":
		return origin{}, errOriginFile
	case isNoHost(host) && !isWebScheme(scheme):
		o.host = host
	default:
		if o.host, err = canonicalHost(host); err != nil {
			return origin{}, err
		}
	}
	if o.port, err = originPort(scheme, port); err != nil {
		return origin{}, err
	}
	return o, nil
}

func splitOrigin(text string) (scheme, authority string, err error) {
	scheme, authority, found := strings.Cut(text, "://")
	if !found || len(text) > maxOrigin || scheme == "" {
		return "", "", errOriginSyntax
	}
	scheme = strings.ToLower(scheme)
	for i := range len(scheme) {
		c := scheme[i]
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return "", "", errOriginSyntax
		}
	}
	return scheme, authority, nil
}

// splitPort cuts the port off; a host that is an IPv6 address keeps its brackets.
func splitPort(authority string) (host, port string, err error) {
	end := 0
	if strings.HasPrefix(authority, "[") {
		if end = strings.IndexByte(authority, ']'); end < 0 {
			return "", "", errOriginHost
		}
	}
	colon := strings.IndexByte(authority[end:], ':')
	if colon < 0 {
		return authority, "", nil
	}
	host, port = authority[:end+colon], authority[end+colon+1:]
	if port == "" {
		return "", "", errOriginPort
	}
	return host, port, nil
}

func canonicalHost(host string) (string, error) {
	if inner, found := strings.CutPrefix(host, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if err != nil || !found || !addr.Is6() || addr.Zone() != "" {
			return "", errOriginHost
		}
		return addr.String(), nil
	}
	ascii, err := hostProfile.ToASCII(host)
	if err != nil || ascii == "" || len(ascii) > 253 || !utf8.ValidString(host) {
		return "", errOriginHost
	}
	// What is compared must itself be a host name, in the form that it maps to.
	if again, err := hostProfile.ToASCII(ascii); err != nil || again != ascii {
		return "", errOriginHost
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 {
			return "", errOriginHost
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", errOriginHost
			}
		}
	}
	return ascii, nil
}

// isNoHost reports whether a host is what desktop shells write where their own scheme
// has none: app://. and app://-.
func isNoHost(host string) bool { return host == "." || host == "-" }

func originPort(scheme, text string) (uint16, error) {
	if text == "" {
		switch scheme {
		case "http", "ws":
			return 80, nil
		case "https", "wss":
			return 443, nil
		}
		return portNone, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || text[0] == '0' {
		return 0, errOriginPort
	}
	return uint16(port), nil
}

// originPattern is an entry of a project's list of allowed origins.
type originPattern struct {
	origin
	any        bool // "*"
	subdomains bool // "*." before the host: any depth below it, not the host itself
	anyPort    bool // ":*" after the host
}

// ParseOriginPattern reads an allowed origin as an operator writes it and
// returns the form in which it is stored. The forms are "https://app.example.com"
// with or without a port, "https://*.example.com", "http://localhost:*" and "*".
func ParseOriginPattern(text string) (string, error) {
	p, err := parsePattern(text)
	if err != nil {
		return "", fmt.Errorf("allowed origin %q: %w", text, err)
	}
	return p.String(), nil
}

func parsePattern(text string) (originPattern, error) {
	if text == anyOrigin {
		return originPattern{any: true}, nil
	}
	if text == "null" {
		return originPattern{}, errOriginFile
	}
	scheme, authority, err := splitOrigin(text)
	if err != nil {
		return originPattern{}, err
	}
	var p originPattern
	authority, p.anyPort = strings.CutSuffix(authority, ":*")
	authority, p.subdomains = strings.CutPrefix(authority, "*.")
	if p.origin, err = parseOrigin(scheme + "://" + authority); err != nil {
		return originPattern{}, err
	}
	if p.subdomains {
		if _, err := netip.ParseAddr(p.host); err == nil || isNoHost(p.host) {
			return originPattern{}, errOriginHost
		}
		if !strings.Contains(p.host, ".") && p.host != "localhost" {
			return originPattern{}, errors.New("a wildcard below a top-level domain allows everybody")
		}
	}
	return p, nil
}

func (p originPattern) String() string {
	if p.any {
		return anyOrigin
	}
	host := p.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if p.subdomains {
		host = "*." + host
	}
	implied, _ := originPort(p.scheme, "")
	switch {
	case p.anyPort:
		host += ":*"
	case p.port != implied:
		host += ":" + strconv.Itoa(int(p.port))
	}
	return p.scheme + "://" + host
}

func (p originPattern) matches(o origin) bool {
	if p.scheme != o.scheme || !p.anyPort && p.port != o.port {
		return false
	}
	if !p.subdomains {
		return p.host == o.host
	}
	below, found := strings.CutSuffix(o.host, p.host)
	return found && len(below) > 1 && strings.HasSuffix(below, ".")
}

// originVerdict says whether a client may come from where its Origin header
// says, and why.
type originVerdict struct {
	allowed bool
	matched string // the rule that let it in; empty when none did
	reason  string // in full, for an operator
}

// judgeOrigin decides whether a client may come from where its Origin header
// says. header is empty when there was none; host is the Host header of the same
// request. A client without an Origin, and one that names the broker itself as
// some native clients do, is a native app.
func judgeOrigin(rules []string, allowNative bool, header, host string) originVerdict {
	o, malformed := parseOrigin(header)
	if header != "" {
		if rule, found := matchOrigin(rules, o, malformed); found {
			return originVerdict{allowed: true, matched: rule, reason: "origin " + header + " is allowed by " + rule}
		}
	}
	native := "a client without an origin"
	if header != "" {
		native = "a client with the broker's own address as its origin"
	}
	switch {
	case (header == "" || ownOrigin(header, host)) && allowNative:
		return originVerdict{allowed: true, reason: native + " is a native client, which the project allows"}
	case header == "":
		return originVerdict{reason: native + " is a native client, which the project does not allow"}
	case header == "null", errors.Is(malformed, errOriginFile):
		return originVerdict{reason: "origin " + header + " is one that only * lets in"}
	case malformed != nil:
		return originVerdict{reason: "origin " + header + " is " + malformed.Error()}
	case sameHost(o, host):
		return originVerdict{reason: fmt.Sprintf("origin %s is not the broker's own address, which is %s by the request's Host: "+
			"a proxy between must keep the Host header with its port, or send X-Forwarded-Host and be in --trusted-proxies", header, host)}
	case len(rules) == 0:
		return originVerdict{reason: "origin " + header + " is refused: the project allows no origin"}
	case len(rules) == 1:
		return originVerdict{reason: "origin " + header + " is not the project's allowed origin " + rules[0]}
	}
	return originVerdict{reason: fmt.Sprintf("origin %s is not in the project's %d allowed origins", header, len(rules))}
}

// matchOrigin returns the first rule that lets the origin in. One that could not
// be read is let in by "*" only.
func matchOrigin(rules []string, o origin, malformed error) (rule string, found bool) {
	for _, text := range rules {
		if text == anyOrigin {
			return text, true
		}
		if malformed != nil {
			continue
		}
		// A stored rule was parsed once already; what cannot be parsed now matches nothing.
		if p, err := parsePattern(text); err == nil && p.matches(o) {
			return text, true
		}
	}
	return "", false
}

// ownOrigin reports whether an Origin names the very host and port that the
// request was sent to. A Host without a port means the default port of the
// origin's scheme: behind a proxy the broker cannot know which of the two it was.
//
// Some clients send the whole URL that they connect to.
func ownOrigin(header, host string) bool {
	if scheme, rest, found := strings.Cut(header, "://"); found {
		authority, _, _ := strings.Cut(rest, "/")
		header = scheme + "://" + authority
	}
	o, err := parseOrigin(header)
	if err != nil {
		return false
	}
	own, err := parseOrigin(o.scheme + "://" + host)
	return err == nil && own == o
}

// sameHost reports whether an origin has the host of a request, at another port.
func sameHost(o origin, host string) bool {
	own, err := parseOrigin(o.scheme + "://" + host)
	return err == nil && own.host == o.host && own.port != o.port
}
