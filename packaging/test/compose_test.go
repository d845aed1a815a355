package test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/aptlyd/aptlyd/test/lab"
)

// composition is what we read of a compose file.
type composition struct {
	Services map[string]struct {
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
	} `yaml:"services"`
}

// The services of the compose files, started with their own environments, are what they say.
func TestCompose(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"single": 1, "cluster": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needImage(t)
			path := filepath.Join("..", "compose", name+".yaml")
			checkCompose(t, path)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var file composition
			if err := yaml.Unmarshal(text, &file); err != nil {
				t.Fatal(err)
			}
			services := slices.Sorted(maps.Keys(file.Services))
			if len(services) != size {
				t.Fatalf("the services are %v", services)
			}
			hosts := lab.NewNetwork(t, size).Hosts
			dns := lab.NewDNS(t, hosts...)
			var nodes []*process
			for i, service := range services {
				dns.Set(service, hosts[i].IP)
				s := file.Services[service]
				c := containerOf(t, service, hosts[i], "APTLYD_ADMIN_TOKEN="+adminToken)
				if s.Command != nil {
					c.args = append(c.args[:1], s.Command...)
				}
				given := map[string]string{"APTLYD_CLUSTER_SECRET": clusterSecret, "APTLYD_ADMIN_TOKEN": adminToken}
				for key, value := range s.Environment {
					if secret, ok := given[key]; ok {
						value = secret
					}
					c.env = append(c.env, key+"="+value)
				}
				writeResolver(t, c.root)
				nodes = append(nodes, c.run(t))
			}
			awaitCluster(t, nodes)
			for _, n := range nodes {
				n.kill()
			}
		})
	}
}

// checkCompose has Docker's own program read a file, where there is one.
func checkCompose(t *testing.T, path string) {
	t.Helper()
	if exec.Command("docker", "compose", "version").Run() != nil {
		t.Log("NOT TESTED: docker compose does not read the file, there is none")
		return
	}
	cmd := exec.Command("docker", "compose", "-f", path, "config", "--quiet")
	cmd.Env = append(os.Environ(), "APTLYD_CLUSTER_SECRET="+clusterSecret, "APTLYD_ADMIN_TOKEN="+adminToken)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("docker compose config: %v\n%s", err, out)
	}
}
