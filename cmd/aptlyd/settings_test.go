package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

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
	if err := fillFlags(flags, "/does/not/exist.yaml"); err == nil || !strings.Contains(err.Error(), "/does/not/exist.yaml") {
		t.Errorf("a missing file must name itself: %v", err)
	}
}
