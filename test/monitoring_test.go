package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

const monitoring = "../packaging/monitoring"

var (
	metricType   = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	metricRow    = regexp.MustCompile("(?m)^\\| `(aptlyd_\\w+)` \\| (\\w+) \\| .+ \\|$")
	metricInText = regexp.MustCompile(`\b(aptlyd|process|go)_[a-z0-9_]+\b`)
)

func scrape(t *testing.T, c site, i int) string {
	t.Helper()
	response, err := http.Get(url(c, i) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// dashboardQueries returns the PromQL of the dashboard, with values for its variables.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "grafana-dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if expr, ok := node["expr"].(string); ok {
				queries = append(queries,
					strings.NewReplacer("$__rate_interval", "1m", "$job", "aptlyd", "$instance", ".*").Replace(expr))
			}
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(dashboard)
	return queries
}

// TestMonitoringNamesMetricsThatExist compares docs/monitoring.md, the dashboard and the alert rules
// with the scrape of a real node.
func TestMonitoringNamesMetricsThatExist(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, "--metrics-projects", "1")
	mustPublish(t, c, 0, "news", 1)
	mustPublish(t, c, 0, "news", 2)
	scrape(t, c, 0) // which gives this project the only label, whatever its id
	project, err := admin(c, 0).CreateProject(within(t, deadline), client.ProjectSpec{Name: "second"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range project.Keys {
		if key.Kind == "server" {
			second := &client.REST{BaseURL: url(c, 0), APIKey: key.Text}
			if _, err := second.Publish(within(t, deadline), client.Publication{Channel: "x", Data: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	public := &client.REST{BaseURL: url(c, 0), APIKey: c.PublicKey}
	if _, err := public.Publish(within(t, deadline), client.Publication{Channel: "news", Data: 1}); err == nil {
		t.Fatal("a public key has published")
	}
	nonsense, err := net.Dial("tcp", c.Addr(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(nonsense,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(nonsense).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	nonsense.Close()

	text := scrape(t, c, 0)
	exist := make(map[string]string)
	for _, m := range metricType.FindAllStringSubmatch(text, -1) {
		exist[m[1]] = m[2]
	}
	page, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, m := range metricRow.FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = true
		if exist[m[1]] != m[2] {
			t.Errorf("docs/monitoring.md has %s as a %s; the scrape has %q", m[1], m[2], exist[m[1]])
		}
	}
	for name := range exist {
		if strings.HasPrefix(name, "aptlyd_") && !documented[name] {
			t.Errorf("docs/monitoring.md does not have %s", name)
		}
	}
	rules, err := os.ReadFile(filepath.Join(monitoring, "aptlyd.rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var named int
	for _, source := range append(dashboardQueries(t), string(rules)) {
		for _, name := range metricInText.FindAllString(source, -1) {
			named++
			if exist[name] == "" && exist[strings.TrimSuffix(name, "_bucket")] != "histogram" {
				t.Errorf("%s is used and no node has it", name)
			}
		}
	}
	if named < 50 {
		t.Errorf("dashboard and rules name only %d metrics", named)
	}

	// One project has its own label, the others share one.
	labels := regexp.MustCompile(`aptlyd_project_publishes_total\{project="(\w+)"\} (\d+)`).FindAllStringSubmatch(text, -1)
	slices.SortFunc(labels, func(a, b []string) int { return strings.Compare(a[1], b[1]) })
	if len(labels) != 2 || labels[0][1] != "other" || labels[0][2] != "1" || labels[1][2] != "2" {
		t.Errorf("publishes by project: %v", labels)
	}
	for _, want := range []string{
		`aptlyd_publish_failures_total{code="forbidden"} 1`, "aptlyd_cluster_quorum 1",
		"aptlyd_ready 1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape has no %s", want)
		}
	}
}

// TestPrometheusTakesTheRules has promtool check the alert rules, run their tests, and parse the
// queries of the dashboard.
func TestPrometheusTakesTheRules(t *testing.T) {
	t.Parallel()
	lab.NeedTool(t, "promtool") // Debian: prometheus
	rules, err := filepath.Abs(filepath.Join(monitoring, "aptlyd.rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var queries []rule
	for i, query := range dashboardQueries(t) {
		queries = append(queries, rule{fmt.Sprintf("dashboard:query:%d", i), query})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": queries}}})
	if err != nil {
		t.Fatal(err)
	}
	dashboard := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(dashboard, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "rules", rules, dashboard},
		{"test", "rules", strings.Replace(rules, ".yaml", ".test.yaml", 1)},
		{"check", "config", filepath.Join(filepath.Dir(rules), "prometheus.yaml")},
	} {
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
