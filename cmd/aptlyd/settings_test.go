package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/aptlyd/aptlyd/gateway"
)

// Every limit has a flag, by the name that a mistake in it is told by.
func TestEveryLimitHasAFlag(t *testing.T) {
	flags := newServe().Flags()
	var limits gateway.Limits
	known := make(map[string]bool)
	for _, value := range settable(reflect.ValueOf(&limits).Elem()) {
		value.SetInt(-1)
		var wrong *gateway.SettingError
		if err := limits.Validate(); !errors.As(err, &wrong) {
			t.Fatalf("a limit of -1: %v", err)
		}
		known[wrong.Setting] = true
		if flags.Lookup(wrong.Setting) == nil {
			t.Errorf("--%s does not exist", wrong.Setting)
		}
		value.SetInt(0)
	}
	for _, name := range []string{"body-timeout", "keep-alive-timeout", "max-handshake-bytes"} {
		if !known[name] {
			t.Errorf("%s is no limit", name)
		}
	}
}

// settable returns the numbers and times in a structure.
func settable(value reflect.Value) (all []reflect.Value) {
	for _, field := range value.Fields() {
		if field.Kind() == reflect.Struct {
			all = append(all, settable(field)...)
		} else {
			all = append(all, field)
		}
	}
	return all
}

func newTestFlags() (*pflag.FlagSet, *string, *[]string) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	listen := flags.String("peer-listen", ":1", "")
	join := flags.StringSlice("join", nil, "")
	flags.Int("bootstrap-expect", 1, "")
	flags.String("config", "", "")
	return flags, listen, join
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "aptlyd.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagWinsOverEnvironmentOverFile(t *testing.T) {
	path := writeFile(t, "peer-listen: :4\njoin: [a:1, b:2]\n")
	flags, listen, join := newTestFlags()
	if err := fillFlags(flags, path); err != nil {
		t.Fatal(err)
	}
	if *listen != ":4" || strings.Join(*join, " ") != "a:1 b:2" {
		t.Errorf("from the file: %q %q", *listen, *join)
	}

	t.Setenv("APTLYD_PEER_LISTEN", ":3")
	flags, listen, _ = newTestFlags()
	if err := fillFlags(flags, path); err != nil {
		t.Fatal(err)
	}
	if *listen != ":3" {
		t.Errorf("the environment must win over the file: %q", *listen)
	}

	flags, listen, _ = newTestFlags()
	if err := flags.Parse([]string{"--peer-listen", ":2"}); err != nil {
		t.Fatal(err)
	}
	if err := fillFlags(flags, path); err != nil {
		t.Fatal(err)
	}
	if *listen != ":2" {
		t.Errorf("the flag must win over both: %q", *listen)
	}
}

func TestBadSettingsNameThemselves(t *testing.T) {
	t.Setenv("APTLYD_BOOTSTRAP_EXPECT", "many")
	flags, _, _ := newTestFlags()
	err := fillFlags(flags, "")
	if err == nil || !strings.Contains(err.Error(), "APTLYD_BOOTSTRAP_EXPECT") {
		t.Errorf("a bad variable must name itself: %v", err)
	}
	os.Unsetenv("APTLYD_BOOTSTRAP_EXPECT")

	for text, want := range map[string]string{
		"listne: :1\n":                "listne",
		"peer-listen: {a: 1}\n":       "peer-listen",
		"bootstrap-expect: several\n": "bootstrap-expect",
		"config: other.yaml\n":        "config",
		"- just a list\n":             "aptlyd.yaml",
	} {
		flags, _, _ := newTestFlags()
		err := fillFlags(flags, writeFile(t, text))
		var wrong misuse
		if err != nil && strings.Contains(err.Error(), "strconv") {
			t.Errorf("%q: %v speaks of the program's insides", text, err)
		}
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want misuse that names %q", text, err, want)
		}
	}
	flags, _, _ = newTestFlags()
	if err := fillFlags(flags, "/does/not/exist.yaml"); err == nil ||
		!strings.Contains(err.Error(), "/does/not/exist.yaml") {
		t.Errorf("a missing file must name itself: %v", err)
	}
}

// The file that packages install is read as it is, and each setting that it suggests exists.
func TestPackagedSettings(t *testing.T) {
	const packaged = "../../packaging/aptlyd.yaml"
	text, err := os.ReadFile(packaged)
	if err != nil {
		t.Fatal(err)
	}
	flags := newServe().Flags()
	if err := fillFlags(flags, packaged); err != nil {
		t.Fatal(err)
	}
	if join := flags.Lookup("join").Value.String(); join != "[]" {
		t.Errorf("the node would join %s", join)
	}
	suggested := regexp.MustCompile(`(?m)^#([a-z-]+: \S)`).ReplaceAllString(string(text), "$1")
	if suggested == string(text) {
		t.Error("nothing is suggested")
	}
	if err := fillFlags(newServe().Flags(), writeFile(t, suggested)); err != nil {
		t.Error(err)
	}
}
