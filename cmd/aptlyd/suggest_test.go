package main

import (
	"slices"
	"testing"
)

func TestMisspeltCommandsAndFlagsAreUnderstood(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"serv"}, `unknown command "serv" of aptlyd; did you mean serve?`},
		{[]string{"cluster", "statsu"}, `unknown command "statsu" of aptlyd cluster; did you mean status?`},
		{[]string{"status"}, `unknown command "status" of aptlyd; did you mean aptlyd cluster status?`},
		{[]string{"frobnicate"}, `unknown command "frobnicate" of aptlyd`},
		{[]string{"serve", "--bootstrap-expct", "3"}, `unknown flag: --bootstrap-expct; did you mean --bootstrap-expect?`},
		{[]string{"serve", "--frobnicate"}, `unknown flag: --frobnicate`},
	} {
		root := newRoot()
		root.SetArgs(test.args)
		if err := root.Execute(); err == nil || err.Error() != test.want || !isMisuse(err) {
			t.Errorf("aptlyd %v: %v, want %s", test.args, err, test.want)
		}
	}
}

func TestVariablesThatNobodyReads(t *testing.T) {
	for _, name := range []string{
		"APTLYD_PEER_LISTN", "APTLYD_SERVER", "APTLYD_KEY", "APTLYD_SERVICE_HOST", "APTLYD_PORT_8080_TCP_ADDR", "APTLYD_PORT",
		"APTLYD_HEADLESS_SERVICE_PORT_PEER",
	} {
		t.Setenv(name, "x")
	}
	unknown := slices.DeleteFunc(unknownVariables(newRoot()), func(name string) bool { return name == "APTLYD_LONG" })
	if want := []string{"APTLYD_PEER_LISTN; did you mean APTLYD_PEER_LISTEN?"}; !slices.Equal(unknown, want) {
		t.Errorf("unknown: %q, want %q", unknown, want)
	}
}
