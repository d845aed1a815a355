package peer

import (
	"errors"
	"fmt"
	"testing"
)

func TestErrorsCrossTheWireAsTheSameSentinel(t *testing.T) {
	for code, sentinel := range wireErrors[1:] {
		code := byte(code + 1)
		gotCode, text := encodeError(fmt.Errorf("while trying: %w", sentinel))
		if gotCode != code {
			t.Errorf("%v has code %d, want %d", sentinel, gotCode, code)
		}
		if back := DecodeError(gotCode, text); !errors.Is(back, sentinel) {
			t.Errorf("%v came back as %v", sentinel, back)
		}
	}
	if code, _ := encodeError(fmt.Errorf("%w: %w", ErrNotMember, ErrUnavailable)); !errors.Is(wireErrors[code],
		ErrUnavailable) {
		t.Errorf("an error with two codes became %d", code)
	}
	if code, text := encodeError(errors.New("odd")); code != codeOther || DecodeError(code, text) == nil {
		t.Errorf("an error without a code became %d %q", code, text)
	}
}
