package main

import (
	"testing"
)

func TestMisuseExitsWith2(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--server", "ws://127.0.0.1:1"},
		{"--spawn", "3", "--key", "sk_1"},
		{"--spawn", "-1"},
		{"--server", "ws://127.0.0.1:1", "--key", "sk_1", "--aptlyd", "x"},
		{"--spawn", "3", "--size", "10"},
		{"--spawn", "3", "--rate", "fast"},
		{"--spawn", "3", "--no-such-flag"},
		{"--spawn", "3", "argument"},
		{"--spawn", "3", "--pid", "1"},
		{"fanout"},
		{"fanout", "--spawn", "1", "--window", "0"},
		{"fanout", "--spawn", "1", "--rule", "paper"},
		{"latency", "--server", "ws://127.0.0.1:1", "--key", "sk_1", "--rule", "memory"},
		{"idle", "--spawn", "1", "--clients", "0"},
		{"storm", "--spawn", "1", "argument"},
		{"replay", "--spawn", "1", "--size", "1"},
		{"presence", "--spawn", "1", "--named", "0"},
		{"members", "--server", "ws://127.0.0.1:1", "--key", "sk_1"},
		{"churn", "--spawn", "1", "--rate", "0"},
		{"slow", "--spawn", "1", "--stalled", "0", "--crawling", "0"},
	} {
		if code := run(t.Context(), args); code != exitMisuse {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

func TestFailureExitsWith1(t *testing.T) {
	if code := run(t.Context(), []string{"--spawn", "1", "--aptlyd", "/nowhere/aptlyd"}); code != exitBroken {
		t.Errorf("exit code %d", code)
	}
}
