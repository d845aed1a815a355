// Package origin decides whether a client may come from where its Origin header says:
// it parses headers and the rules of operators, and compares the two. It knows neither
// projects nor HTTP.
package origin

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// origin is the scheme, host and port that a page came from (RFC 6454). Each is in the
// one form in which it can be compared.
type origin struct {
	scheme string
	host   string // lower case, punycode; IPv6 in its canonical form without brackets
	port   uint16 // 0 when neither given nor implied by the scheme
}

var (
	errSyntax = errors.New("not of the form scheme://host or scheme://host:port")
	errHost   = errors.New("not a host name or address")
	errPort   = errors.New("not a port")
	errFile   = errors.New("the origin of every page from a file, which only * lets in")
)

const (
	maxBytes  = 512 // bytes
	portNone  = 0
	anyOrigin = "*"
)

// hostProfile maps host names as browsers do. It does not judge their characters: some
// pages are served from a host name with "_".
var hostProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// parse reads the value of an Origin header. It refuses everything that is not a plain
// scheme, host and port: userinfo, a path, a trailing dot, a stray byte.
func parse(text string) (origin, error) {
	scheme, authority, err := split(text)
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
		return origin{}, errFile
	case isNoHost(host) && !isWebScheme(scheme):
		o.host = host
	default:
		if o.host, err = canonicalHost(host); err != nil {
			return origin{}, err
		}
	}
	if o.port, err = portOf(scheme, port); err != nil {
		return origin{}, err
	}
	return o, nil
}

// split cuts an origin into its scheme, in lower case, and the rest.
func split(text string) (scheme, authority string, err error) {
	scheme, authority, found := strings.Cut(text, "://")
	if !found || len(text) > maxBytes || scheme == "" {
		return "", "", errSyntax
	}
	scheme = strings.ToLower(scheme)
	for i := range len(scheme) {
		c := scheme[i]
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return "", "", errSyntax
		}
	}
	return scheme, authority, nil
}

// splitPort cuts the port off; a host that is an IPv6 address keeps its brackets.
func splitPort(authority string) (host, port string, err error) {
	end := 0
	if strings.HasPrefix(authority, "[") {
		if end = strings.IndexByte(authority, ']'); end < 0 {
			return "", "", errHost
		}
	}
	colon := strings.IndexByte(authority[end:], ':')
	if colon < 0 {
		return authority, "", nil
	}
	host, port = authority[:end+colon], authority[end+colon+1:]
	if port == "" {
		return "", "", errPort
	}
	return host, port, nil
}

// canonicalHost returns a host name in punycode, or an IPv6 address without brackets.
func canonicalHost(host string) (string, error) {
	if inner, found := strings.CutPrefix(host, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if err != nil || !found || !addr.Is6() || addr.Zone() != "" {
			return "", errHost
		}
		return addr.String(), nil
	}
	ascii, err := hostProfile.ToASCII(host)
	if err != nil || ascii == "" || len(ascii) > 253 || !utf8.ValidString(host) {
		return "", errHost
	}
	// The result must itself be a host name that maps to itself.
	if again, err := hostProfile.ToASCII(ascii); err != nil || again != ascii {
		return "", errHost
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 {
			return "", errHost
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", errHost
			}
		}
	}
	return ascii, nil
}

// isNoHost reports whether a host is one that desktop shells write because their own
// scheme has none: app://. and app://-.
func isNoHost(host string) bool { return host == "." || host == "-" }

// portOf returns the port that is written, or that the scheme implies.
func portOf(scheme, text string) (uint16, error) {
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
		return 0, errPort
	}
	return uint16(port), nil
}

// isWebScheme reports whether the host of an origin is a domain or an address.
func isWebScheme(scheme string) bool {
	switch scheme {
	case "http", "https", "ws", "wss":
		return true
	}
	return false
}
