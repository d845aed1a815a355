package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScanObject(t *testing.T) {
	shape := objectShape{names: []string{"a", "key"}}
	for text, want := range map[string]error{
		`{}`:                               nil,
		" \t\r\n{ } \n":                    nil,
		`{"a":1,"key":{"key":[1,{}]}}`:     nil,
		`{"other":1,"Other":2}`:            nil,
		`{"a":1,"a":1}`:                    errJSONDuplicate,
		`{"a":1,"\u0061":1}`:               errJSONDuplicate,
		`{"x":1,"x":1}`:                    errJSONDuplicate,
		`{"A":1}`:                          errJSONCase,
		`{"kEy":1}`:                        errJSONCase,
		`{"` + "\u212a" + `ey":1}`:         errJSONCase, // the Kelvin sign folds to k
		`{"a":{"a":1,"a":2,"A":3}}`:        nil,         // inside a payload names are not ours
		`{"a":[[[[]]]]}`:                   nil,
		`{"a":[[[[[]]]]]}`:                 errJSONDepth,
		`{"a":{"b":{"c":{"d":{}}}}}`:       nil,
		`{"a":{"b":{"c":{"d":{"e":{}}}}}}`: errJSONDepth,
		``:                                 errJSONSyntax,
		`[]`:                               errJSONSyntax,
		`{`:                                errJSONSyntax,
		`{"a"}`:                            errJSONSyntax,
		`{"a":}`:                           errJSONSyntax,
		`{"a":1,}`:                         errJSONSyntax,
		`{"a":1}}`:                         errJSONSyntax,
		`{"a":01}`:                         errJSONSyntax,
		`{"a":+1}`:                         errJSONSyntax,
		`{"a":1.}`:                         errJSONSyntax,
		`{"a":1e}`:                         errJSONSyntax,
		`{"a":nul}`:                        errJSONSyntax,
		`{"a":"` + "\n" + `"}`:             errJSONSyntax,
		`{"a":"\x"}`:                       errJSONSyntax,
		`{"a":"\u12g4"}`:                   errJSONSyntax,
		`{a:1}`:                            errJSONSyntax,
		`{'a':1}`:                          errJSONSyntax,
		`{"a":[1 2]}`:                      errJSONSyntax,
		`{"a":[1,]}`:                       errJSONSyntax,
		`{"a":{"b"}}`:                      errJSONSyntax,
		`{"a":[}`:                          errJSONSyntax,
	} {
		var values [2][]byte
		if err := shape.scan([]byte(text), 4, values[:]); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", text, err, want)
		}
	}
	strict := objectShape{names: []string{"a"}, strict: true}
	if err := strict.scan([]byte(`{"b":1}`), 4, make([][]byte, 1)); !errors.Is(err, errJSONUnknown) {
		t.Errorf("unknown name: %v", err)
	}
	many := `{"x0":1`
	for i := range 50 {
		many += `,"y` + strings.Repeat("y", i) + `":1`
	}
	if err := shape.scan([]byte(many+`}`), 4, make([][]byte, 2)); err != nil {
		t.Error(err)
	}
	if err := shape.scan([]byte(many+`,"yyyyyyyyyyyyyyyyyyyyyy":2}`), 4, make([][]byte, 2)); !errors.Is(err, errJSONDuplicate) {
		t.Errorf("a repeated name among many: %v", err)
	}
}

func TestWholeNumber(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "7": 7, "1e3": 1000, "5.0": 5, "9007199254740991": maxOffset, "-0": 0} {
		if n, ok := wholeNumber([]byte(text)); !ok || n != want {
			t.Errorf("%s: got %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"-1", "1.5", "9007199254740992", "1e400", `"1"`, "true", "{}", "null", ""} {
		if n, ok := wholeNumber([]byte(text)); ok {
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
	shape := objectShape{names: []string{"a", "key"}}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) {
			return
		}
		var values [2][]byte
		err := shape.scan(data, maxNesting, values[:])
		if err != nil {
			if errors.Is(err, errJSONSyntax) && json.Valid(data) && bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
				t.Fatalf("%q is JSON and was refused", data)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%q was taken: %v", data, err)
		}
		for i, name := range shape.names {
			if string(values[i]) != string(want[name]) {
				t.Errorf("%q: %s is %q, want %q", data, name, values[i], want[name])
			}
			text, ok := unquote(values[i])
			var decoded string
			if json.Unmarshal(want[name], &decoded) == nil && len(values[i]) > 0 && values[i][0] == '"' {
				if text != decoded || !ok && !strings.ContainsRune(text, utf8.RuneError) {
					t.Errorf("%q: %s is %q, %v, want %q", data, name, text, ok, decoded)
				}
				if quoted := appendQuoted(nil, text); !json.Valid(quoted) {
					t.Errorf("%q is quoted %q", text, quoted)
				} else if back, _ := unquote(quoted); back != text {
					t.Errorf("%q is quoted %q, which reads as %q", text, quoted, back)
				}
			}
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{"type":"publish","channel":"c","message":{"x":[1]},"id":"i"}`,
		`{"type":"subscribe","channel":"c","fromOffset":12,"from":{"time":5},"epoch":"e"}`,
		`{"type":"subscribe","channel":"c","from":"all"}`, `{"type":"auth","apiKey":"k","timestamp":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) {
			return
		}
		req, refused := parseRequest(data, 64)
		if refused != nil {
			if refused.Code.HTTPStatus() == 0 || refused.Reason == "" {
				t.Errorf("%q is refused with %+v", data, refused)
			}
			return
		}
		if req.kind == "publish" && !json.Valid(req.message) {
			t.Errorf("%q publishes %q", data, req.message)
		}
		if req.channel != "" && checkChannel(req.channel) != nil {
			t.Errorf("%q names the channel %q", data, req.channel)
		}
	})
}
