package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScanObject(t *testing.T) {
	shape := Shape{Names: []string{"a", "key"}}
	for text, want := range map[string]error{
		`{}`:                               nil,
		" \t\r\n{ } \n":                    nil,
		`{"a":1,"key":{"key":[1,{}]}}`:     nil,
		`{"other":1,"Other":2}`:            nil,
		`{"a":1,"a":1}`:                    errDuplicate,
		`{"a":1,"\u0061":1}`:               errDuplicate,
		`{"x":1,"x":1}`:                    errDuplicate,
		`{"A":1}`:                          errCase,
		`{"kEy":1}`:                        errCase,
		`{"` + "\u212a" + `ey":1}`:         errCase, // the Kelvin sign folds to k
		`{"a":{"a":1,"a":2,"A":3}}`:        nil,     // inside a payload names are not ours
		`{"a":[[[[]]]]}`:                   nil,
		`{"a":[[[[[]]]]]}`:                 ErrDepth,
		`{"a":{"b":{"c":{"d":{}}}}}`:       nil,
		`{"a":{"b":{"c":{"d":{"e":{}}}}}}`: ErrDepth,
		``:                                 ErrSyntax,
		`[]`:                               ErrSyntax,
		`{`:                                ErrSyntax,
		`{"a"}`:                            ErrSyntax,
		`{"a":}`:                           ErrSyntax,
		`{"a":1,}`:                         ErrSyntax,
		`{"a":1}}`:                         ErrSyntax,
		`{"a":01}`:                         ErrSyntax,
		`{"a":+1}`:                         ErrSyntax,
		`{"a":1.}`:                         ErrSyntax,
		`{"a":1e}`:                         ErrSyntax,
		`{"a":nul}`:                        ErrSyntax,
		`{"a":"` + "\n" + `"}`:             ErrSyntax,
		`{"a":"\x"}`:                       ErrSyntax,
		`{"a":"\u12g4"}`:                   ErrSyntax,
		`{a:1}`:                            ErrSyntax,
		`{'a':1}`:                          ErrSyntax,
		`{"a":[1 2]}`:                      ErrSyntax,
		`{"a":[1,]}`:                       ErrSyntax,
		`{"a":{"b"}}`:                      ErrSyntax,
		`{"a":[}`:                          ErrSyntax,
	} {
		var values [2][]byte
		if err := shape.Scan([]byte(text), 4, values[:]); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", text, err, want)
		}
	}
	strict := Shape{Names: []string{"a"}, Strict: true}
	if err := strict.Scan([]byte(`{"b":1}`), 4, make([][]byte, 1)); !errors.Is(err, errUnknown) {
		t.Errorf("unknown name: %v", err)
	}
	many := `{"x0":1`
	for i := range 50 {
		many += `,"y` + strings.Repeat("y", i) + `":1`
	}
	if err := shape.Scan([]byte(many+`}`), 4, make([][]byte, 2)); err != nil {
		t.Error(err)
	}
	if err := shape.Scan([]byte(many+`,"yyyyyyyyyyyyyyyyyyyyyy":2}`), 4, make([][]byte, 2)); !errors.Is(err,
		errDuplicate) {
		t.Errorf("a repeated name among many: %v", err)
	}
}

// Every byte at every place of a string is judged as encoding/json judges it.
func TestStringsOfEveryByte(t *testing.T) {
	for length := range 27 {
		for at := range length {
			for c := range 256 {
				text := []byte(`"` + strings.Repeat("~", length) + `"`)
				text[1+at] = byte(c)
				if got, want := Valid(text), json.Valid(text) && utf8.Valid(text); got != want {
					t.Fatalf("%q is valid: %t, want %t", text, got, want)
				}
				text = append(append(text[:1+length:1+length], `\n`...), text[1:]...)
				if got, want := Valid(text), json.Valid(text) && utf8.Valid(text); got != want {
					t.Fatalf("%q is valid: %t, want %t", text, got, want)
				}
			}
		}
	}
}

// BenchmarkValid checks the payload of aptly-bench, and JSON of a chat.
func BenchmarkValid(b *testing.B) {
	for _, text := range []string{
		`"` + strings.Repeat("0123456789abcdef", 8) + `"`,
		`{"type":"message","user":{"id":1234,"name":"user1234"},"room":"general",` +
			`"text":"how are you today?","at":1764133200}`,
	} {
		b.Run(text[:5], func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if !Valid([]byte(text)) {
					b.Fatal(text)
				}
			}
		})
	}
}

func TestWholeNumber(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "7": 7, "1e3": 1000, "5.0": 5, "9007199254740991": MaxWhole,
		"-0": 0,
	} {
		if n, ok := WholeNumber([]byte(text)); !ok || n != want {
			t.Errorf("%s: got %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"-1", "1.5", "9007199254740992", "1e400", `"1"`, "true", "{}", "null", ""} {
		if n, ok := WholeNumber([]byte(text)); ok {
			t.Errorf("%s: got %d", text, n)
		}
	}
}

// What the scanner takes is what encoding/json takes, and names and strings
// mean the same to both.
func FuzzScanObject(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"key":"\u00e9\ud83d\ude00 \n"}`, `{"a":[{},[],{"x":[1,-2.5e-3,true,false,null]}]}`, `{"a":"\ud800"}`,
		`{"\u0061":[[[[[[]]]]]]}`, ` { "key" : 0 } `, `{"a":"a` + "\u2028" + `"}`,
	} {
		f.Add([]byte(seed))
	}
	shape := Shape{Names: []string{"a", "key"}}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) {
			return
		}
		var values [2][]byte
		err := shape.Scan(data, MaxNesting, values[:])
		if err != nil {
			if errors.Is(err, ErrSyntax) && json.Valid(data) && bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
				t.Fatalf("%q is JSON and was refused", data)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%q was taken: %v", data, err)
		}
		for i, name := range shape.Names {
			if string(values[i]) != string(want[name]) {
				t.Errorf("%q: %s is %q, want %q", data, name, values[i], want[name])
			}
			text, ok := Unquote(values[i])
			var decoded string
			if json.Unmarshal(want[name], &decoded) == nil && len(values[i]) > 0 && values[i][0] == '"' {
				if text != decoded || !ok && !strings.ContainsRune(text, utf8.RuneError) {
					t.Errorf("%q: %s is %q, %v, want %q", data, name, text, ok, decoded)
				}
				if quoted := AppendQuoted(nil, text); !json.Valid(quoted) {
					t.Errorf("%q is quoted %q", text, quoted)
				} else if back, _ := Unquote(quoted); back != text {
					t.Errorf("%q is quoted %q, which reads as %q", text, quoted, back)
				}
			}
		}
	})
}
