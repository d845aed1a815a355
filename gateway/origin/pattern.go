package origin

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// pattern is a rule of a list of allowed origins.
type pattern struct {
	origin
	any        bool // "*"
	subdomains bool // "*." before the host: any depth below it, not the host itself
	anyPort    bool // ":*" after the host
}

// Canonical reads a rule as an operator writes it and returns the form in which it is
// stored. The forms are "https://app.example.com" with or without a port,
// "https://*.example.com", "http://localhost:*" and "*".
func Canonical(text string) (string, error) {
	p, err := parsePattern(text)
	if err != nil {
		return "", fmt.Errorf("allowed origin %q: %w", text, err)
	}
	return p.String(), nil
}

func parsePattern(text string) (pattern, error) {
	if text == anyOrigin {
		return pattern{any: true}, nil
	}
	if text == "null" {
		return pattern{}, errFile
	}
	scheme, authority, err := split(text)
	if err != nil {
		return pattern{}, err
	}
	var p pattern
	authority, p.anyPort = strings.CutSuffix(authority, ":*")
	authority, p.subdomains = strings.CutPrefix(authority, "*.")
	if p.origin, err = parse(scheme + "://" + authority); err != nil {
		return pattern{}, err
	}
	if p.subdomains {
		if _, err := netip.ParseAddr(p.host); err == nil || isNoHost(p.host) {
			return pattern{}, errHost
		}
		if !strings.Contains(p.host, ".") && p.host != "localhost" {
			return pattern{}, errors.New("a wildcard below a top-level domain allows everybody")
		}
	}
	return p, nil
}

func (p pattern) String() string {
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
	implied, _ := portOf(p.scheme, "")
	switch {
	case p.anyPort:
		host += ":*"
	case p.port != implied:
		host += ":" + strconv.Itoa(int(p.port))
	}
	return p.scheme + "://" + host
}

func (p pattern) matches(o origin) bool {
	if p.scheme != o.scheme || !p.anyPort && p.port != o.port {
		return false
	}
	if !p.subdomains {
		return p.host == o.host
	}
	below, found := strings.CutSuffix(o.host, p.host)
	return found && len(below) > 1 && strings.HasSuffix(below, ".")
}
