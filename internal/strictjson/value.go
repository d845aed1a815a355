package strictjson

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

func hex4(p []byte) (rune, bool) {
	if len(p) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range p[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unquoteName returns a name without its quotes and escapes.
func unquoteName(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	name, _ := unescape(inner)
	return name
}

// Unquote returns the text of a raw JSON string. It is not ok when raw is another kind of
// value or has half of a surrogate pair.
func Unquote(raw []byte) (text string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	plain, ok := unescape(inner)
	return string(plain), ok
}

// unescape resolves the escapes of a string that the scanner has passed. It is
// not ok when one is half of a surrogate pair; U+FFFD takes its place.
func unescape(inner []byte) (plain []byte, ok bool) {
	plain = make([]byte, 0, len(inner))
	ok = true
	for i := 0; i < len(inner); i++ {
		if inner[i] != '\\' {
			plain = append(plain, inner[i])
			continue
		}
		i++
		switch c := inner[i]; c {
		case 'b':
			plain = append(plain, '\b')
		case 'f':
			plain = append(plain, '\f')
		case 'n':
			plain = append(plain, '\n')
		case 'r':
			plain = append(plain, '\r')
		case 't':
			plain = append(plain, '\t')
		case 'u':
			r, _ := hex4(inner[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(0)
				if i+2 < len(inner) && inner[i+1] == '\\' && inner[i+2] == 'u' {
					low, _ = hex4(inner[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					ok = false
				} else {
					i += 6
				}
			}
			plain = utf8.AppendRune(plain, r)
		default: // quote, backslash, slash
			plain = append(plain, c)
		}
	}
	return plain, ok
}

// IsNull reports whether a raw value is absent or null.
func IsNull(raw []byte) bool { return raw == nil || raw[0] == 'n' }

// MaxWhole is the largest whole number that every reader of JSON represents exactly. Offsets
// are bounded by it.
const MaxWhole = 1<<53 - 1

// WholeNumber returns a raw value that is a whole number from 0 to MaxWhole, however it is
// written (1000, 1e3, 1000.0).
func WholeNumber(raw []byte) (n uint64, ok bool) {
	if len(raw) == 0 {
		return 0, false
	}
	if n, err := strconv.ParseUint(string(raw), 10, 64); err == nil {
		return n, n <= MaxWhole
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 || f > MaxWhole || f != math.Trunc(f) {
		return 0, false
	}
	return uint64(f), true
}
