package peer

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Bounds of the texts that nodes tell each other, in bytes.
const (
	MaxNameBytes = 63
	MaxHostBytes = 253
)

// CheckID reports an error unless id is written as node and cluster ids are.
func CheckID(id string) error {
	known, err := uuid.Parse(id)
	if err != nil || known == uuid.Nil || known.String() != id {
		return fmt.Errorf("%q is no id", Excerpt(id))
	}
	return nil
}

// CheckName reports an error unless name is one that a node may have.
func CheckName(name string) error {
	if name == "" || len(name) > MaxNameBytes || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%q is no node name", Excerpt(name))
	}
	return nil
}

// CheckAddress reports an error unless address is a host and a port.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || host == "" || len(host) > MaxHostBytes {
		return fmt.Errorf("%q is no address", Excerpt(address))
	}
	return nil
}

// Excerpt returns as much of a peer's text as fits a line of the log.
func Excerpt(text string) string {
	const most = 100
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
