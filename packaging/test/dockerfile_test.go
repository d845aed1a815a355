package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The Dockerfile, for whoever builds an image of their own, makes the same of the program.
func TestDockerfileSaysTheSame(t *testing.T) {
	t.Parallel()
	_, config := needImage(t)
	text, err := os.ReadFile(filepath.Join(repository, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, last, _ := strings.Cut(string(text), "FROM scratch\n")
	list := func(words []string) string { return `["` + strings.Join(words, `", "`) + `"]` }
	health := config.Healthcheck
	want := []string{
		"USER " + config.User, "ENTRYPOINT " + list(config.Entrypoint), "CMD " + list(config.Cmd),
		"STOPSIGNAL " + config.StopSignal,
		fmt.Sprintf("HEALTHCHECK --interval=%v --timeout=%v --start-period=%.0fs CMD %s", health.Interval, health.Timeout,
			health.StartPeriod.Seconds(), list(health.Test[1:])),
	}
	for _, variable := range config.Env {
		want = append(want, "ENV "+variable)
	}
	for volume := range config.Volumes {
		want = append(want, "VOLUME "+volume)
	}
	for _, line := range want {
		if !strings.Contains(last, line+"\n") {
			t.Errorf("the Dockerfile lacks %q", line)
		}
	}
	for port := range config.ExposedPorts {
		if number, protocol, _ := strings.Cut(port, "/"); !strings.Contains(last, number) ||
			protocol == "udp" && !strings.Contains(last, port) {
			t.Errorf("the Dockerfile does not expose %s", port)
		}
	}
}
